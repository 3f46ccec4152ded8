"""Dated factors: grid intensities and PUE. Changing one recomputes views, never records."""

import math
from datetime import date

from registry.models import Factor, Project
from registry.services.errors import Invalid


def ensure_factors(
    *, kind: str, values: dict[str, float], source: str, valid_from: date, project: Project | None = None
) -> int:
    """Add the factor of each region that has none of this kind from that day on; returns how many were added.

    Grid intensities in kg CO2e per kWh, PUE without a unit. Raises `Invalid` for one that cannot be.
    """
    least = 1.0 if kind == Factor.Kind.PUE else 0.0
    bad = {region: v for region, v in values.items() if not (math.isfinite(v) and v >= least)}
    if kind not in Factor.Kind.values or bad:
        raise Invalid({region: f"{v!r} must be a finite number of {least:g} or more" for region, v in bad.items()})
    there = Factor.objects.filter(project=project, kind=kind, valid_from=valid_from).values_list("region", flat=True)
    wanted = {region: value for region, value in values.items() if region not in set(there)}
    Factor.objects.bulk_create(
        Factor(project=project, kind=kind, region=region, value=value, source=source, valid_from=valid_from)
        for region, value in wanted.items()
    )
    return len(wanted)
