"""Jobs as a worker sees them: claimed under a lease, kept alive by heartbeats, finished or failed once.

Every claim raises the job's fence. Whoever holds an older fence has lost the job: its energy is booked, its output
is dropped.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from registry.accounting.spec import RunSpec
from registry.accounting.stages import INPUTS_OF_STAGE
from registry.models import Artifact, ArtifactUse, Attempt, HostProfile, Job, Origin, Project, Run, Stage
from registry.services import artifacts, audit, ledger, runs, scheduling, scores
from registry.services.errors import Conflict
from stagemeter.records import StageRecord

MAX_ATTEMPTS = 3
HANDED_BACK = "handed back: the worker was asked to stop"
RESEND_AFTER = timedelta(seconds=60)
REAP_SHARE = 0.1  # of the lease's time, at most, lies between two rounds of the reaper


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A claimed job: what to run, its inputs by artifact kind, and the fence that proves the claim."""

    job_id: uuid.UUID
    run_id: uuid.UUID
    attempt_id: uuid.UUID
    fence: int
    kind: str
    role: str
    project: Project
    spec: RunSpec
    inputs: Mapping[str, Artifact]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a worker brings back: the stage's files and facts, JSON types; scores as `services.scores` takes them."""

    folder: Path | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    row_digests: Sequence[str] = ()
    prompt_digests: Sequence[str] = ()  # of a prepared dataset: its rows' prompts alone
    scores: Sequence[Mapping[str, Any]] = ()
    used_shares: Mapping[str, float] = field(default_factory=dict)  # artifact kind → share of its tokens that was read


@transaction.atomic
def claim(*, job_id: uuid.UUID, worker: str) -> Ticket | None:
    """Take a ready job, or one whose lease ran out; `None` if it is not to be had.

    Where something it was to read has been withdrawn or found corrupt, its run decides anew about that first.
    """
    _lock_run_of(job_id)
    job = Job.objects.select_for_update(of=["self"]).select_related("run", "project").filter(pk=job_id).first()
    if job is None or not _claimable(job):
        return None
    if scheduling.reopen(job):
        transaction.on_commit(lambda: scheduling.advance(job.run_id))
        return None
    if job.status == Job.Status.RUNNING:
        _lose(job)
    job.fence += 1
    job.status, job.worker, job.error, job.progress = Job.Status.RUNNING, worker, "", {}
    job.started_at = job.started_at or timezone.now()
    job.lease_expires_at = _lease()
    job.save()
    attempt = Attempt.objects.create(job=job, number=job.attempts.count() + 1, fence=job.fence, worker=worker)
    run = job.run
    if run.status == Run.Status.QUEUED:
        run.status, run.started_at = Run.Status.RUNNING, timezone.now()
        run.save(update_fields=["status", "started_at"])
        audit.record(actor=None, project=run.project, action="run started", subject=run, worker=worker)
    return Ticket(
        job_id=job.pk,
        run_id=run.pk,
        attempt_id=attempt.pk,
        fence=job.fence,
        kind=job.kind,
        role=job.role,
        project=job.project,
        spec=RunSpec.from_dict(run.spec),
        inputs=_inputs(job),
    )


def heartbeat(*, ticket: Ticket, progress: Mapping[str, Any]) -> bool:
    """Extend the lease and show progress. `False`: the job is somebody else's now, or cancelled; stop."""
    mine = Job.objects.filter(pk=ticket.job_id, fence=ticket.fence, status=Job.Status.RUNNING)
    return mine.update(lease_expires_at=_lease(), progress=dict(progress)) == 1


def finish(*, ticket: Ticket, record: StageRecord, result: Result, host: HostProfile | None = None) -> bool:
    """Book a completed attempt, publish its output, and move on. `False`: the fence was old; only energy is booked."""
    job = _mine(ticket)
    # Files are stored before any row says that they are.
    if job is not None and job.artifact is not None and result.folder is not None:
        try:
            artifacts.store(
                artifact=job.artifact,
                folder=result.folder,
                meta=result.meta,
                row_digests=result.row_digests,
                prompt_digests=result.prompt_digests,
            )
        except Conflict as error:  # the project's quota: trying again would burn as much and fit no better
            fail(ticket=ticket, record=record, error=error.message, again=False)
            return False
    with transaction.atomic():
        job = _mine(ticket, lock=True)
        _close_attempt(ticket, Attempt.Status.COMPLETED if job else Attempt.Status.LOST)
        book(record=record, attempt=Attempt.objects.get(pk=ticket.attempt_id))
        if job is None:
            return False
        _note_host(job.run, record, host)
        for score in result.scores:
            scores.record_score(run=job.run, origin=Origin.WORKER, **score)
        for kind, share in result.used_shares.items():
            ArtifactUse.objects.filter(run=job.run, artifact__kind=kind, used_share=None).update(used_share=share)
        job.status, job.finished_at, job.lease_expires_at = Job.Status.FINISHED, timezone.now(), None
        job.save(update_fields=["status", "finished_at", "lease_expires_at"])
        if job.artifact is not None and job.artifact.maker_job_id == job.pk:
            artifact_id = job.artifact.pk
            artifacts.publish(artifact=job.artifact)
            transaction.on_commit(lambda: scheduling.wake(artifact_id))
    scheduling.advance(ticket.run_id)
    return True


