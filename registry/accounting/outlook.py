"""A study over any two axes: where each configuration stands, who beats it and by how much, and the front's volume."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from registry.accounting.axes import Axes, Value, cost_of, quality_of
from registry.accounting.frontier import Point, mean_over, points, spread
from registry.accounting.fronts import Column, hypervolume
from registry.accounting.measures import RunMeasures
from registry.accounting.skyline import dominators, standing


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One configuration on the chosen axes. `point` is the same in energy, with the chosen quality as its `q`.

    `cost` is in the axis's unit. A spot that is not `complete` is shown and never stands on the front; `missing` says
    why.
    """

    point: Point
    runs: tuple[RunMeasures, ...]
    cost: float | None
    cost_sd: float | None
    missing: tuple[str, ...]
    on_front: bool = False
    beaten_by: Point | None = None
    cost_excess: float | None = None
    quality_shortfall: float | None = None

    @property
    def quality(self) -> float | None:
        """The chosen quality."""
        return self.point.q

    @property
    def complete(self) -> bool:
        """Whether it can stand on the front."""
        return self.point.complete and self.cost is not None and self.quality is not None


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Spots in the order of their first runs. `hypervolume` is against `reference` (cost, quality); `None` without one.

    `reference_given` says whether the reader chose the reference, or it is the worst of both axes among the spots.
    """

    axes: Axes
    spots: tuple[Spot, ...]
    hypervolume: float | None
    reference: tuple[float, float] | None
    reference_given: bool

    @property
    def standing(self) -> tuple[Spot, ...]:
        """Complete spots, cheapest first."""
        return tuple(sorted((s for s in self.spots if s.complete), key=lambda s: (s.cost or 0.0, -(s.quality or 0.0))))

    @property
    def partial(self) -> tuple[Spot, ...]:
        """Spots that lack something."""
        return tuple(spot for spot in self.spots if not spot.complete)


def outlook(
    runs: Iterable[RunMeasures],
    axes: Axes,
    *,
    average_workloads: bool = True,
    workloads: Sequence[str] = (),
    reference: tuple[float | None, float | None] = (None, None),
) -> Outlook:
    """Where the configurations of `runs`, which must be all measured or all simulated, stand on `axes`.

    `workloads` as in `frontier.points`. Either half of `reference` may be left to the spots' own worst.
    """
    spots = place(spots_of(runs, axes, average_workloads=average_workloads, workloads=workloads))
    cost, quality = columns([spot for spot in spots if spot.complete])
    if not len(cost):
        return Outlook(axes=axes, spots=spots, hypervolume=None, reference=None, reference_given=False)
    worst = (
        float(cost.max()) if reference[0] is None else reference[0],
        float(quality.min()) if reference[1] is None else reference[1],
    )
    return Outlook(
        axes=axes,
        spots=spots,
        hypervolume=hypervolume(cost, quality, worst),
        reference=worst,
        reference_given=reference != (None, None),
    )


def spots_of(
    runs: Iterable[RunMeasures], axes: Axes, *, average_workloads: bool = True, workloads: Sequence[str] = ()
) -> tuple[Spot, ...]:
    """The configurations as spots that are not placed yet. Raises `figures.ScopeError` for an unknown scope."""
    by_id = {run.figures.run_id: run for run in runs}
    qualities = {key: quality_of(run, axes) for key, run in by_id.items()}
    figures = [replace(run.figures, q=qualities[key].value) for key, run in by_id.items()]
    found = points(figures, axes.scope, axes.n, average_workloads, workloads=workloads)
    costs = {key: cost_of(run, axes) for key, run in by_id.items()}
    return tuple(_spot(point, by_id, costs, qualities) for point in found)


def _spot(point: Point, by_id: dict[str, RunMeasures], costs: dict[str, Value], qualities: dict[str, Value]) -> Spot:
    runs = [by_id[key] for key in point.run_ids]
    values = [costs[key].value for key in point.run_ids]
    holes = [hole for key in point.run_ids for hole in costs[key].missing]
    if point.q is None:
        holes += [hole for key in point.run_ids for hole in qualities[key].missing]
    return Spot(
        point=point,
        runs=tuple(runs),
        cost=mean_over([run.figures for run in runs], values),
        cost_sd=spread(values),
        missing=tuple(dict.fromkeys((*(hole for hole in point.missing if hole != "Q"), *holes))),
    )


def place(spots: Sequence[Spot]) -> tuple[Spot, ...]:
    """The spots with their places, in the order given. Each beaten one names the nearest front spot that beats it."""
    eligible = [place for place, spot in enumerate(spots) if spot.complete]
    cost, quality = columns([spots[place] for place in eligible])
    above = dominators(cost, quality, standing(cost, quality))
    placed = list(spots)
    for here, (index, other) in enumerate(zip(eligible, above, strict=True)):
        if other < 0:
            placed[index] = replace(spots[index], on_front=True)
            continue
        placed[index] = replace(
            spots[index],
            beaten_by=spots[eligible[other]].point,
            cost_excess=float(cost[here] - cost[other]),
            quality_shortfall=float(quality[other] - quality[here]),
        )
    return tuple(placed)


def columns(spots: Sequence[Spot]) -> tuple[Column, Column]:
    """Cost and quality of complete spots as columns."""
    pairs = [(spot.cost, spot.quality) for spot in spots]
    table = np.array(pairs, np.float64).reshape(len(pairs), 2)
    return table[:, 0], table[:, 1]
