"""What a host draws at rest, and whether its sensors can be believed: once per host, never part of a run.

A prerun is metered like a stage, with the same sensors. The host rests first, which gives the idle baseline: mean
power, and how steady it was over parts of the time. Then a short load shows whether the sensors see one. The baseline
is kept on this host (`stagemeter.baseline`) and used for the net energy of the stages that follow.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stagemeter import baseline, checks, spool
from stagemeter.assemble import Measured, measure
from stagemeter.baseline import Baseline
from stagemeter.energy import Window
from stagemeter.errors import MeterError
from stagemeter.meter import Meter
from stagemeter.records import StageRecord
from stagemeter.samplelog import CPU_LOG_NAME
from stagemeter.sampling import helper_environment
from stagemeter.sensors import flag

REST_S = 30.0
BURN_IN_S = 3.0
MOST_PARTS = 10  # into which the rest is cut to see how steady it was
LEAST_PART_S = 1.0
CODECARBON_WITHIN_S = 15.0
BURN_IN_WITHIN_S = 120.0  # beyond its own seconds: loading torch takes a while

Span = tuple[float, float]


def run(
    seconds: float = REST_S,
    *,
    burn_in_s: float = BURN_IN_S,
    gpu_load: bool = False,
    spool_dir: Path | str | None = None,
    environment: Mapping[str, Any] | None = None,
) -> StageRecord:
    """Take the idle baseline of this host over `seconds` at rest, and keep it; the record of kind `prerun`.

    Its `idle_power_w` is that at rest, its energies are those of the whole. `extra` holds `baseline`, `parts_w` (the
    power of parts of the rest), `burn_in` and `checks`. `gpu_load` loads the GPUs too in the burn-in, with torch.
    """
    folder = Path(spool_dir) if spool_dir is not None else spool.default_spool()
    record = examine(seconds, burn_in_s=burn_in_s, gpu_load=gpu_load, spool_dir=folder, environment=environment)
    taken = baseline_of(record)
    if taken is not None:
        baseline.save(folder, taken)
    return record


def examine(
    seconds: float,
    *,
    burn_in_s: float,
    gpu_load: bool = False,
    spool_dir: Path,
    environment: Mapping[str, Any] | None = None,
) -> StageRecord:
    """A prerun that nothing is kept of but its record. Raises `MeterError` if sampling cannot begin."""
    if seconds <= 0 or burn_in_s < 0:
        raise MeterError(f"a rest of {seconds:g} s and a burn-in of {burn_in_s:g} s; give a rest of more than 0 s")
    before = checks.before(spool_dir)
    meter = _Prerun(before, spool_dir=spool_dir, environment=environment)
    with meter:
        meter.rest(seconds)
        if burn_in_s:
            meter.burn_in(burn_in_s, gpu=gpu_load)
    return meter.record


def baseline_of(record: StageRecord) -> Baseline | None:
    """The baseline in a prerun's record; `None` where there is none."""
    return Baseline.from_dict(record.extra.get("baseline"))


