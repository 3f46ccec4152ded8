"""Evaluation scores: written once, recognised again by `score_id`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from django.db import transaction

from registry.models import EvaluationScore, Membership, Project, Run, User
from registry.services import accounts, audit, bulk, summaries
from registry.services.errors import Conflict, Invalid, ServiceError
from registry.services.ledger import Booked, Outcome, body_digest

RECORDED = "score recorded"  # in the audit log


@dataclass(frozen=True, kw_only=True)
class Score:
    """One benchmark's value for the model of a run. Without a `score_id`, one is derived from what identifies it."""

    benchmark: str
    value: float
    score_id: str = ""
    metric: str = ""
    stderr: float | None = None
    n: int | None = None
    shots: int = 0
    judge: str = ""
    harness_version: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Score":
        """Read a score from JSON types; its values are checked when it is booked. Raises `Invalid`."""
        problems = {name: f"unknown field; known here: {', '.join(_FIELDS)}" for name in values.keys() - set(_FIELDS)}
        problems |= {name: "this field is required" for name in ("benchmark", "value") if name not in values}
        if problems:
            raise Invalid(problems)
        return cls(**values)


_FIELDS = tuple(field.name for field in fields(Score))
_IDENTITY = ("benchmark", "metric", "shots", "judge", "harness_version")


def record_score(*, run: Run, origin: str, actor: User | None = None, **values: Any) -> Booked[EvaluationScore]:
    """Book one score; its `values` are `Score`'s.

    Raises `Conflict` if another value stands under this `score_id`, `Invalid` for a value that is no score.
    """
    accounts.require_role(actor, run.project, Membership.Role.SUBMITTER)
    (found,) = record_scores([(run, Score.from_dict(values))], origin=origin, actor=actor)
    score_id, outcome = found
    if isinstance(outcome, ServiceError):
        raise outcome
    row = EvaluationScore.objects.select_related("project").get(score_id=score_id)
    return Booked(row, created=outcome)


@transaction.atomic(savepoint=False)
def record_scores(
    entries: Sequence[tuple[Run, Score]], *, origin: str, actor: User | None = None
) -> list[tuple[str, Outcome]]:
    """Book many scores at once; the caller has made sure that `actor` may. The id of each and what became of it.

    `Conflict` and `Invalid` are returned here where `record_score` raises them.
    """
    results: list[tuple[str, Outcome] | None] = [None] * len(entries)
    rows: dict[str, dict[str, Any]] = {}
    asked: list[tuple[str, str]] = []
    for place, (run, score) in enumerate(entries):
        try:
            row = row_of(run, score, origin=origin, actor=actor)
        except Invalid as error:
            results[place] = (score.score_id, error)
            asked.append(("", ""))
            continue
        asked.append((row["score_id"], row["body_sha256"]))
        rows.setdefault(row["score_id"], row)
    written = bulk.insert(EvaluationScore, list(rows.values()), once_by="score_id")
    standing = {score_id: rows[score_id]["body_sha256"] for score_id in written} | _standing(rows.keys() - written)
    unseen = set(written)
    for place, (score_id, digest) in enumerate(asked):
        if results[place] is None:
            new = score_id in unseen
            unseen.discard(score_id)
            results[place] = (score_id, new or _same(score_id, digest, standing[score_id]))
    new_rows = [
        (run, rows[score_id]) for (run, _), (score_id, _) in zip(entries, asked, strict=True) if score_id in written
    ]
    _follow_up(new_rows, actor)
    return results  # type: ignore[return-value]  # none is left undecided


def row_of(run: Run, score: Score, *, origin: str, actor: User | None) -> dict[str, Any]:
    """The score's columns as JSON types. Raises `Invalid` for what is no score."""
    values = {name: getattr(score, name) for name in _FIELDS}
    _check(values)
    stated = {name: value for name, value in values.items() if name != "score_id"}
    (stamp,) = bulk.stamps(1)
    return {
        **stated,
        **stamp,
        "score_id": values["score_id"]
        or body_digest({name: values[name] for name in _IDENTITY} | {"run": str(run.pk)}),
        "run_id": str(run.pk),
        "project_id": str(run.project_id),
        "origin": str(origin),
        "actor_id": None if actor is None else str(actor.pk),
        "body_sha256": body_digest({**stated, "run": str(run.pk)}),
    }


def _follow_up(written: list[tuple[Run, dict[str, Any]]], actor: User | None) -> None:
    """What every new score brings along: a line in the audit log, and Q rebuilt."""
    once = {row["id"]: (run, row) for run, row in written}.values()
    audit.record_all(actor=actor, action=RECORDED, of=EvaluationScore, subjects=subjects(once))
    summaries.refresh_quality(*{run.pk for run, _ in once})


def subjects(written: Iterable[tuple[Run, dict[str, Any]]]) -> list[tuple[Project, str, dict[str, Any]]]:
    """What the audit log keeps of scores: their runs and rows."""
    return [(run.project, row["id"], {"benchmark": row["benchmark"]}) for run, row in written]


# The columns' own limits; a text of more characters, or a larger count, would be the database's error.
_TEXTS = {"benchmark": 100, "metric": 100, "judge": 200, "harness_version": 100, "score_id": 200}
_COUNTS = {"n": 2**31 - 1, "shots": 2**15 - 1}
LARGEST = 1e18


def _check(values: dict[str, Any]) -> None:
    """Refuse what is no score, whoever brings it: a form, a document, REST or a worker."""
    problems = _text_problems(values) | _count_problems(values)
    if not _is_number(values["value"]):
        problems["value"] = f"{values['value']!r} is not a finite number"
    stderr = values["stderr"]
    if stderr is not None and not (_is_number(stderr) and stderr >= 0):
        problems["stderr"] = f"{stderr!r} is not a finite number of 0 or more"
    if problems:
        raise Invalid(problems)


def _text_problems(values: dict[str, Any]) -> dict[str, str]:
    problems = {}
    for name, limit in _TEXTS.items():
        text = values[name]
        if not isinstance(text, str) or len(text) > limit or not text.isprintable():
            problems[name] = f"{text!a} is not a text of at most {limit} printable characters"
    if values["benchmark"] == "":
        problems["benchmark"] = "a score needs the name of its benchmark"
    return problems


def _count_problems(values: dict[str, Any]) -> dict[str, str]:
    problems = {}
    for name, largest in _COUNTS.items():
        count = values[name]
        if name == "n" and count is None:
            continue
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= largest:
            problems[name] = f"{count!r} is not a whole number from 0 to {largest}"
    return problems


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) <= LARGEST


def _standing(score_ids: Any) -> dict[str, str]:
    """Digests of the scores that are booked already."""
    if not score_ids:
        return {}
    found = EvaluationScore.objects.filter(score_id__in=list(score_ids)).values_list("score_id", "body_sha256")
    return dict(found)


def _same(score_id: str, digest: str, standing: str) -> Outcome:
    if standing == digest:
        return False
    return Conflict(
        f"score_id {score_id!r} is booked already with another value; a score is never changed, "
        "so send this one under a score_id of its own",
        score_id=score_id,
    )