def fail(*, ticket: Ticket, record: StageRecord | None, error: str, again: bool) -> None:
    """Book a failed attempt. `again`: the cause may pass, so the job is tried again, up to three times in all."""
    with transaction.atomic():
        job = _mine(ticket, lock=True)
        _close_attempt(ticket, Attempt.Status.FAILED if job else Attempt.Status.LOST, error)
        if record is not None:
            book(record=record, attempt=Attempt.objects.get(pk=ticket.attempt_id))
        if job is not None:
            _retry_or_give_up(job, error, again=again)


def hand_back(*, ticket: Ticket, record: StageRecord | None) -> None:
    """Book an attempt whose worker was asked to stop, and let another go on. It counts as no try."""
    with transaction.atomic():
        job = _mine(ticket, lock=True)
        _close_attempt(ticket, Attempt.Status.FAILED if job else Attempt.Status.LOST, HANDED_BACK)
        if record is not None:
            book(record=record, attempt=Attempt.objects.get(pk=ticket.attempt_id))
        if job is not None:
            _retry_or_give_up(job, "", again=True)


def lose_input(*, ticket: Ticket, record: StageRecord | None, error: str) -> None:
    """Book an attempt that found one of its inputs corrupt, and let its run decide anew: use another, or make it."""
    with transaction.atomic():
        job = _mine(ticket, lock=True)
        _close_attempt(ticket, Attempt.Status.FAILED if job else Attempt.Status.LOST, error)
        if record is not None:
            book(record=record, attempt=Attempt.objects.get(pk=ticket.attempt_id))
        if job is not None and not scheduling.reopen(job):
            _retry_or_give_up(job, error, again=True)
    scheduling.advance(ticket.run_id)


def book(*, record: StageRecord, attempt: Attempt) -> None:
    """Put an attempt's record into the ledger, whatever became of the attempt. Safe to repeat."""
    job = attempt.job
    shared = job.artifact is not None and job.artifact.kind in artifacts.SHARED_KINDS
    ledger.record_stage(
        record=record,
        project=job.project,
        origin=Origin.WORKER,
        run=job.run,
        attempt=attempt,
        artifact=job.artifact if shared else None,
    )


def is_running(record: StageRecord) -> bool:
    """Whether the attempt that `record` belongs to counts as alive."""
    attempt = _attempt_of(record)
    return attempt is not None and attempt.status == Attempt.Status.RUNNING


def book_lost(*, record: StageRecord) -> bool:
    """Book what a dead attempt burnt, out of its spool. `False`: the record names no attempt of this registry."""
    attempt = _attempt_of(record)
    if attempt is None:
        return False
    if Stage.objects.filter(record_id=record.record_id, attempt=attempt).exists():
        return True  # booked by the worker itself, which died before it could say so to the spool
    with transaction.atomic():
        if attempt.status == Attempt.Status.RUNNING:
            attempt.status, attempt.ended_at = Attempt.Status.LOST, record.ended_at
            attempt.error = attempt.error or "the worker died"
            attempt.save(update_fields=["status", "ended_at", "error"])
        book(record=record, attempt=attempt)
    return True


def release(*, attempt_ids: Sequence[uuid.UUID]) -> int:
    """End the leases of attempts known to be dead, so that nobody waits for them to run out."""
    jobs = Job.objects.filter(status=Job.Status.RUNNING, attempts__in=attempt_ids, attempts__status="lost")
    return Job.objects.filter(pk__in=jobs.values("pk")).update(lease_expires_at=timezone.now())


