"""Runs: planned, submitted, cancelled; who makes an artifact, who waits for it, who takes over."""

from datetime import timedelta

import pytest
from django.utils import timezone

from registry.models import Artifact, Attempt, Job, Membership, Run, Stage
from registry.services import artifacts, jobs, runs
from registry.services.errors import Conflict, Invalid, NotAllowed
from registry.services.jobs import Result
from tests.conftest import make_record, make_spec
from tests.registry.working import ready, work, work_through


@pytest.fixture(autouse=True)
def deliveries(monkeypatch, settings, tmp_path):
    """Nothing works at the queue here: the tests claim jobs themselves."""
    settings.ARTIFACT_URL = f"file://{tmp_path / 'artifacts'}"


def test_planning_changes_nothing(study, member):
    plan = runs.plan(user=member, study=study, spec=make_spec("kd"))
    assert [stage.planned.kind for stage in plan.stages] == [
        "preprocess",
        "logit_caching",
        "student_training",
        "evaluation",
    ]
    assert plan.needs_reference
    assert (Run.objects.count(), Artifact.objects.count()) == (0, 0)


def test_what_was_measured_is_scaled_by_the_work_that_is_planned(study, member, tmp_path):
    work_through(runs.submit(actor=member, study=study, spec=make_spec("kd")), tmp_path)
    dataset = make_spec().to_dict()["dataset"] | {"train_rows": 80}
    longer = make_spec("kd", dataset=dataset, training={"max_steps": 1000})
    expected = {stage.planned.kind: stage.expected for stage in runs.plan(user=member, study=study, spec=longer).stages}
    assert expected["logit_caching"].energy_j == pytest.approx(2 * 1100.0)
    assert "scaled by the work" in expected["logit_caching"].basis
    assert expected["student_training"].energy_j == pytest.approx(1100.0 / 2)  # half of the steps by default
    assert "over as much work as they did" in expected["preprocess"].basis
    assert expected["student_training"].floor.device == "H100"
    assert expected["student_training"].memory_bytes > 0
    assert (expected["evaluation"].floor, expected["evaluation"].memory_bytes) == (None, None)


@pytest.mark.django_db(transaction=True)
def test_a_run_goes_through_its_stages_and_the_teacher_is_evaluated_once(study, member, tmp_path):
    first = runs.submit(actor=member, study=study, spec=make_spec("kd"))
    work_through(first, tmp_path)
    assert first.status == Run.Status.FINISHED
    work_through(first.reference, tmp_path)
    second = runs.submit(actor=member, study=study, spec=make_spec("sft"))
    assert second.reference == first.reference
    first.summary.refresh_from_db()
    assert first.summary.quality == pytest.approx(1.0)


def test_the_second_student_of_kd_reuses_the_logit_cache(study, member, tmp_path):
    first = runs.submit(actor=member, study=study, spec=make_spec("kd"))
    work_through(first, tmp_path)
    other = {"id": "smollm2-135m-instruct", "drop_layers": "10-19"}
    second = runs.submit(actor=member, study=study, spec=make_spec("kd", student=other))
    work_through(second, tmp_path)
    assert list(second.jobs.values_list("status", flat=True)) == ["reused", "reused", "finished", "finished"]
    cache = Artifact.objects.get(kind="logit_cache")
    assert {use.run: use.how for use in cache.uses.all()} == {first: "made", second: "used"}
    assert cache.production_energy_j == pytest.approx(1100.0)
    # Its energy is charged through the artifact, so the run's own summary has no teacher's part.
    assert first.summary.teacher_energy_j is None
    assert first.summary.student_energy_j == pytest.approx(1100.0)


def test_an_artifact_being_made_is_waited_for_without_a_worker(study, member, tmp_path):
    maker = runs.submit(actor=member, study=study, spec=make_spec("kd"))
    waiter = runs.submit(actor=member, study=study, spec=make_spec("kd", seed=1))
    assert not waiter.jobs.filter(status=Job.Status.READY).exists()
    work(ready(maker), tmp_path)
    work(ready(maker), tmp_path)
    assert Artifact.objects.filter(kind="logit_cache").count() == 1
    # Its maker is done with both, so the waiter has moved on by itself once the transaction is through.


@pytest.mark.django_db(transaction=True)
def test_a_waiter_moves_on_when_the_artifact_is_ready(study, member, tmp_path):
    maker = runs.submit(actor=member, study=study, spec=make_spec("kd"))
    waiter = runs.submit(actor=member, study=study, spec=make_spec("kd", seed=1))
    work(ready(maker), tmp_path)
    work(ready(maker), tmp_path)
    assert ready(waiter).kind == "student_training"
    assert waiter.uses.get(artifact__kind="logit_cache").how == "waited"


