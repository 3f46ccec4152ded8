"""A study under other assumptions: what its runs would be charged if some stages took another share of their energy.

Other hardware, a faster engine, a power cap, a teacher of another size: each is a factor on the energy of a role. Q is
left as it was measured, which is itself an assumption.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from registry.accounting.figures import TEACHER, ArtifactShare, RunFigures

STUDENT, EVALUATION = "student", "evaluation"
SMALLEST, LARGEST = 0.001, 1000.0


class TransferError(ValueError):
    """A factor that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Energy of the teacher's stages × `teacher`, of training students × `student`, of evaluation × `evaluation`.

    Raises `TransferError` for a factor outside 0.001 … 1000. Preparing data is left as it is.
    """

    teacher: float = 1.0
    student: float = 1.0
    evaluation: float = 1.0

    def __post_init__(self) -> None:
        for name, factor in self.by_role.items():
            if not (math.isfinite(factor) and SMALLEST <= factor <= LARGEST):
                raise TransferError(f"the factor {factor!r} for {name} stages must be from {SMALLEST} to {LARGEST:g}")

    @property
    def by_role(self) -> Mapping[str, float]:
        """The factor of each role that has one."""
        return {TEACHER: self.teacher, STUDENT: self.student, EVALUATION: self.evaluation}

    @property
    def as_measured(self) -> bool:
        """Whether nothing is changed."""
        return all(factor == 1 for factor in self.by_role.values())


def transferred(runs: Iterable[RunFigures], factors: Factors) -> list[RunFigures]:
    """The runs with the energy of each role times its factor, in joules. `None` stays `None`."""
    return [_transferred(run, factors) for run in runs]


def _transferred(run: RunFigures, factors: Factors) -> RunFigures:
    own = {role: _times(energy_j, factors.by_role.get(role, 1.0)) for role, energy_j in run.own_energy_j.items()}
    artifacts = tuple(_artifact(artifact, factors.teacher) for artifact in run.teacher_artifacts)
    return replace(run, own_energy_j=own, teacher_artifacts=artifacts)


def _artifact(artifact: ArtifactShare, factor: float) -> ArtifactShare:
    return replace(artifact, production_energy_j=_times(artifact.production_energy_j, factor))


def _times(energy_j: float | None, factor: float) -> float | None:
    return None if energy_j is None else energy_j * factor
