"""What a planned stage is expected to cost: from measured stages of the same kind, or unknown."""

import statistics
from dataclasses import dataclass

from django.db.models import Q

from registry.accounting.plan import PlannedStage
from registry.accounting.spec import RunSpec
from registry.accounting.stages import TEACHER_ARTIFACTS
from registry.models import Artifact, Origin, Project, Stage

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
        return _elsewhere(planned, spec, project)
    plural = "" if len(energies) == 1 else "s"
    return Expectation(energy_j=statistics.fmean(energies), basis=f"mean of {len(energies)} measured stage{plural}")


def _elsewhere(planned: PlannedStage, spec: RunSpec, project: Project) -> Expectation:
    """What another artifact of the same kind and teacher took, over rows and settings of its own; or unknown."""
    unknown = Expectation(energy_j=None, basis="unknown: no stage of this kind was measured on this workload yet")
    if planned.output not in TEACHER_ARTIFACTS:
        return unknown
    known = Artifact.objects.filter(
        Q(project=project) | Q(project__public=True),
        kind=planned.output,
        teacher=spec.teacher.id,
        ready_at__isnull=False,
        production_energy_j__isnull=False,
        simulated=False,
    )
    found = known.order_by("-id").first()
    if found is None:
        return unknown
    source = "published" if found.origin == Origin.PUBLISHED else f"made in {found.project.name}"
    basis = f"what {found.name} took, {source}; measured over rows of its own"
    return Expectation(energy_j=found.production_energy_j, basis=basis)
