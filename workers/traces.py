"""The power trace of a booked record: made from the sampler's log, and stored beside the record."""

import fcntl
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from registry.models import Stage, Trace
from registry.services import traces
from registry.services.errors import ServiceError
from registry.storage import StorageError
from registry.tracefile import FILE_NAME, ROWS_PER_GROUP, Line, TraceError, TraceWriter
from stagemeter import samplelog, spool
from stagemeter.errors import SpoolError
from stagemeter.samplelog import TracePoint

logger = logging.getLogger(__name__)

AFTER_END_S = 2.0  # one sample after the stage's end, for the edge


def keep(record_id: str) -> bool:
    """Store the trace of that record, if the ledger has the record and its log a trace.

    `False`: it could not be stored now, or another process is at it; ask again. A trace that never will be is logged.
    """
    stage = Stage.objects.select_related("project").filter(record_id=record_id).first()
    folder = Path(settings.SPOOL_DIR) / record_id
    if stage is None or not folder.is_dir() or Trace.objects.filter(stage=stage).exists():
        return True
    try:
        with _alone(folder) as alone:
            if alone:
                _store(stage, folder)
            return alone
    except (StorageError, OSError, DatabaseError):
        logger.exception("the power trace of %s could not be stored; it is tried again", record_id)
        return False
    except (ServiceError, TraceError, SpoolError):
        logger.exception("record %s stays without a power trace", record_id)
        return True


def write(
    points: Iterable[TracePoint], path: Path, *, about: dict[str, Any], rows_per_group: int = ROWS_PER_GROUP
) -> tuple[Line, ...]:
    """Write points to a Parquet file as they come; its lines in figures. Raises `TraceError`."""
    with TraceWriter(path, about=about, rows_per_group=rows_per_group) as writer:
        for point in points:
            for uuid in {**point.gpu_w, **point.gpu_mj}:  # in the host's order
                writer.add("gpu", uuid, point.t, point.gpu_w.get(uuid), point.gpu_mj.get(uuid))
            if point.cpu_w is not None:
                writer.add("cpu", "", point.t, point.cpu_w, None)
            if point.ram_w is not None:
                writer.add("ram", "", point.t, point.ram_w, None)
    return writer.lines


def _store(stage: Stage, folder: Path) -> None:
    path = folder / FILE_NAME
    try:
        lines = write(_points(stage), path, about=_about(stage))
        if any(line.samples for line in lines):
            traces.keep(stage=stage, path=path, lines=lines)
    finally:
        path.unlink(missing_ok=True)


def _points(stage: Stage) -> Iterator[TracePoint]:
    """Its log from the stage's begin to just after its end. A nested stage's log is that of the one around it."""
    start = spool.read_json(Path(settings.SPOOL_DIR) / stage.record_id / "start.json").get("t")
    log = spool.log_folder(settings.SPOOL_DIR, stage.record_id)
    end_s = stage.span_s + AFTER_END_S
    return takewhile(lambda point: point.t <= end_s, samplelog.trace(log, start=start))


def _about(stage: Stage) -> dict[str, Any]:
    return {
        "record_id": stage.record_id,
        "kind": stage.kind,
        "started_at": stage.started_at.isoformat(),
        "duration_s": stage.duration_s,
        "simulated": stage.simulated,
    }


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether this process is the only one that makes the trace of `folder` now."""
    with (folder / "trace.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
