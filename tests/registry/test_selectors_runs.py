"""Runs, artifacts and the home page as selectors read them."""

import uuid

import pytest
from django.contrib.auth.models import AnonymousUser

from registry.models import Artifact, ArtifactUse, Job, Run, StageReview
from registry.selectors import artifact_search, artifacts, home, runs, studies
from tests import scenes

pytestmark = pytest.mark.django_db


def stage_of(detail, kind):
    return next(stage for stage in detail.stages if stage.kind == kind)


def test_a_component_nobody_expects_is_not_there_and_never_zero(study, owner):
    run = scenes.add_run(study)
    scenes.add_stage(run, "student_training", 5.0)
    assert stage_of(runs.detail(run.pk, owner), "student_training").components == {"cpu": 5.0}


def test_a_component_that_is_expected_and_missing_is_named(study, owner):
    run = scenes.add_run(study)
    scenes.add_stage(run, "student_training", None)
    stage = stage_of(runs.detail(run.pk, owner), "student_training")
    assert (stage.energy_j, stage.components, stage.missing) == (None, {"cpu": None}, ("cpu",))


def test_attempts_add_up_in_their_stage(study, owner):
    run = scenes.add_run(study)
    scenes.add_stage(run, "student_training", 5.0, status="lost")
    scenes.add_stage(run, "student_training", 7.0)
    assert stage_of(runs.detail(run.pk, owner), "student_training").energy_j == 12.0


def test_a_nested_part_is_not_added_to_its_whole(study, owner):
    run = scenes.add_run(study)
    whole = scenes.add_stage(run, "student_training", 7.0)
    scenes.add_stage(run, "student_training", 3.0, parent_id=whole.record_id)
    assert stage_of(runs.detail(run.pk, owner), "student_training").energy_j == 7.0


def test_a_withdrawn_record_counts_nowhere(study, owner):
    run = scenes.add_run(study)
    scenes.add_stage(run, "student_training", 5.0)
    wrong = scenes.add_stage(run, "student_training", 70.0)
    StageReview.objects.create(stage=wrong, verdict="withdrawn", reason="another job ran there", actor=owner)
    assert stage_of(runs.detail(run.pk, owner), "student_training").energy_j == 5.0


def test_a_rate_names_its_denominator(study, owner):
    run = scenes.add_run(study)
    scenes.add_stage(run, "student_training", 6000.0)
    rate = stage_of(runs.detail(run.pk, owner), "student_training").rate
    assert (rate.denominator, rate.joules_per_token, rate.tokens_per_second) == ("trained", 0.2, 500.0)


def test_planned_stages_stand_in_their_order_before_anything_ran(study, owner):
    detail = runs.detail(scenes.open_run(study).pk, owner)
    assert [stage.kind for stage in detail.stages] == ["preprocess", "student_training", "evaluation"]
    assert [stage.status for stage in detail.stages] == ["finished", "running", "waiting"]
    assert detail.is_open


def test_a_reused_stage_burnt_nothing_of_its_own(study, owner):
    runs_made = scenes.distilled_study(study)
    run = runs_made["kd 20 layers"]
    cache = Artifact.objects.get(kind="logit_cache")
    Job.objects.create(
        project=run.project, run=run, kind="logit_caching", role="teacher", position=1, status="reused", artifact=cache
    )
    stage = stage_of(runs.detail(run.pk, owner), "logit_caching")
    assert (stage.reused, stage.energy_j, stage.records) == (True, None, ())


def test_scores_stand_beside_the_teachers_with_the_share_kept(study, owner):
    run = scenes.complete_run(study, "sft", scenes.add_reference(study), training_j=1.0, factor=0.5)
    lines = runs.detail(run.pk, owner).scores
    assert [line.benchmark for line in lines] == study.suite
    assert [line.retention for line in lines] == [0.5, 0.5, 0.5]


def test_a_score_that_is_missing_leaves_its_line(study, owner):
    lines = runs.detail(scenes.add_run(study).pk, owner).scores
    assert [(line.benchmark, line.score) for line in lines] == [(name, None) for name in study.suite]


def test_a_stranger_finds_neither_the_run_nor_the_artifact(study, stranger):
    made = scenes.distilled_study(study)
    assert runs.detail(made["kd 12 layers"].pk, stranger) is None
    assert artifacts.detail(Artifact.objects.first().pk, stranger) is None
    assert runs.detail(uuid.uuid4(), stranger) is None


def test_a_runs_page_takes_a_constant_number_of_queries(study, owner, django_assert_max_num_queries):
    made = scenes.distilled_study(study)
    owner.member_project_ids()
    with django_assert_max_num_queries(12):
        runs.detail(made["kd 12 layers"].pk, owner)


