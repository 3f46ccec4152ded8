"""The processes of a stage: CPU seconds and resident memory of one process and all its descendants.

Two things make this more than a sum over a list of processes:

- Processes end. The kernel then adds their seconds to those their parent has *waited for*; a sum over whoever lives
  would lose or double them, depending on the moment. `TreeSeconds` keeps the books.
- psutil finds children by walking through every process of the host, which on a big one takes 40 ms. Linux lists the
  children of each thread, so only the tree itself is read here.

Not counted are samplers, this stage's and those of meters nested in it. A process stays in the tree when its parent
dies; one that detached itself before it was ever seen is not found.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import psutil

SAMPLERS = (b"\0-m\0stagemeter.sampler\0", b"\0-m\0stagemeter.cpu_sampler\0")
Key = tuple[int, float]  # process id and start: a number that is given out again is another process


@dataclass(frozen=True, slots=True)
class Process:
    """One process at one moment. `waited_s` are the seconds of children that ended and were waited for."""

    parent: int
    born: float
    own_s: float
    waited_s: float
    rss: int

    @property
    def seconds(self) -> float:
        """All CPU seconds that are booked on it."""
        return self.own_s + self.waited_s


class TreeSeconds:
    """CPU seconds of a changing tree, from one snapshot of it after the other. They only rise."""

    def __init__(self) -> None:
        self.total = 0.0
        self._seen: dict[Key, Process] = {}
        # Seconds that were counted while their process lived, and that its ancestor will show once more as waited
        # for. An ancestor read before it waited shows them in the next snapshot, so they are kept for two.
        self._owed: dict[Key, tuple[float, float]] = {}

    def update(self, snapshot: Mapping[Key, Process], *, without: Iterable[Key] = ()) -> float:
        """Take the next snapshot; the total. Members named by `without` are not counted, now or as waited for."""
        left_out, owed = set(without), self._debts(snapshot)
        for key, process in snapshot.items():
            grown = self._grown(self._seen.get(key), process, owed.get(key, [0.0, 0.0]))
            if key not in left_out:
                self.total += grown
        self._owed = {key: (old, new) for key, (old, new) in owed.items()}
        self._seen = dict(snapshot)
        return self.total

    def _debts(self, snapshot: Mapping[Key, Process]) -> dict[Key, list[float]]:
        """What each member will show as waited for and was counted already: [as of the last snapshot, of this]."""
        owed = {key: [new, 0.0] for key, (_, new) in self._owed.items()}
        by_pid = {key[0]: key for key in self._seen}
        for key in self._seen.keys() - snapshot.keys():
            heir: Key | None = key  # the nearest ancestor that still lives
            while heir is not None and heir not in snapshot:
                heir = by_pid.get(self._seen[heir].parent)
            if heir is not None:
                debts = owed.setdefault(heir, [0.0, 0.0])
                debts[1] += self._seen[key].seconds + sum(owed.get(key, []))
        return {key: debts for key, debts in owed.items() if key in snapshot}

    @staticmethod
    def _grown(before: Process | None, now: Process, owed: list[float]) -> float:
        """Seconds used since `before`; what was waited for first pays back what is owed, the oldest first."""
        if before is None:
            return now.seconds
        waited = max(now.waited_s - before.waited_s, 0.0)
        for age in (0, 1):
            paid = min(owed[age], waited)
            owed[age], waited = owed[age] - paid, waited - paid
        return max(now.own_s - before.own_s, 0.0) + waited


class Source(Protocol):
    """Where processes are looked up."""

    def process(self, pid: int) -> Process | None:
        """The process, or `None` if there is none."""

    def children(self, pid: int) -> list[int]:
        """Its children's numbers."""

    def command(self, pid: int) -> bytes:
        """Its command line, words ended by null characters."""


class LinuxSource:
    """Reads /proc."""

    def __init__(self) -> None:
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")

    @staticmethod
    def works() -> bool:
        """Whether this kernel lists children."""
        return Path(f"/proc/self/task/{os.getpid()}/children").exists()

    def process(self, pid: int) -> Process | None:
        """Fields 4, 14 to 17, 22 and 24 of `stat`, as proc(5) counts them."""
        words = _bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if len(words) < 22:
            return None
        user, system, waited_user, waited_system = (int(word) for word in words[11:15])
        return Process(
            parent=int(words[1]),
            born=float(words[19]),
            own_s=(user + system) * self._tick_s,
            waited_s=(waited_user + waited_system) * self._tick_s,
            rss=int(words[21]) * self._page,
        )

    def children(self, pid: int) -> list[int]:
        """Of all its threads."""
        try:
            threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - read many times a second
        except OSError:
            return []
        return [int(word) for thread in threads for word in _bytes(f"/proc/{pid}/task/{thread}/children").split()]

    def command(self, pid: int) -> bytes:
        """Its command line."""
        return _bytes(f"/proc/{pid}/cmdline")


