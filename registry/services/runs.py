"""Runs: planned without a trace, submitted in one transaction, cancelled."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django.db import transaction

from registry.accounting import plan as planning
from registry.accounting.plan import PlannedStage
from registry.accounting.reuse import CUT, MAKE, USE, WAIT, Decision
from registry.accounting.spec import RunSpec, layer_block
from registry.accounting.stages import PIPELINES, TEACHER_ARTIFACTS, TEACHER_REFERENCE, UNREAD_BY_PIPELINE
from registry.accounting.tail import tail_warning
from registry.models import Artifact, Job, Membership, Run, Study, User
from registry.selectors.artifacts import tail_mass_of
from registry.selectors.expectations import Expectation, expected
from registry.services import accounts, artifacts, audit, reuse, scheduling
from registry.services.errors import Conflict, Invalid
from registry.services.ledger import body_digest
from registry.workloads import benchmarks, catalogue
from registry.workloads.rows import WorkloadError

SHORTEST_REASON = 10  # characters of why something is made again


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage that would run: the reuse decision for its output, and what it is expected to cost."""

    planned: PlannedStage
    decision: Decision | None
    artifact: Artifact | None
    expected: Expectation


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What submitting `spec` would do. `needs_reference`: the teacher itself would be evaluated first."""

    spec: RunSpec
    stages: tuple[StagePlan, ...]
    needs_reference: bool

    @property
    def warning(self) -> str:
        """A sentence on the teacher's mass beyond the top k: as measured where a cache is there, else as is likely."""
        cache = next((s.artifact for s in self.stages if s.artifact and s.planned.output == "logit_cache"), None)
        return tail_warning(self.spec, tail_mass_of(cache, self.spec))


def plan(*, user: User | None, study: Study, spec: RunSpec) -> RunPlan:
    """The stages with their decisions and expected costs. Changes nothing. Raises `Invalid`."""
    stages = tuple(_stage_plan(stage, spec, study, user) for stage in planned(spec, study, user))
    return RunPlan(spec=spec, stages=stages, needs_reference=reference(study, spec) is None)


@transaction.atomic
def submit(
    *,
    actor: User | None,
    study: Study,
    spec: RunSpec,
    regenerate: bool = False,
    regenerate_reason: str = "",
    after: Job | None = None,
) -> Run:
    """Plan, decide and queue a run.

    `after`: a job that asks for more of the same; while neither knows its rows yet, that one decides first.

    Raises `Invalid`, `NotAllowed`, and `Conflict` naming the artifact when `regenerate` asks for a teacher artifact
    that exists and no reason is given.
    """
    accounts.require_role(actor, study.project, Membership.Role.SUBMITTER)
    stages = planned(spec, study, actor)
    reuse.lock_all(stage.request for stage in stages if stage.request is not None)
    found = [_decide(stage, study, actor) for stage in stages]
    decisions = _regenerated(stages, found, study, actor, regenerate_reason) if regenerate else found
    run = _create(study, spec, actor, regenerate_reason if regenerate else "")
    for position, (stage, decision) in enumerate(zip(stages, decisions, strict=True)):
        job = Job.objects.create(
            project=study.project, run=run, kind=stage.kind, role=stage.role, position=position, decision={}
        )
        reason = "" if decision is found[position] else run.regenerate_reason
        scheduling.apply(job, decision, stage.request, actor, reason=reason, after=after)
    audit.record(actor=actor, project=study.project, action="run submitted", subject=run, reason=run.regenerate_reason)
    if spec.pipeline != TEACHER_REFERENCE:
        run.reference = reference(study, spec) or submit(actor=actor, study=study, spec=_reference_spec(spec))
        run.save(update_fields=["reference"])
    scheduling.advance(run.pk)
    run.refresh_from_db()
    return run


@transaction.atomic
def cancel(*, actor: User, run: Run) -> Run:
    """Stop a run. What it burnt stays in the books; what it was making is left to whoever waits for it."""
    accounts.require_role(actor, run.project, Membership.Role.SUBMITTER)
    run = Run.objects.select_for_update().get(pk=run.pk)
    if run.status not in (Run.Status.QUEUED, Run.Status.RUNNING):
        raise Conflict(f"The run is {run.status} already; only a queued or running one can be cancelled.")
    close_jobs(run, Job.Status.CANCELLED)
    scheduling.finish_run(run, Run.Status.CANCELLED)
    audit.record(actor=actor, project=run.project, action="run cancelled", subject=run)
    return run


def close_jobs(run: Run, status: str) -> None:
    """Close every open job of a run. The fence moves, so that a worker still at it is no longer listened to."""
    for job in run.jobs.filter(status__in=Job.OPEN).select_related("artifact"):
        job.status, job.fence = status, job.fence + 1
        job.save(update_fields=["status", "fence"])
        if job.decision.get("action") == scheduling.LATER:
            transaction.on_commit(partial(scheduling.wake_after, job.pk))
        if job.artifact is not None and job.artifact.maker_job_id == job.pk:
            abandon(job.artifact, f"its maker, {run}, was {status}")


def abandon(artifact: Artifact, reason: str) -> None:
    """Its maker is gone: mark it failed and let whoever waits take over."""
    if artifact.status == Artifact.Status.MAKING:
        artifacts.mark_failed(artifact=artifact, reason=reason)
        transaction.on_commit(lambda: scheduling.wake(artifact.pk))


def student_size(spec: RunSpec) -> str:
    """A short label for charts: layers kept of a known model, or the size in a hub id such as OLMo-2-0425-1B."""
    entry = catalogue.model(spec.student.id, spec.student.revision)
    block = layer_block(spec.student.drop_layers)
    if entry.layers is not None:
        dropped = block[1] - block[0] + 1 if isinstance(block, tuple) else 0
        return f"{entry.layers - dropped} layers"
    found = re.search(r"(?<![A-Za-z0-9])\d+(?:\.\d+)?[BM](?![A-Za-z0-9])", spec.student.id)
    return found.group() if found else spec.student.id.rpartition("/")[2][:40]