class _Prerun(Meter):
    """Meters a rest and a load, and puts what they show into the record."""

    def __init__(
        self, before: list[checks.Check], *, spool_dir: Path, environment: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__("prerun", spool_dir=spool_dir, environment=environment)
        self._before = before
        self._rest: Span | None = None
        self._load: Span | None = None
        self._burn_in: dict[str, Any] = {}

    def rest(self, seconds: float) -> None:
        """Do nothing, once CodeCarbon has been loaded: that is work, too."""
        deadline = time.monotonic() + CODECARBON_WITHIN_S
        path = self._spool_dir / self._facts["log"] / CPU_LOG_NAME
        while time.monotonic() < deadline and not _has_read(path):
            time.sleep(0.1)
        began = self._edge("rest")
        time.sleep(seconds)
        self._rest = began, self._edge("rested")

    def burn_in(self, seconds: float, *, gpu: bool) -> None:
        """Load a core, and the GPUs if asked, from a process of its own."""
        words = [sys.executable, "-m", "stagemeter.burn_in", str(seconds), *(["--gpu"] if gpu else [])]
        began = self._edge("load")
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                check=True,
                timeout=seconds + BURN_IN_WITHIN_S,
                env=helper_environment(None),
            )
            self._burn_in = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._remark("burn_in_failed", f"the burn-in failed: {error}")
        self._load = began, self._edge("loaded")

    def _edge(self, name: str) -> float:
        """A moment at which everything is read."""
        if self._sampler is not None:
            self._sampler.mark(name)
        return time.monotonic()

    def _complete(self, record: StageRecord) -> StageRecord:
        """Add the baseline, how steady it was, and the checks."""
        if self._rest is None:
            return record
        rest, whole = self._over(self._rest), self._over((self._rest[0], (self._load or self._rest)[1]))
        parts_w = [_power(self._over(part)) for part in _parts(self._rest)]
        burnt = self._over(self._load) if self._load and self._burn_in else None
        after = checks.after(whole, rest, burnt, self._burn_in)
        taken = _baseline(record, rest, parts_w)
        idle_w = _power(rest)
        extra = {
            "baseline": asdict(taken),
            "parts_w": parts_w,
            "burn_in": self._burn_in,
            "checks": [asdict(check) for check in [*self._before, *after, *_steadiness(taken)]],
        }
        flags = [] if taken.is_steady else [flag("baseline_unsteady", _steadiness(taken)[0].message)]
        return replace(record, idle_power_w=idle_w, extra={**record.extra, **extra}, flags=(*record.flags, *flags))

    def _over(self, span: Span) -> Measured:
        folder = self._spool_dir / self._facts["log"]
        return measure(folder, Window(start=span[0], end=span[1], period_s=self._facts["period_s"]))


def _baseline(record: StageRecord, rest: Measured, parts_w: list[float | None]) -> Baseline:
    seconds = rest.window.duration_s
    spread, spread_w = _spread(parts_w)
    watts = {device["uuid"]: energy.value_j for device, energy, _ in rest.devices}
    return Baseline(
        record_id=record.record_id,
        taken_at=datetime.now(UTC).isoformat(),
        boot=baseline.boot_id(),
        hardware=baseline.hardware_id(),
        seconds=seconds,
        gpu_w={uuid: joules / seconds for uuid, joules in watts.items() if joules is not None},
        cpu_w=None if rest.cpu.value_j is None else rest.cpu.value_j / seconds,
        ram_w=None if rest.ram.value_j is None else rest.ram.value_j / seconds,
        cpu_method=rest.cpu.method,
        ram_method=rest.ram.method,
        spread=spread,
        spread_w=spread_w,
        simulated=record.simulated,
    )


def _spread(parts_w: list[float | None]) -> tuple[float | None, float | None]:
    """(largest - smallest) ÷ mean of the parts' power, and the former in watts; unknown while one part is."""
    known = [watts for watts in parts_w if watts is not None]
    if not known or len(known) < len(parts_w):
        return None, None
    spread_w, mean_w = max(known) - min(known), sum(known) / len(known)
    return spread_w / mean_w if mean_w else 0.0, spread_w


def _steadiness(taken: Baseline) -> list[checks.Check]:
    if taken.spread is None or taken.spread_w is None:
        text = "how steady power at rest was is not known: for parts of the rest there is no figure"
        return [checks.Check("rest", None, text)]
    if taken.is_steady:
        text = f"power at rest was steady: it varied by {taken.spread_w:.1f} W ({100 * taken.spread:.1f} %)"
        return [checks.Check("rest", True, text)]
    text = f"power at rest varied by {taken.spread_w:.1f} W ({100 * taken.spread:.0f} %): the host was not at rest"
    return [checks.Check("rest", None, text)]


def _parts(span: Span) -> list[Span]:
    count = max(min(int((span[1] - span[0]) / LEAST_PART_S), MOST_PARTS), 1)
    length = (span[1] - span[0]) / count
    return [(span[0] + i * length, span[0] + (i + 1) * length) for i in range(count)]


def _power(measured: Measured) -> float | None:
    """Watts over all components; `None` while one of them is not known."""
    names = ("gpu", "cpu", "ram") if measured.log.gpu_expected else ("cpu", "ram")
    values = [getattr(measured, name).value_j for name in names]
    known = [value for value in values if value is not None]
    return sum(known) / measured.window.duration_s if len(known) == len(values) else None


def _has_read(path: Path) -> bool:
    """Whether CodeCarbon has taken its first reading, or will take none."""
    try:
        text = path.read_text()
    except OSError:
        return False
    return '"kind":"sample"' in text or '"codecarbon_failed"' in text
