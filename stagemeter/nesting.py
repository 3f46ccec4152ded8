"""What a stage is a part of: the stage around it, and the run.

Energy is summed over root stages, so a stage that runs inside another one must know that. Most often the context says
so (a context variable: the `with` block around, also in a task of asyncio). Where it says nothing, two more places are
looked at:

- Another thread of this process has a stage or a run open: a new thread starts with an empty context. One stage open is
  the parent. With several the last one begun is, with a remark, as it cannot be told which one started the thread.
- This process was started by a stage of another process. That one stands in the environment (`STAGEMETER_PARENT`), and
  counts while it runs and is an ancestor of this process. A helper that was there before the stage (multiprocessing's
  fork server) does not know of it, and neither does what it starts.

Two root stages at once hold each other's energy. Nothing can take that apart, so the later one is flagged.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from stagemeter.energy import Flags
from stagemeter.sampling import SharedSampler
from stagemeter.sensors import flag

VARIABLE = "STAGEMETER_PARENT"
STAGES_NAME = "stages.jsonl"  # in a run's folder: when its root stages began and ended, of all its processes
ENDED_NAMES = ("record.json", "balance.json")


@dataclass(eq=False, kw_only=True)
class Open:
    """A stage or run whose block is running; of a stage `record_id` says which."""

    record_id: str | None
    run_id: str | None
    folder: Path
    sampler: SharedSampler | None = None  # `None`: another process's
    parent: "Open | None" = None
    run: "Open | None" = None
    pid: int = field(default_factory=os.getpid)
    thread: int = field(default_factory=threading.get_ident)
    ended: bool = False
    token: "Token[Open | None] | None" = None

    @property
    def is_open(self) -> bool:
        """Whether its block still runs; one of another process ends when it writes its result."""
        if self.ended or self.pid == os.getpid():
            return not self.ended
        return not any((self.folder / name).exists() for name in ENDED_NAMES)

    @property
    def is_root(self) -> bool:
        """Whether it is a stage that is part of none."""
        return self.record_id is not None and self.parent is None


_stage: ContextVar[Open | None] = ContextVar("stagemeter_stage", default=None)
_run: ContextVar[Open | None] = ContextVar("stagemeter_run", default=None)


class _Process:
    """What is open in this process, in the order in which it began."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Nothing is open; a fork, too, begins so."""
        self.lock = Lock()
        self._open: list[Open] = []
        self._outside = os.environ.get(VARIABLE)  # what the environment said before anything was opened here

    def add(self, one: Open) -> None:
        with self.lock:
            if not self._open:
                self._outside = os.environ.get(VARIABLE)
            self._open.append(one)
            self._publish()

    def remove(self, one: Open) -> None:
        with self.lock:
            if one in self._open:
                self._open.remove(one)
                self._publish()

    def opened(self) -> list[Open]:
        with self.lock:
            return list(self._open)

    def outside(self) -> str:
        with self.lock:
            return (self._outside if self._open else os.environ.get(VARIABLE)) or "null"

    def _publish(self) -> None:
        """Tell child processes what is around them: the stage that began last, else the run."""
        inner = next((one for one in reversed(self._open) if one.record_id), self._open[-1] if self._open else None)
        if inner is not None:
            os.environ[VARIABLE] = json.dumps(_facts(inner))
        elif self._outside is not None:
            os.environ[VARIABLE] = self._outside
        else:
            os.environ.pop(VARIABLE, None)


def _facts(one: Open) -> dict[str, Any]:
    run = one if one.record_id is None else one.run
    return {
        "record_id": one.record_id,
        "run_id": one.run_id,
        "folder": str(one.folder),
        "run_folder": None if run is None else str(run.folder),
        "pid": os.getpid(),
        "created": _created(),
    }


def _created() -> float:
    import psutil

    return float(psutil.Process().create_time())


_process = _Process()
os.register_at_fork(after_in_child=_process.begin)


@dataclass(frozen=True)
class Place:
    """Where a new stage belongs, and what is to be said about that."""

    parent: Open | None
    run: Open | None
    flags: Flags


