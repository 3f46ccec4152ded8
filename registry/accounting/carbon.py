"""CO2e of operation, under assumptions the reader can change."""

import math

from registry.accounting.units import kwh


class FactorError(ValueError):
    """A PUE or grid factor that cannot be."""


def co2e_kg(energy_j: float | None, *, pue: float, grid_kg_per_kwh: float) -> float | None:
    """CO2e = E_kWh × PUE × g_region, in kg (equation 6 of the paper). `None` where the energy is not known.

    Raises `FactorError` for a PUE below 1 (a data centre cannot draw less than its machines) or a negative factor.
    """
    if not (math.isfinite(pue) and pue >= 1):
        raise FactorError(f"a PUE of {pue!r} cannot be; it is 1 or more")
    if not (math.isfinite(grid_kg_per_kwh) and grid_kg_per_kwh >= 0):
        raise FactorError(f"a grid factor of {grid_kg_per_kwh!r} kg/kWh cannot be; it is 0 or more")
    return None if energy_j is None else kwh(energy_j) * pue * grid_kg_per_kwh
