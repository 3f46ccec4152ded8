"""Evaluation scores: written once, recognised again by `score_id`."""

import math
from typing import Any

from django.db import transaction

from registry.models import EvaluationScore, Membership, Run, User
from registry.services import accounts, audit, summaries
from registry.services.errors import Conflict, Invalid
from registry.services.ledger import Booked, body_digest


@transaction.atomic
def record_score(
    *,
    run: Run,
    benchmark: str,
    value: float,
    origin: str,
    actor: User | None = None,
    score_id: str = "",
    metric: str = "",
    stderr: float | None = None,
    n: int | None = None,
    shots: int = 0,
    judge: str = "",
    harness_version: str = "",
) -> Booked[EvaluationScore]:
    """Book one score of the model that `run` made. Without a `score_id`, one is derived from what identifies it.

    Raises `Conflict` if another value stands under this `score_id`, `Invalid` for a value that is no score.
    """
    accounts.require_role(actor, run.project, Membership.Role.SUBMITTER)
    values: dict[str, Any] = {
        "benchmark": benchmark,
        "metric": metric,
        "value": value,
        "stderr": stderr,
        "n": n,
        "shots": shots,
        "judge": judge,
        "harness_version": harness_version,
    }
    _check(values | {"score_id": score_id})
    digest = body_digest({**values, "run": str(run.pk)})
    identity = {name: values[name] for name in ("benchmark", "metric", "shots", "judge", "harness_version")}
    score_id = score_id or body_digest({**identity, "run": str(run.pk)})
    existing = EvaluationScore.objects.filter(score_id=score_id).first()
    if existing is not None:
        return Booked(_same(existing, digest), created=False)
    score = EvaluationScore.objects.create(
        **values, score_id=score_id, run=run, project=run.project, origin=origin, actor=actor, body_sha256=digest
    )
    audit.record(actor=actor, project=run.project, action="score recorded", subject=score, benchmark=benchmark)
    summaries.refresh_quality(run)
    return Booked(score, created=True)


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


def _same(existing: EvaluationScore, digest: str) -> EvaluationScore:
    if existing.body_sha256 != digest:
        raise Conflict(
            f"score_id {existing.score_id!r} is booked already with another value; a score is never changed, "
            "so send this one under a score_id of its own",
            score_id=existing.score_id,
        )
    return existing
