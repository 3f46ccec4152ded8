"""What a planned stage is expected to cost: from measured stages of the same kind, beside the floor of its work."""

import statistics
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Q

from registry.accounting.estimate import Need, need
from registry.accounting.floor import ATTAINABLE, ATTAINABLE_SMALL, SMALL, Floor, device_named, floor
from registry.accounting.plan import PlannedStage
from registry.accounting.spec import RunSpec, SpecError
from registry.accounting.stages import TEACHER_ARTIFACTS
from registry.models import Artifact, Origin, Project, Stage
from registry.workloads import catalogue

DEVICE = "H100"  # that the floor of a plan is reckoned for: the paper's
RECENT = 20  # measured stages that a mean is taken over


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Joules expected, or `None`; `basis` is a sentence that says why.

    `floor` is the least that its work can cost on `DEVICE` if every row is as long as the spec allows, `memory_bytes`
    what it holds there at a time; both `None` for a stage without a formula or a model of unknown shape.
    """

    energy_j: float | None
    basis: str
    floor: Floor | None = None
    memory_bytes: float | None = None


def expected(planned: PlannedStage, spec: RunSpec, project: Project) -> Expectation:
    """From what such stages took in this project, scaled by their work where that can be reckoned; and the floor."""
    found = _measured(planned, spec, project)
    needed = _need(planned.kind, spec)
    device = device_named(DEVICE)
    if needed is None or device is None:
        return found
    share = ATTAINABLE_SMALL if _is_small(planned, spec) else ATTAINABLE
    least = floor(needed.work, device, precision=needed.precision, share=share)
    return replace(found, floor=least, memory_bytes=needed.memory_bytes)


def _need(kind: str, spec: RunSpec) -> Need | None:
    teacher, student = catalogue.model_shape(spec.teacher), catalogue.model_shape(spec.student)
    return need(kind, spec, teacher=teacher, student=student)


def _is_small(planned: PlannedStage, spec: RunSpec) -> bool:
    shape = catalogue.model_shape(spec.teacher if planned.role == "teacher" else spec.student)
    return shape is not None and shape.parameters < SMALL


def _measured(planned: PlannedStage, spec: RunSpec, project: Project) -> Expectation:
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
    newest = stages.order_by("-id").values_list("energy_j", "run__spec")[:RECENT]
    known = [(energy_j, _times(planned.kind, spec, measured)) for energy_j, measured in newest if energy_j is not None]
    if not known:
        return _elsewhere(planned, spec, project)
    plural = "" if len(known) == 1 else "s"
    if any(times is None for _, times in known):
        basis = f"mean of {len(known)} measured stage{plural}, over as much work as they did"
        return Expectation(energy_j=statistics.fmean(energy_j for energy_j, _ in known), basis=basis)
    scaled = [energy_j * times for energy_j, times in known if times is not None]
    same = all(times == 1 for _, times in known)
    basis = f"mean of {len(known)} measured stage{plural}{'' if same else ', scaled by the work'}"
    return Expectation(energy_j=statistics.fmean(scaled), basis=basis)


def _times(kind: str, spec: RunSpec, measured: dict[str, Any]) -> float | None:
    """How many times the measured run's work the planned one is; `None` where one of them cannot be reckoned."""
    try:
        before = RunSpec.from_dict(measured)
    except SpecError:
        return None
    ours, theirs = _need(kind, spec), _need(kind, before)
    if ours is None or theirs is None:
        rows = (spec.dataset, spec.evaluation.suite) == (before.dataset, before.evaluation.suite)
        return 1.0 if rows else None
    return ours.work.flops / theirs.work.flops


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
