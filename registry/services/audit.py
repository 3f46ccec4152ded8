"""One row for every write: who, what, on which object."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Model

from registry.models import AuditEvent, Project, User
from registry.services import bulk


def record(*, actor: User | None, project: Project, action: str, subject: Any, **detail: Any) -> AuditEvent:
    """Append an event. `actor` is `None` for the system itself (a worker, the reaper, the loader)."""
    return AuditEvent.objects.create(
        actor=actor,
        project=project,
        action=action,
        subject_type=subject._meta.model_name,
        subject_id=str(subject.pk),
        detail=detail,
    )


def record_all(
    *, actor: User | None, action: str, of: type[Model], subjects: Sequence[tuple[Project, str, dict[str, Any]]]
) -> None:
    """Append an event for each of many rows of one table, in one statement. A subject is project, key and detail."""
    common = {
        "actor_id": None if actor is None else str(actor.pk),
        "action": action,
        "subject_type": of._meta.model_name,
    }
    rows = [
        {**stamp, **common, "project_id": str(project.pk), "subject_id": key, "detail": detail}
        for stamp, (project, key, detail) in zip(bulk.stamps(len(subjects)), subjects, strict=True)
    ]
    bulk.insert(AuditEvent, rows, once_by="id")
