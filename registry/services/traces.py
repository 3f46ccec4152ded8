"""Power traces beside stage records. A record may have one; it is written once, like the record."""

from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.db import transaction

from registry import storage
from registry.models import Stage, Trace, User
from registry.services import audit
from registry.services.errors import Conflict, Invalid
from registry.tracefile import Line


def keep(*, stage: Stage, path: Path, lines: Sequence[Line], actor: User | None = None) -> Trace:
    """Store the trace that `tracefile.TraceWriter` left at `path` and put it beside its record. Safe to repeat.

    Raises `Invalid` for a file beyond `MAX_TRACE_BYTES`, `Conflict` where another trace stands, and `StorageError` or
    `OSError` while the storage cannot take it.
    """
    size = path.stat().st_size
    if size > settings.MAX_TRACE_BYTES:
        raise Invalid(
            {"trace": f"{size} bytes are more than the {settings.MAX_TRACE_BYTES} kept; sample at a longer period"}
        )
    # The file is stored before any row says that it is; its key comes from its content, so none is left over.
    key, stored = storage.put_one(path)
    values = {"storage_key": key, "sha256": stored.sha256, "bytes": stored.bytes}
    with transaction.atomic():
        trace, created = Trace.objects.get_or_create(
            stage=stage, defaults=values | {"lines": [line.to_dict() for line in lines]}
        )
        if created:
            audit.record(actor=actor, project=stage.project, action="trace stored", subject=stage, bytes=stored.bytes)
    if trace.sha256 != stored.sha256:
        raise Conflict(f"{stage} has another power trace already", record_id=stage.record_id)
    return trace
