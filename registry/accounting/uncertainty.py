"""How sure a verdict is: draws of what was measured, and in how many of them a point is on the front.

What is drawn, for each configuration on its own:

- *replicates*: runs are resampled with replacement within each workload, energy and quality of a run together. The
  deviations are widened by √(n/(n−1)), because a resample of two or three runs scatters less than the mean does. A
  workload with one run scatters nothing.
- *benchmark errors*: each benchmark's standard error, as recorded, or as the reader assumes where none is. Replicates
  are scored on the same rows, so they share one error. The teacher's error is shared by all configurations.
- *record bounds*: where records bound the energy, a uniform place between the bounds; the same for all of the
  configuration's runs.

Configurations are drawn independently: two students scored on the same rows, or charged one teacher artifact, err
alike, so their difference is a little surer than stated here.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from registry.accounting.axes import (
    ENERGY,
    SUITE,
    WEIGHTED,
    Axes,
    cost_of,
    point_of_scale,
    quality_of,
    retention,
    weights_of,
)
from registry.accounting.figures import charge
from registry.accounting.fronts import Column
from registry.accounting.measures import RunMeasures, Score, charged
from registry.accounting.outlook import Outlook, Spot
from registry.accounting.skyline import standing
from registry.accounting.units import kwh

ON, OFF, UNDECIDED = "on", "off", "not_decided"
SURE = 0.95
DRAWS, FEWEST_DRAWS, WORK = 2000, 400, 4_000_000  # draws × points stay below WORK, or memory would not
QUICK = 200  # spots up to which a page draws by itself: a quarter of a second
FEW = 100  # points up to which comparing every pair is quicker than sorting every draw


@dataclass(frozen=True, kw_only=True)
class Interval:
    """95 of 100 draws lie between the two."""

    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The energy charged, at least and at most, in kWh; `share` of it is what records state bounds for."""

    lower_kwh: float
    upper_kwh: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Sureness:
    """How sure a spot's place is. `probability` is of being on the front; the intervals are `None` without noise."""

    probability: float
    verdict: str  # on | off | not_decided
    cost: Interval | None
    quality: Interval | None


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What was drawn. `sources` says what noise there is at all; with none, no verdict is any surer than stated.

    `assumed` lists benchmarks whose error is the reader's assumption, `unstated` those without any error. With
    `pending` there are too many spots for a page to wait: until they are drawn, nothing is said of any.
    """

    draws: int
    sources: tuple[str, ...]
    assumed: tuple[str, ...] = ()
    unstated: tuple[str, ...] = ()
    pending: bool = False
    of: Mapping[str, Sureness] = field(default_factory=dict)

    @property
    def undecided(self) -> tuple[str, ...]:
        """Keys of the points whose place flips within the noise."""
        return tuple(key for key, sure in self.of.items() if sure.verdict == UNDECIDED)


@dataclass(frozen=True)
class _Drawn:
    """One spot's draws, (draws,) each."""

    cost: Column
    quality: Column


def bounds_of(spot: Spot, axes: Axes) -> Bounds | None:
    """The energy interval of a spot from its records' bounds; `None` where no record states any."""
    sums = [_bounds(run, axes) for run in spot.runs]
    known = [bounds for bounds in sums if bounds is not None]
    if not known or len(known) < len(sums):
        return None
    lower, upper, bounded, energy = (math.fsum(column) / len(known) for column in zip(*known, strict=True))
    if bounded <= 0 or energy <= 0:
        return None
    return Bounds(lower_kwh=kwh(lower), upper_kwh=kwh(upper), share=min(bounded / energy, 1.0))


def _bounds(run: RunMeasures, axes: Axes) -> tuple[float, float, float, float] | None:
    """Lower, upper, bounded and whole energy charged, in joules."""
    whole = charge(run.figures, axes.scope, axes.n).energy_j
    columns = [
        charged(run.figures, taken, "bounds", axes.scope, axes.n).energy_j
        for taken in (run.lower_j, run.upper_j, run.bounded_j)
    ]
    lower, upper, bounded = columns
    if lower is None or upper is None or bounded is None or whole is None:
        return None
    return lower, upper, bounded, whole


