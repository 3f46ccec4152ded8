"""Reading the sampler's log: what was measured, when, by device."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class GpuPoint:
    """One reading of one GPU. `mj` is the energy counter, `w` the power; `None` where it could not be read."""

    t: float
    mj: int | None
    w: float | None


@dataclass(frozen=True)
class CpuPoint:
    """Cumulative CPU and RAM energy since the sampler `segment` began, and the CPU seconds of the process tree."""

    t: float
    cpu_j: float
    ram_j: float
    cpu_s: float
    segment: int


@dataclass(frozen=True)
class Tick:
    """A move of a GPU's counter, from `before` to `mj`, at monotonic second `t`."""

    t: float
    before: int
    mj: int


@dataclass
class SampleLog:
    """A log, parsed. `headers` holds one per sampler: more than one means that a sampler had to be replaced."""

    headers: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # of complete samples, monotonic seconds
    gpu: dict[str, list[GpuPoint]] = field(default_factory=dict)  # by UUID
    ticks: dict[str, list[Tick]] = field(default_factory=dict)  # by UUID, those that were watched, after the edges
    cpu: list[CpuPoint] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)  # the last time of each mark
    errors: dict[str, str] = field(default_factory=dict)  # by UUID, the last one
    strangers: dict[str, set[int]] = field(default_factory=dict)  # by UUID, processes not of the stage on its devices
    end_reason: str | None = None
    damaged_lines: int = 0
    last_wall: float | None = None

    @property
    def devices(self) -> list[dict[str, Any]]:
        """Every device any header named, once."""
        return list({d["uuid"]: d for header in self.headers for d in header["devices"]}.values())

    @property
    def gpu_expected(self) -> bool:
        """Whether a figure for GPUs is due."""
        return any(header["gpu_expected"] for header in self.headers)

    @property
    def simulated(self) -> bool:
        """Whether any sensor behind this log was a simulation."""
        return any(header["simulated"] for header in self.headers)


def read_log(path: Path) -> SampleLog:
    """Parse the log at `path`; a missing one is empty. A line that broke off is counted, not guessed at."""
    log = SampleLog()
    if path.exists():
        with path.open("rb") as stream:
            add_lines(log, stream)
    return log


def add_lines(log: SampleLog, lines: Iterable[bytes]) -> None:
    """Add complete lines to `log`."""
    for raw in lines:
        if not raw.strip():
            continue
        try:
            line = json.loads(raw)
            _ADD[line["kind"]](log, line)
        except (ValueError, KeyError, TypeError):
            log.damaged_lines += 1


def _add_header(log: SampleLog, line: dict[str, Any]) -> None:
    log.headers.append(line)


def _add_sample(log: SampleLog, line: dict[str, Any]) -> None:
    readings = line.get("gpu", {})
    for uuid, reading in readings.items():
        point = GpuPoint(reading["t"], reading.get("mj"), reading.get("w"))
        log.gpu.setdefault(uuid, []).append(point)
        if "error" in reading:
            log.errors[uuid] = reading["error"]
    if "cpu" in line:
        log.cpu.append(CpuPoint(**line["cpu"], segment=len(log.headers)))
    if "mark" in line:
        log.marks[line["mark"]] = line["t"]
    for uuid, pids in line.get("strangers", {}).items():
        log.strangers.setdefault(uuid, set()).update(pids)
    log.last_wall = line["wall"]
    if not any("error" in reading for reading in readings.values()):
        log.times.append(line["t"])


def _add_tick(log: SampleLog, line: dict[str, Any]) -> None:
    log.ticks.setdefault(line["uuid"], []).append(Tick(line["at"], line["before"], line["mj"]))


def _add_end(log: SampleLog, line: dict[str, Any]) -> None:
    log.end_reason = line["reason"]


_ADD = {"header": _add_header, "sample": _add_sample, "tick": _add_tick, "end": _add_end}


def read_power_curve(path: Path) -> list[tuple[float, dict[str, float]]]:
    """The power trace in a log: (seconds since the stage began, watts by component).

    Components are `gpu` (the sum over devices), `cpu` and `ram`; one that was not read at a moment is absent there.
    CPU and RAM watts are means over the second before.
    """
    log = read_log(path)
    start = log.marks.get("start", log.times[0] if log.times else 0.0)
    curve: dict[float, dict[str, float]] = {}
    for t, watts in _gpu_watts(log):
        curve.setdefault(round(t - start, 3), {})["gpu"] = watts
    for t, cpu_w, ram_w in _cpu_watts(log):
        curve.setdefault(round(t - start, 3), {}).update(cpu=cpu_w, ram=ram_w)
    return sorted((t, watts) for t, watts in curve.items() if t >= 0)


def _gpu_watts(log: SampleLog) -> Iterator[tuple[float, float]]:
    for points in zip(*log.gpu.values(), strict=False):
        watts = [point.w for point in points]
        if all(w is not None for w in watts):
            yield points[0].t, sum(w for w in watts if w is not None)


def _cpu_watts(log: SampleLog) -> Iterator[tuple[float, float, float]]:
    for before, after in zip(log.cpu, log.cpu[1:], strict=False):
        span = after.t - before.t
        if after.segment == before.segment and span > 0.05:
            yield after.t, (after.cpu_j - before.cpu_j) / span, (after.ram_j - before.ram_j) / span
