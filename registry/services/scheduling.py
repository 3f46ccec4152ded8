"""Which job may run next: waiting is a status in the database, never a worker that blocks.

A run's jobs go in order. A job whose output exists is `reused`; one whose output somebody else makes, another run or
whoever holds a lease, waits for it; any other becomes ready and is sent to the workers by name, on commit.
"""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from registry.accounting import plan as planning
from registry.accounting.fingerprint import fingerprint
from registry.accounting.reuse import CUT, MAKE, USE, WAIT, ArtifactRequest, Decision
from registry.accounting.spec import RunSpec
from registry.accounting.stages import INPUTS_OF_STAGE, OUTPUT_OF_STAGE, TEACHER_ARTIFACTS
from registry.celery import app
from registry.models import Artifact, ArtifactUse, Job, Run
from registry.services import artifacts, audit, licences, reuse, summaries
from registry.workloads import catalogue

RUN_JOB = "stagemeter.run_job"
LATER = "later"  # the rows aren't known before the data is prepared

logger = logging.getLogger(__name__)


def advance(run_id: uuid.UUID) -> None:
    """Move a run on as far as it goes without anybody working. Safe to call at any time, by anybody."""
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run_id)
        if run.status in (Run.Status.QUEUED, Run.Status.RUNNING):
            _advance(run)


def wake(artifact_id: uuid.UUID) -> None:
    """Move on every run that waits for this artifact, each in a transaction of its own."""
    waiting = Job.objects.filter(status=Job.Status.WAITING, artifact_id=artifact_id)
    # If its maker gave up, those who need all of it come first: what they make serves those who would cut it.
    for run_id in list(waiting.order_by("decision__cut", "id").values_list("run_id", flat=True)):
        advance(run_id)


def apply(
    job: Job,
    decision: Decision,
    request: ArtifactRequest | None,
    actor: Any,
    *,
    reason: str = "",
    after: Job | None = None,
) -> None:
    """Write a decision onto a waiting job: whose output it will be, and who uses or makes it.

    `reason`: why what `decision.artifact_id` names is made again. `after`: who is to decide before this job does.
    """
    job.decision = {**_plain(decision), "asked": reason}
    if after is not None and decision.action == LATER:
        job.decision["after"] = str(after.pk)
    run = job.run
    if decision.action == MAKE and request is not None:
        job.artifact = artifacts.begin(
            request=_own(request, run),
            run=run,
            job=job,
            licence=_licence(run, request.kind),
            name=_name(run, request.kind),
            actor=actor,
            **_again(decision, request, run, reason),
        )
    elif decision.lease_id is not None:
        job.artifact = None
    elif decision.action in (USE, CUT, WAIT):
        job.artifact = Artifact.objects.get(pk=decision.artifact_id or "")
        # Waiting for something larger than asked for ends in cutting it.
        job.decision["cut"] = request is not None and job.artifact.fingerprint != fingerprint(request)
    if decision.action in (USE, CUT):
        _use(job, decision.action)
    job.save(update_fields=["decision", "artifact"])


def request_for(job: Job) -> ArtifactRequest | None:
    """What the job's output must be, from the run's spec; rows of a hub dataset come from its prepared data."""
    spec = RunSpec.from_dict(job.run.spec)
    identities = catalogue.identities(spec)
    if identities.row_digests is None:
        prepared = _used(job.run, Artifact.Kind.PREPARED_DATASET)
        if prepared is not None and prepared.status == Artifact.Status.READY:
            identities = reuse.read_from(identities, prepared)
    return planning.artifact_request(OUTPUT_OF_STAGE[job.kind], spec, identities)


def send(job: Job) -> None:
    """Make a job ready and send its name once the transaction is committed."""
    job.status, job.sent_at = Job.Status.READY, timezone.now()
    job.save(update_fields=["status", "sent_at"])
    transaction.on_commit(lambda: deliver(job.pk))


def deliver(job_id: uuid.UUID) -> None:
    """Hand the job's name to the broker. If the broker is away, the reaper sends it again."""
    try:
        app.send_task(RUN_JOB, args=[str(job_id)], retry=False)
    except OperationalError as error:
        logger.warning("job %s stays ready in the database, the broker is away: %s", job_id, error)


