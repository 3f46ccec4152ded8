"""The suite's own benchmarks on a tiny model, against plain computations."""

import math

import pytest
import torch

from registry.accounting.floor import forward_flops
from registry.accounting.spec import DecodingSpec
from registry.workloads.rows import Row, WorkloadError
from tests.workers import tiny
from workers import evaluation
from workers.evaluation import borrowed_candidates, choice, exact_match, is_right, token_accuracy
from workers.models import shape
from workers.questions import Question, score_questions

CHOICES = ("red", "dark blue", "green", "so")
ROWS = [Row(f"Color of {n}?", f"It is {CHOICES[n % 4]}.", f"k{n}", CHOICES, CHOICES[n % 4]) for n in range(8)]


def _likelihood(model, prompt: list[int], answer: list[int]) -> float:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(1)
    return sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(answer))


def test_answers_packed_into_one_pass_score_as_they_do_alone():
    model, chat = tiny.model(), tiny.chat()
    questions = [
        Question.of(place, chat.prompt_ids(row.prompt), [chat.answer_ids(c) for c in row.candidates()])
        for place, row in enumerate(ROWS[:5])
    ]
    with torch.inference_mode():
        scored = {question.place: values for question, values in score_questions(model, questions, tiny.Notes())}
    for place, row in enumerate(ROWS[:5]):
        alone = [_likelihood(model, chat.prompt_ids(row.prompt), chat.answer_ids(c)) for c in row.candidates()]
        packed = scored[place]
        assert [a - alone[0] for a in alone] == pytest.approx([p - packed[0] for p in packed], abs=1e-3)


def test_what_answers_share_is_computed_once():
    question = Question.of(0, [1, 2], [[5, 6, 7, 3], [5, 6, 8, 9, 3], [5, 6, 7, 4]])
    assert question.shared == (1, 2, 5, 6)
    assert question.endings == ((7, 3), (8, 9, 3), (7, 4))
    assert question.squares == 6**2 + 7**2 + 6**2 - 2 * 4**2  # what is shared sees itself once
    same = Question.of(0, [1], [[5, 3], [5, 3]])
    assert same.endings == ((3,), (3,))


def test_choice_counts_the_likeliest_candidate():
    model, chat = tiny.model(), tiny.chat()
    notes = tiny.Notes()
    score = choice(model, chat, ROWS, notes)
    assert notes.flops > 2 * shape(model).parameters * notes.counts["evaluated"]
    hits = 0
    for row in ROWS:
        values = [_likelihood(model, chat.prompt_ids(row.prompt), chat.answer_ids(c)) for c in row.candidates()]
        hits += row.candidates()[values.index(max(values))] == row.answer
    assert (score.value, score.n, score.metric) == (hits / 8, 8, "acc")
    assert score.stderr == pytest.approx(math.sqrt(score.value * (1 - score.value) / 7))


def test_rows_without_choices_are_asked_against_other_rows_answers():
    rows = tiny.rows(8)
    candidates = borrowed_candidates(rows[0], rows)
    assert len(set(candidates)) == 4
    assert rows[0].answer in candidates
    assert candidates == borrowed_candidates(rows[0], rows)
    assert choice(tiny.model(), tiny.chat(), rows, tiny.Notes()).metric == "acc_norm"


def test_too_few_answers_to_choose_from_are_refused():
    with pytest.raises(WorkloadError, match="four different answers"):
        borrowed_candidates(Row("a", "b"), [Row("a", "b"), Row("c", "d")])


def test_token_accuracy_is_the_share_over_all_rows_answer_tokens():
    model, chat = tiny.model(), tiny.chat()
    right = total = 0
    for row in ROWS:
        example = chat.example(row)
        with torch.inference_mode():
            top = model(input_ids=torch.tensor([example.ids])).logits[0].argmax(1).tolist()
        right += sum(top[place - 1] == example.ids[place] for place in range(*example.spans[0]))
        total += example.labels
    notes = tiny.Notes()
    score = token_accuracy(model, chat, ROWS, notes)
    assert score.value == pytest.approx(right / total)
    lengths = [len(chat.example(row).ids) for row in ROWS]
    assert notes.counts["evaluated"] == sum(lengths)
    read = {"positions": sum(lengths), "squared_lengths": sum(n**2 for n in lengths), "head_positions": total}
    assert notes.flops == pytest.approx(forward_flops(shape(model), **read))


def test_exact_match_completes_the_opening_of_the_answer(monkeypatch):
    asked = {}

    def answers(model, prompts, decoding, **options):
        chat = tiny.chat()
        for prompt in prompts:
            asked[int(prompt.digest)] = (chat.tokenizer.decode(prompt.ids), decoding)
            text = f" {ROWS[int(prompt.digest)].short}." if int(prompt.digest) % 2 else " purple"
            yield evaluation_answer(prompt.digest, chat.answer_ids(text, finished=False))

    from workers.generation import Generated

    def evaluation_answer(digest, ids):
        return Generated(digest, tuple(ids), finished=False)

    monkeypatch.setattr(evaluation, "generate", answers)
    notes = tiny.Notes()
    score = exact_match(tiny.model(), tiny.chat(), ROWS, DecodingSpec(temperature=1.0), notes)
    assert notes.flops > 2 * shape(tiny.model()).parameters * notes.counts["generated"]
    assert score.value == 0.5
    assert score.metric == "completion"
    text, decoding = asked[0]
    assert text.endswith("assistant\nIt is")
    assert decoding.temperature == 0.0
    assert decoding.max_new_tokens == len(" dark blue") + 1


@pytest.mark.parametrize(
    ("text", "row", "right"),
    [
        (" dark blue and more", Row("q", "It is dark blue.", choices=CHOICES, short="dark blue"), True),
        (" Dark Blue", Row("q", "It is dark blue.", choices=CHOICES, short="dark blue"), True),
        (" darker", Row("q", "It is dark blue.", choices=CHOICES, short="dark blue"), False),
        ("not green", Row("q", "It is green.", choices=CHOICES, short="green"), False),
        ("Bogota.", Row("q", "It is Bogotá.", choices=("Bogotá", "Lima"), short="Bogotá"), True),
        ("so 12 + 60 = 72", Row("q", "a #### 72", short="72"), True),
        ("72 or 73", Row("q", "a #### 72", short="72"), False),
        ("it costs $1,000.00", Row("q", "a #### 1000", short="1000"), True),
        ("no number", Row("q", "a #### 72", short="72"), False),
        ("the answer is x + 1", Row("q", "because x + 1", short="x + 1"), True),
        ("It is so.", Row("q", "it is so"), True),
        ("It is so!?", Row("q", "it is not so"), False),
    ],
)
def test_an_answer_is_right_by_its_words(text, row, right):
    assert is_right(text, row) is right


def test_an_unknown_benchmark_is_refused_by_name():
    with pytest.raises(WorkloadError, match="'poetry' is not one of the own benchmarks"):
        evaluation.evaluate(
            tiny.model(),
            tiny.chat(),
            ROWS,
            suite=["poetry"],
            decoding=DecodingSpec(),
            report=tiny.Notes(),
        )
