"""A power curve short enough for a page, out of a sampler's log."""

from pathlib import Path

from stagemeter.samplelog import read_power_curve

POINTS = 500


def power_curve(log: Path) -> list[list[float]]:
    """At most `POINTS` pairs of (seconds since the stage began, watts over all components)."""
    points = read_power_curve(log)
    components = {component for _, watts in points for component in watts}
    latest: dict[str, float] = {}
    curve = []
    for seconds, watts in points:
        latest |= watts
        if latest.keys() == components:  # a sum over fewer would be a dip that never was
            curve.append([round(seconds, 2), round(sum(latest.values()), 2)])
    step = -(-len(curve) // POINTS) or 1
    return curve[::step]
