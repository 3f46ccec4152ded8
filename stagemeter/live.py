"""What a running stage has cost so far, read from the log that its sampler appends to."""

import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stagemeter.cpu_energy import cpu_energy
from stagemeter.energy import Window
from stagemeter.samplelog import CPU_LOG_NAME, LOG_NAME, GpuPoint, LogReader, SampleLog, header_line

KEPT = 120  # readings of the CPU, about a second apart, that are looked at anew each time
BEFORE = 5  # of older ones, what the integration looks at beside its window


@dataclass(frozen=True, kw_only=True)
class Live:
    """Figures so far. `None` is "not known", never zero."""

    duration_s: float
    energy_j: float | None  # over all components, `None` while one of them is not known
    gpu_energy_j: float | None
    cpu_energy_j: float | None
    ram_energy_j: float | None
    gpu_power_w: float | None
    cpu_power_w: float | None
    ram_power_w: float | None
    tokens: Mapping[str, int]


class LiveLog:
    """Reads what was appended since it last looked, so that asking stays cheap on a long stage."""

    def __init__(self, folder: Path, *, since: int = 0) -> None:
        self._folder = folder
        self._offsets = {LOG_NAME: since, CPU_LOG_NAME: 0}
        self._began = False
        self._start = 0.0
        self._first: dict[str, GpuPoint] = {}
        self._last: dict[str, GpuPoint] = {}
        self._watts: dict[str, float] = {}
        self._settled_until: float | None = None
        self._settled: tuple[float | None, float | None] = (0.0, 0.0)  # CPU and RAM joules up to then
        self._reader = LogReader(self._take, lambda _t: None)

    def figures(self, start: float, period_s: float, tokens: Mapping[str, int]) -> Live:
        """The figures of a stage that began at monotonic second `start`."""
        self._start = start
        self._read_on()
        log = self._reader.log
        gpu_j, (cpu_j, ram_j) = self._gpu_j(), self._cpu_j(period_s)
        expected = [cpu_j, ram_j, *([gpu_j] if log.gpu_expected else [])]
        known = [value for value in expected if value is not None]
        cpu_w, ram_w = self._cpu_w(log)
        return Live(
            duration_s=time.monotonic() - start,
            energy_j=sum(known) if len(known) == len(expected) else None,
            gpu_energy_j=gpu_j,
            cpu_energy_j=cpu_j,
            ram_energy_j=ram_j,
            gpu_power_w=sum(self._watts.values()) if self._watts and len(self._watts) == len(self._last) else None,
            cpu_power_w=cpu_w,
            ram_power_w=ram_w,
            tokens=tokens,
        )

    def _take(self, uuid: str, point: GpuPoint) -> None:
        if point.t <= self._start or uuid not in self._first:
            self._first[uuid] = point
        self._last[uuid] = point
        if point.w is not None:
            self._watts[uuid] = point.w
        elif point.mj is None:  # it answers no more
            self._watts.pop(uuid, None)

    def _read_on(self) -> None:
        if not self._began and self._offsets[LOG_NAME]:
            self._began = True
            self._reader.add(header_line(self._folder))
        for name, offset in self._offsets.items():
            path = self._folder / name
            if not path.exists():
                continue
            with path.open("rb") as stream:
                stream.seek(offset)
                data = stream.read()
            complete = data[: data.rfind(b"\n") + 1]
            self._offsets[name] += len(complete)
            self._reader.add(complete.splitlines(), name=name)

    def _gpu_j(self) -> float | None:
        """Counters now minus counters at the start; `None` where a device has none or one ran backwards."""
        if self._reader.log.gpu_missing:
            return None
        total = 0.0
        for uuid, last in self._last.items():
            first = self._first[uuid]
            if first.mj is None or last.mj is None or last.mj < first.mj:
                return None
            total += (last.mj - first.mj) / 1000
        return total if self._last else None

    def _cpu_j(self, period_s: float) -> tuple[float | None, float | None]:
        """CPU and RAM joules so far. Figures of adjacent windows add up, so old readings need not be held."""
        log = self._reader.log
        last_t = max([*(point.t for point in log.tree[-1:]), *(point.t for point in log.cpu[-1:]), self._start])
        if len(log.tree) > 2 * KEPT:
            self._settled, self._settled_until = self._up_to(log.tree[-KEPT].t, period_s), log.tree[-KEPT].t
            for points in (log.tree, log.rapl, log.cpu):
                old = bisect_left(points, self._settled_until, key=lambda point: point.t)
                del points[: max(old - BEFORE, 0)]
        return self._up_to(last_t, period_s)

    def _up_to(self, t: float, period_s: float) -> tuple[float | None, float | None]:
        since = self._start if self._settled_until is None else self._settled_until
        new = cpu_energy(self._reader.log, Window(start=since, end=t, period_s=period_s))
        cpu_j, ram_j = (
            None if old is None or energy.value_j is None else old + energy.value_j
            for old, energy in zip(self._settled, new, strict=True)
        )
        return cpu_j, ram_j

    @staticmethod
    def _cpu_w(log: SampleLog) -> tuple[float | None, float | None]:
        """Mean CPU and RAM power over the last half second or more."""
        points = log.cpu
        last = points[-1] if points else None
        if last is None:
            return None, None
        before = next((p for p in reversed(points) if last.t - p.t > 0.5 and p.segment == last.segment), None)
        if before is None:
            return None, None
        span = last.t - before.t
        return (last.cpu_j - before.cpu_j) / span, (last.ram_j - before.ram_j) / span
