"""The suite's own benchmarks over held-out rows, each with its standard error; one code for student and teacher."""

import math
import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from registry.accounting.floor import forward_flops
from registry.accounting.spec import DecodingSpec
from registry.workloads.benchmarks import OWN
from registry.workloads.rows import Row, WorkloadError, row_digest
from workers.data import TOKENS_PER_PASS, Chat, by_length, collate, label_states
from workers.generation import Prompt, generate
from workers.models import precision_name, shape
from workers.questions import Question, score_questions
from workers.stages.contract import Report, Score

VERSION = "1"  # of these benchmarks; a score under another number is another metric
SCORING_BATCH = 64


def evaluate(
    language_model: Any,
    chat: Chat,
    rows: Sequence[Row],
    *,
    suite: Sequence[str],
    decoding: DecodingSpec,
    report: Report,
) -> list[Score]:
    """The scores of `suite` over `rows`. Raises `WorkloadError` for a benchmark that is not one of these."""
    measures = {"token_accuracy": token_accuracy, "choice": choice}
    scores = []
    for place, name in enumerate(suite):
        report.progress(done=place, total=len(suite), note=name)
        if name == "exact_match":
            scores.append(exact_match(language_model, chat, rows, decoding, report))
        elif name in measures:
            scores.append(measures[name](language_model, chat, rows, report))
        else:
            raise WorkloadError(f"{name!r} is not one of the own benchmarks {', '.join(OWN)}")
    report.progress(done=len(suite), total=len(suite), note="evaluated")
    return scores


@torch.inference_mode()
def token_accuracy(language_model: Any, chat: Chat, rows: Sequence[Row], report: Report) -> Score:
    """Share of answer tokens, the end mark included, that are the likeliest given the right ones before them.

    Rows are the independent units: the standard error is that of a ratio of row sums.
    """
    right: list[int] = []
    counted: list[int] = []
    for examples in by_length([chat.example(row) for row in rows], SCORING_BATCH, TOKENS_PER_PASS):
        batch = collate(examples, language_model.device)
        logits = language_model.get_output_embeddings()(label_states(language_model, batch))
        hits = logits.argmax(1) == batch.targets
        lengths = [example.labels for example in examples]
        right += [int(part.sum()) for part in hits.split(lengths)]
        counted += lengths
        report.tokens(evaluated=batch.prompt_tokens + batch.labels, padding=batch.padding)
        flops = forward_flops(shape(language_model), **batch.counts)
        report.work(flops=flops, precision=precision_name(language_model.dtype))
    value = sum(right) / sum(counted)
    residuals = sum((hit - value * count) ** 2 for hit, count in zip(right, counted, strict=True))
    stderr = math.sqrt(residuals * len(rows) / max(len(rows) - 1, 1)) / sum(counted)
    return Score(
        benchmark="token_accuracy", metric="acc", value=value, stderr=stderr, n=len(rows), harness_version=VERSION
    )


@torch.inference_mode()
def choice(language_model: Any, chat: Chat, rows: Sequence[Row], report: Report) -> Score:
    """Share of rows whose right answer is the likeliest of its candidates.

    Candidates of one form are compared by log-likelihood. A row without choices of its own is asked against the
    answers of three other rows, by log-likelihood per token, since those differ in length.
    """
    options = [row.candidates() or borrowed_candidates(row, rows) for row in rows]
    questions = [
        Question.of(place, chat.prompt_of(row), [chat.answer_ids(option) for option in options[place]])
        for place, row in enumerate(rows)
    ]
    hits = [False] * len(rows)
    for question, likelihoods in score_questions(language_model, questions, report):
        row, candidates = rows[question.place], options[question.place]
        values = likelihoods if row.choices else question.per_token(likelihoods)
        hits[question.place] = candidates[values.index(max(values))] == row.answer
    own = all(row.choices for row in rows)
    return _share("choice", "acc" if own else "acc_norm", hits)


def borrowed_candidates(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    """The row's answer among those of three other rows, drawn from the row's digest. Raises `WorkloadError`."""
    others = sorted({other.answer for other in rows} - {row.answer})
    if len(others) < 3:
        raise WorkloadError("choice needs rows with choices, or at least four different answers to choose from")
    generator = random.Random(row_digest(row))  # noqa: S311 - must be repeatable, not secret
    return tuple(generator.sample([row.answer, *generator.sample(others, 3)], 4))


def exact_match(language_model: Any, chat: Chat, rows: Sequence[Row], decoding: DecodingSpec, report: Report) -> Score:
    """Share of rows whose short answer the model writes by itself, greedily; see `is_right`.

    A row with choices is completed from the opening of its answer ("The capital of France is"), over as many tokens
    as the longest choice has; any other row is answered from the start, up to the run's `max_new_tokens`.
    """
    openings = [row.opening() for row in rows]
    prompts = [
        Prompt(str(place), (*chat.prompt_of(row), *chat.answer_ids(openings[place], finished=False)))
        for place, row in enumerate(rows)
    ]
    completed = all(row.choices for row in rows)
    longest = max((len(chat.answer_ids(choice)) for row in rows for choice in row.choices), default=0)
    limit = longest + 1 if completed else decoding.max_new_tokens
    hits = [False] * len(rows)
    answers = generate(
        language_model,
        prompts,
        replace(decoding, temperature=0.0, max_new_tokens=limit),
        end=chat.end,
        batch_size=SCORING_BATCH,
        each_batch=lambda prompt, padding: report.tokens(evaluated=prompt, padding=padding),
    )
    for answer in answers:
        report.tokens(generated=answer.tokens)
        place = int(answer.digest)
        length = len(prompts[place].ids) + answer.tokens
        # Operations alone: of the bytes that the other benchmarks move no formula knows.
        flops = forward_flops(
            shape(language_model), positions=length, squared_lengths=float(length**2), head_positions=answer.tokens
        )
        report.work(flops=flops, precision=precision_name(language_model.dtype))
        hits[place] = is_right(chat.text(answer.ids), rows[place])
    return _share("exact_match", "completion" if completed else "greedy", hits)


def is_right(text: str, row: Row) -> bool:
    """Whether `text` answers the row: by words, whatever case and accents.

    With choices: `text` begins with the short answer. A number: the last one in the text is it. Another short answer:
    the text ends with it. No short answer: the text is the whole answer.
    """
    if not row.short:
        return plain(text) == plain(row.answer)
    if row.choices:
        return f"{plain(text)} ".startswith(f"{plain(row.short)} ")
    if re.fullmatch(r"-?[\d,.]*\d", row.short):
        numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
        return bool(numbers) and float(numbers[-1].replace(",", "")) == float(row.short.replace(",", ""))
    return f" {plain(text)}".endswith(f" {plain(row.short)}")


def plain(text: str) -> str:
    """Letters and digits in lower case without accents, single spaces between."""
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return " ".join(re.findall(r"\w+", bare.casefold()))


def _share(benchmark: str, metric: str, hits: Sequence[bool]) -> Score:
    """A share and its standard error, √(p(1 − p)/(n − 1)), over independent rows."""
    n = len(hits)
    value = sum(hits) / n
    stderr = math.sqrt(value * (1 - value) / (n - 1)) if n > 1 else None
    return Score(benchmark=benchmark, metric=metric, value=value, stderr=stderr, n=n, harness_version=VERSION)
