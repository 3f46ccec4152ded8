"""A logit cache: what was captured comes back, row by row, cut and resumed."""

from dataclasses import replace

import pytest
import torch

from registry.workloads.rows import WorkloadError
from tests.workers import tiny
from workers import logit_cache, logit_codec
from workers.data import collate, encode, label_states
from workers.logit_cache import Capture, LogitCache, exact_products, keep, log_partition
from workers.logit_codec import decode, rounded

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
        each_batch=lambda batch: calls.append((batch.prompt_tokens, batch.labels, batch.padding)),
        **options,
    )
    return manifest, calls


@torch.inference_mode()
def _logits_of(example):
    batch = collate([example], torch.device("cpu"))
    model = tiny.model()
    return model.get_output_embeddings()(label_states(model, batch))


def _log_p(held, temperature):
    return held.logits / temperature - held.log_z[:, None]


@pytest.mark.parametrize(("encoding", "close"), [("fp32", 1e-4), ("fp16", 2e-2), ("u8", 0.1), ("u8z", 0.1)])
def test_each_row_comes_back_as_the_teacher_sees_it_alone(tmp_path, examples, encoding, close):
    _write(tmp_path, examples, replace(CAPTURE, encoding=encoding), rows_per_shard=3)
    cache = LogitCache(tmp_path)
    for example in (examples[7], examples[0], examples[4]):
        logits = _logits_of(example)
        for temperature in CAPTURE.temperatures:
            held = cache.read([example.digest], k=16, temperature=temperature)
            exact = (logits / temperature).log_softmax(1)
            torch.testing.assert_close(_log_p(held, temperature), exact.gather(1, held.ids), rtol=0, atol=close)
            top = exact.topk(16, dim=1).values
            torch.testing.assert_close(_log_p(held, temperature).exp().sum(1), top.exp().sum(1), rtol=1e-5, atol=1e-5)
            assert held.ids.sort(1).values.tolist() == logits.topk(16, dim=1).indices.sort(1).values.tolist()


def test_the_compressed_form_holds_exactly_what_the_fixed_stride_does(tmp_path, examples):
    for encoding in ("u8", "u8z"):
        _write(tmp_path / encoding, examples, replace(CAPTURE, encoding=encoding), rows_per_shard=4)
    fixed, cold = LogitCache(tmp_path / "u8"), LogitCache(tmp_path / "u8z")
    for example in examples:
        a, b = fixed.row(example.digest), cold.row(example.digest)
        assert torch.equal(a.values, b.values)
        assert torch.equal(a.log_z, b.log_z)
        assert torch.equal(a.ids.sort(1).values, b.ids.sort(1).values)


def test_only_label_positions_are_kept(tmp_path, examples):
    manifest, calls = _write(tmp_path, examples)
    labels = sum(example.labels for example in examples)
    assert manifest["positions"] == labels
    assert sum(call[1] for call in calls) == labels
    assert LogitCache(tmp_path).row(examples[0].digest).ids.shape == (examples[0].labels, 16)


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
        LogitCache(tmp_path).row("0" * 64)


