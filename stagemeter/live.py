"""What a running stage has cost so far, read from the log that its sampler appends to."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stagemeter.integrate import Window, cpu_energy
from stagemeter.samplelog import SampleLog, add_lines


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

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._log = SampleLog()

    def figures(self, start: float, period_s: float, tokens: Mapping[str, int]) -> Live:
        """The figures of a stage that began at monotonic second `start`."""
        self._read_on()
        log = self._log
        gpu_j, cpu_j, ram_j = self._gpu_j(start), None, None
        if log.cpu:
            window = Window(start=start, end=max(log.cpu[-1].t, start), period_s=period_s)
            cpu_j, ram_j = (energy.value_j for energy in cpu_energy(log, window))
        expected = [cpu_j, ram_j, *([gpu_j] if log.gpu_expected else [])]
        known = [value for value in expected if value is not None]
        cpu_w, ram_w = self._cpu_w()
        return Live(
            duration_s=time.monotonic() - start,
            energy_j=sum(known) if len(known) == len(expected) else None,
            gpu_energy_j=gpu_j,
            cpu_energy_j=cpu_j,
            ram_energy_j=ram_j,
            gpu_power_w=self._gpu_w(),
            cpu_power_w=cpu_w,
            ram_power_w=ram_w,
            tokens=tokens,
        )

    def _read_on(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        add_lines(self._log, complete.splitlines())

    def _gpu_j(self, start: float) -> float | None:
        """Counters now minus counters at the start; `None` where a device has none or one ran backwards."""
        total = 0.0
        for points in self._log.gpu.values():
            begin = next((p for p in reversed(points) if p.t <= start), points[0])
            if begin.mj is None or points[-1].mj is None or points[-1].mj < begin.mj:
                return None
            total += (points[-1].mj - begin.mj) / 1000
        return total if self._log.gpu else None

    def _gpu_w(self) -> float | None:
        watts = [points[-1].w for points in self._log.gpu.values()]
        known = [w for w in watts if w is not None]
        return sum(known) if known and len(known) == len(watts) else None

    def _cpu_w(self) -> tuple[float | None, float | None]:
        """Mean CPU and RAM power over the last half second or more."""
        points = self._log.cpu
        last = points[-1] if points else None
        if last is None:
            return None, None
        before = next((p for p in reversed(points) if last.t - p.t > 0.5 and p.segment == last.segment), None)
        if before is None:
            return None, None
        span = last.t - before.t
        return (last.cpu_j - before.cpu_j) / span, (last.ram_j - before.ram_j) / span