@pytest.mark.django_db(transaction=True)
def test_a_waiter_takes_over_when_the_maker_gives_up_and_the_dead_attempts_energy_stays(study, member, tmp_path):
    maker = runs.submit(actor=member, study=study, spec=make_spec("kd"))
    waiter = runs.submit(actor=member, study=study, spec=make_spec("kd", seed=1))
    work(ready(maker), tmp_path)
    ticket = jobs.claim(job_id=ready(maker).pk, worker="w")
    jobs.fail(ticket=ticket, record=make_record(kind="logit_caching", status="failed"), error="no memory", again=False)
    maker.refresh_from_db()
    assert maker.status == Run.Status.FAILED
    assert ready(waiter).kind == "logit_caching"
    work(ready(waiter), tmp_path)
    cache = Artifact.objects.get(kind="logit_cache")
    assert cache.status == "ready"
    assert cache.production_energy_j == pytest.approx(2200.0)


def test_regenerating_without_a_reason_is_refused_with_the_artifact(study, owner, tmp_path):
    work_through(runs.submit(actor=owner, study=study, spec=make_spec("kd")), tmp_path)
    cache = Artifact.objects.get(kind="logit_cache")
    with pytest.raises(Conflict) as refusal:
        runs.submit(actor=owner, study=study, spec=make_spec("kd", seed=1), regenerate=True)
    assert refusal.value.detail["artifact"] == str(cache.pk)
    assert Run.objects.students().count() == 1


def test_regenerating_with_a_reason_keeps_the_reason(study, owner, tmp_path):
    work_through(runs.submit(actor=owner, study=study, spec=make_spec("kd")), tmp_path)
    runs.submit(
        actor=owner,
        study=study,
        spec=make_spec("kd", seed=1),
        regenerate=True,
        regenerate_reason="doubt about its rows",
    )
    assert (
        Artifact.objects.filter(kind="logit_cache", regenerate_reason="doubt about its rows", status="making").count()
        == 1
    )


def test_a_submitter_may_not_regenerate(study, member, tmp_path):
    work_through(runs.submit(actor=member, study=study, spec=make_spec("kd")), tmp_path)
    with pytest.raises(NotAllowed, match="maintainer"):
        runs.submit(
            actor=member, study=study, spec=make_spec("kd"), regenerate=True, regenerate_reason="doubt about its rows"
        )


HUB_ROWS = {"row_digests": ("r1", "r2"), "prompt_digests": ("p1", "p2")}


def hub_spec(**changes):
    """A run on a dataset whose rows nobody knows before they are prepared."""
    return make_spec("kd", dataset={"id": "org/name", "revision": "v1"}, **changes)


@pytest.fixture
def cache_of_hub_rows(study, owner, tmp_path):
    """Made by a first run, so that the rows of the dataset lead to it once they are known."""
    work_through(runs.submit(actor=owner, study=study, spec=hub_spec()), tmp_path, **HUB_ROWS)
    return Artifact.objects.get(kind="logit_cache")


def test_rows_that_are_known_late_lead_to_what_exists(study, member, cache_of_hub_rows):
    run = runs.submit(actor=member, study=study, spec=hub_spec(seed=1))
    assert run.uses.get(artifact__kind="logit_cache").artifact == cache_of_hub_rows


def test_asking_to_regenerate_before_the_rows_are_known_needs_a_reason_and_a_maintainer(study, owner, member):
    with pytest.raises(Invalid) as refusal:
        runs.submit(actor=owner, study=study, spec=hub_spec(), regenerate=True)
    assert "once the data is prepared" in refusal.value.problems["regenerate_reason"]
    with pytest.raises(NotAllowed, match="maintainer"):
        runs.submit(
            actor=member, study=study, spec=hub_spec(), regenerate=True, regenerate_reason="doubt about its rows"
        )
    assert not Run.objects.exists()


def test_a_reason_to_regenerate_is_acted_on_when_the_rows_are_known(study, owner, tmp_path, cache_of_hub_rows):
    wanted = {"regenerate": True, "regenerate_reason": "doubt about its rows"}
    run = runs.submit(actor=owner, study=study, spec=hub_spec(seed=1), **wanted)
    made = run.uses.get(artifact__kind="logit_cache").artifact
    assert (made.status, made.regenerate_reason, made.made_by_run) == ("making", "doubt about its rows", run)
    assert run.jobs.get(kind="logit_caching").decision["reason"].startswith("Made again on request, although: ")
    work_through(run, tmp_path, **HUB_ROWS)
    assert run.status == Run.Status.FINISHED


def test_a_reason_to_regenerate_what_turns_out_not_to_exist_is_not_kept_on_it(study, owner, tmp_path):
    wanted = {"regenerate": True, "regenerate_reason": "doubt about its rows"}
    run = runs.submit(actor=owner, study=study, spec=hub_spec(), **wanted)
    work_through(run, tmp_path, **HUB_ROWS)
    assert (run.status, run.regenerate_reason) == (Run.Status.FINISHED, "doubt about its rows")
    assert Artifact.objects.get(kind="logit_cache").regenerate_reason == ""


