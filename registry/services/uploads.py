"""A whole run measured elsewhere, in one document: the run, its stages, its scores, the artifacts it used.

Idempotent: the same document again changes nothing; a longer one (a stage more) adds what is new.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.db import DataError, IntegrityError, transaction
from django.db.models import Max, Min
from django.utils import timezone

from registry.accounting.stages import TEACHER_REFERENCE
from registry.models import (
    AuditEvent,
    EvaluationScore,
    Membership,
    Origin,
    Run,
    RunSummary,
    Stage,
    Study,
    User,
)
from registry.selectors import destinations
from registry.selectors.destinations import Destination
from registry.services import accounts, audit, bulk, ledger, outbox, reviews, run_artifacts, scores, summaries
from registry.services.errors import Conflict, Invalid, Missing, ServiceError
from registry.services.ledger import Entry, Outcome, body_digest
from registry.services.scores import Score
from stagemeter.errors import RecordError
from stagemeter.records import StageRecord

SCHEMA_VERSION = 1
READ_VERSIONS = (1,)
UPLOADED = "run uploaded"  # in the audit log
# The texts that say which run it is, with the characters each may have.
_TEXTS = {
    "external_id": 200,
    "pipeline": 40,
    "student": 200,
    "student_size": 40,
    "teacher": 200,
    "workload": 200,
    "hardware_class": 200,
}
_REQUIRED = ("external_id", "pipeline", "student")
_OPTIONAL = ("environment", "configuration")
_KEYS = ("schema_version", "study", "run", "stages", "scores", "artifacts")


@dataclass(frozen=True, kw_only=True)
class UploadResult:
    """What an upload came to: the run, whether it is new, and each id with whether this call wrote its row."""

    run: Run
    created: bool
    stages: list[tuple[str, bool]]
    scores: list[tuple[str, bool]]


@dataclass(frozen=True, kw_only=True)
class _Document:
    """A run document as it was read: every item has its type, and nothing was looked up."""

    study: str
    run: Mapping[str, Any]
    records: list[StageRecord]
    scores: list[Score]
    artifacts: list[Mapping[str, Any]]


# What became of a document: its rows, or what it was refused with.
Uploaded = UploadResult | ServiceError


def upload_run(
    *, actor: User | None, document: Any, origin: str = Origin.UPLOAD, within: uuid.UUID | None = None
) -> UploadResult:
    """Book a run document, all of it or nothing. `within` is the only project that it may go to.

    Raises `Invalid` with dotted fields (`stages.0.ended_at`), `Missing` for a study that is not there, `Conflict`
    where another body stands under the same ids, `NotAllowed`.
    """
    (found,) = upload_runs(actor=actor, documents=[document], origin=origin, within=within)
    if isinstance(found, ServiceError):
        raise found
    return found


def upload_runs(
    *, actor: User | None, documents: Sequence[Any], origin: str = Origin.UPLOAD, within: uuid.UUID | None = None
) -> list[Uploaded]:
    """Book many run documents, in order: what became of each. A bad one spoils only itself.

    New runs that follow each other are booked together, in a handful of statements however many there are. What is
    here already, brings artifacts, is a teacher's reference or clashes with something takes its turn by itself.
    """
    read = [_read(document) for document in documents]
    found: dict[int, Uploaded] = {place: one for place, one in enumerate(read) if isinstance(one, ServiceError)}
    desk = _Desk(actor, origin, within)
    good = [(place, one) for place, one in enumerate(read) if isinstance(one, _Document)]
    if len(good) == 1 and _is_plain(good[0][1]):
        found |= _book_together(good, desk)  # in a transaction of its own, without a savepoint
        good = [(place, one) for place, one in good if place not in found]
    with transaction.atomic() if good else nullcontext(), summaries.once():
        for plain, group in groupby(good, key=lambda item: _is_plain(item[1])):
            waiting = list(group)
            if plain:
                found |= _book_together(waiting, desk)
            found |= {place: _book_alone(one, desk) for place, one in waiting if place not in found}
    return [found[place] for place in range(len(read))]


class _Desk:
    """Who brings the documents, and what was looked up for them: asked once, however many there are."""

    def __init__(self, actor: User | None, origin: str, within: uuid.UUID | None) -> None:
        self.actor, self.origin, self.within = actor, origin, within
        self._found: dict[tuple[str, str, str], Destination | ServiceError] = {}

    def destination(self, document: _Document) -> Destination:
        """Where the document goes, and the actor may upload to. Raises `Missing` and `NotAllowed`."""
        key = document.study, document.run.get("teacher", ""), document.run.get("workload", "")
        if key not in self._found:
            self._found[key] = self._find(*key)
        found = self._found[key]
        if isinstance(found, ServiceError):
            raise found
        return found

    def forget(self) -> None:
        """Look everything up again: there is another teacher's reference."""
        self._found.clear()

    def _find(self, slug: str, teacher: str, workload: str) -> Destination | ServiceError:
        found = None
        if "\x00" not in slug:
            found = destinations.find(slug, user=self.actor, within=self.within, teacher=teacher, workload=workload)
        if found is None:
            return Missing(f"There is no study {slug[:80]!r} for you to see; make it first, or correct its slug.")
        try:
            accounts.check_role(self.actor, found.study.project, found.role, Membership.Role.SUBMITTER)
        except ServiceError as error:
            return error
        return found


