"""One job from claim to booking: inputs fetched and verified, the stage metered, its output published."""

import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from registry import storage
from registry.models import Artifact, HostProfile
from registry.services import artifacts, hosts, jobs
from registry.services.jobs import Result, Ticket
from registry.storage import StorageError
from registry.workloads.rows import WorkloadError
from stagemeter import Meter, StageRecord, baseline, prerun, spool
from stagemeter import environment as environments
from stagemeter.errors import MeterError, StagemeterError
from workers import traces
from workers.reporting import Heartbeat, JobLost, MeterReport, stop_on_sigterm
from workers.stages import stage
from workers.stages.contract import Preempted, StageConfig, StageOutput

logger = logging.getLogger(__name__)

_tried: set[str] = set()  # hosts whose prerun gave no usable baseline: once per process is enough
BURN_IN_S = 1.0  # of a worker's prerun: long enough to see that the sensors see a load


def execute(job_id: uuid.UUID) -> None:
    """Claim and run one job. Whatever happens, what it burnt is booked."""
    ticket = jobs.claim(job_id=job_id, worker=worker_name())
    if ticket is None:
        return
    stop_on_sigterm()
    environment = environments.collect(settings.BASE_DIR)
    host = _host(ticket, environment)
    meter = Meter(
        ticket.kind,
        run_id=str(ticket.run_id),
        attempt_id=str(ticket.attempt_id),
        spool_dir=settings.SPOOL_DIR,
        environment=environment,
        period_s=settings.METER_PERIOD_S,
        synchronize="cuda",
    )
    try:
        with meter, Heartbeat(ticket, meter) as heartbeat:
            output = _run(ticket, MeterReport(meter, heartbeat))
        record = meter.record
    except JobLost:
        logger.warning("job %s was taken away or cancelled; its energy is booked", ticket.job_id)
        jobs.fail(ticket=ticket, record=_record(meter), error="taken away or cancelled", again=False)
    except Preempted:
        logger.warning("job %s is handed back: this worker was asked to stop", ticket.job_id)
        jobs.hand_back(ticket=ticket, record=_record(meter))
    except InputLost as error:
        jobs.lose_input(ticket=ticket, record=_record(meter), error=str(error))
    except WorkloadError as error:
        # The same input fails the same way: trying again would only burn more.
        jobs.fail(ticket=ticket, record=_record(meter), error=str(error), again=False)
    except Exception as error:
        logger.exception("job %s failed", ticket.job_id)
        jobs.fail(ticket=ticket, record=_record(meter), error=f"{type(error).__name__}: {error}"[:1000], again=True)
    else:
        jobs.finish(ticket=ticket, record=record, result=_result(output), host=host)
        _clear(ticket)
    if traces.keep(meter.record_id):
        spool.mark_sent(settings.SPOOL_DIR, meter.record_id)


def worker_name() -> str:
    """Names this process in leases and attempts: the host by its class, never by its name."""
    return f"{environments.host_class()}/{os.getpid()}"


def _host(ticket: Ticket, environment: Mapping[str, Any]) -> HostProfile:
    """This host's profile, with an idle baseline that the meter will find and that says something about it now."""
    host = hosts.note_host(environment=environment, project=ticket.project)
    if settings.PRERUN_SECONDS > 0 and not _has_baseline(host, environment) and host.key not in _tried:
        try:
            record = prerun.run(
                settings.PRERUN_SECONDS, burn_in_s=BURN_IN_S, spool_dir=settings.SPOOL_DIR, environment=environment
            )
        except StagemeterError as error:  # the job can be metered all the same, or will say why not
            logger.warning("no idle baseline was taken: %s", error)
            _tried.add(host.key)
            return host
        hosts.note_prerun(profile=host, record=record)
        spool.mark_sent(settings.SPOOL_DIR, record.record_id)
        if not _has_baseline(host, environment):
            _tried.add(host.key)
    return host


def _has_baseline(host: HostProfile, environment: Mapping[str, Any]) -> bool:
    """Whether the spool keeps a usable baseline of this host; the one on its profile is put there if that is usable."""
    gpus = [str(gpu["uuid"]) for gpu in environment.get("gpus") or []]
    simulated = os.environ.get("STAGEMETER_SIMULATED") == "1" or any(
        str(gpu.get("name")).startswith("Simulated ") for gpu in environment.get("gpus") or []
    )
    spool_dir = Path(settings.SPOOL_DIR)
    if baseline.is_usable(baseline.of_kind(spool_dir, simulated=simulated), gpus):
        return True
    record = hosts.kept_prerun(host)
    taken = None if record is None else prerun.baseline_of(record)
    if taken is None or taken.simulated != simulated or not baseline.is_usable(taken, gpus):
        return False
    baseline.save(spool_dir, taken)
    return True


def _clear(ticket: Ticket) -> None:
    """Drop what a later attempt would have gone on from, and the local copy of a student nobody reads again."""
    shutil.rmtree(_workdir(ticket), ignore_errors=True)
    student = ticket.inputs.get(Artifact.Kind.STUDENT)
    if student is not None:
        shutil.rmtree(Path(settings.WORK_DIR) / "inputs" / student.storage_key, ignore_errors=True)


def _run(ticket: Ticket, report: MeterReport) -> StageOutput:
    with report.part("inputs"):
        inputs: Mapping[str, Path] = {kind: _fetch(artifact) for kind, artifact in ticket.inputs.items()}
    workdir = _workdir(ticket)
    workdir.mkdir(parents=True, exist_ok=True)
    return stage(ticket.kind)(StageConfig(spec=ticket.spec, inputs=inputs), workdir, report)


class InputLost(Exception):
    """What the stage was to read is not what its manifest says, and was taken out of reuse."""


def _fetch(artifact: Artifact) -> Path:
    """The artifact's files, verified, in a local folder that later jobs on this host find again. Raises `InputLost`."""
    try:
        return storage.fetch(
            artifact.storage_key, artifact.manifest, settings.WORK_DIR / "inputs" / artifact.storage_key
        )
    except StorageError as error:
        artifacts.mark_corrupt(artifact=artifact, reason=str(error))
        raise InputLost(f"{artifact.name} is corrupt and was taken out of reuse: {error}") from error


def _workdir(ticket: Ticket) -> Path:
    """Where the stage keeps what a second attempt on this host can go on from."""
    return Path(settings.WORK_DIR) / "jobs" / str(ticket.job_id)


def _result(output: StageOutput) -> Result:
    meta = dict(output.meta)
    return Result(
        folder=output.folder,
        used_shares=meta.pop("used_shares", {}),
        meta=meta,
        row_digests=output.row_digests,
        prompt_digests=output.prompt_digests,
        scores=tuple(asdict(score) for score in output.scores),
    )


def _record(meter: Meter) -> StageRecord | None:
    """What was measured of an attempt that failed; `None` if its metering never began."""
    try:
        return meter.record
    except MeterError:
        return None
