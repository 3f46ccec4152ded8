"""What lies in the storage and belongs to nothing: uploads that never finished, files no row names any more.

The age keeps uploads that go on right now; the lock keeps files that somebody is about to name in a row.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.apps import apps
from django.db import connection, transaction
from django.db.models import CharField, Max, OuterRef, Subquery
from django.db.models.functions import Cast, Coalesce

from registry import storage
from registry.models import Artifact, AuditEvent
from registry.services import audit

_LOCK_SPACE = 0x5A70  # apart from the locks on families and on versions
UNUSED = (Artifact.Status.WITHDRAWN, Artifact.Status.CORRUPT, Artifact.Status.FAILED)


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """One thing to clear away: `name` is a file's, or empty for everything under `key`."""

    key: str
    name: str
    bytes: int
    why: str


def hold(key: str) -> str:
    """Keep `key` from being cleared away until the transaction ends; the key again."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, zlib.crc32(key.encode()) - 2**31])
    return key


def collect(*, before: datetime, dry_run: bool) -> Iterator[Garbage]:
    """Clear away what is older than `before` and belongs to nothing. With `dry_run` only say what would go."""
    for held in storage.held():
        if held.newest >= before:
            continue
        if not is_referenced(held.key):
            why = "named by no row" if held.complete else "an upload that never finished"
            yield Garbage(key=held.key, name="", bytes=held.bytes, why=why)
            if not dry_run:
                _remove(held.key)
            continue
        for name in held.parts:
            yield Garbage(key=held.key, name=name, bytes=0, why="a part of an upload that never finished")
            if not dry_run:
                storage.remove_part(held.key, name)


def give_up_withdrawn(*, before: datetime, dry_run: bool) -> Iterator[Artifact]:
    """Let go of the files of artifacts that are out of reuse since before `before`. Their rows stay in the books.

    Since when stands in the audit log; where it says nothing, since they were made.
    """
    events = AuditEvent.objects.filter(
        subject_type="artifact",
        subject_id=Cast(OuterRef("pk"), CharField()),
        action__in=[f"artifact {status}" for status in UNUSED],
    )
    left_at = Subquery(events.order_by().values("subject_id").annotate(last=Max("created_at")).values("last"))
    out = Artifact.objects.filter(status__in=UNUSED).exclude(storage_key="")
    rows = out.annotate(left_at=Coalesce(left_at, "created_at")).filter(left_at__lt=before)
    for artifact in rows.select_related("project").order_by("id"):
        yield artifact
        if not dry_run:
            with transaction.atomic():
                Artifact.objects.filter(pk=artifact.pk).update(storage_key="")
                audit.record(actor=None, project=artifact.project, action="artifact files let go", subject=artifact)


def is_referenced(key: str) -> bool:
    """Whether a row of any table names `key`."""
    tables = apps.get_app_config("registry").get_models()
    naming = [table for table in tables if any(field.name == "storage_key" for field in table._meta.fields)]
    return any(table._default_manager.filter(storage_key=key).exists() for table in naming)


def _remove(key: str) -> None:
    with transaction.atomic():
        hold(key)
        if not is_referenced(key):
            storage.remove(key)