class _Stood(Exception):
    """Some of the documents brought something that is here already, or cannot be kept."""

    def __init__(self, places: set[int]) -> None:
        self.places = places


def _read(document: Any) -> _Document | ServiceError:
    try:
        _check_shape(document)
        _check_run(document["run"])
        name = document["run"]["external_id"]
        return _Document(
            study=document["study"],
            run=document["run"],
            records=_each(document, "stages", lambda item: _record(item, name)),
            scores=_each(document, "scores", Score.from_dict),
            artifacts=document.get("artifacts", []),
        )
    except ServiceError as error:
        return error


def _is_plain(document: _Document) -> bool:
    """Whether nothing else depends on the run, nor it on anything but its reference."""
    return not document.artifacts and document.run["pipeline"] != TEACHER_REFERENCE


def _book_together(documents: Sequence[tuple[int, _Document]], desk: _Desk) -> dict[int, Uploaded]:
    """Book those that are new in every part; the others are left out. By place."""
    waiting = dict(documents)
    while waiting:
        try:
            with transaction.atomic(), summaries.once():
                return _book_new(waiting, desk)
        except _Stood as stood:
            for place in stood.places:
                del waiting[place]
        except (DataError, IntegrityError):  # one of them, and the database does not say which
            return {}
    return {}


@dataclass(kw_only=True)
class _New:
    """A document's rows, columns as JSON types, of which none is written yet."""

    run: Run
    summary: RunSummary
    heard: bool
    stages: list[tuple[Entry, dict[str, Any]]]
    scores: list[tuple[Run, dict[str, Any]]]


def _book_new(waiting: Mapping[int, _Document], desk: _Desk) -> dict[int, Uploaded]:
    """Book runs that nobody has seen, all of them. Raises `_Stood` with those that cannot be booked so."""
    new: dict[int, _New] = {}
    for place, one in waiting.items():
        with suppress(ServiceError):
            new[place] = _rows(one, desk)
    if len(new) < len(waiting):
        raise _Stood(waiting.keys() - new.keys())
    _write(new, desk)
    stages = [pair for rows in new.values() for pair in rows.stages]
    if not reviews.check([(row["id"], entry.record) for entry, row in stages]):  # else sums are rebuilt without it
        for rows in new.values():
            rows.run.summary = rows.summary
    outbox.note(UPLOADED, [(rows.run.project, str(rows.run.pk), {}) for rows in new.values() if rows.heard])
    return {
        place: UploadResult(
            run=rows.run,
            created=True,
            stages=[(entry.record.record_id, True) for entry, _ in rows.stages],
            scores=[(row["score_id"], True) for _, row in rows.scores],
        )
        for place, rows in new.items()
    }


def _rows(document: _Document, desk: _Desk) -> _New:
    """What a new run brings. Raises what it is refused with."""
    found = desk.destination(document)
    run = _unsaved(found.study, document, desk)
    run.reference_id = found.reference
    entries = [Entry(record=record, project=run.project, run=run) for record in document.records]
    stages = [(entry, ledger.row_of(entry, run.pk, origin=desk.origin, actor=desk.actor)) for entry in entries]
    marks = [(run, scores.row_of(run, score, origin=desk.origin, actor=desk.actor)) for score in document.scores]
    teacher = found.teacher if found.reference else None
    summary = summaries.first(run, [row for _, row in stages], [row for _, row in marks], teacher)
    return _New(run=run, summary=summary, heard=found.heard, stages=stages, scores=marks)


