"""A worker that is asked to stop: its job keeps its place, is handed back, and counts as no try."""

import os
import signal

import pytest

from registry.models import Attempt, Job
from registry.services import jobs, runs
from tests.conftest import make_record, make_spec
from workers import reporting
from workers.reporting import Heartbeat, MeterReport
from workers.stages.contract import Preempted


@pytest.fixture
def stop_flag():
    before = signal.getsignal(signal.SIGTERM)
    yield reporting.stopping
    reporting.stopping.clear()
    signal.signal(signal.SIGTERM, before)


def test_sigterm_ends_a_stage_at_its_next_progress(stop_flag):
    reporting.stop_on_sigterm()
    heartbeat = Heartbeat(None, None)
    report = MeterReport(None, heartbeat)
    report.progress(done=1, total=2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop_flag.is_set()
    with pytest.raises(Preempted):
        report.progress(done=2, total=2)


def test_a_job_handed_back_is_tried_again_however_often_and_its_energy_is_booked(study, member):
    run = runs.submit(actor=member, study=study, spec=make_spec("sft"))
    job = run.jobs.get(kind="preprocess")
    for number in range(1, jobs.MAX_ATTEMPTS + 2):
        ticket = jobs.claim(job_id=job.pk, worker="one")
        record = make_record(kind="preprocess", attempt_id=str(ticket.attempt_id), status="failed")
        jobs.hand_back(ticket=ticket, record=record)
        job.refresh_from_db()
        assert job.status == Job.Status.READY
        attempt = Attempt.objects.get(pk=ticket.attempt_id)
        assert (attempt.number, attempt.error) == (number, jobs.HANDED_BACK)
        assert attempt.stages.get().energy_j == record.cpu_energy_j + record.ram_energy_j
    ticket = jobs.claim(job_id=job.pk, worker="one")
    jobs.fail(ticket=ticket, record=None, error="it broke", again=True)
    job.refresh_from_db()
    assert job.status == Job.Status.READY
