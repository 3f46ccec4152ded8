"""How much a project's artifact files may take, and how much they do."""

import zlib
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Sum

from registry.models import Artifact, Project, ScoreFile
from registry.services.errors import Conflict
from registry.storage import StoredFile, key_of

_LOCK_SPACE = 0x5A71  # apart from the locks on families, versions and files
UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("bytes", 1))


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Bytes that a project's files (of artifacts and scores) take, and may take; no `quota` is no limit."""

    used: int
    quota: int | None


def usage(project: Project) -> Usage:
    """What lies in the storage for `project`: what several artifacts share is counted once."""
    quota = settings.PROJECT_QUOTA_BYTES if project.quota_bytes is None else project.quota_bytes
    of_scores = ScoreFile.objects.filter(score__project=project)
    used = (
        rows.order_by().values("storage_key", "bytes").distinct().aggregate(n=Sum("bytes"))["n"] or 0
        for rows in (_stored(project), of_scores)
    )
    return Usage(used=sum(used), quota=quota)


def require_room(project: Project, files: list[StoredFile]) -> None:
    """Pass if these files fit into the project's quota, or lie there already. Raises `Conflict` naming the way out."""
    found = usage(project)
    asked = sum(file.bytes for file in files)
    if found.quota is None or found.used + asked <= found.quota:
        return
    if _stored(project).filter(storage_key=key_of(files)).exists():
        return
    raise Conflict(
        f"The project {project.slug} may keep {words(found.quota)} of artifact files and keeps {words(found.used)}; "
        f"another {words(asked)} do not fit. Withdraw what nobody needs and clear it away (manage.py collect_garbage "
        "--withdrawn), or ask for a larger quota."
    )


def hold_room(project: Project, files: list[StoredFile]) -> None:
    """`require_room` for what is booked in this transaction: until it ends, nobody else's check passes beside it.

    Taken before the lock on the files, which everybody takes last.
    """
    key = zlib.crc32(str(project.pk).encode()) - 2**31
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, key])
    require_room(project, files)


def words(size: int) -> str:
    """A number of bytes as a person reads it."""
    unit, one = next((unit, one) for unit, one in UNITS if size >= one or one == 1)
    return f"{size / one:.4g} {unit}"


def _stored(project: Project) -> Any:
    return Artifact.objects.filter(project=project).exclude(storage_key="")
