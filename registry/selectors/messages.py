"""What is said of an event to a webhook: the body of its message, as Standard Webhooks wants one.

{"type": "run.finished", "timestamp": "2026-11-24T17:00:00Z", "data": {"project": "lab", "run": {…}}}
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.urls import reverse

from registry.models import Artifact, Project, Run, RunSummary, Stage

# What the audit log calls an action → what a webhook calls the event.
EVENTS = {
    "run submitted": "run.submitted",
    "run started": "run.started",
    "run finished": "run.finished",
    "run failed": "run.failed",
    "run cancelled": "run.cancelled",
    "run uploaded": "run.uploaded",
    "file imported": "run.imported",
    "artifact begun": "artifact.begun",
    "artifact leased": "artifact.leased",
    "artifact registered": "artifact.registered",
    "artifact stored": "artifact.stored",
    "artifact ready": "artifact.ready",
    "artifact failed": "artifact.failed",
    "artifact shared": "artifact.shared",
    "artifact superseded": "artifact.superseded",
    "artifact withdrawn": "artifact.withdrawn",
    "artifact corrupt": "artifact.corrupt",
    "artifact files let go": "artifact.released",
    "stage flagged": "stage.flagged",
    "stage accepted": "stage.accepted",
    "stage withdrawn": "stage.withdrawn",
}
NAMES = tuple(EVENTS.values())
PING = "ping"


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One event to be told: what, when, in which project, on which row, with what the audit log keeps beside it."""

    event: str
    at: datetime
    project: Project
    subject_id: str
    detail: Mapping[str, Any]


def body(happening: Happening, site: str) -> dict[str, Any]:
    """The message as JSON types; its links begin with `site`."""
    kind = happening.event.partition(".")[0]
    describe = _DESCRIBED.get(kind)
    said = {} if describe is None else {kind: describe(happening.subject_id, site)}
    detail = {key: value for key, value in happening.detail.items() if value not in ("", None)}
    return {
        "type": happening.event,
        "timestamp": moment(happening.at),
        "data": {"project": happening.project.slug, **said, **({"detail": detail} if detail else {})},
    }


def moment(at: datetime) -> str:
    """ISO 8601 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _run(key: str, site: str) -> dict[str, Any]:
    run = Run.objects.select_related("study").get(pk=key)
    summary = RunSummary.objects.filter(run=run).first()
    roles = ("data", "teacher", "student", "evaluation")
    return {
        "id": str(run.pk),
        "external_id": run.external_id,
        "url": site + reverse("api:run", args=[run.pk]),
        "page": site + run.get_absolute_url(),
        "study": run.study.slug,
        "pipeline": run.pipeline,
        "teacher": run.teacher,
        "student": run.student,
        "workload": run.workload,
        "seed": run.seed,
        "status": run.status,
        "error": run.error,
        "simulated": run.simulated,
        "quality": summary.quality if summary else None,
        "energy_j": {role: getattr(summary, f"{role}_energy_j") if summary else None for role in roles},
    }


def _artifact(key: str, site: str) -> dict[str, Any]:
    artifact = Artifact.objects.filter(pk=key).first()
    if artifact is None:  # a lease: nothing is made yet
        return {"lease": key}
    return {
        "id": str(artifact.pk),
        "url": site + reverse("api:artifact", args=[artifact.pk]),
        "page": site + artifact.get_absolute_url(),
        "kind": artifact.kind,
        "name": artifact.name,
        "handle": artifact.handle,
        "version": artifact.version,
        "status": artifact.status,
        "fingerprint": artifact.fingerprint,
        "content_sha256": artifact.content_sha256,
        "bytes": artifact.bytes,
        "licence": artifact.licence,
        "production_energy_j": artifact.production_energy_j,
    }


def _stage(key: str, site: str) -> dict[str, Any]:
    stage = Stage.objects.get(pk=key)
    return {
        "id": str(stage.pk),
        "record_id": stage.record_id,
        "kind": stage.kind,
        "role": stage.role,
        "energy_j": stage.energy_j,
        "run": None if stage.run_id is None else site + reverse("api:run", args=[stage.run_id]),
    }


_DESCRIBED: dict[str, Callable[[str, str], dict[str, Any]]] = {"run": _run, "artifact": _artifact, "stage": _stage}