def test_a_smaller_request_is_cut_out_of_a_larger_cache(study, member, tmp_path):
    work_through(runs.submit(actor=member, study=study, spec=make_spec("kd")), tmp_path)
    spec = make_spec("kd", distillation={"k": 20, "temperatures": [1.0]})
    run = runs.submit(actor=member, study=study, spec=spec)
    use = run.uses.get(artifact__kind="logit_cache")
    assert (use.how, use.used_share) == ("cut", None)


def test_an_unknown_dataset_is_refused_by_field(study, member):
    spec = make_spec("sft", dataset={"id": "nowhere"})
    with pytest.raises(Invalid) as refusal:
        runs.submit(actor=member, study=study, spec=spec)
    assert "dataset.id" in refusal.value.problems


def test_a_viewer_may_not_submit(study, stranger):
    Membership.objects.create(project=study.project, user=stranger, role="viewer")
    with pytest.raises(NotAllowed):
        runs.submit(actor=stranger, study=study, spec=make_spec("sft"))


def test_a_job_is_claimed_once(study, member):
    run = runs.submit(actor=member, study=study, spec=make_spec("sft"))
    assert jobs.claim(job_id=ready(run).pk, worker="a") is not None
    assert jobs.claim(job_id=run.jobs.first().pk, worker="b") is None


def test_a_lease_that_ran_out_is_reaped_and_the_late_worker_only_books_its_energy(study, member, tmp_path):
    run = runs.submit(actor=member, study=study, spec=make_spec("sft"))
    late = jobs.claim(job_id=ready(run).pk, worker="a")
    Job.objects.filter(pk=late.job_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert jobs.reap() == 1
    assert not jobs.heartbeat(ticket=late, progress={})
    assert Attempt.objects.get(pk=late.attempt_id).status == "lost"
    assert not jobs.finish(ticket=late, record=make_record(kind="preprocess"), result=Result())
    assert ready(run).kind == "preprocess"
    assert Stage.objects.get().attempt_id == late.attempt_id


def test_a_job_that_keeps_dying_fails_its_run_after_three_attempts(study, member):
    run = runs.submit(actor=member, study=study, spec=make_spec("sft"))
    for _ in range(jobs.MAX_ATTEMPTS):
        ticket = jobs.claim(job_id=ready(run).pk, worker="a")
        jobs.fail(ticket=ticket, record=None, error="killed", again=True)
    run.refresh_from_db()
    assert run.status == Run.Status.FAILED
    assert "killed" in run.error


def test_a_lost_record_is_booked_once(study, member):
    run = runs.submit(actor=member, study=study, spec=make_spec("sft"))
    ticket = jobs.claim(job_id=ready(run).pk, worker="a")
    record = make_record(kind="preprocess", status="lost", attempt_id=str(ticket.attempt_id))
    assert jobs.book_lost(record=record)
    assert jobs.book_lost(record=record)
    assert Stage.objects.get().status == "lost"
    assert jobs.release(attempt_ids=[ticket.attempt_id]) == 1
    assert jobs.reap() == 1


def test_a_cancelled_run_stops_its_jobs_and_is_not_listened_to(study, member):
    run = runs.submit(actor=member, study=study, spec=make_spec("sft"))
    ticket = jobs.claim(job_id=ready(run).pk, worker="a")
    runs.cancel(actor=member, run=run)
    assert not jobs.heartbeat(ticket=ticket, progress={})
    assert set(run.jobs.values_list("status", flat=True)) == {"cancelled"}
    with pytest.raises(Conflict):
        runs.cancel(actor=member, run=run)


def test_a_corrupt_artifact_is_not_offered(study, member, tmp_path):
    work_through(runs.submit(actor=member, study=study, spec=make_spec("kd")), tmp_path)
    artifacts.mark_corrupt(artifact=Artifact.objects.get(kind="logit_cache"), reason="other bytes")
    again = runs.plan(user=member, study=study, spec=make_spec("kd", seed=1))
    assert [stage.decision.action for stage in again.stages if stage.decision] == ["use", "make", "make"]


def test_an_artifact_registered_without_its_files_is_not_given_to_a_worker(study, owner, tmp_path):
    spec = make_spec("kd")
    request = runs.plan(user=owner, study=study, spec=spec).stages[1].planned.request
    artifacts.register(actor=owner, project=study.project, request=request, name="theirs", production_energy_j=1.0)
    run = runs.submit(actor=owner, study=study, spec=spec)
    made = run.uses.get(artifact__kind="logit_cache")
    assert made.how == "made"
    assert "without its files" in made.artifact.regenerate_reason
