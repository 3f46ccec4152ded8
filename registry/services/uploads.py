"""A whole run measured elsewhere, in one document: the run, its stages, its scores, the artifacts it used.

Idempotent: the same document again changes nothing; a longer one (a stage more) adds what is new.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max, Min

from registry.accounting.stages import TEACHER_REFERENCE
from registry.models import Artifact, ArtifactUse, EvaluationScore, Membership, Origin, Run, Stage, Study, User
from registry.services import accounts, artifacts, audit, ledger, scores, summaries
from registry.services.errors import Conflict, Invalid, Missing
from registry.services.ledger import Booked, body_digest
from stagemeter.errors import RecordError
from stagemeter.records import StageRecord

SCHEMA_VERSION = 1
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
_SCORE_FIELDS = ("score_id", "benchmark", "metric", "value", "stderr", "n", "shots", "judge", "harness_version")
_KEYS = ("schema_version", "study", "run", "stages", "scores", "artifacts")


@dataclass(frozen=True, kw_only=True)
class UploadResult:
    """What an upload came to: the run, whether it is new, and each row with whether this call wrote it."""

    run: Run
    created: bool
    stages: list[Booked[Stage]]
    scores: list[Booked[EvaluationScore]]


@transaction.atomic
def upload_run(*, actor: User | None, document: Mapping[str, Any], origin: str = Origin.UPLOAD) -> UploadResult:
    """Book a run document, all of it or nothing.

    Raises `Invalid` with dotted fields (`stages.0.ended_at`), `Missing` for a study that is not there, `Conflict`
    where another body stands under the same ids, `NotAllowed`.
    """
    _check_shape(document)
    study = _study(document["study"], actor)
    accounts.require_role(actor, study.project, Membership.Role.SUBMITTER)
    run, created = _run(study, document["run"], actor, origin)
    _each(document, "artifacts", lambda item: _artifact(item, run, actor))
    with summaries.once():
        stages = _each(document, "stages", lambda item: _stage(item, run, actor, origin))
        booked = _each(document, "scores", lambda item: _score(item, run, actor, origin))
    run.reference = run.reference or _reference(run)
    run.simulated = any(stage.row.simulated for stage in stages) or run.simulated
    run.started_at, run.finished_at = _span(run)
    run.save(update_fields=["reference", "simulated", "started_at", "finished_at"])
    if run.pipeline == TEACHER_REFERENCE:
        _attach_waiting(run.study)
    summaries.refresh_quality(run.pk)
    if created:
        audit.record(actor=actor, project=study.project, action="run uploaded", subject=run)
    return UploadResult(run=run, created=created, stages=stages, scores=booked)


def _check_shape(document: Mapping[str, Any]) -> None:
    problems = {key: f"unknown field; known here: {', '.join(_KEYS)}" for key in document.keys() - set(_KEYS)}
    if document.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        problems["schema_version"] = f"{document['schema_version']!r} is not known here; this release reads 1"
    if not isinstance(document.get("study"), str):
        problems["study"] = "the slug of a study is required"
    if not isinstance(document.get("run"), Mapping):
        problems["run"] = "an object that says which run this is, is required"
    for key in ("stages", "scores", "artifacts"):
        items = document.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            problems[key] = "must be a list of objects"
    if problems:
        raise Invalid(problems)


def _study(slug: str, actor: User | None) -> Study:
    studies = Study.objects.all() if actor is None else Study.objects.visible_to(actor)
    study = studies.select_related("project").filter(slug=slug).first()
    if study is None:
        raise Missing(f"There is no study {slug!r} for you to see; make it first, or correct its slug.")
    return study


def _run(study: Study, values: Mapping[str, Any], actor: User | None, origin: str) -> tuple[Run, bool]:
    _check_run(values)
    facts = {name: values.get(name, "") for name in _TEXTS} | {"seed": values.get("seed", 0)}
    existing = Run.objects.filter(project=study.project, external_id=facts["external_id"]).first()
    if existing is not None:
        _same_run(existing, study, facts | {name: values[name] for name in _OPTIONAL if name in values})
        return existing, False
    configuration = values.get("configuration") or body_digest(
        {name: facts[name] for name in ("pipeline", "student", "student_size", "teacher")}
    )
    run = Run.objects.create(
        project=study.project,
        study=study,
        origin=origin,
        status=Run.Status.FINISHED,
        environment=dict(values.get("environment", {})),
        configuration=configuration,
        submitted_by=actor,
        **facts,
    )
    return run, True


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
        try:
            taken.append(take(item))
        except (Invalid, RecordError) as error:
            raise Invalid({f"{key}.{index}.{name}": text for name, text in error.problems.items()}) from error
    return taken


def _stage(item: Mapping[str, Any], run: Run, actor: User | None, origin: str) -> Booked[Stage]:
    if "record_id" not in item:
        raise Invalid({"record_id": "a stage needs an id of its own, so that sending it again books it once"})
    record = StageRecord.from_dict({**item, "run_id": run.external_id})
    return ledger.record_stage(record=record, project=run.project, origin=origin, actor=actor, run=run)


def _score(item: Mapping[str, Any], run: Run, actor: User | None, origin: str) -> Booked[EvaluationScore]:
    unknown = item.keys() - set(_SCORE_FIELDS)
    if unknown:
        raise Invalid({name: f"unknown field; known here: {', '.join(_SCORE_FIELDS)}" for name in unknown})
    missing = [name for name in ("benchmark", "value") if name not in item]
    if missing:
        raise Invalid(dict.fromkeys(missing, "this field is required"))
    return scores.record_score(run=run, origin=origin, actor=actor, **item)


def _artifact(item: Mapping[str, Any], run: Run, actor: User | None) -> None:
    """Either `{"use": id}` of one registered here, or the declaration of one this run made."""
    if "use" in item:
        artifact = _usable(str(item["use"]), actor)
        artifacts.use(artifact=artifact, run=run, how=ArtifactUse.How.USED)
        return
    made = Artifact.objects.filter(made_by_run=run, kind=item.get("kind", "")).first()
    if made is None:
        made = artifacts.declare(actor=actor, project=run.project, item=item, made_by_run=run)
    artifacts.use(artifact=made, run=run, how=ArtifactUse.How.MADE)


def _usable(key: str, actor: User | None) -> Artifact:
    seen = Artifact.objects.all() if actor is None else Artifact.objects.visible_to(actor)
    try:
        return seen.get(pk=uuid.UUID(key))
    except (Artifact.DoesNotExist, ValueError) as error:
        raise Invalid({"use": f"{key!r} is no artifact you can see; look it up first"}) from error


def _span(run: Run) -> tuple[datetime | None, datetime | None]:
    """From the first stage's start to the last one's end; `None` for a run without stages."""
    span = run.stages.aggregate(start=Min("started_at"), end=Max("ended_at"))
    return span["start"], span["end"]


def _attach_waiting(study: Study) -> None:
    """Measure against the teacher those runs that came before it."""
    for waiting in study.runs.students().filter(reference=None):
        waiting.reference = _reference(waiting)
        waiting.save(update_fields=["reference"])


def _reference(run: Run) -> Run | None:
    """The newest teacher's reference in the study, for the same teacher where the run names one."""
    if run.pipeline == TEACHER_REFERENCE:
        return None
    references = run.study.runs.filter(pipeline=TEACHER_REFERENCE, status=Run.Status.FINISHED)
    if run.teacher:
        references = references.filter(teacher=run.teacher)
    same_workload = references.filter(workload=run.workload).order_by("-id").first()
    return same_workload or references.filter(workload="").order_by("-id").first()
