"""Reuse applied: who takes over what, what happens when an input is gone, and which of several contents is offered."""

import pytest

from registry.accounting.plan import artifact_request
from registry.models import Artifact, ArtifactLease, ArtifactUse, AuditEvent, Membership, Run
from registry.services import artifacts, jobs, leases, lookups, reuse, runs, studies, versions
from registry.services.errors import Conflict, Invalid, NotAllowed
from tests.conftest import make_record, make_spec
from tests.registry.working import ready, work, work_through

pytestmark = pytest.mark.django_db(transaction=True)
BROKEN = "another build of the engine gave other tokens"


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.ARTIFACT_URL = f"file://{tmp_path / 'artifacts'}"


def submit(study, actor, pipeline="kd", **changes) -> Run:
    return runs.submit(actor=actor, study=study, spec=make_spec(pipeline, **changes))


def give_up(run: Run) -> None:
    ticket = jobs.claim(job_id=ready(run).pk, worker="w")
    jobs.fail(ticket=ticket, record=make_record(kind=ticket.kind, status="failed"), error="no memory", again=False)


def generation(study, actor, tokens, **changes):
    return submit(study, actor, "synthetic_sft", decoding={"max_new_tokens": tokens}, **changes)


def test_a_waiter_that_needs_less_does_not_leave_less_under_the_name_of_what_its_maker_gave_up(study, member, tmp_path):
    maker, smaller = generation(study, member, 64), generation(study, member, 16)
    work(ready(maker), tmp_path)
    give_up(maker)
    work_through(smaller, tmp_path)
    made = Artifact.objects.get(kind="synthetic_dataset", status="ready")
    assert made.capture["max_new_tokens"] == 16
    assert Artifact.objects.get(kind="synthetic_dataset", status="failed").capture["max_new_tokens"] == 64


def test_of_several_waiters_the_one_that_needs_all_of_it_takes_over_and_the_others_wait_for_it(study, member, tmp_path):
    maker, smaller, equal = generation(study, member, 64), generation(study, member, 16), generation(study, member, 64)
    work(ready(maker), tmp_path)
    give_up(maker)
    cache = Artifact.objects.get(kind="synthetic_dataset")
    assert (cache.status, cache.made_by_run) == ("making", equal)
    work(ready(equal), tmp_path)
    cache.refresh_from_db()
    assert cache.production_energy_j == pytest.approx(2200.0)  # of the dead attempt too
    assert smaller.uses.get(artifact=cache).how == "cut"


def test_what_was_withdrawn_before_it_was_read_is_made_again_and_stays_in_the_books_of_who_used_it(
    study, member, owner, tmp_path
):
    first = submit(study, member)
    work_through(first, tmp_path)
    second = submit(study, member, seed=1)
    cache = Artifact.objects.get(kind="logit_cache")
    assert second.uses.filter(artifact=cache).exists()
    artifacts.withdraw(artifact=cache, actor=owner, reason="its rows were shuffled")
    training = ready(second)
    assert jobs.claim(job_id=training.pk, worker="w") is None
    assert ready(second).kind == "logit_caching"
    work_through(second, tmp_path)
    assert second.status == Run.Status.FINISHED
    assert [use.artifact == cache for use in second.uses.filter(artifact__kind="logit_cache")] == [False]
    assert first.uses.filter(artifact=cache, how="made").exists()


def test_an_input_found_corrupt_fails_no_run_and_its_attempt_is_booked(study, member, tmp_path):
    first = submit(study, member)
    work_through(first, tmp_path)
    second = submit(study, member, seed=1)
    cache = Artifact.objects.get(kind="logit_cache")
    ticket = jobs.claim(job_id=ready(second).pk, worker="w")
    artifacts.mark_corrupt(artifact=cache, reason="shard 0 has other bytes")
    jobs.lose_input(ticket=ticket, record=make_record(kind=ticket.kind, status="failed"), error="corrupt")
    assert ready(second).kind == "logit_caching"
    work_through(second, tmp_path)
    assert second.status == Run.Status.FINISHED
    second.summary.refresh_from_db()
    assert second.summary.lost_energy_j == pytest.approx(1100.0)


