"""A worker killed in the middle of training, with real Celery processes and the real model."""

import pytest

from registry.models import Run
from registry.services import runs
from tests.conftest import make_spec
from tests.workers.processes import kill_all, start_worker, wait_for

pytestmark = [pytest.mark.torch, pytest.mark.timeout(600)]
ENVIRONMENT = {"STAGEMETER_LEASE_SECONDS": "10", "STAGEMETER_PRERUN_SECONDS": "2"}
TRAINING = {
    "max_steps": 12,
    "batch_size": 4,
    "accumulation_steps": 1,
    "warmup_steps": 1,
    "evaluate_every": 2,
    "learning_rate": 5e-4,
    "precision": "fp32",
}


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

    worker = start_worker(log, **ENVIRONMENT)
    try:
        wait_for(lambda: trained_steps() >= 3, 240, log)
    finally:
        kill_all(worker)
    worker = start_worker(log, **ENVIRONMENT)
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
