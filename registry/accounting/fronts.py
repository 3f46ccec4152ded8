"""The volume of a front. Who stands on it, and who beats whom, is `skyline`'s."""

import numpy as np

from registry.accounting.skyline import Floats, standing

Column = Floats


def hypervolume(cost: Column, quality: Column, reference: tuple[float, float]) -> float:
    """The area between the front and the reference (cost, quality): what the points dominate of it.

    Points that are dearer or worse than the reference add nothing. In units of cost × quality.
    """
    worst_cost, worst_quality = reference
    inside = (cost < worst_cost) & (quality > worst_quality)
    cost, quality = cost[inside], quality[inside]
    front = standing(cost, quality)
    order = np.argsort(cost[front], kind="stable")
    steps, heights = cost[front][order], quality[front][order]
    widths = np.diff(np.append(steps, worst_cost))
    return float(np.sum(widths * (heights - worst_quality)))
