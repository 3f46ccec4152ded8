"""Which pipeline and size to choose: what is measured, ranked by what it would take, with the arithmetic shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from registry.accounting.figures import TEACHER
from registry.accounting.outlook import Spot
from registry.accounting.payback import j_per_token
from registry.accounting.units import JOULES_PER_KWH

FITS, TOO_POOR, TOO_DEAR, UNKNOWN = "fits", "too_poor", "too_dear", "unknown"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the reader needs. `sizes` empty is any; the budget, in kWh, is per student with its share of the teacher.

    `tokens` are those each student will serve; `students` share one teacher artifact.
    """

    sizes: tuple[str, ...] = ()
    q_floor: float | None = None
    budget_kwh: float | None = None
    students: int = 1
    tokens: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A measured configuration under the wish. Energies in kWh; `total_kwh` is `None` where serving is not known."""

    spot: Spot
    verdict: str  # fits | too_poor | too_dear | unknown
    rest_kwh: float
    teacher_kwh: float  # whole
    training_kwh: float  # rest + teacher ÷ students
    j_per_token: float | None
    serving_kwh: float | None
    total_kwh: float | None

    @property
    def unknown_serving(self) -> bool:
        """Whether tokens are to be served at a rate nobody measured."""
        return self.total_kwh is None


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Candidates, the best first. `choice` is `None` where none fits; `without_basis` are sizes nobody measured."""

    wish: Wish
    candidates: tuple[Candidate, ...]
    choice: Candidate | None
    without_basis: tuple[str, ...]


def advise(spots: Sequence[Spot], wish: Wish) -> Advice:
    """Weigh every complete configuration: E = rest + E_teacher ÷ students + tokens × j_inference.

    `spots` must be charged in scope `full`, with energy and Q. One fits if Q is at least the floor and the training is
    within the budget; among those that fit the least total is chosen, then the highest Q. Where tokens are to be
    served, a configuration without joules per token is `unknown`, since its total has a hole.
    """
    measured = [spot for spot in spots if spot.complete and (not wish.sizes or spot.point.student in wish.sizes)]
    weighed = [_weigh(spot, wish) for spot in measured]
    rank = {FITS: 0, UNKNOWN: 1, TOO_DEAR: 2, TOO_POOR: 3}

    def order(candidate: Candidate) -> tuple[int, float, float]:
        total = candidate.training_kwh if candidate.total_kwh is None else candidate.total_kwh
        return rank[candidate.verdict], total, -(candidate.spot.quality or 0.0)

    candidates = tuple(sorted(weighed, key=order))
    there = {spot.point.student for spot in measured}
    return Advice(
        wish=wish,
        candidates=candidates,
        choice=next((c for c in candidates if c.verdict == FITS), None),
        without_basis=tuple(size for size in wish.sizes if size not in there),
    )


def _weigh(spot: Spot, wish: Wish) -> Candidate:
    parts = spot.point.by_role_j
    teacher_kwh = (parts.get(TEACHER) or 0.0) / JOULES_PER_KWH
    rest = math.fsum(energy or 0.0 for role, energy in parts.items() if role != TEACHER) / JOULES_PER_KWH
    training = rest + teacher_kwh / wish.students
    rate = j_per_token(spot)
    serving = 0.0 if not wish.tokens else None if rate is None else rate * wish.tokens / JOULES_PER_KWH
    return Candidate(
        spot=spot,
        verdict=_verdict(spot, training, serving, wish),
        rest_kwh=rest,
        teacher_kwh=teacher_kwh,
        training_kwh=training,
        j_per_token=rate,
        serving_kwh=serving,
        total_kwh=None if serving is None else training + serving,
    )


def _verdict(spot: Spot, training_kwh: float, serving_kwh: float | None, wish: Wish) -> str:
    if wish.q_floor is not None and (spot.quality or 0.0) < wish.q_floor:
        return TOO_POOR
    if wish.budget_kwh is not None and training_kwh > wish.budget_kwh:
        return TOO_DEAR
    return UNKNOWN if serving_kwh is None else FITS