def test_a_smaller_request_reads_what_a_cache_of_its_own_would_hold(tmp_path, examples):
    _write(tmp_path / "large", examples)
    for encoding in ("fp32", "fp16", "u8"):
        small = Capture(k=4, temperatures=(2.0,), encoding=encoding)
        _write(tmp_path / encoding, examples[2:6], small)
        large, own = LogitCache(tmp_path / "large"), LogitCache(tmp_path / encoding)
        for example in examples[2:6]:
            a = large.read([example.digest], k=4, temperature=2.0, encoding=encoding)
            b = own.read([example.digest], k=4, temperature=2.0)
            assert torch.equal(a.ids, b.ids)
            torch.testing.assert_close(a.logits, b.logits, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(a.log_z, b.log_z, rtol=1e-3, atol=1e-3)


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
    assert LogitCache(tmp_path).row(examples[0].digest).ids.shape[1] == 8


def _positions(count: int = 600, vocabulary: int = 5000, k: int = 100):
    """Positions with the spread of a language model's: one token stands out, the rest fall off slowly."""
    logits = torch.randn(count, vocabulary, generator=torch.Generator().manual_seed(3)) * 2.5
    logits[:, 0] += 6
    return logits, keep(logits.clone(), Capture(k, (1.0, 2.0, 4.0)))


def test_the_mass_of_the_top_k_is_exact_in_every_encoding_and_the_rest_is_within_its_step():
    logits, kept = _positions()
    for encoding, worst in (("fp16", 1e-6), ("u8", 5e-5), ("u8z", 5e-5)):
        held = rounded(kept, encoding, (1.0, 2.0, 4.0))
        for place, temperature in enumerate((1.0, 2.0, 4.0)):
            p = (logits / temperature).double().softmax(1).gather(1, kept.ids.long())
            q = (held.values.double() / temperature - held.log_z[:, place, None].double()).exp()
            torch.testing.assert_close(q.sum(1), p.sum(1), rtol=1e-5, atol=1e-6)
            assert 0 <= (p * (p / q).log()).sum(1).mean().item() + 1e-7 < worst


@pytest.mark.parametrize("vocabulary", [300, 2**16, 2**16 + 1, 100_352, 262_144])
def test_ids_of_every_width_come_back(vocabulary):
    _, kept = _positions(300)
    ids = kept.ids.clone()
    ids[:, 0], ids[:, 1] = vocabulary - 1, 0
    wide = replace(kept, ids=(ids.long() * (vocabulary - 1) // max(int(ids.max()), 1)).int())
    for encoding in ("u8", "u8z"):
        tensors = logit_codec.encode(wide, encoding, (1.0, 2.0, 4.0), vocabulary)
        held = decode(tensors, 40, 290, encoding, 100)
        assert held.ids.sort(1).values.tolist() == wide.ids[40:290].sort(1).values.tolist()


def test_a_position_takes_at_most_330_bytes_and_620_where_it_is_exact():
    _, kept = _positions(1000)
    for encoding, most in (("u8", 330), ("fp16", 620)):
        tensors = logit_codec.encode(kept, encoding, (1.0, 2.0, 4.0), vocabulary=100_352)
        assert sum(t.numel() * t.element_size() for t in tensors.values()) / 1000 <= most


def test_one_exponential_serves_a_chain_of_temperatures():
    logits = torch.randn(5, 400, generator=torch.Generator().manual_seed(1)) * 20
    logits -= logits.amax(1, keepdim=True)
    for temperatures in ((1.0, 2.0, 4.0), (0.7, 1.0, 1.4, 3.0), (1.0,)):
        exact = torch.stack([(logits.double() / t).logsumexp(1) for t in temperatures], dim=1)
        found = log_partition(logits, temperatures)
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
        alone = [log_partition(logits, (t,))[:, 0] for t in temperatures]
        assert torch.equal(found, torch.stack(alone, dim=1))


def test_the_mean_tail_mass_is_in_the_manifest_for_each_temperature(tmp_path, examples):
    manifest, _ = _write(tmp_path, examples)
    for temperature in CAPTURE.temperatures:
        kept = torch.cat([(_logits_of(e) / temperature).softmax(1).topk(16, dim=1).values.sum(1) for e in examples])
        assert manifest["tail_mass"][f"{temperature:g}"] == pytest.approx(1 - kept.mean().item(), abs=1e-4)


def test_a_cache_of_another_format_is_refused_with_the_way_out(tmp_path, examples):
    _write(tmp_path, examples)
    (tmp_path / "manifest.json").write_text('{"k": 16, "shards": []}')
    with pytest.raises(WorkloadError, match="of format 1, not 2; withdraw it"):
        LogitCache(tmp_path).check(k=4, temperature=1.0)


def test_the_head_of_a_model_in_bf16_is_taken_in_fp32():
    """Products of bf16 numbers are exact in fp32; what the head rounds to bf16 is off by thousands of times as much."""
    numbers = torch.Generator().manual_seed(2)
    states, head = (torch.randn(rows, 64, generator=numbers).bfloat16() for rows in (8, 50))
    exact = states.double() @ head.double().T
    with exact_products(torch.bfloat16):
        taken = torch.nn.functional.linear(states.float(), head.float())
    assert (taken - exact).abs().max() < 1e-4 < (states @ head.T - exact).abs().max()
    assert torch.get_float32_matmul_precision() == "highest"
