"""Sixty-four at once need the same artifact: made once, whoever dies at it. Real worker processes, as on two hosts."""

import pytest
from django.utils import timezone

from registry.models import Artifact, Attempt, Job, Run
from registry.services import jobs, runs
from tests.conftest import make_spec
from tests.registry.test_concurrency import at_once
from tests.workers.processes import family_of, kill_all, start_worker, wait_for
from workers import app, recovery

pytestmark = [pytest.mark.torch, pytest.mark.timeout(600)]
SUBMISSIONS = 64
LEASE_S = 5
TRAINING = {"max_steps": 1, "batch_size": 4, "accumulation_steps": 1, "evaluate_every": 1, "precision": "fp32"}


def spec(seed: int):
    small = {"id": "smollm2-135m-instruct", "precision": "fp32"}
    return make_spec(
        "kd",
        seed=seed,
        teacher=small,
        student=small | {"drop_layers": "8-25"},
        dataset={"id": "tour-facts", "train_rows": 8, "validation_rows": 2, "evaluation_rows": 2, "max_length": 400},
        training=TRAINING,
        distillation={"k": 20},
        evaluation={"suite": ["token_accuracy"]},
    )


@pytest.fixture
def host(tmp_path):
    """`host(name)` starts a worker with a spool of its own, so that no other can see what becomes of its attempts."""
    started = []
    hold = tmp_path / "hold"
    hold.touch()

    def start(name: str):
        worker = start_worker(
            tmp_path / f"{name}.log",
            "tests.workers.tiny_worker",
            STAGEMETER_HOME=str(tmp_path / name),
            STAGEMETER_LEASE_SECONDS=str(LEASE_S),
            STAGEMETER_PRERUN_SECONDS="0",
            TINY_WORKER_HOLD=str(hold),
        )
        started.append(worker)
        return worker

    yield start
    for worker in started:
        kill_all(worker)


def holder_of(job: Job) -> int:
    """The process that has the job, as its attempt names it."""
    attempt = job.attempts.filter(status=Attempt.Status.RUNNING).last()
    return int(attempt.worker.rpartition("/")[2]) if attempt else 0


@pytest.mark.django_db(transaction=True)
def test_an_artifact_that_64_submissions_need_is_made_once_though_its_maker_is_killed(
    study, member, tmp_path, host, settings
):
    workers = {"one": host("one"), "two": host("two")}
    at_once(lambda seed: runs.submit(actor=member, study=study, spec=spec(seed)), list(range(SUBMISSIONS)))
    cache = Artifact.objects.get(kind="logit_cache")
    making = cache.maker_job
    logs = [tmp_path / "one.log", tmp_path / "two.log"]

    # Somebody begins, is seen alive with energy measured, and is killed; nobody reads its spool.
    wait_for(lambda: (Job.objects.get(pk=making.pk).progress or {}).get("energy_j") and holder_of(making), 240, *logs)
    victim = next(name for name, w in workers.items() if holder_of(making) in {p.pid for p in family_of(w)})
    assert making.run.jobs.get(kind="student_training").status == "waiting"
    kill_all(workers[victim])
    (tmp_path / "hold").unlink()

    # The lease runs out, and the other one goes on.
    wait_for(lambda: Artifact.objects.get(pk=cache.pk).status == "ready", 240, *logs)
    attempts = list(making.attempts.order_by("number"))
    assert [attempt.status for attempt in attempts] == ["lost", "completed"]
    assert attempts[0].worker != attempts[1].worker
    others = Job.objects.filter(kind="logit_caching").exclude(pk=making.pk)
    wait_for(lambda: others.filter(status="reused").count() == SUBMISSIONS - 1, 120, *logs)
    assert Artifact.objects.filter(kind="logit_cache").count() == 1
    assert cache.uses.filter(how="waited").count() == SUBMISSIONS - 1

    # They run. A few are let through to the end, for each takes a while.
    kept = [making.run_id, *others.order_by("-id").values_list("run_id", flat=True)[:2]]
    for run in Run.objects.filter(pipeline="kd", status__in=["queued", "running"]).exclude(pk__in=kept):
        runs.cancel(actor=member, run=run)
    wait_for(lambda: not Run.objects.filter(pk__in=kept).exclude(status="finished").exists(), 240, *logs)

    # When the dead one's host is back, what its attempt burnt is in the production energy.
    alone_j = Artifact.objects.get(pk=cache.pk).production_energy_j
    settings.SPOOL_DIR = tmp_path / victim / "spool"
    assert recovery.book_dead_attempts() == 1
    cache.refresh_from_db()
    burnt_j = [attempt.stages.get().energy_j for attempt in attempts]
    assert all(energy_j > 0 for energy_j in burnt_j)
    assert alone_j == pytest.approx(burnt_j[1])
    assert cache.production_energy_j == pytest.approx(sum(burnt_j))


def test_a_lease_a_round_of_the_reaper_and_a_beginning_fit_into_the_lease_time(settings):
    lease_s = (jobs._lease() - timezone.now()).total_seconds()
    assert lease_s + 2 * app.REAP_EVERY_S <= settings.LEASE_SECONDS  # the second half is for whoever takes over