def noise(
    seen: Outlook, *, suite: Sequence[str] = (), assumed_points: float | None = None, most: int | None = None
) -> Noise:
    """The probability that each complete spot is on the front, and the verdict that follows.

    `assumed_points` is the standard error of a benchmark that states none, in points of a scale of a hundred. On or off
    the front is decided at 95 of 100 draws; in between it is not decided. Draws are the same for the same figures,
    whatever else stands beside them. Without any noise a place is what it is: probability 1 or 0. Of more than `most`
    spots none is drawn, and the answer is pending.
    """
    axes, spots = seen.axes, list(seen.standing)
    weights = weights_of(axes, tuple(suite)) or ({axes.quality: 1.0} if axes.quality not in (SUITE, WEIGHTED) else {})
    told = _errors_told(spots, weights, assumed_points)
    sources = _sources(spots, axes, told)
    told_of = Noise(
        draws=0,
        sources=sources,
        assumed=told.assumed,
        unstated=told.unstated,
        of={spot.point.key: _certain(spot) for spot in spots},
    )
    if not sources or not spots:
        return told_of
    if most is not None and len(spots) > most:
        return replace(told_of, pending=True, of={})
    draws = max(FEWEST_DRAWS, min(DRAWS, WORK // len(spots)))
    errors = _Errors(axes=axes, weights=weights, assumed=assumed_points, shared={}, draws=draws)
    errors = _with_the_teachers(errors, spots[0].runs[0].teacher_scores)
    drawn = [_draw(spot, errors) for spot in spots]
    of = {spot.point.key: _sureness(odd, one) for spot, odd, one in zip(spots, _odds(drawn), drawn, strict=True)}
    return replace(told_of, draws=draws, of=of)


@dataclass(frozen=True)
class _Told:
    stated: tuple[str, ...]
    assumed: tuple[str, ...]
    unstated: tuple[str, ...]


def _errors_told(spots: Sequence[Spot], weights: Mapping[str, float], assumed: float | None) -> _Told:
    """Benchmarks by what is known of their error."""
    lacking = {
        name
        for name in weights
        if any((score := run.scores.get(name)) is None or score.stderr is None for s in spots for run in s.runs)
    }
    stated = tuple(name for name in weights if name not in lacking)
    left = tuple(name for name in weights if name in lacking)
    return _Told(stated, left, ()) if assumed else _Told(stated, (), left)


def _sources(spots: Sequence[Spot], axes: Axes, told: _Told) -> tuple[str, ...]:
    found = []
    if any(_repeated(spot) for spot in spots):
        found.append("replicates")
    if told.stated:
        found.append("benchmark standard errors")
    if told.assumed:
        found.append("an assumed benchmark error")
    if axes.cost == ENERGY and any(bounds_of(spot, axes) for spot in spots):
        found.append("bounds of records")
    return tuple(found)


def _repeated(spot: Spot) -> bool:
    workloads = [run.figures.workload for run in spot.runs]
    return len(set(workloads)) < len(workloads)


def _certain(spot: Spot) -> Sureness:
    probability, verdict = (1.0, ON) if spot.on_front else (0.0, OFF)
    return Sureness(probability=probability, verdict=verdict, cost=None, quality=None)


@dataclass(frozen=True)
class _Errors:
    """What errors are drawn with. `shared` is the teacher's relative error by benchmark and draw."""

    axes: Axes
    weights: Mapping[str, float]
    assumed: float | None
    shared: Mapping[str, Column]
    draws: int

    def of(self, score: Score | None, teacher: Mapping[str, Score], name: str) -> float:
        """A benchmark's standard error on its own scale; zero where nobody states one."""
        if score is not None and score.stderr is not None:
            return score.stderr
        return (self.assumed or 0.0) * point_of_scale(teacher, name)


def _with_the_teachers(errors: _Errors, teacher: Mapping[str, Score]) -> _Errors:
    """One teacher stands under every configuration, so its error in a draw is the same for all."""
    shared: dict[str, Column] = {}
    for name in errors.weights:
        score = teacher.get(name)
        if score is not None and score.value > 0:
            relative = errors.of(score, teacher, name) / score.value
            shared[name] = relative * generator(f"teacher {name}").standard_normal(errors.draws)
    return replace(errors, shared=shared)


def _draw(spot: Spot, errors: _Errors) -> _Drawn:
    stream, axes = generator(spot.point.key), errors.axes
    costs = np.array([cost_of(run, axes).value for run in spot.runs], np.float64)
    qualities = np.array([quality_of(run, axes).value for run in spot.runs], np.float64)
    workloads = [run.figures.workload for run in spot.runs]
    cost, quality = resampled(np.stack([costs, qualities]), workloads, stream, errors.draws)
    if axes.cost == ENERGY and (bounds := bounds_of(spot, axes)) is not None:
        drawn_kwh = stream.uniform(bounds.lower_kwh, bounds.upper_kwh, errors.draws)
        cost = cost + drawn_kwh - (spot.cost or 0.0)
    for name in errors.weights:
        quality = quality + _benchmark_noise(spot, name, errors, stream)
    return _Drawn(cost, quality)


def _benchmark_noise(spot: Spot, name: str, errors: _Errors, stream: np.random.Generator) -> Column:
    """One benchmark's part in the quality's error, (draws,)."""
    found = [errors.of(run.scores.get(name), run.teacher_scores, name) for run in spot.runs]
    own: Column = math.fsum(found) / len(found) * stream.standard_normal(errors.draws)
    if errors.axes.quality not in (SUITE, WEIGHTED):
        return own  # a raw score, without a teacher under it
    teacher = [score.value for run in spot.runs if (score := run.teacher_scores.get(name))]
    kept = [share for run in spot.runs if (share := retention(run, name)) is not None]
    if not teacher or not kept:
        return np.zeros(errors.draws)
    below = math.fsum(teacher) / len(teacher)
    shared = errors.shared.get(name, np.zeros(errors.draws))
    moved: Column = errors.weights[name] * (own / below - math.fsum(kept) / len(kept) * shared)
    return moved


def resampled(values: Column, workloads: Sequence[str], stream: np.random.Generator, draws: int) -> Column:
    """Means over replicates, then workloads, of resampled runs: (k, runs) → (k, draws), a run's values together."""
    groups: dict[str, list[int]] = {}
    for place, workload in enumerate(workloads):
        groups.setdefault(workload, []).append(place)
    found = np.zeros((len(values), draws))
    for places in groups.values():
        size = len(places)
        chosen = np.array(places)[stream.integers(0, size, (draws, size))]
        widen = math.sqrt(size / (size - 1)) if size > 1 else 1.0
        mean = values[:, places].mean(axis=1, keepdims=True)
        found += (mean + widen * (values[:, chosen].mean(axis=2) - mean)) / len(groups)
    return found


def _odds(drawn: Sequence[_Drawn]) -> Column:
    """In which share of the draws each spot is on the front.

    Spots that even at their luckiest are beaten by another one at its unluckiest never are, and are left out of the
    draws, so that a study of many points costs little more than its front.
    """
    luckiest = np.array([(one.cost.min(), one.quality.max()) for one in drawn])
    unluckiest = np.array([(one.cost.max(), one.quality.min()) for one in drawn])
    able = [int(place) for place in np.flatnonzero(_not_hopeless(luckiest, unluckiest))]
    cost = np.stack([drawn[place].cost for place in able])
    quality = np.stack([drawn[place].quality for place in able])
    share = np.zeros(len(drawn))
    share[able] = _standing_share(cost, quality)
    return share


def _standing_share(cost: Column, quality: Column) -> Column:
    """Of (points, draws), in which share of the draws each point is on the front."""
    points, draws = cost.shape
    if points <= FEW:  # every pair, over all draws at once
        beaten = [_beaten(cost, quality, place) for place in range(points)]
        return 1.0 - np.array([float(np.mean(one)) for one in beaten])
    found: Column = sum(standing(cost[:, draw], quality[:, draw]) for draw in range(draws)) / draws
    return found


def _beaten(cost: Column, quality: Column, place: int) -> NDArray[np.bool_]:
    """In which draws some other point beats this one."""
    no_worse = (cost <= cost[place]) & (quality >= quality[place])
    better = (cost < cost[place]) | (quality > quality[place])
    found: NDArray[np.bool_] = np.any(no_worse & better, axis=0)
    return found


def _not_hopeless(luckiest: Column, unluckiest: Column) -> NDArray[np.bool_]:
    """Where the lucky point is above the best of all unlucky ones that are cheaper, or ties with it."""
    order = np.argsort(unluckiest[:, 0], kind="stable")
    best = np.concatenate([[-np.inf], np.maximum.accumulate(unluckiest[order, 1])])
    # Strictly cheaper, so that a spot without any noise is not beaten by itself.
    cheaper = np.searchsorted(unluckiest[order, 0], luckiest[:, 0], side="left")
    found: NDArray[np.bool_] = luckiest[:, 1] >= best[cheaper]
    return found


def _sureness(probability: float, drawn: _Drawn) -> Sureness:
    verdict = ON if probability >= SURE else OFF if probability <= 1 - SURE else UNDECIDED
    return Sureness(
        probability=float(probability),
        verdict=verdict,
        cost=interval(drawn.cost),
        quality=interval(drawn.quality),
    )


def interval(drawn: Column) -> Interval | None:
    """Where 95 of 100 draws lie; `None` where they are all the same."""
    if float(np.ptp(drawn)) == 0.0:
        return None
    lower, upper = np.quantile(drawn, [0.025, 0.975])
    return Interval(lower=float(lower), upper=float(upper))


def generator(name: str) -> np.random.Generator:
    """Its own stream for each name, the same every time."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
