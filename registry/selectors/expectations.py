"""What a planned stage is expected to cost: from measured stages of the same kind, or unknown."""

import statistics
from dataclasses import dataclass

from registry.accounting.plan import PlannedStage
from registry.accounting.spec import RunSpec
from registry.models import Project, Stage

RECENT = 20  # measured stages that a mean is taken over


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Joules expected, or `None`; `basis` is a sentence that says why."""

    energy_j: float | None
    basis: str


def expected(planned: PlannedStage, spec: RunSpec, project: Project) -> Expectation:
    """The mean of what such stages took in this project: same kind, pipeline, models and workload."""
    stages = Stage.objects.filter(
        project=project,
        kind=planned.kind,
        status="completed",
        simulated=False,
        energy_j__isnull=False,
        run__workload=spec.dataset.id,
        run__spec__teacher__id=spec.teacher.id,
    )
    if planned.role in ("student", "evaluation"):
        stages = stages.filter(run__pipeline=spec.pipeline, run__spec__student__drop_layers=spec.student.drop_layers)
        stages = stages.filter(run__spec__student__id=spec.student.id)
    newest = stages.order_by("-id").values_list("energy_j", flat=True)[:RECENT]
    energies = [energy_j for energy_j in newest if energy_j is not None]
    if not energies:
        return Expectation(energy_j=None, basis="unknown: no stage of this kind was measured on this workload yet")
    plural = "" if len(energies) == 1 else "s"
    return Expectation(energy_j=statistics.fmean(energies), basis=f"mean of {len(energies)} measured stage{plural}")
