"""One row for every write: who, what, on which object. What webhooks tell of, they are told from here."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from django.db.models import Model

from registry.models import AuditEvent, Project, User
from registry.services import bulk, outbox


def legible(reason: str) -> int:
    """How many characters of a reason can be read: spaces count once between words, what has no width never."""
    shown = (" " if one.isspace() else one for one in reason if one.isspace() or unicodedata.category(one)[0] != "C")
    return len(" ".join("".join(shown).split()))


def record(*, actor: User | None, project: Project, action: str, subject: Any, **detail: Any) -> AuditEvent:
    """Append an event. `actor` is `None` for the system itself (a worker, the reaper, the loader)."""
    event = AuditEvent.objects.create(
        actor=actor,
        project=project,
        action=action,
        subject_type=subject._meta.model_name,
        subject_id=str(subject.pk),
        detail=detail,
    )
    outbox.note(action, [(project, str(subject.pk), detail)])
    return event


def record_all(
    *, actor: User | None, action: str, of: type[Model], subjects: Sequence[tuple[Project, str, dict[str, Any]]]
) -> None:
    """Append an event for each of many rows of one table, in one statement. A subject is project, key and detail."""
    bulk.insert(AuditEvent, rows(actor=actor, action=action, of=of, subjects=subjects), once_by="id")
    outbox.note(action, subjects)


def rows(
    *, actor: User | None, action: str, of: type[Model], subjects: Sequence[tuple[Project, str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The rows of `record_all`, for whoever writes them together with others and tells the outbox."""
    common = {
        "actor_id": None if actor is None else str(actor.pk),
        "action": action,
        "subject_type": of._meta.model_name,
    }
    return [
        {**stamp, **common, "project_id": str(project.pk), "subject_id": key, "detail": detail}
        for stamp, (project, key, detail) in zip(bulk.stamps(len(subjects)), subjects, strict=True)
    ]