def wake_after(job_id: uuid.UUID) -> None:
    """Move on the runs whose own decision waited for that job's, which asks for more."""
    waiting = Job.objects.filter(status=Job.Status.WAITING, decision__after=str(job_id))
    for run_id in list(waiting.order_by("id").values_list("run_id", flat=True)):
        advance(run_id)


def finish_run(run: Run, status: str, error: str = "") -> None:
    """Close a run and bring its summary up to date."""
    run.status, run.error, run.finished_at = status, error, timezone.now()
    run.save(update_fields=["status", "error", "finished_at"])
    summaries.refresh(run)
    if status in (Run.Status.FINISHED, Run.Status.FAILED):  # who cancels one, `runs.cancel` notes
        audit.record(actor=None, project=run.project, action=f"run {status}", subject=run, error=error)


def _advance(run: Run) -> None:
    for job in run.jobs.select_related("artifact").order_by("position"):
        job.run = run
        if job.status in Job.DONE:
            continue
        if job.status == Job.Status.WAITING and _settle(job) == Job.Status.REUSED:
            continue
        return
    finish_run(run, Run.Status.FINISHED)


def reopen(job: Job) -> bool:
    """Decide anew about what `job` was to read and is no longer there: withdrawn or found corrupt meanwhile.

    The jobs of its run that had found or made it go back to waiting, and so does this one. `False`: all is there.
    The caller holds the run's lock, and moves the run on afterwards.
    """
    wanted = set(INPUTS_OF_STAGE[job.run.pipeline].get(job.kind, ()))
    there = job.run.uses.filter(artifact__status=Artifact.Status.READY).values_list("artifact__kind", flat=True)
    gone = wanted - set(there)
    if not gone:
        return False
    stages = [kind for kind, output in OUTPUT_OF_STAGE.items() if output in gone]
    again = [*job.run.jobs.filter(kind__in=stages, status__in=Job.DONE), job]
    for one in again:
        one.status, one.finished_at, one.lease_expires_at, one.fence = Job.Status.WAITING, None, None, one.fence + 1
        one.save(update_fields=["status", "finished_at", "lease_expires_at", "fence"])
    return len(again) > 1


def _settle(job: Job) -> str:
    """Decide what a waiting job whose turn has come does; returns its new status."""
    action, artifact = job.decision.get("action"), job.artifact
    if action == LATER:
        return job.status if _decides_after(job) else _decide_again(job)
    if artifact is None and action == WAIT:
        leased = reuse.open_leases().filter(pk=job.decision.get("lease")).exists()
        return job.status if leased else _decide_again(job)
    if artifact is None:
        send(job)
    elif artifact.status == Artifact.Status.MAKING:
        if artifact.maker_job_id == job.pk:
            send(job)
    elif artifact.status == Artifact.Status.READY and reuse.may_use(artifact, job.run.project):
        _use(job, CUT if job.decision.get("cut") else action)
        job.status, job.finished_at = Job.Status.REUSED, timezone.now()
        job.save(update_fields=["status", "finished_at"])
    else:
        return _decide_again(job)
    return job.status


def _decides_after(job: Job) -> bool:
    """Whether a job of the same sweep that asks for more is still to decide: this one will be cut out of that."""
    larger = job.decision.get("after")
    still = Job.objects.filter(pk=larger, status=Job.Status.WAITING, decision__action=LATER)
    return larger is not None and still.exists()


def _decide_again(job: Job) -> str:
    """The rows are known now, or what was to be used is gone or kept from others: ask anew, under the family's lock."""
    request = request_for(job)
    if request is None:
        finish_run(job.run, Run.Status.FAILED, f"the rows that {job.kind} needs are still unknown after preparing")
        return job.status
    reuse.lock(request)
    decision = reuse.decide(request=request, project=job.run.project, user=job.run.submitted_by, for_worker=True)
    reason = "" if decision.action == MAKE else _asked_again(job)
    if reason:
        decision = made_again(decision)
    if job.decision.get("action") == LATER:
        transaction.on_commit(lambda: wake_after(job.pk))
    gone = job.artifact
    if decision.action == MAKE and gone is not None and _is_left_behind(gone, request, job.run):
        _take_over(job, gone)
    else:
        if gone is not None:
            # What this run made and burnt energy for stays in its books; what it only meant to use does not.
            ArtifactUse.objects.filter(artifact=gone, run=job.run).exclude(how=ArtifactUse.How.MADE).delete()
        apply(job, decision, request, job.run.submitted_by, reason=reason)
    return _settle(job)