def test_a_run_that_made_what_turns_out_corrupt_makes_another_and_pays_for_both(study, member, tmp_path):
    run = submit(study, member)
    work(ready(run), tmp_path)
    work(ready(run), tmp_path)
    spoilt = Artifact.objects.get(kind="logit_cache")
    ticket = jobs.claim(job_id=ready(run).pk, worker="w")
    artifacts.mark_corrupt(artifact=spoilt, reason="other bytes")
    jobs.lose_input(ticket=ticket, record=None, error="corrupt")
    work_through(run, tmp_path)
    assert run.status == Run.Status.FINISHED
    made = run.uses.filter(artifact__kind="logit_cache").order_by("created_at")
    assert [(use.how, use.artifact.status) for use in made] == [("made", "corrupt"), ("made", "ready")]


def test_of_several_contents_the_newest_intact_one_is_used(study, owner, tmp_path):
    work_through(submit(study, owner), tmp_path)
    older = Artifact.objects.get(kind="logit_cache")
    again = {"regenerate": True, "regenerate_reason": BROKEN}
    work_through(runs.submit(actor=owner, study=study, spec=make_spec("kd", seed=1), **again), tmp_path)
    newer = Artifact.objects.get(kind="logit_cache", made_again_of=older)
    assert newer.fingerprint == older.fingerprint
    assert (older.version, newer.handle, newer.version) == (1, older.handle, 2)
    assert submit(study, owner, seed=2).uses.get(artifact__kind="logit_cache").artifact == newer
    artifacts.mark_corrupt(artifact=newer, reason="other bytes")
    assert submit(study, owner, seed=3).uses.get(artifact__kind="logit_cache").artifact == older


def test_a_superseded_artifact_is_left_alone_while_the_better_one_serves(study, owner, tmp_path):
    work_through(submit(study, owner), tmp_path)
    older = Artifact.objects.get(kind="logit_cache")
    wider = make_spec("kd", distillation={"k": 200})
    work_through(runs.submit(actor=owner, study=study, spec=wider), tmp_path)
    better = Artifact.objects.get(kind="logit_cache", capture__k=200)
    versions.supersede(artifact=older, by=better, actor=owner, reason="holds twice as many logits")
    assert submit(study, owner, seed=2).uses.get(artifact__kind="logit_cache").artifact == better
    assert AuditEvent.objects.get(action="artifact superseded").detail["reason"] == "holds twice as many logits"
    artifacts.withdraw(artifact=better, actor=owner, reason="made with the wrong template")
    assert submit(study, owner, seed=3).uses.get(artifact__kind="logit_cache").artifact == older


def test_a_run_at_one_temperature_uses_a_cache_that_holds_it(study, member, tmp_path):
    """The grid it would keep itself is no reason to make another cache."""
    work_through(submit(study, member), tmp_path)
    spec = make_spec("kd", distillation={"temperatures": [1.0, 8.0], "temperature": 1.0})
    assert runs.submit(actor=member, study=study, spec=spec).uses.get(artifact__kind="logit_cache").how == "cut"
    hotter = make_spec("kd", distillation={"temperatures": [8.0], "temperature": 8.0})
    plan = runs.plan(user=member, study=study, spec=hotter)
    decision = plan.stages[1].decision
    assert (decision.action, decision.near_misses[0].differences) == ("make", {"temperatures": [1, 2, 4]})


def test_prompts_of_a_hub_dataset_lead_to_the_answers_that_exist(study, member, tmp_path):
    hub = {"dataset": {"id": "org/name", "revision": "v1"}}
    known = {"row_digests": ("r1", "r2"), "prompt_digests": ("p1", "p2")}
    work_through(submit(study, member, "synthetic_sft", **hub), tmp_path, **known)
    second = submit(study, member, "synthetic_sft", seed=1, **hub)
    assert second.uses.get(artifact__kind="synthetic_dataset").how == "used"


@pytest.mark.parametrize("reason", ["", "  ", "no reason", " too short "])
def test_making_it_again_takes_a_reason_of_ten_characters(study, owner, tmp_path, reason):
    work_through(submit(study, owner), tmp_path)
    before = Run.objects.count()
    with pytest.raises((Conflict, Invalid)) as refusal:
        runs.submit(actor=owner, study=study, spec=make_spec("kd", seed=1), regenerate=True, regenerate_reason=reason)
    assert "ten characters" in str(refusal.value)
    assert Run.objects.count() == before


