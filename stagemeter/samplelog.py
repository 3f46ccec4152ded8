"""Reading the sampler's log: what was measured, when, by device.

Two files lie in a stage's folder, one writer each: `samples.jsonl` by the sampler (GPU counters and power, RAPL zones,
the process tree, marks) and `cpu.jsonl` by the CPU sampler (CodeCarbon's cumulative figures). Each is one JSON object
a line, told apart by `kind`; the sampler's module says what is in them.

A day of sampling many GPUs is more than memory should hold, so GPU readings are handed on as they are read.
"""

import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

LOG_NAME = "samples.jsonl"
CPU_LOG_NAME = "cpu.jsonl"
TAIL_BYTES = 1 << 20
LOOK_BACK_BYTES = 1 << 19  # some seconds of fast reading many GPUs


@dataclass(frozen=True, slots=True)
class GpuPoint:
    """One reading of one GPU at monotonic second `t`; `None` where a figure was not read.

    `mj` is the energy counter in mJ, `w` the driver's power in watts (on most cards a mean over the second before),
    `inst_w` its instant power in watts and `inst_age_s` how old the driver says that is, and `doubt_s` how far the
    counter's moment may lie from `t`, because reading it took time.
    """

    t: float
    mj: int | None
    w: float | None
    inst_w: float | None = None
    inst_age_s: float = 0.0
    doubt_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CpuPoint:
    """CodeCarbon's cumulative CPU and RAM energy since its process number `segment` began, at CPU second `cpu_s`."""

    t: float
    cpu_j: float
    ram_j: float
    cpu_s: float
    segment: int


@dataclass(frozen=True, slots=True)
class TreePoint:
    """The process tree's cumulative CPU seconds and resident bytes; the machine's busy seconds and used bytes."""

    t: float
    cpu_s: float
    rss: int
    busy_s: float | None
    ram_used: int | None
    segment: int


@dataclass(frozen=True, slots=True)
class RaplPoint:
    """The energy registers of the processor's zones, in microjoules."""

    t: float
    uj: dict[str, int]
    segment: int


@dataclass
class SampleLog:
    """A log, parsed. `headers` holds one per sampler: more than one means that a sampler had to be replaced."""

    headers: list[dict[str, Any]] = field(default_factory=list)
    cpu_headers: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # of complete samples, monotonic seconds
    gpu: dict[str, list[GpuPoint]] = field(default_factory=dict)  # by UUID, unless they were handed on
    tree: list[TreePoint] = field(default_factory=list)
    rapl: list[RaplPoint] = field(default_factory=list)
    cpu: list[CpuPoint] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)  # the last time of each mark
    errors: dict[str, list[str]] = field(default_factory=dict)  # by UUID: the first and the last one
    failed_reads: dict[str, int] = field(default_factory=dict)  # by UUID
    strangers: dict[str, set[int]] = field(default_factory=dict)  # by UUID, processes not of the stage on its devices
    unseen: dict[str, set[int]] = field(default_factory=dict)  # by UUID, processes whose numbers do not exist here
    end_reason: str | None = None
    damaged_lines: int = 0
    lost_lines: int = 0
    first_wall: float | None = None
    last_wall: float | None = None

    @property
    def devices(self) -> list[dict[str, Any]]:
        """Every device any header named, once, as the last one said, with what any said of it."""
        found: dict[str, dict[str, Any]] = {}
        for device in (device for header in self.headers for device in header["devices"]):
            before = found.get(device["uuid"], {}).get("flags", [])
            new = [remark for remark in device["flags"] if remark not in before]
            found[device["uuid"]] = {**device, "flags": [*before, *new]}
        return list(found.values())

    @property
    def gpu_expected(self) -> bool:
        """Whether a figure for GPUs is due; so it is where no header is left to say so."""
        return not self.headers or any(header["gpu_expected"] for header in self.headers)

    @property
    def gpu_missing(self) -> bool:
        """Whether a GPU that the stage may use could not be opened, so that what is known of others is no total."""
        return any(card["visible"] for header in self.headers for card in header.get("unreadable", ()))

    @property
    def simulated(self) -> bool:
        """Whether any sensor behind this log was a simulation."""
        return any(header["simulated"] for header in self.headers)


TakeGpu = Callable[[str, GpuPoint], None]