def made_again(decision: Decision) -> Decision:
    """The decision to make what exists once more, which somebody who may has given a reason for."""
    reason = f"Made again on request, although: {decision.reason}"
    return Decision(action=MAKE, reason=reason, artifact_id=decision.artifact_id)


def _asked_again(job: Job) -> str:
    """The reason to make a teacher artifact again that was given before anybody could know whether it exists."""
    later = job.decision.get("action") == LATER
    return job.run.regenerate_reason if later and OUTPUT_OF_STAGE[job.kind] in TEACHER_ARTIFACTS else ""


def _is_left_behind(artifact: Artifact, request: ArtifactRequest, run: Run) -> bool:
    """Its maker gave it up, and it is just what is asked for: a smaller request would leave less under its name.

    Of the run's own project: what another project's run makes is that project's.
    """
    left = artifact.status == Artifact.Status.FAILED and artifact.project_id == run.project_id
    return left and artifact.fingerprint == fingerprint(request)


def _take_over(job: Job, artifact: Artifact) -> None:
    """Make what its maker gave up on. The energy already burnt for it stays in its production energy."""
    artifact.status, artifact.maker_job, artifact.made_by_run = Artifact.Status.MAKING, job, job.run
    artifact.save(update_fields=["status", "maker_job", "made_by_run"])
    artifacts.use(artifact=artifact, run=job.run, how=ArtifactUse.How.MADE)
    job.decision = {
        "action": MAKE,
        "reason": f"{artifact.name} was being made by a run that failed; this run makes it.",
    }
    job.save(update_fields=["decision"])


_HOW = {USE: ArtifactUse.How.USED, CUT: ArtifactUse.How.CUT, WAIT: ArtifactUse.How.WAITED}


def _use(job: Job, action: str | None) -> None:
    assert job.artifact is not None  # noqa: S101 (the caller has set it)
    # How much of a cut artifact is used, the worker measures while it reads it.
    share = None if action == CUT else 1.0
    artifacts.use(artifact=job.artifact, run=job.run, how=_HOW[action or USE], used_share=share)


def _used(run: Run, kind: str) -> Artifact | None:
    use = run.uses.filter(artifact__kind=kind).select_related("artifact").order_by("-created_at").first()
    return use.artifact if use else None


def _own(request: ArtifactRequest, run: Run) -> ArtifactRequest:
    """A student is its run's own: the same spec run twice makes two students."""
    if request.kind != Artifact.Kind.STUDENT:
        return request
    return replace(request, identity={**request.identity, "run": str(run.pk)})


def _licence(run: Run, kind: str) -> str:
    return licences.derived(RunSpec.from_dict(run.spec), of_teacher=kind != Artifact.Kind.PREPARED_DATASET)


def _again(decision: Decision, request: ArtifactRequest, run: Run, reason: str) -> dict[str, Any]:
    """Why an artifact is made although another one exists: somebody said so, or that one's files are elsewhere."""
    if reason:
        found = Artifact.objects.filter(pk=decision.artifact_id).first() if decision.artifact_id else None
        return {"reason": reason, "again_of": found}
    same = Artifact.objects.filter(project=run.project, fingerprint=fingerprint(request), status=Artifact.Status.READY)
    found = same.filter(storage_key="").first()
    if found is None:
        return {}
    return {"reason": f"{found.name} is registered without its files, so no worker can read it.", "again_of": found}


def _name(run: Run, kind: str) -> str:
    label = Artifact.Kind(kind).label
    owner = {"prepared_dataset": run.workload, "student": f"{run}"}.get(kind, f"{run.teacher}, {run.workload}")
    return f"{label}: {owner}"[:200]


def _plain(decision: Decision) -> dict[str, Any]:
    misses = [asdict(miss) for miss in decision.near_misses]
    values: Mapping[str, Any] = {
        "action": decision.action,
        "reason": decision.reason,
        "artifact_id": decision.artifact_id,
        "lease": decision.lease_id,
        "near_misses": misses,
    }
    return dict(values)
