"""The ledger: `record_stage` is the only way in for a measurement, whoever brings it."""

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from registry.models import Artifact, Attempt, EvaluationScore, Project, Run, Stage, User
from registry.services import audit, summaries
from registry.services.errors import Conflict, Invalid
from stagemeter.records import StageRecord, total_energy

# Fields of the record that are columns under another name or a relation.
_RELATIONS = ("run_id", "attempt_id", "parent_id")
Row = TypeVar("Row", Stage, EvaluationScore)
_COLUMNS = tuple(f.name for f in fields(StageRecord) if f.name not in _RELATIONS)


@dataclass(frozen=True)
class Booked(Generic[Row]):
    """The row, and whether this call wrote it (`False`: the same was there already)."""

    row: Row
    created: bool


@transaction.atomic
def record_stage(
    *,
    record: StageRecord,
    project: Project,
    origin: str,
    actor: User | None = None,
    run: Run | None = None,
    attempt: Attempt | None = None,
    artifact: Artifact | None = None,
) -> Booked[Stage]:
    """Book one record. The same record again is recognised by `record_id` and changes nothing.

    `artifact` is what the stage worked at making: its production energy grows, and the run is charged through it.
    Raises `Conflict` if another body stands under this `record_id`, `Invalid` if the run it names is not there or
    a value does not fit into its column.
    """
    _check_columns(record)
    run = run or _run_of(record, project)
    digest = body_digest(record.to_dict())
    existing = Stage.objects.filter(record_id=record.record_id).first()
    if existing is None:
        try:
            with transaction.atomic():
                stage = Stage.objects.create(
                    **_columns(record),
                    project=project,
                    origin=origin,
                    actor=actor,
                    run=run,
                    attempt=attempt,
                    artifact=artifact,
                    body_sha256=digest,
                )
        except IntegrityError:  # somebody else was first
            existing = Stage.objects.get(record_id=record.record_id)
    if existing is not None:
        return Booked(_same(existing, digest, project), created=False)
    audit.record(actor=actor, project=project, action="stage recorded", subject=stage, kind=record.kind)
    if artifact is not None:
        summaries.refresh_production(artifact)
    if run is not None:
        summaries.changed(run)
    return Booked(stage, created=True)


def body_digest(body: dict[str, Any]) -> str:
    """SHA-256 of a JSON body, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _run_of(record: StageRecord, project: Project) -> Run | None:
    if record.run_id is None:
        return None
    run = Run.objects.filter(project=project).by_name(record.run_id).first()
    if run is None:
        raise Invalid({"run_id": f"{record.run_id!r} is no run of the project {project.slug}; upload the run first"})
    return run


def _check_columns(record: StageRecord) -> None:
    """Refuse what is a fine record and does not fit into its columns: a name too long, a count too large."""
    problems = {}
    for name in (*_COLUMNS, "parent_id"):
        value = getattr(record, name)
        if value is None:
            continue
        try:
            Stage._meta.get_field(name).run_validators(value)  # type: ignore[union-attr]  # all are plain columns
        except ValidationError as error:
            problems[name] = " ".join(error.messages)
    if problems:
        raise Invalid(problems)


def _columns(record: StageRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _COLUMNS}
    values |= {name: list(values[name]) for name in ("components", "devices", "flags")}
    return values | {"parent_id": record.parent_id or "", "energy_j": total_energy(record)[0]}


def _same(existing: Stage, digest: str, project: Project) -> Stage:
    if existing.body_sha256 != digest or existing.project_id != project.pk:
        raise Conflict(
            f"record_id {existing.record_id!r} is booked already with another body; a record is never changed, "
            "so send this one under a record_id of its own",
            record_id=existing.record_id,
        )
    return existing
