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
    _check(values)
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


def _check(values: dict[str, Any]) -> None:
    problems = {}
    if not values["benchmark"]:
        problems["benchmark"] = "a score needs the name of its benchmark"
    if not math.isfinite(values["value"]):
        problems["value"] = f"{values['value']!r} is not a finite number"
    if values["stderr"] is not None and not (math.isfinite(values["stderr"]) and values["stderr"] >= 0):
        problems["stderr"] = f"{values['stderr']!r} is not a finite number of 0 or more"
    if problems:
        raise Invalid(problems)


def _same(existing: EvaluationScore, digest: str) -> EvaluationScore:
    if existing.body_sha256 != digest:
        raise Conflict(
            f"score_id {existing.score_id!r} is booked already with another value; a score is never changed, "
            "so send this one under a score_id of its own",
            score_id=existing.score_id,
        )
    return existing