def configuration(spec: RunSpec, *, average_workloads: bool) -> str:
    """Digest of what makes two runs one point: the spec without seed and without what its pipeline ignores."""
    values = spec.to_dict()
    for name in ("seed", *UNREAD_BY_PIPELINE[spec.pipeline]):
        del values[name]
    if average_workloads:
        del values["dataset"]
    elif spec.pipeline == TEACHER_REFERENCE:
        del values["dataset"]["train_rows"]  # the held-out rows are the same for every number of training rows
    return body_digest(values)


def planned(spec: RunSpec, study: Study, user: User | None) -> tuple[PlannedStage, ...]:
    """The stages of a spec whose names all mean something here. Raises `Invalid` by field."""
    check_names(spec)
    try:
        return planning.plan(spec, reuse.identities(spec, study.project, user))
    except WorkloadError as error:
        raise Invalid({"dataset": str(error)}) from error


def check_names(spec: RunSpec) -> None:
    """Refuse models, datasets and benchmarks that nobody offers. Raises `Invalid` by field."""
    checks: dict[str, Callable[[], Any]] = {
        "teacher.id": lambda: catalogue.model(spec.teacher.id, spec.teacher.revision),
        "student.id": lambda: catalogue.student_digest(spec.student),
        "dataset.id": lambda: catalogue.dataset(spec.dataset.id, spec.dataset.revision),
        "evaluation.suite": lambda: benchmarks.supported_suite(spec),
    }
    problems = {}
    for field, check in checks.items():
        try:
            check()
        except WorkloadError as error:
            problems[field] = str(error)
    if problems:
        raise Invalid(problems)


def _stage_plan(stage: PlannedStage, spec: RunSpec, study: Study, user: User | None) -> StagePlan:
    decision = _decide(stage, study, user)
    artifact = Artifact.objects.filter(pk=decision.artifact_id).first() if decision.artifact_id else None
    free = decision.action in (USE, CUT, WAIT)
    cost = Expectation(energy_j=0.0, basis="nothing is made") if free else expected(stage, spec, study.project)
    return StagePlan(planned=stage, decision=decision if stage.output else None, artifact=artifact, expected=cost)


def _decide(stage: PlannedStage, study: Study, user: User | None) -> Decision:
    if stage.output not in artifacts.SHARED_KINDS:
        return Decision(action=MAKE, reason="Every run does this itself.")
    if stage.request is None:
        return Decision(action=scheduling.LATER, reason="Decided once the data is prepared and its rows are known.")
    return reuse.decide(request=stage.request, project=study.project, user=user, for_worker=True)


def _regenerated(
    stages: tuple[PlannedStage, ...], decisions: list[Decision], study: Study, actor: User | None, reason: str
) -> list[Decision]:
    """The decisions with teacher artifacts made again, if a reason is given by someone allowed to."""
    changed = list(decisions)
    for index, (stage, decision) in enumerate(zip(stages, decisions, strict=True)):
        if stage.output not in TEACHER_ARTIFACTS or decision.action == MAKE:
            continue
        if not audit.legible(reason):
            raise _reason_wanted(decision)
        if audit.legible(reason) < SHORTEST_REASON:
            raise Invalid({"regenerate_reason": f"{reason.strip()!r} says too little; give at least ten characters"})
        accounts.require_role(actor, study.project, Membership.Role.MAINTAINER)
        if decision.action != scheduling.LATER:  # that one is made again once its rows are known
            changed[index] = scheduling.made_again(decision)
    return changed


def _reason_wanted(decision: Decision) -> Conflict | Invalid:
    if decision.action == scheduling.LATER:
        known_later = "Whether it exists is known once the data is prepared; say now why to make it again even then."
        return Invalid({"regenerate_reason": known_later})
    return Conflict(
        f"{decision.reason} Use it, or say why it must be made again: regenerate_reason, at least ten characters.",
        artifact=decision.artifact_id,
    )


def _create(study: Study, spec: RunSpec, actor: User | None, reason: str) -> Run:
    return Run.objects.create(
        project=study.project,
        study=study,
        pipeline=spec.pipeline,
        spec=spec.to_dict(),
        teacher=spec.teacher.id,
        student=spec.student.id,
        student_size=student_size(spec),
        workload=spec.dataset.id,
        seed=spec.seed,
        configuration=configuration(spec, average_workloads=study.average_workloads),
        regenerate_reason=reason,
        submitted_by=actor,
    )


def _reference_spec(spec: RunSpec) -> RunSpec:
    """The teacher itself on the same held-out rows and the same suite."""
    return replace(spec, pipeline=TEACHER_REFERENCE, student=spec.teacher, seed=0)


def reference(study: Study, spec: RunSpec) -> Run | None:
    """The run that measured, or is measuring, this spec's teacher on this spec's suite."""
    if spec.pipeline == TEACHER_REFERENCE:
        return None
    key = configuration(_reference_spec(spec), average_workloads=False)
    alive = study.runs.exclude(status__in=[Run.Status.FAILED, Run.Status.CANCELLED])
    return alive.filter(pipeline=TEACHER_REFERENCE, configuration=key).first()


def check_pipeline(spec: RunSpec) -> None:
    """Refuse what people may not submit themselves. Raises `Invalid`."""
    if spec.pipeline not in PIPELINES:
        raise Invalid({"pipeline": f"{spec.pipeline!r} must be one of {', '.join(PIPELINES)}"})