def reap() -> int:
    """Put lost jobs back and send again what the broker may have lost. Returns how many were moved."""
    now = timezone.now()
    expired = Job.objects.filter(status=Job.Status.RUNNING, lease_expires_at__lte=now)
    moved = sum(_reap_one(job_id) for job_id in list(expired.values_list("pk", flat=True)))
    stale = Job.objects.filter(status=Job.Status.READY).filter(Q(sent_at=None) | Q(sent_at__lt=now - RESEND_AFTER))
    for job_id in list(stale.values_list("pk", flat=True)):
        Job.objects.filter(pk=job_id).update(sent_at=now)
        scheduling.deliver(job_id)
        moved += 1
    stuck = Job.objects.filter(status=Job.Status.WAITING).exclude(artifact__status=Artifact.Status.MAKING)
    stuck = stuck.filter(run__status__in=["queued", "running"]).order_by("decision__cut", "id")  # as `wake` does
    for run_id in dict.fromkeys(stuck.values_list("run_id", flat=True)):
        scheduling.advance(run_id)
    return moved


def _reap_one(job_id: uuid.UUID) -> int:
    with transaction.atomic():
        _lock_run_of(job_id)
        job = Job.objects.select_for_update(of=["self"]).select_related("run").get(pk=job_id)
        if job.status != Job.Status.RUNNING or job.lease_expires_at is None or job.lease_expires_at > timezone.now():
            return 0
        _lose(job)
        _retry_or_give_up(job, "the worker stopped answering", again=True)
        return 1


def _lock_run_of(job_id: uuid.UUID) -> None:
    """The run before its job, as everybody locks them who moves one on."""
    Run.objects.select_for_update(no_key=True, of=["self"]).filter(jobs=job_id).first()


def _claimable(job: Job) -> bool:
    expired = job.lease_expires_at is not None and job.lease_expires_at <= timezone.now()
    return job.status == Job.Status.READY or (job.status == Job.Status.RUNNING and expired)


def _lease() -> Any:
    """Up a little before `LEASE_SECONDS`, so that with the reaper's round somebody else has the job within them."""
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS * (1 - REAP_SHARE))


def _mine(ticket: Ticket, *, lock: bool = False) -> Job | None:
    """The job if the ticket's fence still holds. Locks the run first, as everybody does who moves one on."""
    if lock:
        Run.objects.select_for_update().get(pk=ticket.run_id)
    jobs = Job.objects.select_related("run", "artifact", "project")
    return jobs.filter(pk=ticket.job_id, fence=ticket.fence, status=Job.Status.RUNNING).first()


def _lose(job: Job) -> None:
    job.attempts.filter(status=Attempt.Status.RUNNING).update(
        status=Attempt.Status.LOST, ended_at=timezone.now(), error="the worker stopped answering"
    )


def _close_attempt(ticket: Ticket, status: str, error: str = "") -> None:
    Attempt.objects.filter(pk=ticket.attempt_id).update(status=status, ended_at=timezone.now(), error=error)


def _retry_or_give_up(job: Job, error: str, *, again: bool) -> None:
    job.error, job.lease_expires_at, job.fence = error, None, job.fence + 1
    if again and job.attempts.exclude(error=HANDED_BACK).count() < MAX_ATTEMPTS:
        job.save(update_fields=["error", "lease_expires_at", "fence"])
        scheduling.send(job)
        return
    job.status, job.finished_at = Job.Status.FAILED, timezone.now()
    job.save(update_fields=["error", "lease_expires_at", "fence", "status", "finished_at"])
    if job.artifact is not None and job.artifact.maker_job_id == job.pk:
        runs.abandon(job.artifact, f"its maker, {job.run}, failed: {error}")
    runs.close_jobs(job.run, Job.Status.CANCELLED)
    scheduling.finish_run(job.run, Run.Status.FAILED, f"{job.kind}: {error}")


def _inputs(job: Job) -> dict[str, Artifact]:
    """The newest use of each kind of artifact that the stage reads."""
    wanted = INPUTS_OF_STAGE[job.run.pipeline].get(job.kind, ())
    uses = job.run.uses.filter(artifact__kind__in=wanted, artifact__status=Artifact.Status.READY)
    return {use.artifact.kind: use.artifact for use in uses.select_related("artifact").order_by("created_at")}


def _note_host(run: Run, record: StageRecord, host: HostProfile | None) -> None:
    run.environment = {**run.environment, **record.environment}
    run.hardware_class = host.hardware_class if host else str(record.environment.get("hardware_class", ""))
    run.simulated = run.simulated or record.simulated
    run.save(update_fields=["environment", "hardware_class", "simulated"])


def _attempt_of(record: StageRecord) -> Attempt | None:
    try:
        key = uuid.UUID(record.attempt_id or "")
    except ValueError:
        return None
    return Attempt.objects.select_related("job__run", "job__artifact", "job__project").filter(pk=key).first()
