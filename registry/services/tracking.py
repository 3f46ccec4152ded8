"""Runs as an MLflow client reports them: begun, added to, ended. Sent again, nothing is counted twice."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils.text import slugify

from registry.models import Membership, Project, Study, TrackedMetric, TrackedRun, User
from registry.services import accounts, audit, studies
from registry.services.errors import Conflict, Invalid

STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
ENDED = ("FINISHED", "FAILED", "KILLED")
DEFAULT_SUITE = ["eval_accuracy"]  # what the Trainer of transformers calls it; a study made beforehand has its own
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 1000, 100, 100  # of one batch, as MLflow's own server has it
MOST_KEPT = 10_000  # parameters or tags of one run
LONGEST_KEY, LONGEST_VALUE = 250, 8000
_LARGEST_MS = 253_402_300_799_000  # the last moment of the year 9999


def create_experiment(*, actor: User, project: Project, name: str, tags: Mapping[str, str]) -> Study:
    """A study under the experiment's name. Raises `Invalid` and `NotAllowed`."""
    slug = re.sub(r"[^a-z0-9]+", "-", slugify(name))[:60].strip("-") or "experiment"
    slug = slug if len(slug) > 1 else f"{slug}-study"
    if Study.objects.filter(slug=slug).exists():
        slug = f"{project.slug[:18]}-{slug}"
    suite = [part.strip() for part in tags.get("stagemeter.suite", "").split(",") if part.strip()] or DEFAULT_SUITE
    return studies.create_study(actor=actor, project=project, slug=slug, name=name[:200], suite=suite)


@transaction.atomic
def begin(*, actor: User, study: Study, name: str, started_ms: int, tags: Mapping[str, str]) -> TrackedRun:
    """A run that a client has begun. Raises `Invalid` and `NotAllowed`."""
    accounts.require_role(actor, study.project, Membership.Role.SUBMITTER)
    row = TrackedRun(
        project=study.project, study=study, name=name[:LONGEST_KEY], started_ms=_ms(started_ms), created_by=actor
    )
    row.tags = _merged({}, tags)
    row.save()
    audit.record(actor=actor, project=study.project, action="tracked run begun", subject=row)
    return row


@transaction.atomic
def log(
    *,
    actor: User,
    tracked: TrackedRun,
    metrics: Sequence[Mapping[str, Any]] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Add to a run. A parameter keeps its first value. Raises `Conflict`, `Invalid` and `NotAllowed`."""
    accounts.require_role(actor, tracked.project, Membership.Role.SUBMITTER)
    for what, found, most in (("metrics", metrics, MOST_METRICS), ("params", params or {}, MOST_PARAMS)):
        if len(found) > most:
            raise Invalid({what: f"at most {most:,} at once, these are {len(found):,}"})
    if params or tags:
        row = TrackedRun.objects.select_for_update().get(pk=tracked.pk)
        for key, value in (params or {}).items():
            if row.params.get(key, value) != value:
                raise Conflict(f"The parameter {key[:80]!r} is {row.params[key][:80]!r} already; it is never changed.")
        row.params, row.tags = _merged(row.params, params or {}), _merged(row.tags, tags or {})
        row.save(update_fields=["params", "tags"])
        tracked.params, tracked.tags = row.params, row.tags
    points = [_point(tracked, metric) for metric in metrics]
    # NaN and infinities are what a diverging loss looks like, and no figure.
    TrackedMetric.objects.bulk_create([point for point in points if math.isfinite(point.value)], ignore_conflicts=True)


@transaction.atomic
def update(
    *, actor: User, tracked: TrackedRun, status: str | None = None, ended_ms: int | None = None, name: str = ""
) -> None:
    """Rename a run, or say how it stands. Raises `Invalid` and `NotAllowed`."""
    accounts.require_role(actor, tracked.project, Membership.Role.SUBMITTER)
    if status is not None and status not in STATUSES:
        raise Invalid({"status": f"{status[:40]!r} is none of {', '.join(STATUSES)}"})
    tracked.name = name[:LONGEST_KEY] or tracked.name
    tracked.status = status or tracked.status
    tracked.ended_ms = tracked.ended_ms if ended_ms is None else _ms(ended_ms)
    tracked.save(update_fields=["name", "status", "ended_ms"])


def note_booking(*, tracked: TrackedRun, run: Any, words: str) -> None:
    """Keep what became of a run when it was booked."""
    tracked.run, tracked.booking = run, words[:LONGEST_VALUE]
    tracked.save(update_fields=["run", "booking"])


def _merged(before: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    for key, value in new.items():
        if not (0 < len(key) <= LONGEST_KEY) or len(value) > LONGEST_VALUE or "\x00" in key + value:
            raise Invalid({key[:80] or "key": f"a name has 1 to {LONGEST_KEY} characters, a value {LONGEST_VALUE:,}"})
    merged = {**before, **new}
    if len(merged) > MOST_KEPT:
        raise Invalid({"params": f"a run may have {MOST_KEPT:,} parameters, and as many tags"})
    return merged


def _point(tracked: TrackedRun, metric: Mapping[str, Any]) -> TrackedMetric:
    key = metric["key"]
    if not (0 < len(key) <= LONGEST_KEY) or "\x00" in key:
        raise Invalid({"key": f"a metric's name has 1 to {LONGEST_KEY} characters"})
    step = metric.get("step", 0)
    if abs(step) >= 2**63:
        raise Invalid({"step": f"{step} is beyond 64 bits"})
    moment = _ms(metric["timestamp"])
    return TrackedMetric(tracked=tracked, key=key, value=metric["value"], timestamp_ms=moment, step=step)


def _ms(value: int) -> int:
    if not 0 <= value <= _LARGEST_MS:
        raise Invalid({"timestamp": f"{value} is no time in milliseconds since 1970"})
    return value