def _write(new: Mapping[int, _New], desk: _Desk) -> None:
    """Write all of it in one statement. Raises `_Stood` with those of which something is here already."""
    runs = [one.run for one in new.values()]
    stages = [pair for one in new.values() for pair in one.stages]
    values = [pair for one in new.values() for pair in one.scores]
    lines = [
        *audit.rows(
            actor=desk.actor, action=UPLOADED, of=Run, subjects=[(one.project, str(one.pk), {}) for one in runs]
        ),
        *audit.rows(actor=desk.actor, action=ledger.RECORDED, of=Stage, subjects=ledger.subjects(stages)),
        *audit.rows(actor=desk.actor, action=scores.RECORDED, of=EvaluationScore, subjects=scores.subjects(values)),
    ]
    booked, records, marks, *_ = bulk.insert_together(
        (Run, "", list(map(bulk.row_of, runs))),
        (Stage, "record_id", [row for _, row in stages]),
        (EvaluationScore, "score_id", [row for _, row in values]),
        (RunSummary, "run_id", [bulk.row_of(one.summary) for one in new.values()]),
        (AuditEvent, "id", lines),
    )
    stood = set()
    for place, one in new.items():
        ours = {row["record_id"] for _, row in one.stages}, {row["score_id"] for _, row in one.scores}
        whole = len(ours[0]) == len(one.stages) and len(ours[1]) == len(one.scores)
        if not whole or one.run.pk not in booked or ours[0] - records or ours[1] - marks:
            stood.add(place)
        records, marks = records - ours[0], marks - ours[1]  # of two that bring the same, one only
    if stood:
        raise _Stood(stood)
    for run in runs:
        run._state.adding = False  # whoever saves it again updates a row


def _book_alone(document: _Document, desk: _Desk) -> Uploaded:
    try:
        with transaction.atomic():
            return _book(document, desk)
    except ServiceError as error:
        return error


def _book(document: _Document, desk: _Desk) -> UploadResult:
    """Book a document whose run may be here already. Raises what it is refused with."""
    actor, origin = desk.actor, desk.origin
    study = desk.destination(document).study
    run, created = _run(study, document, desk)
    entries = [Entry(record=record, project=study.project, run=run) for record in document.records]
    stages = _booked("stages", ledger.record_stages(entries, origin=origin, actor=actor))
    found = scores.record_scores([(run, score) for score in document.scores], origin=origin, actor=actor)
    booked = _booked("scores", [outcome for _, outcome in found])
    # After the stages, which are their evidence; those with evidence first, so that what they claim is no longer the
    # run's own when the others are looked at.
    for place, item in sorted(enumerate(document.artifacts), key=lambda one: not one[1].get("evidence")):
        with _at(f"artifacts.{place}"):
            run_artifacts.book(item, run, actor)
    if not created:
        _update(run)
    if run.pipeline == TEACHER_REFERENCE:
        desk.forget()
        _attach_waiting(study)
        summaries.refresh_quality(run.pk)
    summaries.changed(run.pk)
    if created:
        audit.record(actor=actor, project=study.project, action=UPLOADED, subject=run)
    return UploadResult(
        run=run,
        created=created,
        stages=[(record.record_id, new) for record, new in zip(document.records, stages, strict=True)],
        scores=[(score_id, new) for (score_id, _), new in zip(found, booked, strict=True)],
    )


def _booked(key: str, outcomes: Sequence[Outcome]) -> list[bool]:
    """Whether each is new. Raises the first refusal, its fields led by where the item stands."""
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, Invalid):
            raise Invalid({f"{key}.{place}.{name}": text for name, text in outcome.problems.items()})
        if isinstance(outcome, ServiceError):
            raise outcome
    return [bool(outcome) for outcome in outcomes]


def _check_shape(document: Any) -> None:
    if not isinstance(document, Mapping):
        raise Invalid({"body": f"{str(document)[:80]!r} is not an object"})
    problems = {key: f"unknown field; known here: {', '.join(_KEYS)}" for key in document.keys() - set(_KEYS)}
    if document.get("schema_version", SCHEMA_VERSION) not in READ_VERSIONS:
        known = " and ".join(map(str, READ_VERSIONS))
        problems["schema_version"] = (
            f"{str(document['schema_version'])[:40]!r} is not known here; this release reads {known}"
        )
    if not isinstance(document.get("study"), str):
        problems["study"] = "the slug of a study is required"
    if not isinstance(document.get("run"), Mapping):
        problems["run"] = "an object that says which run this is, is required"
    for key in ("stages", "scores", "artifacts"):
        items = document.get(key, [])
        if not isinstance(items, list):
            problems[key] = "must be a list of objects"
            continue
        bad = {
            f"{key}.{place}": f"{str(item)[:80]!r} is not an object"
            for place, item in enumerate(items)
            if not isinstance(item, Mapping)
        }
        problems |= bad
    if problems:
        raise Invalid(problems)


def _facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """What says which run it is."""
    return {name: values.get(name, "") for name in _TEXTS} | {"seed": values.get("seed", 0)}


