"""Where a configuration's energy went: by role, what lost attempts burnt of it, and what is left net of idle."""

from collections.abc import Mapping
from dataclasses import dataclass

from registry.accounting.axes import Axes
from registry.accounting.figures import charge
from registry.accounting.frontier import mean_over
from registry.accounting.measures import RunMeasures, charged
from registry.accounting.outlook import Spot


@dataclass(frozen=True, kw_only=True)
class Part:
    """One role's energy in joules. `useful_j` + `lost_j` is `energy_j`; `idle_j` is `None` where no host says."""

    energy_j: float | None
    useful_j: float | None
    lost_j: float | None
    idle_j: float | None
    share: float | None  # of the configuration's total
    floor_j: float | None  # what an ideal run of the completed work would burn; `None` where no work was counted

    @property
    def times_the_floor(self) -> float | None:
        """Energy over the floor, CPU and lost attempts included."""
        return None if self.energy_j is None or not self.floor_j else self.energy_j / self.floor_j

    @property
    def net_j(self) -> float | None:
        """Gross minus what the hosts would have drawn at rest."""
        return None if self.energy_j is None or self.idle_j is None else self.energy_j - self.idle_j


def split(spot: Spot, axes: Axes) -> Mapping[str, Part]:
    """By role, means over the spot's runs under the scope of `axes`."""
    runs = [run.figures for run in spot.runs]
    gross = [charge(figures, axes.scope, axes.n).by_role for figures in runs]
    lost, idle, least = ([_by_role(run, name, axes) for run in spot.runs] for name in ("lost_j", "idle_j", "floor_j"))
    roles = dict.fromkeys(role for by_role in gross for role in by_role)
    found = {}
    for role in roles:
        energy, burnt, rest, ideal = (
            mean_over(runs, [by_role.get(role, 0.0) for by_role in column]) for column in (gross, lost, idle, least)
        )
        total = spot.point.energy_j
        found[role] = Part(
            energy_j=energy,
            useful_j=None if energy is None else energy - (burnt or 0.0),
            lost_j=burnt,
            idle_j=rest,
            floor_j=ideal,
            share=energy / total if energy is not None and total else None,
        )
    return found


def _by_role(run: RunMeasures, name: str, axes: Axes) -> Mapping[str, float | None]:
    return charged(run.figures, getattr(run, name), name, axes.scope, axes.n).by_role
