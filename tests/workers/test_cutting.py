"""Cutting gives what making it small would have given: on the real teacher, in float32.

Each row and each prompt is computed by itself first. In company the arithmetic is the same but for the order of its
sums, so the draw stays the same and a logit moves by a rounding error.
"""

import pytest
import torch

from registry.accounting.spec import DatasetSpec, DecodingSpec, ModelSpec
from registry.workloads import catalogue
from registry.workloads.rows import prompt_digest, split
from workers import logit_cache, models, synthetic
from workers import logit_codec as codec
from workers.data import Chat, encode
from workers.generation import Prompt, generate
from workers.logit_cache import Capture, LogitCache

pytestmark = pytest.mark.torch
TEACHER = ModelSpec(id=catalogue.SMOLLM2, precision="fp32")
ROWS, FEWER = 6, 2
LARGE = Capture(k=100, temperatures=(1.0, 2.0, 4.0), encoding="fp32")
SMALL = Capture(k=20, temperatures=(2.0,), encoding="fp16")


@pytest.fixture(scope="module")
def teacher():
    """SmolLM2 on one thread: with two of them on a busy machine, each waits for the other at every product."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield models.load_model(TEACHER, torch.float32)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def chat():
    return Chat(models.load_tokenizer(TEACHER))


@pytest.fixture(scope="module")
def rows():
    wanted = DatasetSpec(id=catalogue.TOUR, train_rows=ROWS, validation_rows=2, evaluation_rows=2)
    return split(catalogue.dataset(catalogue.TOUR).rows(), wanted).train


@pytest.fixture(scope="module")
def examples(chat, rows):
    return encode(chat, rows, 256)[1]


@pytest.fixture(scope="module")
def large(tmp_path_factory, teacher, examples):
    """The larger cache, each row computed by itself."""
    return write(tmp_path_factory.mktemp("large"), teacher, examples, LARGE, 1)


def write(folder, teacher, examples, capture, batch_size):
    logit_cache.write(folder, teacher, examples, capture, batch_size=batch_size, each_batch=lambda *counts: None)
    return LogitCache(folder)


def test_what_is_read_of_a_larger_cache_is_the_one_made_directly_bit_by_bit(teacher, examples, large, tmp_path):
    fewer = examples[::2][:FEWER]
    direct = write(tmp_path, teacher, fewer, SMALL, 1)
    for example in fewer:
        made = direct.row(example.digest)
        read = large.read([example.digest], k=20, temperature=2.0, encoding="fp16")
        assert torch.equal(read.ids, made.ids)
        assert torch.equal(read.logits, made.values)
        assert torch.equal(read.log_z, made.log_z[:, 0])


@pytest.mark.parametrize(("encoding", "measured"), [("u8", 6e-4), ("fp16", 6e-5)])
def test_a_cut_in_k_of_a_rounded_cache_is_within_its_bound(encoding, measured):
    """Logits within half a step r of the exact ones, and a probability within e^(2r ÷ T) − 1 of itself.

    `measured`: what the mass of the likeliest 10 of 100 is off by at T = 1, at most.
    """
    logits, temperatures = torch.randn(300, 20_000, generator=torch.Generator().manual_seed(0)) * 2.5, (1.0, 2.0, 4.0)
    values, ids = logits.topk(100, 1)
    log_z = torch.stack([(logits / t).logsumexp(1) - values[:, 0] / t for t in temperatures], 1)
    exact = codec.Kept(ids, values - values[:, :1], log_z)
    cut = codec.decode(codec.encode(exact, encoding, temperatures, 20_000), 0, 300, encoding, 100).top(10)
    step = 1 / 510 if encoding == "u8" else 1 / 2048
    r = -exact.values[:, -1:] * step + 1e-5  # half a step, and what float32 rounds
    assert torch.all((cut.values - exact.top(10).values).abs() <= r)
    for place, t in enumerate(temperatures):
        mass, true = (((one.values / t).logsumexp(1) - one.log_z[:, place]).exp() for one in (cut, exact.top(10)))
        assert torch.all((mass / true - 1).abs() <= torch.expm1(2 * r[:, 0] / t))
        if t == 1:
            assert 0 < (mass - true).abs().max() < measured
    directly = codec.rounded(exact.top(10), encoding, temperatures)
    assert torch.equal(directly.values, cut.values) is (encoding == "fp16")
    assert not torch.equal(directly.log_z, cut.log_z)


def test_in_other_company_a_logit_moves_by_a_rounding_error(teacher, examples, large, tmp_path):
    together = write(tmp_path, teacher, examples, LARGE, ROWS)
    for example in examples:
        one, other = together.row(example.digest), large.row(example.digest)
        torch.testing.assert_close(one.log_z, other.log_z, rtol=0, atol=1e-4)
        torch.testing.assert_close(one.values, other.values, rtol=0, atol=1e-3)


def test_fewer_prompts_and_a_shorter_limit_draw_the_very_tokens(teacher, chat, rows):
    """Longer answers to more prompts in one batch, cut, against shorter answers to fewer prompts in other batches."""
    prompts = [Prompt(prompt_digest(row), tuple(chat.prompt_ids(row.prompt))) for row in rows]
    answers = answered(teacher, chat, prompts, 8, batch_size=ROWS)
    direct = answered(teacher, chat, prompts[1::2][:FEWER], 4, batch_size=2)
    assert {digest: synthetic.truncate(answers[digest], 4, chat) for digest in direct} == direct
    assert any(len(answers[digest].ids) > 4 for digest in direct)


def answered(teacher, chat, prompts, limit, batch_size):
    decoding = DecodingSpec(max_new_tokens=limit, seed=3)
    made = generate(teacher, prompts, decoding, end=chat.end, batch_size=batch_size)
    return {g.digest: synthetic.Answer(g.digest, "", chat.text(g.ids), g.ids, g.finished) for g in made}
