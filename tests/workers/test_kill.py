"""A worker killed in the middle of training, with real Celery processes and the real model."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from django.conf import settings
from django.db import connection

from registry.models import Run
from registry.services import runs
from tests.conftest import make_spec

pytestmark = [pytest.mark.torch, pytest.mark.timeout(600)]
ROOT = Path(settings.BASE_DIR)

TRAINING = {
    "max_steps": 12,
    "batch_size": 4,
    "accumulation_steps": 1,
    "warmup_steps": 1,
    "evaluate_every": 2,
    "learning_rate": 5e-4,
    "precision": "fp32",
}


def start_worker(log: Path) -> subprocess.Popen:
    """A real worker on the test's own database and broker."""
    database = settings.DATABASES["default"]
    url = f"postgresql://{database['USER']}@/{connection.settings_dict['NAME']}?host={quote(database['HOST'], safe='')}"
    environment = os.environ | {"DATABASE_URL": url, "STAGEMETER_LEASE_SECONDS": "10", "STAGEMETER_PRERUN_SECONDS": "2"}
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "--concurrency=1", "--loglevel=INFO"]
    with log.open("ab") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )


def kill_all(worker: subprocess.Popen) -> None:
    """SIGKILL to the worker and every process below it but the samplers, which outlive it on purpose."""
    try:
        processes = [worker, *psutil.Process(worker.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        processes = []
    for process in processes:
        if not _is_sampler(process):
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(process.pid, signal.SIGKILL)
    worker.wait()


def _is_sampler(process: subprocess.Popen | psutil.Process) -> bool:
    if isinstance(process, subprocess.Popen):
        return False
    try:
        return any(word in ("stagemeter.sampler", "stagemeter.cpu_sampler") for word in process.cmdline())
    except psutil.Error:  # gone, or a zombie
        return False


def wait_for(condition, seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.2)


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_in_training_loses_no_energy_and_the_run_finishes(study, member, tmp_path):
    log = tmp_path / "worker.log"
    student = {"id": "smollm2-135m-instruct", "precision": "fp32", "drop_layers": "4-27"}
    teacher = {"id": "smollm2-135m-instruct", "precision": "fp32"}
    dataset = {"id": "tour-facts", "train_rows": 48, "validation_rows": 4, "evaluation_rows": 4}
    spec = make_spec("sft", training=TRAINING, student=student, teacher=teacher, dataset=dataset)
    run = runs.submit(actor=member, study=study, spec=spec)
    training = run.jobs.get(kind="student_training")

    def trained_steps() -> int:
        training.refresh_from_db()
        return int(training.progress.get("done", 0)) if training.status == "running" else 0

    worker = start_worker(log)
    try:
        wait_for(lambda: trained_steps() >= 3, 240, log)
    finally:
        kill_all(worker)
    worker = start_worker(log)
    try:
        wait_for(lambda: Run.objects.get(pk=run.pk).status in ("finished", "failed"), 240, log)
    finally:
        kill_all(worker)

    run.refresh_from_db()
    assert run.status == "finished", run.error
    attempts = list(training.attempts.all())
    assert [attempt.status for attempt in attempts] == ["lost", "completed"]
    records = [attempt.stages.get() for attempt in attempts]
    assert [record.status for record in records] == ["lost", "completed"]
    assert all(record.energy_j > 0 and record.gpu_energy_j is None for record in records)
    assert all("cpu" in {line["component"] for line in record.trace.lines} for record in records)
    run.summary.refresh_from_db()
    assert run.summary.student_energy_j == pytest.approx(sum(record.energy_j for record in records))
    assert run.summary.lost_energy_j == pytest.approx(records[0].energy_j)
