"""The software carbon intensity of a configuration, ISO/IEC 21031: SCI = ((E × I) + M) per R."""

from dataclasses import dataclass

from registry.accounting.assumptions import QUALITY_POINT, STUDENT, TOKENS
from registry.accounting.axes import Axes, Prices
from registry.accounting.carbon import co2e_kg
from registry.accounting.frontier import mean_over
from registry.accounting.measures import charged
from registry.accounting.outlook import Spot


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """kg CO2e per functional unit. Without `embodied_kg` it is operational only, a lower bound; see `whole`.

    `kg` is `None` with what is `missing`: the energy, the hours of the devices, or what the unit is counted in.
    """

    kg: float | None
    operational_kg: float | None
    embodied_kg: float | None
    whole: bool  # whether M is in it
    missing: tuple[str, ...] = ()


def sci(spot: Spot, axes: Axes, unit: str) -> Intensity | None:
    """SCI of a spot: E is its energy × PUE, I the grid factor, M the embodied kg per device-hour × its device-hours.

    R is one trained student, 1,000 tokens trained on, or a hundredth of the quality. `None` without a grid factor.
    """
    prices = axes.prices
    if prices.grid_kg_per_kwh is None:
        return None
    operational = co2e_kg(spot.point.energy_j, pue=prices.pue, grid_kg_per_kwh=prices.grid_kg_per_kwh)
    wanted = prices.embodied_kg_per_hour is not None
    embodied = _embodied(spot, axes, prices) if wanted else None
    units = {
        STUDENT: 1.0,
        TOKENS: None if spot.point.tokens is None else spot.point.tokens / 1000,
        QUALITY_POINT: None if spot.quality is None else spot.quality * 100,
    }[unit]
    missing = [
        *(["energy"] if operational is None else []),
        *(["device-hours"] if wanted and embodied is None else []),
        *([{TOKENS: "trained tokens", QUALITY_POINT: "quality"}.get(unit, unit)] if not units else []),
    ]
    whole = None if missing else ((operational or 0.0) + (embodied or 0.0)) / (units or 1.0)
    return Intensity(kg=whole, operational_kg=operational, embodied_kg=embodied, whole=wanted, missing=tuple(missing))


def _embodied(spot: Spot, axes: Axes, prices: Prices) -> float | None:
    """M of a spot, the mean over its runs; `None` as soon as one run's device-hours are not known."""
    runs = [run.figures for run in spot.runs]
    held = [charged(run.figures, run.device_seconds, "device-hours", axes.scope, axes.n).energy_j for run in spot.runs]
    seconds = mean_over(runs, held)
    return None if seconds is None else seconds / 3600 * (prices.embodied_kg_per_hour or 0.0)