class LogReader:
    """Parses lines into `log`. GPU readings go to `take`; without one they are kept in `log.gpu`."""

    def __init__(self, take: TakeGpu | None = None, take_time: Callable[[float], None] | None = None) -> None:
        self.log = SampleLog()
        self.take = take or self._keep
        self.take_time = take_time or self.log.times.append
        self._uuids: list[str] = []
        self._foreign = False

    def add(self, lines: Iterable[bytes], *, name: str = LOG_NAME) -> None:
        """Add complete lines of the file `name`. One that broke off is counted, not guessed at."""
        kinds = _KINDS[name]
        for raw in lines:
            if not raw.strip():
                continue
            try:
                line = json.loads(raw)
                self.log.lost_lines += line.get("lost_lines", 0)
                if name == LOG_NAME and self._is_anothers(line):
                    continue
                kinds[line["kind"]](self, line)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError):
                self.log.damaged_lines += 1

    def _is_anothers(self, line: dict[str, Any]) -> bool:
        """Whether it is from a sampler over another process than the log's first one: its tree is another's."""
        if line["kind"] == "header":
            first = self.log.headers[0].get("metered") if self.log.headers else None
            self._foreign = first is not None and line.get("metered", first) != first
        return self._foreign

    def read(self, folder: Path, *, since: int = 0) -> SampleLog:
        """Add the logs in `folder`; missing files are empty.

        `since` is how many bytes the sampler's log held when what is asked about began: all but its first line and a
        little before that is then skipped.
        """
        self.add(_lines(folder, CPU_LOG_NAME), name=CPU_LOG_NAME)
        self.add(_lines(folder, LOG_NAME, since=since - LOOK_BACK_BYTES))
        return self.log

    def _keep(self, uuid: str, point: GpuPoint) -> None:
        self.log.gpu.setdefault(uuid, []).append(point)

    def _header(self, line: dict[str, Any]) -> None:
        _ = line["gpu_expected"], line["simulated"], line["flags"]  # one that lacks them is damaged
        self._uuids = [device["uuid"] for device in line["devices"]]
        self.log.headers.append(line)

    def _cpu_header(self, line: dict[str, Any]) -> None:
        self.log.cpu_headers.append(line)

    def _sample(self, line: dict[str, Any]) -> None:
        log, t = self.log, line["t"]
        complete = self._gpu(line.get("gpu", ()), t)
        if "tree" in line:
            log.tree.append(TreePoint(**line["tree"], segment=len(log.headers)))
        if "rapl" in line:
            log.rapl.append(RaplPoint(**line["rapl"], segment=len(log.headers)))
        if "mark" in line:
            log.marks[line["mark"]] = t
        for found, name in ((log.strangers, "strangers"), (log.unseen, "unseen")):
            for uuid, pids in line.get(name, {}).items():
                found.setdefault(uuid, set()).update(pids)
        log.first_wall = log.first_wall or line["wall"]
        log.last_wall = line["wall"]
        if complete:
            self.take_time(t)

    def _fast(self, line: dict[str, Any]) -> None:
        self._gpu(line["gpu"], line["t"])

    def _gpu(self, readings: Iterable[list[Any]], t: float) -> bool:
        """Hand on one reading per device, in the header's order; whether all could be read."""
        if not self.log.headers:  # it is not known whose readings they are
            return False
        complete = True
        for uuid, reading in zip(self._uuids, readings, strict=True):
            offset_us, doubt_us, mj, mw, inst_mw, age_us, *error = reading
            at = t + offset_us / 1e6
            point = GpuPoint(at, mj, _watts(mw), _watts(inst_mw), age_us / 1e6, doubt_us / 1e6)
            self.take(uuid, point)
            if error:
                complete = False
                self.log.failed_reads[uuid] = self.log.failed_reads.get(uuid, 0) + 1
                self.log.errors[uuid] = [*self.log.errors.get(uuid, [])[:1], *error]
        return complete

    def _cpu_sample(self, line: dict[str, Any]) -> None:
        values = {name: line[name] for name in ("t", "cpu_j", "ram_j", "cpu_s")}
        self.log.cpu.append(CpuPoint(**values, segment=len(self.log.cpu_headers)))

    def _end(self, line: dict[str, Any]) -> None:
        self.log.end_reason = line["reason"]

    def _cpu_end(self, line: dict[str, Any]) -> None:
        """Nothing to keep: a CPU log ends with its sampler's."""


_Take = Callable[[LogReader, dict[str, Any]], None]
_KINDS: dict[str, dict[str, _Take]] = {
    LOG_NAME: {
        "header": LogReader._header,
        "sample": LogReader._sample,
        "fast": LogReader._fast,
        "end": LogReader._end,
    },
    CPU_LOG_NAME: {
        "header": LogReader._cpu_header,
        "sample": LogReader._cpu_sample,
        "end": LogReader._cpu_end,
    },
}


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def read_log(folder: Path) -> SampleLog:
    """Parse the logs in `folder`, GPU readings too; missing files are empty."""
    return LogReader().read(folder)


