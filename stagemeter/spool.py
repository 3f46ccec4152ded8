"""Records are on disk before they travel.

One folder per metered stage:

    <spool>/<record_id>/start.json      all that is known when the stage begins
                        samples.jsonl   the sampler's log, kept as the power trace
                        progress.json   token counts and timed parts so far
                        record.json     the finished record
                        sent            empty; there once a server has it
    <spool>/run-<key>/run.json          a whole run that waits, and `sent` beside it
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from stagemeter import nesting
from stagemeter.errors import RecordError, SpoolError
from stagemeter.records import StageRecord
from stagemeter.sensors import flag

__all__ = [
    "default_spool",
    "keep_run",
    "log_folder",
    "mark_sent",
    "pending",
    "pending_runs",
    "prune",
    "recover",
    "write_record",
]

logger = logging.getLogger(__name__)

RUN_NAME = "run.json"
SESSION_NAME, BALANCE_NAME = "session.json", "balance.json"
SAMPLER_GRACE_S = 10.0
# A process of another container or host cannot be looked up; its sampler's log growing is its heartbeat.
SILENCE_S = 120.0


class DamagedError(SpoolError):
    """A file whose content cannot be understood, as against one that the disk would not give."""


DAMAGE = (RecordError, DamagedError, KeyError, TypeError, ValueError)  # what a file of nonsense may raise


def default_spool() -> Path:
    """`$STAGEMETER_SPOOL`, else `stagemeter/spool` under `$XDG_STATE_HOME` or `~/.local/state`."""
    named = os.environ.get("STAGEMETER_SPOOL")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "stagemeter" / "spool"


def write_json(path: Path, data: dict[str, Any], *, durable: bool = True) -> None:
    """Write `path` so that a reader sees the old or the new content and nothing between. Raises `SpoolError`."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w") as stream:
            json.dump(data, stream, allow_nan=False)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        aside.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise SpoolError(f"{path} could not be written: {error}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; empty if there is none. Raises `SpoolError` for a file that is not one."""
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise SpoolError(f"{path} could not be read: {error}") from error
    except ValueError as error:
        raise DamagedError(f"{path} holds no JSON: {error}") from error
    if not isinstance(data, dict):
        raise DamagedError(f"{path} holds {type(data).__name__}, not an object")
    return data


def write_record(spool_dir: Path, record: StageRecord) -> Path:
    """Put a finished record into the spool; its path."""
    folder = spool_dir / record.record_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpoolError(f"{folder} could not be made: {error}") from error
    path = folder / "record.json"
    write_json(path, record.to_dict())
    return path


def pending(spool_dir: Path | str) -> list[StageRecord]:
    """Finished records that no server has confirmed, oldest first."""
    folders = [path.parent for path in Path(spool_dir).glob("*/record.json") if not (path.parent / "sent").exists()]
    records = [record for folder in folders if (record := _read_record(folder)) is not None]
    return sorted(records, key=lambda record: record.started_at)


def _read_record(folder: Path) -> StageRecord | None:
    try:
        return StageRecord.from_dict(read_json(folder / "record.json"))
    except (RecordError, DamagedError) as error:
        _set_aside(folder, error)
        return None


def _set_aside(folder: Path, error: Exception) -> None:
    """Move a folder that cannot be understood out of the way of the others, where a person will find it."""
    target = folder.parent / "damaged" / folder.name
    logger.error("%s cannot be read and was moved to %s: %r", folder, target, error)
    try:
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
    except OSError as refused:
        raise SpoolError(f"{folder} cannot be read ({error!r}) nor moved aside: {refused}") from refused


def prune(spool_dir: Path | str, *, keep_days: float = 30.0) -> int:
    """Delete the folders of records that a server has had for `keep_days`, power traces too; how many.

    A run's log goes as well once nothing has been written there for that long: the records of its stages hold what it
    said. It stays while a stage of it has no record.
    """
    oldest = time.time() - keep_days * 86_400
    done = [path.parent for path in Path(spool_dir).glob("*/sent") if path.stat().st_mtime < oldest]
    runs = [folder for folder in Path(spool_dir).glob("session-*") if _last_written(folder) < oldest]
    needed = _logs_needed(Path(spool_dir)) if runs else set()
    done += [folder for folder in runs if folder.name not in needed]
    for folder in done:
        shutil.rmtree(folder)
    return len(done)


def _last_written(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))


def _logs_needed(spool_dir: Path) -> set[str]:
    """Folders that hold the log of a stage that has no record yet."""
    unfinished = [path.parent for path in spool_dir.glob("*/start.json") if not _is_finished(path.parent)]
    return {log_folder(spool_dir, folder.name).name for folder in unfinished}