def _unsaved(study: Study, document: _Document, desk: _Desk) -> Run:
    """The run as the document describes it, without its reference."""
    values, records = document.run, document.records
    facts = _facts(values)
    configuration = values.get("configuration") or body_digest(
        {name: facts[name] for name in ("pipeline", "student", "student_size", "teacher")}
    )
    return Run(
        project=study.project,
        study=study,
        origin=desk.origin,
        status=Run.Status.FINISHED,
        environment=dict(values.get("environment", {})),
        configuration=configuration,
        submitted_by=desk.actor,
        simulated=any(record.simulated for record in records),
        started_at=min((record.started_at for record in records), default=None),
        finished_at=max((record.ended_at for record in records), default=None),
        created_at=timezone.now(),
        **facts,
    )


def _run(study: Study, document: _Document, desk: _Desk) -> tuple[Run, bool]:
    """The document's run, and whether it was written just now."""
    values, facts = document.run, _facts(document.run)
    existing = Run.objects.filter(project=study.project, external_id=facts["external_id"]).first()
    if existing is not None:
        _same_run(existing, study, facts | {name: values[name] for name in _OPTIONAL if name in values})
        existing.study, existing.project = study, study.project
        return existing, False
    run = _unsaved(study, document, desk)
    run.reference_id = _reference(run)
    try:
        with transaction.atomic():
            run.save(force_insert=True)
    except IntegrityError:  # somebody else sent it at the same moment
        return _run(study, document, desk)
    return run, True


def _update(run: Run) -> None:
    """What may have changed for a run that was here already, by what the document added to it."""
    before = (run.reference_id, run.simulated, run.started_at, run.finished_at)
    run.reference_id = run.reference_id or _reference(run)
    run.simulated = run.simulated or run.stages.filter(simulated=True).exists()
    run.started_at, run.finished_at = _span(run)
    if before != (run.reference_id, run.simulated, run.started_at, run.finished_at):
        run.save(update_fields=["reference", "simulated", "started_at", "finished_at"])


def _check_run(values: Mapping[str, Any]) -> None:
    known = (*_TEXTS, "seed", *_OPTIONAL)
    problems = {f"run.{k}": f"unknown field; known here: {', '.join(known)}" for k in values.keys() - set(known)}
    for name, limit in _TEXTS.items():
        value = values.get(name, "")
        if not isinstance(value, str) or len(value) > limit or "\x00" in value:
            problems[f"run.{name}"] = f"{value!r} is not a text of at most {limit} characters"
        elif name in _REQUIRED and not value:
            problems[f"run.{name}"] = "this field is required"
    seed = values.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        problems["run.seed"] = f"{seed!r} is not a whole number of 0 or more"
    if not isinstance(values.get("environment", {}), Mapping):
        problems["run.environment"] = "must be an object"
    configuration = values.get("configuration", "")
    if not isinstance(configuration, str) or len(configuration) > 64:
        problems["run.configuration"] = f"{configuration!r} is not a text of at most 64 characters"
    if problems:
        raise Invalid(problems)


def _same_run(existing: Run, study: Study, facts: Mapping[str, Any]) -> None:
    changed = [name for name, value in facts.items() if getattr(existing, name) != value]
    if changed or existing.study_id != study.pk:
        raise Conflict(
            f"The run {existing.external_id!r} is here already with another {', '.join(changed) or 'study'}; "
            "send this one under an external_id of its own.",
            run=str(existing.pk),
        )


def _each(document: Mapping[str, Any], key: str, take: Any) -> list[Any]:
    """Take every item of a list; the field names of a refusal are led by where it stands."""
    taken = []
    for index, item in enumerate(document.get(key, [])):
        with _at(f"{key}.{index}"):
            taken.append(take(item))
    return taken


@contextmanager
def _at(place: str) -> Iterator[None]:
    try:
        yield
    except (Invalid, RecordError) as error:
        raise Invalid({f"{place}.{name}": text for name, text in error.problems.items()}) from error


def _record(item: Mapping[str, Any], external_id: str) -> StageRecord:
    if "record_id" not in item:
        raise Invalid({"record_id": "a stage needs an id of its own, so that sending it again books it once"})
    return StageRecord.from_dict({**item, "run_id": external_id})


def _span(run: Run) -> tuple[datetime | None, datetime | None]:
    """From the first stage's start to the last one's end; `None` for a run without stages."""
    span = run.stages.aggregate(start=Min("started_at"), end=Max("ended_at"))
    return span["start"], span["end"]


def _attach_waiting(study: Study) -> None:
    """Measure against the teacher those runs that came before it."""
    for waiting in study.runs.students().filter(reference=None):
        waiting.reference_id = _reference(waiting)
        waiting.save(update_fields=["reference"])


def _reference(run: Run) -> uuid.UUID | None:
    """The newest teacher's reference in the study, for the same teacher where the run names one."""
    if run.pipeline == TEACHER_REFERENCE:
        return None
    return destinations.reference(run.study_id, teacher=run.teacher, workload=run.workload)