def test_stage_rates_of_simulated_records_stand_apart(study, owner):
    scenes.add_stage(scenes.add_run(study), "student_training", 100.0)
    scenes.add_stage(scenes.add_run(study), "student_training", 900.0, simulated=True)
    shown = studies.figures(study, owner)
    (measured,), (simulated,) = (runs.stage_rates(shown, simulated=kind) for kind in (False, True))
    assert (measured.energy_j, simulated.energy_j) == (100.0, 900.0)


def test_stage_rates_average_over_replicates(study, owner):
    reference = scenes.add_reference(study)
    for joules in (3000.0, 5000.0):
        scenes.complete_run(study, "sft", reference, training_j=joules, factor=1.0)
    line = next(line for line in runs.stage_rates(studies.figures(study, owner)) if line.kind == "student_training")
    assert (line.n, line.energy_j) == (2, 4000.0)
    assert line.rate.joules_per_token == pytest.approx(8000 / 60_000)


def test_artifacts_count_distinct_finished_runs(study, owner):
    made = scenes.distilled_study(study)
    Run.objects.filter(pk=made["kd 20 layers"].pk).update(status="failed")
    counts = {artifact.kind: artifact.finished_uses for artifact in artifact_search.search(owner, {}).rows}
    assert counts == {"logit_cache": 1, "synthetic_dataset": 2}


def test_a_cut_spared_what_its_own_artifact_would_have_cost():
    uses = [ArtifactUse(how="made"), ArtifactUse(how="used"), ArtifactUse(how="cut", used_share=0.25)]
    assert artifacts.spared(1000.0, uses) == 1250.0


@pytest.mark.parametrize(("uses", "energy_j"), [(0, 0.0), (1, 0.0), (3, 2000.0)])
def test_one_production_was_burnt_also_where_no_finished_run_made_it(uses, energy_j):
    assert artifacts.spared(1000.0, [ArtifactUse(how="used")] * uses) == energy_j


def test_the_counter_subtracts_a_production_whose_run_was_given_up(study, owner):
    made = scenes.distilled_study(study)
    cache = Artifact.objects.get(kind="logit_cache")
    Run.objects.filter(pk=cache.made_by_run_id).update(status="cancelled")
    scenes.use_artifact(scenes.add_run(study, "kd"), cache)
    Run.objects.filter(pk=made["synthetic_sft 20 layers"].pk).update(status="failed")
    found = home.spared(owner)
    assert (found.energy_j, found.uses, found.unknown) == (9000.0, 1, 0)


def test_a_cut_of_unknown_size_spared_nobody_knows_what():
    assert artifacts.spared(1000.0, [ArtifactUse(how="cut", used_share=None)]) is None


def test_energy_metered_counts_every_standing_record_once(study, owner):
    run = scenes.add_run(study)
    scenes.add_stage(run, "student_training", 5.0)
    scenes.add_stage(run, "evaluation", None)
    metered = home.metered(owner)
    assert (metered.energy_j, metered.records, metered.without_total) == (5.0, 2, 1)


def test_a_run_that_was_given_up_spared_nothing(study, owner):
    made = scenes.distilled_study(study)
    Run.objects.filter(pk=made["kd 20 layers"].pk).update(status="cancelled")
    spared = home.spared(owner)
    assert (spared.energy_j, spared.uses) == (9000.0, 1)


def test_only_running_jobs_are_at_work(study, owner):
    run = scenes.open_run(study)
    assert [job.kind for job in home.at_work(owner)] == ["student_training"]
    assert home.queued(owner) == {"waiting": 1}
    assert run.jobs.count() == 3


def test_nobody_in_particular_may_submit_nowhere(project, member, stranger):
    assert list(home.writable_projects(member)) == [project]
    assert not home.writable_projects(stranger).exists()
    assert not home.writable_projects(AnonymousUser()).exists()


def test_the_registry_s_counter_adds_up_what_each_artifact_s_books_say(study, owner):
    made = scenes.distilled_study(study)
    cache = Artifact.objects.get(kind="logit_cache")
    scenes.use_artifact(scenes.add_run(study, "kd"), cache, ArtifactUse.How.CUT, 0.25)
    unmeasured = scenes.add_run(study, "kd")
    scenes.use_artifact(unmeasured, cache, ArtifactUse.How.CUT, None)
    Run.objects.filter(pk=made["synthetic_sft 20 layers"].pk).update(status="failed")
    found = home.spared(owner)
    assert (found.energy_j, found.uses, found.unknown) == (9000.0 + 2250.0, 3, 1)
