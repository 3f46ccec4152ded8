"""The ledger: the only way in for a measurement, whoever brings it. One record or a thousand take the same path."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import DataError, models, transaction
from django.utils import timezone

from registry.accounting.plausibility import impossible
from registry.models import Artifact, Attempt, Project, Run, Stage, User
from registry.services import audit, bulk, reviews, summaries
from registry.services.errors import Conflict, Invalid, ServiceError
from stagemeter.records import StageRecord, total_energy

# Fields of the record that are columns under another name or a relation.
_RELATIONS = ("run_id", "attempt_id", "parent_id")
RECORDED = "stage recorded"  # in the audit log
Row = TypeVar("Row")
_COLUMNS = tuple(f.name for f in fields(StageRecord) if f.name not in _RELATIONS)
# Column → largest text or number that it holds.
_LONGEST = {
    name: length
    for name in (*_COLUMNS, "parent_id")
    if (length := getattr(Stage._meta.get_field(name), "max_length", None)) is not None
}
_LARGEST = {
    name: {"PositiveSmallIntegerField": 2**15 - 1, "PositiveIntegerField": 2**31 - 1}[kind]
    for name in _COLUMNS
    if (kind := Stage._meta.get_field(name).get_internal_type()).startswith("Positive")
}


@dataclass(frozen=True)
class Booked(Generic[Row]):
    """The row, and whether this call wrote it (`False`: the same was there already)."""

    row: Row
    created: bool


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One record and where it belongs. A run that isn't given is looked up by the name the record has for it.

    `artifact` is what the stage worked at making: its production energy grows, and the run is charged through it.
    """

    record: StageRecord
    project: Project
    run: Run | None = None
    attempt: Attempt | None = None
    artifact: Artifact | None = None


# What became of an entry: whether it is new, or what it was refused with.
Outcome = bool | ServiceError


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

    Raises `Conflict` if another body stands under this `record_id`, `Invalid` if the run it names is not there or
    a value does not fit into its column.
    """
    entry = Entry(record=record, project=project, run=run, attempt=attempt, artifact=artifact)
    (outcome,) = record_stages([entry], origin=origin, actor=actor)
    if isinstance(outcome, ServiceError):
        raise outcome
    stage = Stage.objects.select_related("project").get(record_id=record.record_id)
    return Booked(stage, created=outcome)


@transaction.atomic(savepoint=False)
def record_stages(entries: Sequence[Entry], *, origin: str, actor: User | None = None) -> list[Outcome]:
    """Book many records in a handful of statements: what became of each, in order. A bad one spoils only itself.

    `Conflict` and `Invalid` are returned here where `record_stage` raises them.
    """
    runs = _runs_by_name(entry for entry in entries if entry.run is None)
    outcomes: list[Outcome | None] = [None] * len(entries)
    first: dict[str, tuple[Entry, dict[str, Any]]] = {}
    digests = []
    for place, entry in enumerate(entries):
        try:
            row = row_of(entry, _run_of(entry, runs), origin=origin, actor=actor)
        except Invalid as error:
            outcomes[place] = error
            digests.append("")
        else:
            digests.append(row["body_sha256"])
            first.setdefault(entry.record.record_id, (entry, row))
    written, unfit = _insert([row for _, row in first.values()])
    standing = _standing(first.keys() - written - unfit.keys())
    standing |= {record_id: _identity(first[record_id][1]) for record_id in written}
    unseen = set(written)
    for place, entry in enumerate(entries):
        record_id = entry.record.record_id
        if outcomes[place] is None and record_id in unfit:
            outcomes[place] = unfit[record_id]
        elif outcomes[place] is None:
            new = record_id in unseen
            unseen.discard(record_id)
            outcomes[place] = new or _same(record_id, digests[place], entry.project, standing[record_id])
    _follow_up([first[record_id] for record_id in first if record_id in written], actor)
    return outcomes  # type: ignore[return-value]  # none is left undecided


def _insert(rows: list[dict[str, Any]]) -> tuple[set[str], dict[str, Invalid]]:
    """Record ids of the rows that were written, and those that the database itself refused."""
    try:
        with transaction.atomic():
            return bulk.insert(Stage, rows, once_by="record_id"), {}
    except DataError:  # one of them; each gets a savepoint of its own
        written: set[str] = set()
        unfit = {}
        for row in rows:
            try:
                with transaction.atomic():
                    written |= bulk.insert(Stage, [row], once_by="record_id")
            except DataError as error:
                unfit[row["record_id"]] = Invalid({"record": f"cannot be kept as it is: {str(error)[:200]}"})
        return written, unfit


def _follow_up(written: list[tuple[Entry, dict[str, Any]]], actor: User | None) -> None:
    """What every new record brings along: a line in the audit log, and sums rebuilt."""
    audit.record_all(actor=actor, action=RECORDED, of=Stage, subjects=subjects(written))
    reviews.check([(row["id"], entry.record) for entry, row in written])
    for artifact in {entry.artifact.pk: entry.artifact for entry, _ in written if entry.artifact}.values():
        summaries.refresh_production(artifact)
    summaries.changed(*{row["run_id"] for _, row in written if row["run_id"]})


def subjects(written: Iterable[tuple[Entry, dict[str, Any]]]) -> list[tuple[Project, str, dict[str, Any]]]:
    """What the audit log keeps of records and their rows."""
    return [(entry.project, row["id"], {"kind": entry.record.kind}) for entry, row in written]


def body_digest(body: dict[str, Any]) -> str:
    """SHA-256 of a JSON body, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _runs_by_name(entries: Iterable[Entry]) -> dict[tuple[UUID, str], UUID]:
    """The runs that the records name, by project and name, in one query per project."""
    wanted: dict[UUID, set[str]] = {}
    for entry in entries:
        if entry.record.run_id is not None:
            wanted.setdefault(entry.project.pk, set()).add(entry.record.run_id)
    return {
        (project, name): key
        for project, names in wanted.items()
        for name, key in Run.objects.filter(project=project).keys_by_name(names).items()
    }


