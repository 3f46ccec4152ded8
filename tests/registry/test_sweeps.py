"""Sweeps: planned together, submitted in one transaction, each teacher artifact made once."""

import pytest

from registry.accounting.plan import artifact_request
from registry.accounting.presets import paper_ablation, tour
from registry.accounting.spec import RunSpec
from registry.accounting.sweeps import expand
from registry.importers import paper
from registry.models import Artifact, AuditEvent, Job, Run
from registry.services import leases, reuse, runs, sweeps
from registry.services.errors import Invalid, NotAllowed
from tests import scenes
from tests.conftest import make_spec
from tests.registry.working import ready, work, work_through

HUB = {"id": "org/rows", "train_rows": 6, "validation_rows": 2, "evaluation_rows": 2}


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.ARTIFACT_URL = f"file://{tmp_path / 'artifacts'}"


def ablation(dataset=None):
    """The paper's ablation on the tour's rows: 40 instead of 7000 prompts, and 20 instead of 3500."""
    kd, synthetic = (make_spec(pipeline).to_dict() for pipeline in ("kd", "synthetic_sft"))
    for grid in (kd, synthetic):
        grid["dataset"] |= dataset or {}
    kd["distillation"] |= {"temperature": [1, 2, 4], "ce_weight": [0.3, 0.5, 0.8]}
    synthetic["decoding"]["max_new_tokens"] = [4, 8, 16]
    synthetic["dataset"]["train_rows"] = [synthetic["dataset"]["train_rows"], synthetic["dataset"]["train_rows"] // 2]
    return expand([kd, synthetic])


def made(kind):
    return Artifact.objects.filter(kind=kind)


def check_plan(plan):
    cache, generation = sorted(plan.of_teacher, key=lambda need: need.kind)
    assert [(n.kind, n.made, n.alone, n.by_exact) for n in (cache, generation)] == [
        ("logit_cache", 1, 9, 3),
        ("synthetic_dataset", 1, 6, 6),
    ]
    return cache, generation


def test_the_papers_ablation_plans_one_cache_and_one_generation_where_its_harness_makes_three_and_six(study, member):
    paper.load()
    plan = sweeps.plan(user=member, study=study, sweep=expand(paper_ablation("1B")))
    cache, generation = check_plan(plan)
    assert {part.action for part in cache.parts} == {"make", "use"}
    assert [part.action for part in generation.parts].count("make") == 1
    assert [part.action for part in generation.parts].count("cut") == 5
    assert cache.action == generation.action == "later"
    # What the paper states for them, since nobody here has measured one.
    assert "published" in cache.expected.basis
    e_cache, e_generation = cache.expected.energy_j, generation.expected.energy_j
    assert plan.saved_j == pytest.approx(8 * e_cache + 3.5 * e_generation)
    assert plan.saved_by_exact_j == pytest.approx(2 * e_cache + 3.5 * e_generation)
    assert plan.needs_reference
    assert not Run.objects.filter(study=study).exists()


def test_rows_that_are_known_are_decided_at_once(study, member):
    plan = sweeps.plan(user=member, study=study, sweep=ablation())
    cache, generation = check_plan(plan)
    assert (cache.action, generation.action) == ("make", "make")
    assert generation.rows == 40
    assert plan.saved_j is None  # nobody knows what making them takes
    assert [need.kind for need in plan.needs if not need.of_teacher] == ["prepared_dataset"] * 2


def test_submitting_it_makes_what_the_plan_said_whatever_the_order_of_its_runs(study, member):
    sweep = ablation()
    queued = sweeps.submit(actor=member, study=study, sweep=sweep)
    assert [RunSpec.from_dict(run.spec) for run in queued] == list(sweep.specs)
    assert made("logit_cache").count() == made("synthetic_dataset").count() == 1
    assert made("prepared_dataset").count() == 2
    generation = made("synthetic_dataset").get()
    assert (generation.capture["max_new_tokens"], generation.rows.count) == (16, 40)
    assert Run.objects.filter(pipeline="teacher_reference").count() == 1
    assert len(AuditEvent.objects.get(action="sweep submitted").detail["runs"]) == 15


@pytest.mark.django_db(transaction=True)
def test_rows_that_are_known_late_lead_to_one_cache_and_one_generation_too(study, member, tmp_path):
    """Whichever data is prepared first: the smaller half here, whose runs wait for those that ask for more."""
    queued = sweeps.submit(actor=member, study=study, sweep=ablation(HUB))
    assert not made("synthetic_dataset").exists()
    rows, prompts = [f"r{n}" for n in range(6)], [f"p{n}" for n in range(6)]
    of_half = next(run for run in queued if run.spec["dataset"]["train_rows"] == 3 and ready_or_none(run))
    work(ready(of_half), tmp_path, row_digests=rows[:3], prompt_digests=prompts[:3])
    assert not made("synthetic_dataset").exists()
    for run in queued:
        known = run.spec["dataset"]["train_rows"]
        if run != of_half and ready_or_none(run):
            work(ready(run), tmp_path, row_digests=rows[:known], prompt_digests=prompts[:known])
    assert made("logit_cache").count() == made("synthetic_dataset").count() == 1
    generation = made("synthetic_dataset").get()
    assert (generation.capture["max_new_tokens"], generation.rows.count) == (16, 6)
    while any(ready_or_none(run) for run in queued):
        for run in queued:
            work_through(run, tmp_path)
    assert {run.status for run in Run.objects.filter(pk__in=[run.pk for run in queued])} == {"finished"}
    hows = list(made("synthetic_dataset").get().uses.values_list("how", flat=True))
    assert (hows.count("made"), hows.count("cut")) == (1, 5)


def ready_or_none(run):
    return run.jobs.filter(status=Job.Status.READY).first()


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_to_decide_first_and_is_cancelled_keeps_nobody_waiting(study, member, tmp_path):
    synthetic = make_spec("synthetic_sft", dataset=HUB).to_dict()
    synthetic["decoding"]["max_new_tokens"] = [4, 16]
    small, large = sweeps.submit(actor=member, study=study, sweep=expand([synthetic]))
    runs.cancel(actor=member, run=large)
    # The teacher's own run was next in line for the prepared data.
    for run in (large.reference, small):
        work_through(run, tmp_path, row_digests=["r1"], prompt_digests=["p1"])
    assert small.status == Run.Status.FINISHED
    assert made("synthetic_dataset").get(status="ready").capture["max_new_tokens"] == 4


def test_what_exists_is_used_and_its_whole_energy_is_saved(study, member, tmp_path):
    work_through(runs.submit(actor=member, study=study, spec=make_spec("kd")), tmp_path)
    plan = sweeps.plan(user=member, study=study, sweep=ablation())
    cache = next(need for need in plan.of_teacher if need.kind == "logit_cache")
    assert (cache.action, cache.artifact, cache.made) == ("use", made("logit_cache").get(), 0)
    assert (cache.burnt_j, cache.alone_j) == (0.0, pytest.approx(9 * 1100.0))


def test_a_sweep_is_queued_whole_or_not_at_all(study, member, stranger):
    grid = make_spec("kd").to_dict()
    grid["student"]["id"] = ["smollm2-135m-instruct", "no such model"]
    for call in (sweeps.plan, lambda user, **rest: sweeps.submit(actor=user, **rest)):
        with pytest.raises(Invalid) as refusal:
            call(user=member, study=study, sweep=expand([grid]))
        assert list(refusal.value.problems) == ["student.id"]
    with pytest.raises(NotAllowed):
        sweeps.submit(actor=stranger, study=study, sweep=ablation())
    assert not Run.objects.exists()


def test_the_teachers_own_pipeline_is_swept_by_nobody(study, member):
    grid = tour(20, "sft").to_dict() | {"pipeline": ["sft", "teacher_reference"]}
    with pytest.raises(Invalid, match="teacher_reference"):
        sweeps.submit(actor=member, study=study, sweep=expand([grid]))


def test_planning_many_runs_asks_the_database_about_like_stages_once(study, member, django_assert_max_num_queries):
    scenes.distilled_study(study)
    grid = make_spec("kd").to_dict() | {"seed": list(range(30))}
    with django_assert_max_num_queries(450):
        plan = sweeps.plan(user=member, study=study, sweep=expand([grid]))
    assert len(plan.sweep.specs) == 30


def test_what_is_made_under_a_lease_is_no_work_of_the_sweep(study, member):
    sweep = expand([make_spec("kd").to_dict() | {"seed": [0, 1]}])
    request = artifact_request("logit_cache", sweep.specs[0], reuse.identities(sweep.specs[0], study.project, member))
    leases.lease(actor=member, project=study.project, request=request, seconds=600)
    (need,) = sweeps.plan(user=member, study=study, sweep=sweep).of_teacher
    assert (need.action, need.artifact, need.rows, need.burnt_j) == ("wait", None, len(request.rows), 0.0)
    sweeps.submit(actor=member, study=study, sweep=sweep)
    waiting = Job.objects.filter(kind="logit_caching")
    assert set(waiting.values_list("decision__action", "artifact")) == {("wait", None)}
