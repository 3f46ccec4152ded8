"""A logit cache: what was captured comes back, row by row, cut and resumed."""

import pytest
import torch

from registry.workloads.rows import WorkloadError
from tests.workers import tiny
from workers import logit_cache
from workers.data import collate, encode, label_states
from workers.logit_cache import Capture, LogitCache

CAPTURE = Capture(k=16, temperatures=(1.0, 2.0, 4.0), encoding="fp32")


@pytest.fixture
def examples():
    return encode(tiny.chat(), tiny.rows(10), 200)[1]


def _write(folder, examples, capture=CAPTURE, **options):
    calls = []
    manifest = logit_cache.write(
        folder,
        tiny.model(),
        examples,
        capture,
        batch_size=4,
        each_batch=lambda prompt, labels, padding: calls.append((prompt, labels, padding)),
        **options,
    )
    return manifest, calls


@torch.inference_mode()
def _logits_of(example):
    batch = collate([example], torch.device("cpu"))
    model = tiny.model()
    return model.get_output_embeddings()(label_states(model, batch))


def test_each_row_comes_back_as_the_teacher_sees_it_alone(tmp_path, examples):
    _write(tmp_path, examples, rows_per_shard=3)
    cache = LogitCache(tmp_path)
    for example in (examples[7], examples[0], examples[4]):
        logits = _logits_of(example)
        for temperature in CAPTURE.temperatures:
            held = cache.read([example.digest], k=16, temperature=temperature)
            torch.testing.assert_close(held.logits, logits.topk(16, dim=1).values, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(held.log_z, (logits / temperature).logsumexp(1), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(logits.gather(1, held.ids), held.logits, rtol=1e-4, atol=1e-4)


def test_only_label_positions_are_kept(tmp_path, examples):
    manifest, calls = _write(tmp_path, examples)
    labels = sum(example.labels for example in examples)
    assert manifest["positions"] == labels
    assert sum(call[1] for call in calls) == labels
    assert LogitCache(tmp_path).raw(examples[0].digest)["ids"].shape == (examples[0].labels, 16)


def test_rows_are_joined_in_the_order_they_are_asked_for(tmp_path, examples):
    _write(tmp_path, examples)
    cache = LogitCache(tmp_path)
    both = cache.read([examples[5].digest, examples[2].digest], k=16, temperature=1.0)
    first = cache.read([examples[5].digest], k=16, temperature=1.0)
    torch.testing.assert_close(both.slice(0, examples[5].labels).logits, first.logits)
    assert both.ids.shape[0] == examples[5].labels + examples[2].labels


def test_half_precision_is_read_under_autocast_as_without_it(tmp_path, examples):
    _write(tmp_path, examples, Capture(k=16, temperatures=(1.0,), encoding="fp16"))
    cache, rows = LogitCache(tmp_path), [examples[5].digest, examples[2].digest]
    plain = cache.read(rows, k=16, temperature=1.0, encoding="fp16")
    with torch.autocast("cpu", torch.bfloat16):
        cast = cache.read(rows, k=16, temperature=1.0, encoding="fp16")
    torch.testing.assert_close(cast.logits, plain.logits)


def test_a_temperature_it_does_not_hold_is_refused_with_those_it_holds(tmp_path, examples):
    _write(tmp_path, examples)
    with pytest.raises(WorkloadError, match=r"holds the temperatures \[1.0, 2.0, 4.0\], not 3.0"):
        LogitCache(tmp_path).read([examples[0].digest], k=4, temperature=3.0)


def test_a_larger_k_and_an_unknown_row_are_refused(tmp_path, examples):
    _write(tmp_path, examples)
    with pytest.raises(WorkloadError, match="top 16 logits, not 17"):
        LogitCache(tmp_path).check(k=17, temperature=1.0)
    with pytest.raises(WorkloadError, match="holds no row"):
        LogitCache(tmp_path).raw("0" * 64)


def test_a_cut_holds_what_a_small_cache_of_its_own_would(tmp_path, examples):
    _write(tmp_path / "large", examples)
    wanted = examples[2:6]
    small = Capture(k=4, temperatures=(2.0,), encoding="fp32")
    logit_cache.cut(tmp_path / "large", tmp_path / "cut", [e.digest for e in wanted], small)
    _write(tmp_path / "own", wanted, small)
    cut, own = LogitCache(tmp_path / "cut"), LogitCache(tmp_path / "own")
    assert set(cut.digests()) == set(own.digests())
    for example in wanted:
        a = cut.read([example.digest], k=4, temperature=2.0)
        b = own.read([example.digest], k=4, temperature=2.0)
        assert torch.equal(a.ids, b.ids)
        torch.testing.assert_close(a.logits, b.logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(a.log_z, b.log_z, rtol=1e-4, atol=1e-4)


def test_an_interrupted_run_makes_only_the_shards_that_are_missing(tmp_path, examples):
    _, whole = _write(tmp_path, examples, rows_per_shard=4)
    lost = tmp_path / "shard-00001.safetensors"
    before = (tmp_path / "shard-00000.safetensors").stat().st_mtime_ns
    lost.unlink()
    (tmp_path / ".shard-00001.safetensors.tmp").write_bytes(b"half")
    manifest, again = _write(tmp_path, examples, rows_per_shard=4)
    assert 0 < len(again) < len(whole)
    assert lost.is_file()
    assert (tmp_path / "shard-00000.safetensors").stat().st_mtime_ns == before
    assert {d for shard in manifest["shards"] for d in shard["row_digests"]} == {e.digest for e in examples}


def test_a_shard_of_another_capture_is_made_again(tmp_path, examples):
    _write(tmp_path, examples)
    _, calls = _write(tmp_path, examples, Capture(k=8, temperatures=(1.0,)))
    assert calls
    assert LogitCache(tmp_path).raw(examples[0].digest)["ids"].shape[1] == 8