def mark_sent(spool_dir: Path | str, record_id: str) -> None:
    """Note that a server has this record. Its files stay: the log is its power trace."""
    (Path(spool_dir) / record_id / "sent").touch()


def run_document(
    run: Mapping[str, Any],
    stages: Iterable[StageRecord],
    *,
    study: str,
    scores: Iterable[Mapping[str, Any]] = (),
    artifacts: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A whole run as one document, as the server takes it."""
    bodies = [{key: value for key, value in record.to_dict().items() if key != "run_id"} for record in stages]
    document: dict[str, Any] = {"schema_version": 1, "study": study, "run": dict(run), "stages": bodies}
    for name, items in (("scores", scores), ("artifacts", artifacts)):
        found = [dict(item) for item in items]
        document |= {name: found} if found else {}
    return document


def keep_run(
    run: Mapping[str, Any],
    stages: Iterable[StageRecord],
    *,
    study: str,
    scores: Iterable[Mapping[str, Any]] = (),
    artifacts: Iterable[Mapping[str, Any]] = (),
    spool_dir: Path | str | None = None,
) -> Path:
    """Put a whole run into the spool, for `stagemeter upload` to send once there is a server; its file.

    Arguments as for `Client.upload_run`. Kept again under the same `external_id` it takes the place of what waited.
    """
    name = str(run.get("external_id", ""))
    if not name:
        raise SpoolError("a run needs an external_id, your own name for it, or sending it twice would book it twice")
    document = run_document(run, stages, study=study, scores=scores, artifacts=artifacts)
    key = hashlib.sha256(f"{study}/{name}".encode()).hexdigest()[:32]
    folder = (default_spool() if spool_dir is None else Path(spool_dir)) / f"run-{key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sent").unlink(missing_ok=True)
    except OSError as error:
        raise SpoolError(f"{folder} could not be made: {error}") from error
    write_json(folder / RUN_NAME, document)
    return folder / RUN_NAME


def pending_runs(spool_dir: Path | str) -> list[tuple[Path, dict[str, Any]]]:
    """Whole runs that no server has confirmed, with the folder of each, oldest first."""
    files = [path for path in Path(spool_dir).glob(f"run-*/{RUN_NAME}") if not (path.parent / "sent").exists()]
    found = []
    for path in sorted(files, key=lambda path: path.stat().st_mtime):
        try:
            document = read_json(path)
            if not isinstance(document.get("run"), dict):
                raise DamagedError(f"{path} says of no run")
        except DamagedError as error:
            _set_aside(path.parent, error)
            continue
        found.append((path.parent, document))
    return found


def mark_run_sent(folder: Path, document: Mapping[str, Any]) -> None:
    """Note that a server has this run, and with it the records in it."""
    if read_json(folder / RUN_NAME) != document:
        return  # it was kept anew meanwhile, and the new one has still to travel
    for stage in document.get("stages", []):
        if (folder.parent / stage["record_id"] / "record.json").exists():
            mark_sent(folder.parent, stage["record_id"])
    (folder / "sent").touch()


def counts(spool_dir: Path | str) -> dict[str, int]:
    """How many records and runs wait, are sent, still open (running, or lost and not recovered yet), or damaged."""
    root = Path(spool_dir)
    records = [path.parent for path in root.glob("*/record.json")]
    runs = [path.parent for path in root.glob(f"run-*/{RUN_NAME}")]
    sent = sum((folder / "sent").exists() for folder in records)
    return {
        "waiting": len(records) - sent,
        "sent": sent,
        "runs_waiting": sum(not (folder / "sent").exists() for folder in runs),
        "open": sum(not (path.parent / "record.json").exists() for path in root.glob("*/start.json")),
        "damaged": sum(1 for _ in root.glob("damaged/*")),
    }


def log_folder(spool_dir: Path | str, record_id: str) -> Path:
    """Where the samples behind a record lie: its own folder, or that of the meter around it."""
    folder = Path(spool_dir) / record_id
    return folder.parent / str(read_json(folder / "start.json").get("log", folder.name))


def recover(spool_dir: Path | str) -> list[StageRecord]:
    """Finish the records of stages whose process died, with status `lost`, and return them.

    What they burnt until the sampler's last reading is in them. Each is put into the spool, so `pending` returns it
    too until it is marked as sent. Stages that still run, here or elsewhere, are left alone; safe to call from
    several processes at once. A folder that cannot be understood is moved to `damaged/` and logged. Then the books of
    runs whose process died are closed: their `balance.json` is made from the log, up to its last sample.
    """
    recovered = [_recover_or_set_aside(path.parent) for path in sorted(Path(spool_dir).glob("*/start.json"))]
    for path in sorted(Path(spool_dir).glob(f"session-*/{SESSION_NAME}")):
        _close_books_or_set_aside(path.parent)
    return [record for record in recovered if record is not None]


def _recover(folder: Path) -> StageRecord | None:
    if _is_finished(folder):
        return None
    with _alone(folder) as alone:
        if not alone or _is_finished(folder):
            return None
        start = read_json(folder / "start.json")
        if is_alive(start["process"], folder) or not _sampler_ended(start["sampler"], folder):
            return None
        record = _lost(folder, start)
        write_record(folder.parent, record)
        return record


def _is_finished(folder: Path) -> bool:
    """Whether its record is here, or was booked by a process that could not save it."""
    return any((folder / name).exists() for name in ("record.json", "sent"))


def _recover_or_set_aside(folder: Path) -> StageRecord | None:
    try:
        return _recover(folder)
    except DAMAGE as error:
        _set_aside(folder, error)
        return None


def _close_books_or_set_aside(folder: Path) -> None:
    try:
        _close_books(folder)
    except DAMAGE as error:
        _set_aside(folder, error)


def _close_books(folder: Path) -> None:
    """The balance of a run whose process died."""
    from stagemeter.balance import balance
    from stagemeter.samplelog import last_time

    if (folder / BALANCE_NAME).exists():
        return
    with _alone(folder) as alone:
        if not alone or (folder / BALANCE_NAME).exists():
            return
        start = read_json(folder / SESSION_NAME)
        if is_alive(start["process"], folder) or not _sampler_ended(start["sampler"], folder):
            return
        end = last_time(folder) or start["t"]
        stages = [_ended(span, folder.parent) for span in nesting.spans(folder)]
        found = balance(folder, (start["t"], max(end, start["t"])), stages, period_s=start["period_s"])
        text = "the process ended without closing the run; its balance is that up to the last sample"
        said = {**found.to_dict(), "flags": [flag("lost", text), *found.flags]}
        facts = {"run_id": start["run_id"], "duration_s": end - start["t"], "process": start["process"]}
        write_json(folder / BALANCE_NAME, {**facts, **said})


def _ended(span: nesting.Span, spool_dir: Path) -> nesting.Span:
    """A stage that was killed ended when its record says."""
    duration_s = read_json(spool_dir / span.record_id / "record.json").get("duration_s")
    if span.end is not None or duration_s is None:
        return span
    return replace(span, end=span.start + duration_s)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether this process is the only one that recovers `folder` now."""
    with (folder / "recover.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _lost(folder: Path, start: dict[str, Any]) -> StageRecord:
    from stagemeter.assemble import assemble
    from stagemeter.samplelog import last_mark, last_time

    log = log_folder(folder.parent, folder.name)
    progress = read_json(folder / "progress.json")
    # A stage that had ended but died before it wrote its record ended at its `end` mark.
    since = start.get("log_bytes", 0)
    end = last_mark(log, f"end:{folder.name}", since=since) or last_time(log) or start["t"]
    remark = flag("lost", "the process ended without closing its meter; energy is booked up to the last sample")
    return assemble(start, log, end_t=end, status="lost", progress=progress, flags=[remark])


def identity(pid: int) -> dict[str, Any]:
    """What tells a process from a later one with the same number."""
    import psutil

    return {
        "pid": pid,
        "created": psutil.Process(pid).create_time(),
        "boot": _read_line("/proc/sys/kernel/random/boot_id"),
        "namespace": _link("/proc/self/ns/pid"),
    }


def is_alive(process: dict[str, Any], folder: Path) -> bool:
    """Whether the process lives; where it cannot be seen from here, whether its log still grows."""
    if process["boot"] != _read_line("/proc/sys/kernel/random/boot_id"):
        return not _silent(folder)
    if process["namespace"] != _link("/proc/self/ns/pid"):
        return not _silent(folder)
    import psutil

    try:
        found = psutil.Process(process["pid"])
        same = abs(found.create_time() - process["created"]) < 1.0
        return bool(same and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _silent(folder: Path) -> bool:
    """Another boot, host or container: dead once its log has not grown for a while."""
    from stagemeter.samplelog import LOG_NAME

    path = log_folder(folder.parent, folder.name) / LOG_NAME
    kept = (path, folder / "start.json", folder / SESSION_NAME)
    written = next(one for one in kept if one.exists()).stat().st_mtime
    return time.time() - written > SILENCE_S


def _sampler_ended(sampler: dict[str, Any] | None, folder: Path) -> bool:
    """Give an orphaned sampler the time to take its last sample."""
    deadline = time.monotonic() + SAMPLER_GRACE_S
    while sampler is not None and is_alive(sampler, folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _read_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
