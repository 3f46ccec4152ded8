"""Power traces beside stage records. A record may have one; it is written once, like the record."""

from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.db import transaction

from registry import storage
from registry.accounting.traced import Check, Claim, doubt
from registry.models import Origin, Stage, Trace, User
from registry.services import audit, reviews
from registry.services.errors import Conflict, Invalid
from registry.tracefile import Line

_BY_POWER = "nvml_power"  # how the library names a GPU energy that was integrated from power


def keep(
    *,
    stage: Stage,
    path: Path,
    lines: Sequence[Line],
    actor: User | None = None,
    sent_sha256: str = "",
    checks: Sequence[Check] = (),
) -> Trace:
    """Store the trace that `tracefile.TraceWriter` left at `path` and put it beside its record. Safe to repeat.

    One from elsewhere brings the SHA-256 of the file that was sent and its `checks`; the record is doubted where they
    say that its claim and its trace are too far apart. Raises `Invalid` for a file beyond `MAX_TRACE_BYTES`, `Conflict`
    where another trace stands, and `StorageError` or `OSError` while the storage cannot take it.
    """
    size = path.stat().st_size
    if size > settings.MAX_TRACE_BYTES:
        raise Invalid(
            {"trace": f"{size} bytes are more than the {settings.MAX_TRACE_BYTES} kept; sample at a longer period"}
        )
    # The file is stored before any row says that it is; its key comes from its content, so none is left over.
    key, stored = storage.put_one(path)
    values = {"storage_key": key, "sha256": stored.sha256, "bytes": stored.bytes, "sent_sha256": sent_sha256}
    values |= {"lines": [line.to_dict() for line in lines], "checks": [check.to_dict() for check in checks]}
    with transaction.atomic():
        trace, created = Trace.objects.get_or_create(stage=stage, defaults=values)
        if created:
            audit.record(actor=actor, project=stage.project, action="trace stored", subject=stage, bytes=stored.bytes)
        if created and (found := doubt(tuple(checks))) is not None:
            reviews.doubt([stage], {stage.pk: [found]})
    if trace.sha256 != stored.sha256:
        raise _another(stage)
    return trace


def standing(stage: Stage, *, sent_sha256: str) -> Trace | None:
    """The trace beside the record, if it is that of the file with this SHA-256. Raises `Conflict` for another."""
    if stage.origin == Origin.WORKER:
        raise Conflict("A worker measured this record and brings its power trace itself.", record_id=stage.record_id)
    found = Trace.objects.filter(stage=stage).first()
    if found is not None and found.sent_sha256 != sent_sha256:
        raise _another(stage)
    return found


def claim_of(stage: Stage) -> Claim:
    """What the record says it drew, in joules, by component and by GPU."""
    named = {device.get("uuid"): device.get("energy_j") for device in stage.devices if isinstance(device, dict)}
    return Claim(
        span_s=stage.span_s,
        components={name: getattr(stage, f"{name}_energy_j") for name in ("gpu", "cpu", "ram")},
        devices={uuid: _joules(energy) for uuid, energy in named.items() if isinstance(uuid, str)},
        by_power=stage.gpu_method == _BY_POWER,
    )


def _joules(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _another(stage: Stage) -> Conflict:
    return Conflict(f"{stage} has another power trace already", record_id=stage.record_id)
