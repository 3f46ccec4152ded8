"""What a reader may assume when looking at a study: one set of names and limits, for the page and for REST."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from registry.accounting.axes import COSTS, ENERGY, SUITE, WEIGHTED, Axes, AxisError, Prices
from registry.accounting.comparability import DATASET, SOFTWARE, TEACHER
from registry.accounting.figures import FULL, REUSED, SCOPES

LARGEST_N = 10**9
# What runs are kept by, beside hardware: a fingerprint in words, and the word for runs that state none.
LIKENESS = (SOFTWARE, DATASET, TEACHER)
NOT_STATED = "not stated"
WEIGHT = "w."  # and the benchmark's name
# Every number by name: what it is in words, and its least and greatest value.
NUMBERS: dict[str, tuple[str, float, float]] = {
    "pue": ("PUE", 1, 10),
    "intensity": ("kg CO2e per kWh", 0, 10),
    "price_kwh": ("price per kWh", 0, 10**6),
    "price_hour": ("price per device-hour", 0, 10**6),
    "embodied": ("embodied kg CO2e per device-hour", 0, 10**3),
    "error": ("benchmark error, points", 0, 100),
    "tolerance": ("tolerance for Q", 0, 10),
    "share": ("attainable share of a device's peak", 0.01, 1),
    "tokens_per_day": ("tokens served a day", 0, 10**18),
    "j_student": ("J/token of the smaller student", 0, 10**9),
    "j_reference": ("J/token of the model it replaces", 0, 10**9),
    "ref_cost": ("reference cost", 0, 10**15),
    "ref_quality": ("reference quality", -(10**6), 10**6),
}
STUDENT, TOKENS, QUALITY_POINT = "student", "1000_tokens", "q_point"
FUNCTIONAL_UNITS = (STUDENT, TOKENS, QUALITY_POINT)


class AssumptionError(ValueError):
    """Assumptions that cannot be; `problems` says by name what is wrong and what would do."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Everything a view of a study depends on beside the study itself. `None` is not given."""

    axes: Axes
    hardware: str | None = None
    simulated: bool | None = None
    error_points: float | None = None
    tolerance: float | None = None
    share: float | None = None  # of a device's peak, in the floor; else `floor.attainable`
    tokens_per_day: float | None = None
    j_student: float | None = None  # in the place of what was measured, in T*
    j_reference: float | None = None
    alike: Mapping[str, str] = field(default_factory=dict)  # of `LIKENESS`: only runs of that fingerprint
    reference: tuple[float | None, float | None] = (None, None)
    functional_unit: str = STUDENT


def parse(query: Mapping[str, str], *, suite: Sequence[str] = (), grid_kg_per_kwh: float | None = None) -> Assumptions:
    """Assumptions from text by name. `grid_kg_per_kwh` is of a region that was looked up; it goes before `intensity`.

    A benchmark without a weight weighs 1 where any is given. Raises `AssumptionError`.
    """
    problems: dict[str, str] = {}
    numbers = {name: _number(query, name, problems) for name in NUMBERS}
    weights = _weights(query, suite, problems)
    scope = _choice(query, "scope", SCOPES, FULL, problems)
    cost = _choice(query, "cost", COSTS, ENERGY, problems)
    unit = _choice(query, "unit", FUNCTIONAL_UNITS, STUDENT, problems)
    n = REUSED if query.get("reused") else _n(query.get("n") or "1", problems)
    simulated = _choice(query, "simulated", ("true", "false"), "", problems)
    if problems:
        raise AssumptionError(problems)
    prices = Prices(
        pue=numbers["pue"] or 1.0,
        grid_kg_per_kwh=numbers["intensity"] if grid_kg_per_kwh is None else grid_kg_per_kwh,
        per_kwh=numbers["price_kwh"],
        per_device_hour=numbers["price_hour"],
        embodied_kg_per_hour=numbers["embodied"],
    )
    try:
        quality = query.get("quality") or SUITE
        axes = Axes(cost=cost, quality=quality, weights=weights, scope=scope, n=n, prices=prices)
    except AxisError as error:
        raise AssumptionError({"quality" if "weight" in str(error) else "cost": str(error)}) from error
    return Assumptions(
        axes=axes,
        hardware=query.get("hardware") or None,
        simulated=None if not simulated else simulated == "true",
        error_points=numbers["error"] or None,
        tolerance=numbers["tolerance"],
        share=numbers["share"],
        tokens_per_day=numbers["tokens_per_day"],
        j_student=numbers["j_student"],
        j_reference=numbers["j_reference"],
        alike={what: query[what] for what in LIKENESS if query.get(what)},
        reference=(numbers["ref_cost"], numbers["ref_quality"]),
        functional_unit=unit,
    )


def known_names(suite: Sequence[str]) -> set[str]:
    """Every name that `parse` reads."""
    weights = {f"{WEIGHT}{benchmark}" for benchmark in suite}
    return {*NUMBERS, *weights, "scope", "cost", "unit", "n", "reused", "simulated", "quality", "hardware", *LIKENESS}


def _number(query: Mapping[str, str], name: str, problems: dict[str, str]) -> float | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    words, least, greatest = NUMBERS[name]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= greatest:  # also where it is no number
        problems[name] = f"{text[:40]!r} is no {words}; give a number from {least:g} to {greatest:g}"
        return None
    return value


def _choice(query: Mapping[str, str], name: str, known: Sequence[str], default: str, problems: dict[str, str]) -> str:
    value = query.get(name) or default
    if value and value not in known:
        problems[name] = f"{value[:40]!r} is not known here; there are {', '.join(known)}"
    return value


def _n(text: str, problems: dict[str, str]) -> int | str:
    if text == REUSED:
        return REUSED
    counted = text.isascii() and text.isdecimal() and len(text) < 11 and 1 <= int(text) <= LARGEST_N
    if not counted:
        problems["n"] = f"N is {text[:40]!r}; give a whole number of students from 1 to {LARGEST_N}, or {REUSED!r}"
        return 1
    return int(text)


def _weights(query: Mapping[str, str], suite: Sequence[str], problems: dict[str, str]) -> dict[str, float]:
    """By benchmark; all 1 where none is given, which is Q. Weights count only where `quality` asks for them."""
    if query.get("quality") != WEIGHTED:
        return {}
    found: dict[str, float] = {}
    for benchmark in suite:
        text = query.get(f"{WEIGHT}{benchmark}", "").strip() or "1"
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1000:
            problems[f"{WEIGHT}{benchmark}"] = f"{text[:40]!r} is no weight; give a number from 0 to 1000"
        else:
            found[benchmark] = value
    return found