class PsutilSource:
    """Asks psutil, where the kernel does not list children."""

    def process(self, pid: int) -> Process | None:
        """What psutil says of it."""
        try:
            found = psutil.Process(pid)
            times = found.cpu_times()
            own = times.user + times.system
            waited = times.children_user + times.children_system
            return Process(found.ppid(), found.create_time(), own, waited, found.memory_info().rss)
        except psutil.Error:
            return None

    def children(self, pid: int) -> list[int]:
        """Its children."""
        try:
            return [child.pid for child in psutil.Process(pid).children()]
        except psutil.Error:
            return []

    def command(self, pid: int) -> bytes:
        """Its command line."""
        try:
            return "\0".join([*psutil.Process(pid).cmdline(), ""]).encode()
        except psutil.Error:
            return b""


def _bytes(path: str) -> bytes:
    """The file's content; nothing if the process has just gone."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - read many times a second
            return stream.read()
    except OSError:
        return b""


@dataclass(frozen=True, slots=True)
class _Member:
    process: Process
    is_sampler: bool
    looks: int


class ProcessTree:
    """The tree of process `pid`, without the process `without` and its descendants."""

    def __init__(self, pid: int, *, without: int, source: Source | None = None) -> None:
        self.pid = pid
        self.rss = 0
        self._without = without
        self._source = source or (LinuxSource() if LinuxSource.works() else PsutilSource())
        self._seconds = TreeSeconds()
        self._members: dict[Key, _Member] = {}

    @property
    def seconds(self) -> float:
        """CPU seconds as of the last reading."""
        return self._seconds.total

    def read(self) -> dict[str, Any]:
        """Monotonic s, the tree's CPU seconds and resident bytes, the machine's busy CPU seconds and used bytes."""
        t = time.monotonic()
        self.update()
        memory = psutil.virtual_memory()
        used = int(memory.total - memory.available)
        return {"t": t, "cpu_s": round(self.seconds, 3), "rss": self.rss, "busy_s": busy_seconds(), "ram_used": used}

    def update(self) -> None:
        """Look at every member once."""
        self._members = dict(self._look())
        samplers = [key for key, member in self._members.items() if member.is_sampler]
        self._seconds.update({key: member.process for key, member in self._members.items()}, without=samplers)
        self.rss = sum(member.process.rss for member in self._members.values() if not member.is_sampler)

    def _look(self) -> Iterator[tuple[Key, "_Member"]]:
        """Parents before their children; those known from before also where their parent has died."""
        todo: list[tuple[int, float | None]] = [(self.pid, None), *self._members]
        found: set[int] = set()
        for pid, born in todo:
            process = None if pid in found else self._source.process(pid)
            if process is None or born not in (None, process.born):
                continue
            found.add(pid)
            member = self._member((pid, process.born), process)
            yield (pid, process.born), member
            if not member.is_sampler:
                todo += [(child, None) for child in self._source.children(pid)]

    def _member(self, key: Key, process: Process) -> "_Member":
        """Its command is looked at twice: at first sight it may not have become its program yet."""
        before = self._members.get(key)
        looks = before.looks if before else 0
        is_sampler = key[0] == self._without or bool(before and before.is_sampler)
        if not is_sampler and looks < 2:
            command = self._source.command(key[0])
            is_sampler = any(name in command for name in SAMPLERS)
        return _Member(process, is_sampler, looks + 1)

    # In the shape in which CodeCarbon asks a `psutil.Process`.

    def children(self, recursive: bool = False) -> list[Any]:  # noqa: ARG002 - CodeCarbon names the argument
        """No children: `cpu_times` holds the whole tree's time already."""
        return []

    def cpu_times(self) -> Any:
        """User + system seconds of the tree, all named `user`."""
        self.update()
        return SimpleNamespace(user=self.seconds, system=0.0)


def busy_seconds() -> float:
    """CPU seconds this machine has been busy since it was started, over all its threads.

    Waiting for disks is idle time, and time that a hypervisor gave to others was not spent here. Guests' time is
    in user time already.
    """
    times = psutil.cpu_times()
    idle = sum(getattr(times, name, 0.0) for name in ("idle", "iowait", "steal", "guest", "guest_nice"))
    return float(round(sum(times) - idle, 2))
