"""Decoding: an answer depends on its prompt and the seed, never on the company it is decoded in."""

import pytest
import torch

from registry.accounting.spec import DecodingSpec
from registry.workloads.rows import prompt_digest
from tests.workers import tiny
from workers import generation
from workers.generation import Generated, Prompt, generate, sample, uniforms

DECODING = DecodingSpec(temperature=0.8, top_p=0.9, max_new_tokens=12, seed=3)


def _prompts(count: int = 9) -> list[Prompt]:
    chat = tiny.chat()
    return [Prompt(prompt_digest(row), tuple(chat.prompt_ids(row.prompt))) for row in tiny.rows(count)]


def _answers(decoding=DECODING, batch_size=4, prompts=None, model=None, **options) -> dict[str, Generated]:
    model = model or tiny.model()
    made = generate(model, prompts or _prompts(), decoding, end=tiny.chat().end, batch_size=batch_size, **options)
    return {answer.digest: answer for answer in made}


def test_the_batch_changes_no_answer():
    one_by_one = _answers(batch_size=1)
    assert _answers(batch_size=4) == one_by_one
    assert _answers(batch_size=9) == one_by_one
    few = _prompts()[3:6]
    assert _answers(prompts=few, batch_size=3) == {prompt.digest: one_by_one[prompt.digest] for prompt in few}


def test_another_seed_gives_other_answers():
    other = DecodingSpec(temperature=0.8, top_p=0.9, max_new_tokens=12, seed=4)
    assert _answers(other) != _answers()


def test_a_larger_limit_only_adds_to_an_answer():
    longer = _answers(DecodingSpec(temperature=0.8, top_p=0.9, max_new_tokens=20, seed=3))
    for digest, answer in _answers().items():
        assert longer[digest].ids[: len(answer.ids)] == answer.ids
        if answer.finished:
            assert longer[digest] == answer


def test_greedy_answers_equal_those_of_the_reference_implementation():
    model = tiny.model()
    prompt = _prompts()[2]
    wanted = model.generate(
        torch.tensor([prompt.ids]), attention_mask=torch.ones(1, len(prompt.ids)), do_sample=False, max_new_tokens=10
    )[0, len(prompt.ids) :].tolist()
    got = _answers(DecodingSpec(temperature=0.0, max_new_tokens=10), model=model)[prompt.digest]
    assert list(got.ids) == [token for token in wanted if token != 2]


def _that_ends_soon() -> torch.nn.Module:
    model = tiny.model()
    head = model.get_output_embeddings()

    class Biased(torch.nn.Module):
        def forward(self, states):
            logits = head(states)
            logits[:, 2] += 3.0
            return logits

    biased = Biased()
    model.get_output_embeddings = lambda: biased
    return model


def test_what_follows_the_end_mark_is_neither_kept_nor_counted():
    answers = _answers(DecodingSpec(temperature=1.5, max_new_tokens=60, seed=1), model=_that_ends_soon())
    finished = [answer for answer in answers.values() if answer.finished]
    assert finished
    assert len({len(answer.ids) for answer in answers.values()}) > 1
    for answer in answers.values():
        assert 2 not in answer.ids
        assert answer.tokens == len(answer.ids) + answer.finished
        assert answer.tokens <= 60


def test_rows_that_leave_a_batch_leave_the_others_as_they_were():
    decoding = DecodingSpec(temperature=1.5, max_new_tokens=60, seed=1)
    assert _answers(decoding, 9, model=_that_ends_soon()) == _answers(decoding, 1, model=_that_ends_soon())


def test_padding_is_counted_apart_from_prompts():
    counted = []
    _answers(batch_size=9, each_batch=lambda prompt, padding: counted.append((prompt, padding)))
    lengths = [len(prompt.ids) for prompt in _prompts()]
    assert counted == [(sum(lengths), max(lengths) * 9 - sum(lengths))]


def _logits() -> torch.Tensor:
    return torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


@pytest.mark.parametrize(
    ("uniform", "token"),
    [(0.0, 0), (0.61, 0), (0.63, 1), (0.999, 1)],
    ids=["first", "edge below", "edge above", "last"],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(uniform, token):
    decoding = DecodingSpec(temperature=1.0, top_p=0.75)
    assert sample(_logits(), torch.tensor([uniform]), decoding).tolist() == [token]


def test_top_k_is_applied_before_top_p():
    decoding = DecodingSpec(temperature=1.0, top_p=1.0, top_k=2)
    drawn = {sample(_logits(), torch.tensor([u / 100]), decoding).item() for u in range(100)}
    assert drawn == {0, 1}


def test_a_nucleus_wider_than_the_prefilter_is_drawn_from_whole(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits, uniform = torch.randn(40, 100, generator=generator), torch.rand(40, generator=generator)
    decoding = DecodingSpec(temperature=1.0, top_p=0.95)
    whole = sample(logits, uniform, decoding)
    monkeypatch.setattr(generation, "NUCLEUS_PREFILTER", 3)
    assert torch.equal(sample(logits, uniform, decoding), whole)


def test_sampling_follows_the_distribution():
    decoding = DecodingSpec(temperature=1.0, top_p=1.0, max_new_tokens=4000)
    uniform = uniforms(decoding, "a prompt")
    drawn = sample(_logits().repeat(4000, 1), uniform, decoding)
    shares = torch.bincount(drawn, minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.025, rtol=0)


def test_waiting_prompts_join_those_still_being_answered():
    decoding = DecodingSpec(temperature=1.5, max_new_tokens=60, seed=1)
    read = []
    joined = _answers(decoding, 4, model=_that_ends_soon(), each_batch=lambda prompt, padding: read.append(prompt))
    assert joined == _answers(decoding, 1, model=_that_ends_soon())
    assert len(read) > 3  # nine prompts, four at first: the others came as places fell free, not four at a time


def test_keys_and_values_stay_within_the_positions_allowed(monkeypatch):
    held = []
    forward = generation._Rows.forward

    def watched(rows, *inputs):
        held.append(rows.mask.numel())
        forward(rows, *inputs)

    monkeypatch.setattr(generation._Rows, "forward", watched)
    decoding = DecodingSpec(temperature=1.5, max_new_tokens=60, seed=1)
    longest = max(len(prompt.ids) for prompt in _prompts())
    allowed = 3 * (longest + 60)
    answers = _answers(decoding, 9, model=_that_ends_soon(), cache_positions=allowed)
    assert len(answers) == 9
    assert 0.3 * allowed < max(held) <= allowed
    assert len(_answers(decoding, 9, model=_that_ends_soon(), cache_positions=1)) == 9  # one row alone is let in


def test_rows_decoded_together_share_the_reading_of_the_weights():
    greedy = DecodingSpec(temperature=0.0, max_new_tokens=5)
    alone, together = (
        sum(answer.reads for answer in _answers(greedy, rows, prompts=_prompts()[:3]).values()) for rows in (1, 3)
    )
    steps = sum(answer.tokens for answer in _answers(greedy, 3, prompts=_prompts()[:3]).values())
    assert alone == pytest.approx(steps)
    assert together < alone