def header_line(folder: Path) -> list[bytes]:
    """The log's first line."""
    return list(itertools.islice(_lines(folder, LOG_NAME), 1))


def last_time(folder: Path) -> float | None:
    """The monotonic second of the last sample in the log, found from its end; `None` if there is none."""
    return next((float(line["t"]) for line in _last_samples(folder)), None)


def last_mark(folder: Path, name: str, *, since: int = 0) -> float | None:
    """The monotonic second of the last such mark from byte `since` of the log on; `None` if it is not there."""
    found, wanted = None, json.dumps(name).encode()
    for raw in _lines(folder, LOG_NAME, since=since - LOOK_BACK_BYTES):
        if wanted not in raw:  # most lines are not worth parsing
            continue
        with suppress(ValueError, KeyError, TypeError):
            line = json.loads(raw)
            found = float(line["t"]) if line["kind"] == "sample" and line["mark"] == name else found
    return found


def _last_samples(folder: Path) -> Iterator[dict[str, Any]]:
    """The samples at the end of the log, the last one first."""
    path = folder / LOG_NAME
    if not path.exists():
        return
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = stream.read().splitlines()
    for raw in reversed(lines):
        try:
            line = json.loads(raw)
            if line["kind"] == "sample" and isinstance(line["t"], float):
                yield line
        except (ValueError, KeyError, TypeError):
            continue


@dataclass(frozen=True, slots=True)
class TracePoint:
    """One moment of a power trace, `t` seconds after the stage began; what was not read then is `None` or absent.

    `gpu_w` and `gpu_mj` are by UUID. CPU and RAM watts are means over the second before.
    """

    t: float
    gpu_w: dict[str, float]
    gpu_mj: dict[str, int]
    cpu_w: float | None = None
    ram_w: float | None = None


def trace(folder: Path, *, start: float | None = None) -> Iterator[TracePoint]:
    """The power trace of the stage in `folder`, in order of time and without holding it in memory.

    `start` is the stage's first monotonic second; without it that of the log's first stage. Empty without either.
    """
    start = _start(folder) if start is None else start
    if start is None:
        return
    merged = heapq.merge(_gpu_watts(folder), _cpu_watts(folder), key=lambda point: point.t)
    for point in merged:
        if point.t >= start:
            yield replace(point, t=point.t - start)


def _lines(folder: Path, name: str, *, since: int = 0) -> Iterator[bytes]:
    """The lines of a file; only the first, and those from byte `since` on, if that lies further in."""
    if not (folder / name).exists():
        return
    with (folder / name).open("rb") as stream:
        if since > 0:
            first = stream.readline()
            yield first
            if since > len(first):
                stream.seek(since)
                stream.readline()  # most likely cut
        yield from stream


def _start(folder: Path) -> float | None:
    reader = LogReader(take=lambda _uuid, _point: None)
    for raw in _lines(folder, LOG_NAME):
        reader.add((raw,))
        for name, t in reader.log.marks.items():
            if name.startswith("start"):
                return t
    return None


def _gpu_watts(folder: Path) -> Iterator[TracePoint]:
    """One point for each regular sample, with what each GPU's driver said then."""
    points: dict[str, GpuPoint] = {}
    reader = LogReader(points.__setitem__)
    for raw in _lines(folder, LOG_NAME):
        points.clear()
        reader.add((raw,))
        reader.log.times.clear()
        reader.log.tree.clear()
        reader.log.rapl.clear()
        watts = {uuid: point.w for uuid, point in points.items() if point.w is not None}
        if watts:
            counters = {uuid: point.mj for uuid, point in points.items() if point.mj is not None}
            yield TracePoint(max(point.t for point in points.values()), watts, counters)


def _cpu_watts(folder: Path) -> Iterator[TracePoint]:
    """Mean CPU and RAM watts between two readings of CodeCarbon, at the later one."""
    reader = LogReader()
    before: CpuPoint | None = None
    for raw in _lines(folder, CPU_LOG_NAME):
        reader.add((raw,), name=CPU_LOG_NAME)
        if not reader.log.cpu:
            continue
        after = reader.log.cpu.pop()
        if before is not None and before.segment == after.segment and after.t - before.t > 0.05:
            span = after.t - before.t
            cpu_w, ram_w = (after.cpu_j - before.cpu_j) / span, (after.ram_j - before.ram_j) / span
            yield TracePoint(after.t, {}, {}, cpu_w, ram_w)
        before = after
