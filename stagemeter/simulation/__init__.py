"""A simulated GPU: a driver library whose power is a known function of time, for tests, benchmarks and demonstrations.

`build` compiles `nvml.c` into a folder; a process started with that folder in `LD_LIBRARY_PATH` then finds GPUs
through the unmodified nvidia-ml-py, with the sensors and the faults that `SIM_NVML_*` asks for (listed at the
top of `nvml.c`). What it reports is the exact integral of the `Waveform` over the machine's monotonic clock, so that
a test knows what a meter must find. Everything it says about itself says that it is simulated.
"""

import bisect
import itertools
import math
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stagemeter.errors import MeterError

LIBRARY = "libnvidia-ml.so.1"
PROFILES = ("hopper", "ideal", "ampere", "prevolta")


@dataclass(frozen=True)
class Waveform:
    """Power over time: straight lines between (second, watt) points, repeated for ever from monotonic zero.

    `phase_s` is by how many seconds it is ahead. Where two points stand at one second, the later one holds from there.
    """

    points: tuple[tuple[float, float], ...]
    phase_s: float = 0.0

    def __post_init__(self) -> None:
        times = [t for t, _ in self.points]
        if len(times) < 2 or times[0] != 0 or times[-1] <= 0 or any(b < a for a, b in itertools.pairwise(times)):
            raise MeterError(f"a waveform needs two or more points in order, the first at 0 s; got {self.points!r}")

    @property
    def period_s(self) -> float:
        """How long it takes until the waveform begins again."""
        return self.points[-1][0]

    @property
    def text(self) -> str:
        """The points as SIM_NVML_WAVE wants them."""
        return ",".join(f"{t!r}:{w!r}" for t, w in self.points)

    def power_w(self, t: float) -> float:
        """Power at monotonic second `t`."""
        inside = (t + self.phase_s) % self.period_s
        return self._power_after(self._index(inside), inside)

    def energy_j(self, t: float) -> float:
        """Exact integral of the power up to `t`; only the difference of two is an energy."""
        whole, inside = divmod(t + self.phase_s, self.period_s)
        index = self._index(inside)
        t0, w0 = self.points[index]
        part = self._sums[index] + (w0 + self._power_after(index, inside)) / 2 * (inside - t0)
        return whole * self._sums[-1] + part

    def between_j(self, start: float, end: float) -> float:
        """Exact energy between two monotonic seconds."""
        return self.energy_j(end) - self.energy_j(start)

    def mean_w(self, start: float, end: float) -> float:
        """Mean power between two monotonic seconds."""
        return self.between_j(start, end) / (end - start)

    def _index(self, inside: float) -> int:
        """The last point at or before a second of the waveform that is not its end."""
        return min(bisect.bisect_right(self._times, inside), len(self.points) - 1) - 1

    def _power_after(self, index: int, inside: float) -> float:
        (t0, w0), (t1, w1) = self.points[index], self.points[index + 1]
        return w1 if t1 == t0 else w0 + (w1 - w0) * (inside - t0) / (t1 - t0)

    @cached_property
    def _times(self) -> list[float]:
        return [t for t, _ in self.points]

    @cached_property
    def _sums(self) -> list[float]:
        """Energy from the waveform's beginning to each point."""
        pieces = ((w0 + w1) / 2 * (t1 - t0) for (t0, w0), (t1, w1) in itertools.pairwise(self.points))
        return list(itertools.accumulate(pieces, initial=0.0))


def training_power() -> Waveform:
    """What a card draws that trains, for demonstrations: steps of 1.1 s, a checkpoint, and a pause for data."""
    step = ((0.08, 320.0), (0.45, 585.0), (0.3, 660.0), (0.12, 540.0), (0.15, 250.0))  # seconds, watts
    stretches = [*step * 12, (0.9, 135.0), *step * 7, (0.4, 180.0)]
    ends = list(itertools.accumulate((seconds for seconds, _ in stretches), initial=0.0))
    corners = (
        (t, watts) for (a, b), (_, watts) in zip(itertools.pairwise(ends), stretches, strict=True) for t in (a, b)
    )
    return Waveform(tuple((round(t, 3), watts) for t, watts in corners))


def compiler() -> list[str]:
    """The C compiler of this host: `CC`, else cc, gcc or clang. Raises `MeterError` where there is none."""
    named = shlex.split(os.environ.get("CC", ""))
    for words in [named, ["cc"], ["gcc"], ["clang"]]:
        if words and shutil.which(words[0]):
            return words
    raise MeterError(
        "the simulated GPU is a small C library, and this host has no C compiler (looked for $CC, cc, gcc and clang); "
        "install one, for instance with: apt-get install gcc libc6-dev"
    )


def build(folder: Path | str) -> Path:
    """Compile the simulated driver library into `folder`, which is made if need be; the library's path.

    Raises `MeterError` where there is no C compiler, or it fails.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source, library = Path(__file__).with_name("nvml.c"), folder / LIBRARY
    aside = folder / f"{LIBRARY}.{os.getpid()}"  # a process that has the old library open keeps it
    words = [*compiler(), "-Wall", "-Werror", "-O2", "-shared", "-fPIC", "-o", str(aside), str(source), "-lm"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeterError(f"the simulated GPU could not be compiled ({shlex.join(words)}): {done.stderr.strip()}")
    aside.replace(library)
    return library


def environment(folder: Path | str, wave: Waveform, **settings: object) -> dict[str, str]:
    """The variables under which a new process finds the simulated GPUs of `folder`, which `build` has filled.

    `settings` are SIM_NVML_* without that prefix, in either case: `environment(folder, wave, profile="ampere",
    devices=2)`. Tuples become lists, one value per device. `None` leaves a setting out.
    """
    others = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    paths = dict.fromkeys(path for path in [str(folder), *others] if path)
    shift = {"PHASE": wave.phase_s} if wave.phase_s else {}
    wanted: Mapping[str, object] = {"WAVE": wave.text, **shift, **{k.upper(): v for k, v in settings.items()}}
    found = {f"SIM_NVML_{name}": _setting(value) for name, value in wanted.items() if value is not None}
    return {"LD_LIBRARY_PATH": os.pathsep.join(paths), **found}


def _setting(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(_setting(item) for item in value)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise MeterError(f"{value!r} is no setting of the simulated GPU")
    return str(value)
