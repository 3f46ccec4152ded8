"""A GPU that replays a waveform: the fake that stands in for NVML, and a way to play a recorded trace again.

The counter is the exact integral of the waveform over the machine's monotonic clock, held for one tick as a
driver holds it, so that a test knows what a meter must find.
"""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from stagemeter.errors import MeterError
from stagemeter.sensors import Device


@dataclass(frozen=True)
class Waveform:
    """Power over time: straight lines between (second, watt) points, repeated for ever from monotonic zero."""

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        times = [t for t, _ in self.points]
        if len(times) < 2 or times[0] != 0 or any(b < a for a, b in itertools.pairwise(times)):
            raise MeterError(f"a waveform needs two or more points in order, the first at 0 s; got {self.points!r}")

    @property
    def period_s(self) -> float:
        """How long it takes until the waveform begins again."""
        return self.points[-1][0]

    def power_w(self, t: float) -> float:
        """Power at monotonic second `t`."""
        inside = t % self.period_s
        for (t0, w0), (t1, w1) in zip(self.points, self.points[1:], strict=False):
            if t0 <= inside < t1:
                return w0 + (w1 - w0) * (inside - t0) / (t1 - t0)
        return self.points[-1][1]

    def energy_j(self, t: float) -> float:
        """Exact integral of the power from monotonic zero to `t`."""
        whole, inside = divmod(t, self.period_s)
        return whole * self._integral(self.period_s) + self._integral(inside)

    def _integral(self, until: float) -> float:
        total = 0.0
        for (t0, w0), (t1, w1) in zip(self.points, self.points[1:], strict=False):
            if t1 == t0 or until <= t0:
                continue
            end = min(until, t1)
            w_end = w0 + (w1 - w0) * (end - t0) / (t1 - t0)
            total += (w0 + w_end) / 2 * (end - t0)
        return total


class ReplaySensor:
    """Plays one waveform per device. Counter and power move every `tick_s` seconds."""

    simulated = True

    def __init__(self, devices: Sequence[Device], waves: Mapping[str, Waveform], *, tick_s: float = 0.1) -> None:
        self.devices = tuple(devices)
        self._waves = dict(waves)
        self._tick_s = tick_s

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read `{"tick_s": …, "devices": [{"uuid": …, "name": …, "power_limit_w": …, "points": [[s, W], …]}]}`."""
        try:
            data = json.loads(path.read_text())
            devices, waves = [], {}
            for index, entry in enumerate(data["devices"]):
                uuid = entry["uuid"]
                waves[uuid] = Waveform(tuple((float(t), float(w)) for t, w in entry["points"]))
                limit = entry.get("power_limit_w")
                devices.append(
                    Device(uuid=uuid, index=index, name=entry["name"], power_limit_w=limit, driver="simulated replay")
                )
            return cls(devices, waves, tick_s=float(data.get("tick_s", 0.1)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MeterError(f"{path} is not a waveform that can be replayed: {error!r}") from error

    def read(self) -> dict[str, dict[str, Any]]:
        """What a driver would answer now: counter (mJ) and power (W) as of the last tick."""
        now = time.monotonic()
        tick = now // self._tick_s * self._tick_s
        return {
            uuid: {"t": now, "mj": int(wave.energy_j(tick) * 1000), "w": wave.power_w(tick)}
            for uuid, wave in self._waves.items()
        }

    def processes(self) -> dict[str, list[int]]:
        """Nobody computes on a recording."""
        return {}

    def counters(self) -> dict[str, tuple[float, int]]:
        """The counters alone."""
        return {uuid: (reading["t"], reading["mj"]) for uuid, reading in self.read().items()}

    def close(self) -> None:
        """Nothing is held."""