def find(run_id: str | None) -> Place:
    """The stage and the run around a stage that begins here and now. `run_id` is what it was given itself."""
    parent, run = _around(_stage.get()), _around(_run.get())
    flags: Flags = []
    if parent is None and run is None:
        parent, run, flags = _in_other_threads(run_id)
    if parent is None and run is None:
        found = _in_the_environment()
        if found is not None and not _differ(run_id, found.run_id):
            parent, run = (found, found.run) if found.record_id else (None, found)
    if run is None and parent is not None:
        run = parent.run
    if parent is None:
        flags = [*flags, *_overlapping()]
    return Place(parent, run, flags)


def _around(found: Open | None) -> Open | None:
    """`found`, or the nearest around it whose block still runs: blocks need not end in order."""
    while found is not None and not found.is_open:
        found = found.parent
    return found


def _in_other_threads(run_id: str | None) -> tuple[Open | None, Open | None, Flags]:
    others = [one for one in _process.opened() if one.thread != threading.get_ident()]
    runs = [one for one in others if one.record_id is None and run_id in (None, one.run_id)]
    run = runs[-1] if runs else None
    stages = [one for one in others if one.record_id and one.run is run and run_id in (None, one.run_id)]
    if not stages:
        return None, run, []
    if len(stages) == 1:
        return stages[0], run, []
    text = (
        f"{len(stages)} stages were open in other threads when this one began in a thread of its own; it is taken as a "
        "part of the one that began last"
    )
    return stages[-1], run, [flag("parent_guessed", text)]


def _overlapping() -> Flags:
    beside = [one for one in _process.opened() if one.is_root]
    if not beside:
        return []
    text = (
        f"{len(beside)} other stages were running in this process when this one began, and none is part of another: "
        "what was drawn while they ran together is in the record of each"
    )
    return [flag("overlapping_stages", text)]


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def enter(one: Open) -> None:
    """From now on `one` is around what begins in this context, in other threads, and in child processes."""
    one.token = (_stage if one.record_id else _run).set(one)
    _process.add(one)


def leave(one: Open) -> None:
    """`one` is around nothing any more. May be called in another thread or task than `enter`."""
    one.ended = True
    if one.token is not None:
        with suppress(ValueError):  # another context's; there it is found to have ended
            (_stage if one.record_id else _run).reset(one.token)
    _process.remove(one)


def _in_the_environment() -> Open | None:
    """The stage or run of an ancestor that still runs. Whatever else stands there says nothing."""
    outside = _process.outside()
    if outside == "null":
        return None
    import psutil

    try:
        facts: dict[str, Any] = json.loads(outside)
        pid, folder = int(facts["pid"]), Path(facts["folder"])
        ancestors = {parent.pid: parent.create_time() for parent in psutil.Process().parents()}
        if abs(ancestors.get(pid, 0.0) - facts["created"]) > 1.0:
            return None
        run = None
        if facts["run_folder"] is not None:
            run = Open(record_id=None, run_id=facts["run_id"], folder=Path(facts["run_folder"]), pid=pid)
        if facts["record_id"] is None:
            return _around(run)
        return _around(Open(record_id=facts["record_id"], run_id=facts["run_id"], folder=folder, run=run, pid=pid))
    except (ValueError, KeyError, TypeError, psutil.Error):
        return None


def note(run: Open, record_id: str, edge: str, t: float) -> None:
    """Write into the run's folder that one of its root stages began (`start`) or ended (`end`). Raises `OSError`."""
    line = json.dumps({"record_id": record_id, edge: t}) + "\n"
    descriptor = os.open(run.folder / STAGES_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


@dataclass
class Span:
    """A root stage of a run in monotonic seconds; `end` is `None` while it runs, or where it was killed."""

    record_id: str
    start: float
    end: float | None = None


def spans(folder: Path) -> list[Span]:
    """The root stages of the run in `folder`, of all its processes."""
    found: dict[str, Span] = {}
    for line in _lines(folder / STAGES_NAME):
        if "start" in line:
            found[line["record_id"]] = Span(line["record_id"], float(line["start"]))
        elif line["record_id"] in found:
            found[line["record_id"]].end = float(line["end"])
    return list(found.values())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for raw in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):  # torn by a full disk: the stage is then seen to be still open
            yield json.loads(raw)