def _run_of(entry: Entry, runs: dict[tuple[UUID, str], UUID]) -> UUID | None:
    name = entry.record.run_id
    if entry.run is not None:
        return entry.run.pk
    if name is None:
        return None
    found = runs.get((entry.project.pk, name))
    if found is None:
        raise Invalid({"run_id": f"{name!r} is no run of the project {entry.project.slug}; upload the run first"})
    return found


def _check_columns(record: StageRecord) -> None:
    """Refuse what is a fine record and cannot be: a name or count that no column holds, a time to come."""
    values = vars(record)
    problems = {
        name: f"{len(values[name])} characters are more than the {longest} that are kept"
        for name, longest in _LONGEST.items()
        if values[name] is not None and len(values[name]) > longest
    }
    problems |= {
        name: f"{values[name]} is above {largest}, the largest that is kept"
        for name, largest in _LARGEST.items()
        if values[name] is not None and values[name] > largest
    }
    problems |= impossible(record, timezone.now())
    if problems:
        raise Invalid(problems)


def row_of(entry: Entry, run: UUID | None, *, origin: str, actor: User | None) -> dict[str, Any]:
    """The columns as JSON types: those of the record, and the ledger's own. Raises `Invalid` for what fits in none."""
    _check_columns(entry.record)
    body = entry.record.to_dict()
    (stamp,) = bulk.stamps(1)
    return body | {
        "body_sha256": body_digest(body),
        **stamp,
        "parent_id": body["parent_id"] or "",
        "energy_j": total_energy(entry.record)[0],
        "project_id": _text(entry.project),
        "run_id": None if run is None else str(run),
        "attempt_id": _text(entry.attempt),
        "artifact_id": _text(entry.artifact),
        "actor_id": _text(actor),
        "origin": str(origin),
    }


def _text(row: models.Model | None) -> str | None:
    return None if row is None else str(row.pk)


def _identity(row: dict[str, Any]) -> tuple[str, str]:
    return row["body_sha256"], row["project_id"]


def _standing(record_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Digest and project of the records that are booked already."""
    wanted = list(record_ids)
    if not wanted:
        return {}
    found = Stage.objects.filter(record_id__in=wanted).values_list("record_id", "body_sha256", "project_id")
    return {record_id: (digest, str(project)) for record_id, digest, project in found}


def _same(record_id: str, digest: str, project: Project, standing: tuple[str, str]) -> Outcome:
    if standing == (digest, str(project.pk)):
        return False
    return Conflict(
        f"record_id {record_id!r} is booked already with another body; a record is never changed, "
        "so send this one under a record_id of its own",
        record_id=record_id,
    )
