"""When a distilled student pays: N* with its interval, and T* where a small student stands in for a larger one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from registry.accounting.breakeven import (
    BREAKS_EVEN,
    UNTIL,
    InferenceBreakEven,
    inference_break_even,
)
from registry.accounting.figures import FULL, TEACHER, charge
from registry.accounting.frontier import mean_over
from registry.accounting.fronts import Column
from registry.accounting.measures import RunMeasures, charged
from registry.accounting.outlook import Spot
from registry.accounting.stages import SFT
from registry.accounting.uncertainty import generator, resampled

DRAWS = 2000
STUDENT = "student"


@dataclass(frozen=True, kw_only=True)
class CountInterval:
    """Where N* lies in 95 of 100 draws, rounded up. `None` above is never; `never` is that share of the draws."""

    lower: int | None
    upper: int | None
    never: float


def count_interval(distilled: Sequence[RunMeasures], baseline: Sequence[RunMeasures]) -> CountInterval | None:
    """The interval of N* = E_teacher / (E_student,baseline − E_student,distilled), from replicates and record bounds.

    Runs are resampled as in `uncertainty`. `None` where neither side has replicates nor any bound is stated, so that
    nothing could vary, and where an energy is not known.
    """
    saved = _drawn(baseline, "baseline")
    spent = _drawn(distilled, "distilled")
    teacher = _teacher(distilled)
    if saved is None or spent is None or teacher is None:
        return None
    saving = saved - spent
    if float(np.ptp(saving)) == 0.0 and float(np.ptp(teacher)) == 0.0:
        return None
    with np.errstate(divide="ignore"):
        counts = np.where(saving > 0, teacher / np.where(saving > 0, saving, 1.0), np.inf)
    lower, upper = np.quantile(counts, [0.025, 0.975], method="nearest")
    return CountInterval(
        lower=math.ceil(lower) if math.isfinite(lower) else None,
        upper=math.ceil(upper) if math.isfinite(upper) else None,
        never=float(np.mean(np.isinf(counts))),
    )


def _drawn(runs: Sequence[RunMeasures], name: str) -> Column | None:
    """Student training in joules, (draws,), with a uniform place between the bounds of its records."""
    energies = [run.figures.own_energy_j.get(STUDENT) for run in runs]
    if not runs or None in energies:
        return None
    stream = generator(f"{name} {runs[0].figures.configuration}")
    workloads = [run.figures.workload for run in runs]
    found: Column = resampled(np.array([energies], np.float64), workloads, stream, DRAWS)[0]
    lower = [run.lower_j.own.get(STUDENT) for run in runs]
    upper = [run.upper_j.own.get(STUDENT) for run in runs]
    width = [(low, high) for low, high in zip(lower, upper, strict=True) if low is not None and high is not None]
    if len(width) == len(runs):
        mean = math.fsum(e for e in energies if e is not None) / len(runs)
        least, most = (math.fsum(side) / len(runs) for side in zip(*width, strict=True))
        found = found + stream.uniform(least, most, DRAWS) - mean
    return found


def _teacher(runs: Sequence[RunMeasures]) -> Column | None:
    """The teacher's energy in joules, (draws,); it varies only within its records' bounds."""
    middle = mean_over([r.figures for r in runs], [charge(r.figures, FULL).by_role.get(TEACHER) for r in runs])
    if middle is None:
        return None
    sides = []
    for name in ("lower_j", "upper_j"):
        parts = [charged(r.figures, getattr(r, name), "bounds", FULL).by_role.get(TEACHER) for r in runs]
        sides.append(mean_over([r.figures for r in runs], parts))
    least, most = (middle if side is None else side for side in sides)
    drawn: Column = generator(f"teacher of {runs[0].figures.configuration}").uniform(least, most, DRAWS)
    return drawn


@dataclass(frozen=True, kw_only=True)
class Substitution:
    """A student in the place of a larger baseline: T* against that baseline, and against its own size's baseline.

    The paper's "extra training" may be read either way: what the small student took beyond the model it replaces, or
    beyond training the same size without a teacher. `same_size` is `None` where no such baseline stands.
    """

    small: Spot
    large: Spot
    small_j_per_token: float
    large_j_per_token: float
    stated: bool  # a rate is an estimate of its source, not counted here
    against_large: InferenceBreakEven
    same_size: InferenceBreakEven | None

    def days(self, tokens_per_day: float | None) -> float | None:
        """The tokens of T* at that traffic, in days; `None` without traffic or where no number of tokens is stated."""
        found = self.same_size if self.same_size is not None and self.same_size.tokens else self.against_large
        if not tokens_per_day or found.tokens is None or found.verdict not in (BREAKS_EVEN, UNTIL):
            return None
        return float(found.tokens) / tokens_per_day


def substitutions(
    spots: Sequence[Spot], *, tolerance: float, j_student: float | None = None, j_reference: float | None = None
) -> tuple[Substitution, ...]:
    """Every student against every baseline of another size that costs more per token, on the same hardware.

    Energies are those of the spots' scope. `j_student` and `j_reference` stand in the place of the rates per token that
    were measured of the smaller and the larger; spots without a rate are left out.
    """
    known = [spot for spot in spots if spot.point.energy_j is not None]
    small_rates, large_rates = _rates(known, j_student), _rates(known, j_reference)
    baselines = [spot for spot in known if spot.point.pipeline == SFT]
    return tuple(
        _substitution(small, large, own, (small_rates[small.point.key], large_rates[large.point.key]), tolerance)
        for small in known
        for large in baselines
        if small.point.student != large.point.student
        and _alike(small, large)
        and small.point.key in small_rates
        and large.point.key in large_rates
        and large_rates[large.point.key] > small_rates[small.point.key]
        for own in [next((b for b in baselines if b.point.student == small.point.student and _alike(b, small)), None)]
    )


def _rates(spots: Sequence[Spot], given: float | None) -> dict[str, float]:
    """J/token by point: the reader's own for all, or what was measured of each."""
    rates = {spot.point.key: j_per_token(spot) if given is None else given for spot in spots}
    return {key: rate for key, rate in rates.items() if rate is not None}


def _alike(one: Spot, other: Spot) -> bool:
    ours, theirs = ((s.point.hardware, s.point.simulated, set(s.point.workloads)) for s in (one, other))
    return ours == theirs


def j_per_token(spot: Spot) -> float | None:
    """Mean joules per evaluated token of a spot's runs; `None` as soon as one has none."""
    return mean_over([run.figures for run in spot.runs], [run.inference_j_per_token for run in spot.runs])


def _substitution(
    small: Spot, large: Spot, own: Spot | None, rates: tuple[float, float], tolerance: float
) -> Substitution:
    def against(baseline: Spot) -> InferenceBreakEven:
        extra = None
        if small.point.energy_j is not None and baseline.point.energy_j is not None:
            extra = small.point.energy_j - baseline.point.energy_j
        return inference_break_even(
            extra_training_j=extra,
            reference_j_per_token=rates[1],
            student_j_per_token=rates[0],
            reference_q=large.quality,
            student_q=small.quality,
            tolerance=tolerance,
        )

    return Substitution(
        small=small,
        large=large,
        small_j_per_token=rates[0],
        large_j_per_token=rates[1],
        stated=any(run.inference_stated for spot in (small, large) for run in spot.runs),
        against_large=against(large),
        same_size=None if own is None or own.point.key == small.point.key else against(own),
    )
