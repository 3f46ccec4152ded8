"""Rows, their digests, and the split into training, validation and evaluation rows."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from registry.accounting.canonical import canonical
from registry.accounting.spec import DatasetSpec


class WorkloadError(ValueError):
    """What a workload can refuse. Each message is a sentence with the value and the way out.

    WorkloadError
    ├── UnknownName   a model, dataset or benchmark nobody offers
    ├── BadRows       a file whose rows cannot be read
    └── TooFewRows    a split larger than the dataset
    """


class UnknownName(WorkloadError):
    """A model, dataset or benchmark that is not on offer; the message lists what is."""


class BadRows(WorkloadError):
    """A file of rows that cannot be read; the message names the line and the key."""


class TooFewRows(WorkloadError):
    """A split that asks for more rows than there are."""


ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Turn:
    """What stands in a conversation before the last question: a system's, a user's or an assistant's text."""

    role: str  # of `ROLES`
    content: str


@dataclass(frozen=True)
class Row:
    """A question and its answer, at the end of a conversation where there was one `before`.

    Rows with one `key` are wordings of one fact. `short` is the part of the answer that is asked for, `choices` the
    alternatives to it, `short` among them.
    """

    prompt: str
    answer: str
    key: str = ""
    choices: tuple[str, ...] = ()
    short: str = ""
    before: tuple[Turn, ...] = ()

    @property
    def asked(self) -> str:
        """What groups rows that must not be torn apart by a split: the fact, or all that stands before the answer."""
        return self.key or "\n".join([*(turn.content for turn in self.before), self.prompt])

    def candidates(self) -> tuple[str, ...]:
        """The whole answers to choose from: `answer` with `short` replaced by each choice."""
        if not self.choices:
            return ()
        head, _, tail = self.answer.rpartition(self.short)
        return tuple(f"{head}{choice}{tail}" for choice in self.choices)

    def opening(self) -> str:
        """What stands in the answer before `short`, if there are choices: given to the model, which completes it."""
        return self.answer.rpartition(self.short)[0].rstrip(" ") if self.choices else ""

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON types, empty fields left out."""
        data: dict[str, Any] = {"prompt": self.prompt, "answer": self.answer}
        if self.key:
            data["key"] = self.key
        if self.choices:
            data["choices"] = list(self.choices)
        if self.short:
            data["short"] = self.short
        if self.before:
            data["before"] = _turns(self)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Row":
        """Read what `to_dict` wrote."""
        return cls(
            data["prompt"],
            data["answer"],
            data.get("key", ""),
            tuple(data.get("choices", ())),
            data.get("short", ""),
            tuple(Turn(**turn) for turn in data.get("before", ())),
        )


@dataclass(frozen=True)
class Splits:
    """The three parts of a workload; no row is in two of them."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    evaluation: tuple[Row, ...]


def row_digest(row: Row) -> str:
    """SHA-256 of the canonical JSON of prompt and answer: what a logit cache is forced through.

    Earlier turns are in it where there are any.
    """
    return _digest({"prompt": row.prompt, "answer": row.answer, "before": _turns(row)})


def prompt_digest(row: Row) -> str:
    """SHA-256 of the canonical JSON of the prompt and the turns before it alone: what a generation answers."""
    return _digest({"prompt": row.prompt, "before": _turns(row)})


def _turns(row: Row) -> list[dict[str, str]] | None:
    """The turns before as JSON types; `None`, which leaves no trace in a digest, where there are none."""
    return [{"role": turn.role, "content": turn.content} for turn in row.before] or None


def split(rows: Sequence[Row], dataset: DatasetSpec, *, drawn: bool = False) -> Splits:
    """Split by `dataset.split_seed`, so that every part is held out from the others by fact and by wording.

    Where rows share keys, one half of the evaluation rows asks facts that no training row asks in any wording,
    the other half asks trained facts in a wording that is not trained: the first tells what the student kept of the
    teacher, the second whether it understands a question or knows it by heart. A fact held out is asked once, so that
    rows are independent. Validation is drawn the same way from other facts. A training set is a prefix of each larger
    one under the same seed.

    `drawn`: the rows are the beginning of one long draw by the seed, so they stay in their order; a longer beginning
    then gives the same held-out rows and a training set of which the shorter one's is a prefix.

    Raises `TooFewRows`.
    """
    groups = _in_order(rows) if drawn else _shuffled_groups(rows, dataset.split_seed)
    worded = any(len(group) > 1 for group in groups)
    unseen_evaluation, groups = _take(groups, dataset.evaluation_rows, half=worded)
    unseen_validation, groups = _take(groups, dataset.validation_rows, half=worded)
    spare = [group[0] for group in groups if len(group) > 1]
    missing_evaluation = dataset.evaluation_rows - len(unseen_evaluation)
    missing_validation = dataset.validation_rows - len(unseen_validation)
    reworded_evaluation = spare[:missing_evaluation]
    reworded_validation = spare[missing_evaluation : missing_evaluation + missing_validation]
    train = _interleaved(groups, leave_out={id(row) for row in (*reworded_evaluation, *reworded_validation)})
    result = Splits(
        tuple(train[: dataset.train_rows]),
        (*unseen_validation, *reworded_validation),
        (*unseen_evaluation, *reworded_evaluation),
    )
    _check_sizes(result, rows, dataset)
    return result


def _shuffled_groups(rows: Sequence[Row], seed: int) -> list[list[Row]]:
    """Rows by key in random order, the wordings within a key too; doubled rows once."""
    by_key: dict[str, list[Row]] = {}
    for row in {(row.before, row.prompt, row.answer): row for row in rows}.values():
        by_key.setdefault(row.asked, []).append(row)
    generator = random.Random(seed)  # noqa: S311 - a split must be repeatable, not secret
    groups = [by_key[key] for key in sorted(by_key)]
    for group in groups:
        generator.shuffle(group)
    generator.shuffle(groups)
    return groups


def _in_order(rows: Sequence[Row]) -> list[list[Row]]:
    """One row of each prompt, in the order in which they come: what comes later changes nothing before it."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.asked, row)
    return [[row] for row in first.values()]


def _take(groups: list[list[Row]], wanted: int, *, half: bool) -> tuple[list[Row], list[list[Row]]]:
    """One row each of facts that nothing else may ask, and the groups that remain."""
    wanted = (wanted + 1) // 2 if half else wanted
    return [group[0] for group in groups[:wanted]], groups[wanted:]


def _interleaved(groups: list[list[Row]], leave_out: set[int]) -> list[Row]:
    """One wording of every fact, then the next of every fact: a prefix asks as many facts as it can."""
    deepest = max((len(group) for group in groups), default=0)
    return [
        group[place]
        for place in range(deepest)
        for group in groups
        if place < len(group) and id(group[place]) not in leave_out
    ]


def _check_sizes(splits: Splits, rows: Sequence[Row], dataset: DatasetSpec) -> None:
    wanted = {"train": dataset.train_rows, "validation": dataset.validation_rows, "evaluation": dataset.evaluation_rows}
    short = {part: len(getattr(splits, part)) for part in wanted if len(getattr(splits, part)) < wanted[part]}
    if short:
        parts = ", ".join(f"{wanted[part]:,} {part} rows (there are {count:,})" for part, count in short.items())
        raise TooFewRows(f"{dataset.id} has {len(rows):,} rows and cannot give {parts}; ask for fewer")


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(rfc8785.dumps(canonical(document))).hexdigest()
