"""One row for every write: who, what, on which object."""

from typing import Any

from registry.models import AuditEvent, Project, User


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