def test_the_reason_is_in_the_audit_log_of_the_run_and_of_the_artifact(study, owner, tmp_path):
    work_through(submit(study, owner), tmp_path)
    cache = Artifact.objects.get(kind="logit_cache")
    run = runs.submit(actor=owner, study=study, spec=make_spec("kd", seed=1), regenerate=True, regenerate_reason=BROKEN)
    made = Artifact.objects.get(made_again_of=cache)
    for subject in (run, made):
        events = AuditEvent.objects.filter(subject_id=str(subject.pk), actor=owner, detail__reason=BROKEN)
        assert events.count() == 1
    assert AuditEvent.objects.get(action="artifact begun", subject_id=str(made.pk)).detail["again_of"] == str(cache.pk)


def test_uses_of_a_withdrawn_artifact_stay(study, owner, tmp_path):
    work_through(submit(study, owner), tmp_path)
    cache = Artifact.objects.get(kind="logit_cache")
    artifacts.withdraw(artifact=cache, actor=owner, reason="wrong rows")
    assert ArtifactUse.objects.filter(artifact=cache).count() == 1
    with pytest.raises(Conflict, match="withdrawn already"):
        artifacts.withdraw(artifact=cache, actor=owner, reason="again")


def test_only_a_maintainer_withdraws_and_says_why(study, owner, member, tmp_path):
    work_through(submit(study, owner), tmp_path)
    cache = Artifact.objects.get(kind="logit_cache")
    with pytest.raises(NotAllowed):
        artifacts.withdraw(artifact=cache, actor=member, reason="wrong rows")
    with pytest.raises(Invalid, match="say why"):
        artifacts.withdraw(artifact=cache, actor=owner, reason=" ")


def test_a_run_waits_for_what_is_made_under_a_lease_and_makes_it_if_that_ends_in_nothing(
    study, member, owner, tmp_path
):
    spec, project = make_spec("kd"), study.project
    request = artifact_request("logit_cache", spec, reuse.identities(spec, project, member))
    held = leases.lease(actor=owner, project=project, request=request, seconds=600)
    answer = lookups.answer(request, project, member)
    assert (answer.action, answer.expires_at) == ("wait", held.expires_at)
    planned = [stage.decision.action for stage in runs.plan(user=member, study=study, spec=spec).stages[:2]]
    assert planned == ["make", "wait"]
    run = submit(study, member)
    work(ready(run), tmp_path)
    jobs.reap()
    assert run.jobs.get(kind="logit_caching").status == "waiting"
    assert not Artifact.objects.filter(kind="logit_cache").exists()
    leases.release(actor=owner, held=ArtifactLease.objects.get())
    jobs.reap()
    assert ready(run).kind == "logit_caching"
    assert leases.lease(actor=owner, project=project, request=request, seconds=600).action == "wait"


@pytest.fixture
def abroad(study, stranger):
    """A study of a private project of the stranger's, beside the public project of `study`."""
    study.project.public = True
    study.project.save()
    other = studies.ensure_project(slug="abroad", name="Abroad", public=False)
    Membership.objects.create(project=other, user=stranger, role=Membership.Role.SUBMITTER)
    return studies.create_study(actor=None, project=other, slug="abroad", name="Abroad", suite=study.suite)


def test_a_waiter_of_another_project_makes_one_of_its_own_instead_of_taking_over(
    study, member, abroad, stranger, tmp_path
):
    maker, waiter = submit(study, member), submit(abroad, stranger)
    work(ready(maker), tmp_path)
    left = Artifact.objects.get(kind="logit_cache")
    assert waiter.jobs.get(kind="logit_caching").artifact == left
    give_up(maker)
    left.refresh_from_db()
    own = waiter.jobs.get(kind="logit_caching").artifact
    assert (left.status, left.made_by_run) == ("failed", maker)
    assert (own.project, own.made_by_run, ready(waiter).kind) == (abroad.project, waiter, "logit_caching")


def test_a_waiter_does_not_get_what_its_project_may_no_longer_use(study, member, abroad, stranger, tmp_path):
    maker, waiter = submit(study, member), submit(abroad, stranger)
    work(ready(maker), tmp_path)
    theirs = Artifact.objects.filter(kind="logit_cache")
    theirs.update(may_train=False)
    work(ready(maker), tmp_path)
    assert theirs.get(made_by_run=maker).status == "ready"
    assert ready(waiter).kind == "logit_caching"
    assert not waiter.uses.filter(artifact__made_by_run=maker, artifact__kind="logit_cache").exists()
