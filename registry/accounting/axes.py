"""What a frontier is drawn over: a cost to minimise and a quality to maximise, both of the reader's choosing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.accounting.carbon import co2e_kg
from registry.accounting.figures import FULL, charge
from registry.accounting.measures import RunMeasures, Score, charged
from registry.accounting.units import kwh

ENERGY, CO2E, MONEY, TIME, INFERENCE = "energy", "co2e", "cost", "time", "inference"
COSTS = (ENERGY, CO2E, MONEY, TIME, INFERENCE)
UNITS = {ENERGY: "kWh", CO2E: "kg", MONEY: "", TIME: "h", INFERENCE: "J/token"}
TITLES = {
    ENERGY: "Energy",
    CO2E: "CO2e",
    MONEY: "Cost",
    TIME: "Wall time",
    INFERENCE: "Inference energy, from evaluation",
}
SUITE, WEIGHTED = "q", "weighted"  # any other quality is a benchmark's name


class AxisError(ValueError):
    """An axis that lacks the assumption it is computed with."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What turns energy and device-hours into CO2e and money; `None` is not given.

    `embodied_kg_per_hour` is the making of a device, spread over the hours of its life, per device-hour.
    """

    pue: float = 1.0
    grid_kg_per_kwh: float | None = None
    per_kwh: float | None = None
    per_device_hour: float | None = None
    embodied_kg_per_hour: float | None = None


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The two axes, with the scope that costs are charged under. `weights` are by benchmark, of any scale."""

    cost: str = ENERGY
    quality: str = SUITE
    weights: Mapping[str, float] = field(default_factory=dict)
    scope: str = FULL
    n: int | str = 1
    prices: Prices = Prices()

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise AxisError(f"{self.cost!r} is no cost; there are {', '.join(COSTS)}")
        if self.cost == CO2E and self.prices.grid_kg_per_kwh is None:
            raise AxisError("CO2e needs a grid: choose a region, or give kg CO2e per kWh")
        if self.cost == MONEY and self.prices.per_kwh is None and self.prices.per_device_hour is None:
            raise AxisError("a cost needs a price: per kWh, per device-hour, or both")
        if self.quality == WEIGHTED and not any(shares(self.weights).values()):
            raise AxisError("every weight is zero; give at least one benchmark a weight above it")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A run on one axis; `None` with what is missing."""

    value: float | None
    missing: tuple[str, ...] = ()


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights that add up to one. Raises `AxisError` for one that is negative or not finite."""
    for benchmark, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise AxisError(f"the weight of {benchmark} is {weight!r}; it must be 0 or more")
    whole = math.fsum(weights.values())
    return {benchmark: weight / whole if whole else 0.0 for benchmark, weight in weights.items()}


def cost_of(run: RunMeasures, axes: Axes) -> Value:
    """What a run is charged on the cost axis: kWh, kg CO2e, money, hours, or J/token (which no scope changes)."""
    figures, prices = run.figures, axes.prices
    if axes.cost == INFERENCE:
        rate = run.inference_j_per_token
        return Value(value=rate, missing=() if rate is not None else ("evaluated tokens with their energy",))
    if axes.cost == TIME:
        took = charged(figures, run.seconds, "wall time", axes.scope, axes.n)
        return Value(value=_hours(took.energy_j), missing=took.missing)
    energy = charge(figures, axes.scope, axes.n)
    if axes.cost == ENERGY:
        return Value(value=None if energy.energy_j is None else kwh(energy.energy_j), missing=energy.missing)
    held = charged(figures, run.device_seconds, "device-hours", axes.scope, axes.n)
    hours = _hours(held.energy_j)
    if axes.cost == MONEY:
        return _sum(
            (energy.energy_j, energy.missing, money_of_energy(energy.energy_j, prices), prices.per_kwh is not None),
            (hours, held.missing, _times(hours, prices.per_device_hour), prices.per_device_hour is not None),
        )
    emitted = co2e_kg(energy.energy_j, pue=prices.pue, grid_kg_per_kwh=prices.grid_kg_per_kwh or 0.0)
    embodied = prices.embodied_kg_per_hour
    return _sum(
        (energy.energy_j, energy.missing, emitted, True),
        (hours, held.missing, _times(hours, embodied), embodied is not None),
    )


def money_of_energy(energy_j: float | None, prices: Prices) -> float | None:
    """kWh × PUE × price: the site pays for its overhead as well. `None` without the energy or the price."""
    return None if energy_j is None or prices.per_kwh is None else kwh(energy_j) * prices.pue * prices.per_kwh


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600


def _times(amount: float | None, price: float | None) -> float | None:
    return None if amount is None or price is None else amount * price


def _sum(*parts: tuple[float | None, tuple[str, ...], float | None, bool]) -> Value:
    """The sum of the parts that were asked for: (amount, what is missing of it, its price, whether asked for)."""
    asked = [part for part in parts if part[3]]
    missing = tuple(dict.fromkeys(hole for _, holes, value, _ in asked if value is None for hole in holes))
    known = [value for _, _, value, _ in asked if value is not None]
    return Value(value=math.fsum(known) if len(known) == len(asked) else None, missing=missing)


def quality_of(run: RunMeasures, axes: Axes) -> Value:
    """Q of the study's suite, one benchmark's score, or the weighted mean of what was kept of the teacher's scores.

    Weights are renormalised to one; a benchmark of weight zero may be missing. With equal weights over the suite the
    weighted mean is Q.
    """
    if axes.quality == SUITE:
        return Value(value=run.figures.q, missing=() if run.figures.q is not None else ("Q",))
    if axes.quality != WEIGHTED:
        score = run.scores.get(axes.quality)
        return Value(value=None if score is None else score.value, missing=() if score else (axes.quality,))
    counted = {name: share for name, share in shares(axes.weights).items() if share > 0}
    kept = {name: retention(run, name) for name in counted}
    missing = tuple(name for name, value in kept.items() if value is None)
    parts = [share * value for name, share in counted.items() if (value := kept[name]) is not None]
    return Value(value=None if missing else math.fsum(parts), missing=missing)


def retention(run: RunMeasures, benchmark: str) -> float | None:
    """s_student / s_teacher of one benchmark; `None` without either, and where the teacher's is not above zero."""
    ours, theirs = run.scores.get(benchmark), run.teacher_scores.get(benchmark)
    return ours.value / theirs.value if ours and theirs and theirs.value > 0 else None


def weights_of(axes: Axes, suite: tuple[str, ...]) -> dict[str, float]:
    """By benchmark, how much of the quality axis is its retention; empty where the axis is one raw score."""
    if axes.quality == WEIGHTED:
        return {name: share for name, share in shares(axes.weights).items() if share > 0}
    return {name: 1 / len(suite) for name in suite} if axes.quality == SUITE and suite else {}


def point_of_scale(scores: Mapping[str, Score], benchmark: str) -> float:
    """What "one point" is on a benchmark: 1 of a scale of 100, 0.1 of ten, 0.01 of one, by the teacher's score."""
    score = scores.get(benchmark)
    if score is None or score.value > 10:
        return 1.0
    return 0.1 if score.value > 1 else 0.01
