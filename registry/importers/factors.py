"""Dated factors into the registry: grid intensity by country, the world's mean, and what a PUE may be taken to be."""

import csv
from datetime import date
from pathlib import Path

from registry.models import Factor
from registry.services.factors import ensure_factors

FILE = Path(__file__).resolve().parent / "reference" / "grid_factors.csv"
COUNTRIES = (
    "Our World in Data, carbon intensity of electricity; as packaged by CodeCarbon 3.3.2 (global_energy_mix.json)"
)
WORLD = "IEA, Global Energy & CO2 Status Report 2019: mean of 2018; as packaged by CodeCarbon 3.3.2"
NO_OVERHEAD = "The machines alone, without cooling and distribution"
TYPICAL = "Uptime Institute, Global Data Center Survey 2024: mean of the sites that answered"


def load() -> int:
    """Add every factor that is not there yet; returns how many were added."""
    added = 0
    for year, values in sorted(_by_year().items()):
        added += ensure_factors(kind=Factor.Kind.GRID, values=values, source=COUNTRIES, valid_from=date(year, 1, 1))
    added += ensure_factors(kind=Factor.Kind.GRID, values={"World": 0.475}, source=WORLD, valid_from=date(2018, 1, 1))
    for region, value, source in (("none", 1.0, NO_OVERHEAD), ("typical data centre", 1.56, TYPICAL)):
        added += ensure_factors(
            kind=Factor.Kind.PUE, values={region: value}, source=source, valid_from=date(2024, 1, 1)
        )
    return added


def _by_year() -> dict[int, dict[str, float]]:
    """Year → country → kg CO2e per kWh."""
    found: dict[int, dict[str, float]] = {}
    with FILE.open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            found.setdefault(int(row["year"]), {})[row["region"]] = float(row["g_per_kwh"]) / 1000
    return found
