"""Runs as figures, configurations as points."""

import pytest
from django.contrib.auth.models import AnonymousUser

from registry.accounting.figures import AMORTISED, FULL, REUSED, STUDENT_ONLY, charge
from registry.models import Run, StageReview
from registry.selectors import studies
from tests import scenes
from tests.conftest import make_spec


def of_run(study, user, run):
    return next(f for f in studies.figures(study, user) if f.run_id == str(run.pk))


def test_a_finished_run_with_every_record_and_score_is_complete(study, owner):
    run = scenes.complete_run(study, "sft", scenes.add_reference(study), training_j=3000.0, factor=0.5)
    figures = of_run(study, owner, run)
    assert figures.complete
    assert figures.q == pytest.approx(0.5)
    assert figures.own_energy_j == {"data": 20.0, "student": 3000.0, "evaluation": 100.0}


def test_the_teachers_own_run_is_no_point(study, owner):
    scenes.add_reference(study)
    assert studies.figures(study, owner) == []


def test_a_role_with_a_hole_is_none_whatever_the_rest_came_to(study, owner):
    run = scenes.add_run(study)
    scenes.add_stage(run, "preprocess", 20.0)
    scenes.add_stage(run, "student_training", 50.0, status="failed")
    figures = of_run(study, owner, run)
    assert figures.own_energy_j["student"] is None
    assert figures.missing["student"] == ("student_training: no record",)
    assert not figures.complete


def test_a_run_without_a_single_record_has_no_energy(study, owner):
    figures = of_run(study, owner, scenes.add_run(study))
    assert charge(figures, FULL).energy_j is None


def test_two_runs_that_share_a_cache_are_each_charged_its_whole_production(study, owner):
    runs = scenes.distilled_study(study)
    for size in ("12 layers", "20 layers"):
        (share,) = of_run(study, owner, runs[f"kd {size}"]).teacher_artifacts
        assert (share.production_energy_j, share.reuse_count, share.used_share) == (9000.0, 2, 1.0)


def test_only_finished_runs_count_as_uses(study, owner):
    runs = scenes.distilled_study(study)
    Run.objects.filter(pk=runs["kd 20 layers"].pk).update(status=Run.Status.RUNNING)
    (share,) = of_run(study, owner, runs["kd 12 layers"]).teacher_artifacts
    assert share.reuse_count == 1


def test_the_used_share_counts_where_the_artifact_was_cut(study, owner):
    reference = scenes.add_reference(study)
    maker = scenes.complete_run(study, "kd", reference, training_j=1.0, factor=1.0)
    cache = scenes.add_artifact(maker)
    cutter = scenes.complete_run(study, "kd", reference, training_j=1.0, factor=1.0)
    scenes.use_artifact(cutter, cache, "cut", 0.25)
    (share,) = of_run(study, owner, cutter).teacher_artifacts
    assert share.used_share == 0.25


def test_scopes_change_what_a_distilled_run_pays(study, owner):
    runs = scenes.distilled_study(study)
    energies = {}
    for scope, n in ((FULL, 1), (AMORTISED, 9), (AMORTISED, REUSED), (STUDENT_ONLY, 1)):
        view = studies.frontier(study, user=owner, scope=scope, n=n)
        point = next(p.point for p in view.placements if str(runs["kd 12 layers"].pk) in p.point.run_ids)
        energies[scope, n] = point.energy_j
    own = 20.0 + 2200.0 + 100.0
    assert energies == {
        (FULL, 1): own + 9000,
        (AMORTISED, 9): own + 1000,
        (AMORTISED, REUSED): own + 4500,
        (STUDENT_ONLY, 1): own,
    }


def test_what_was_really_burnt_counts_each_artifact_once(study, owner):
    scenes.distilled_study(study)
    view = studies.frontier(study, user=owner)
    charged = sum(placement.point.energy_j for placement in view.placements)
    assert view.burnt.energy_j == charged - 2 * 9000.0


def test_a_partial_configuration_is_listed_and_never_stands_on_the_frontier(study, owner):
    scenes.distilled_study(study)
    half = scenes.add_run(study, "sft", configuration="half", student_size="6 layers")
    scenes.add_stage(half, "preprocess", 20.0)
    view = studies.frontier(study, user=owner)
    (partial,) = view.partial
    assert not partial.on_frontier
    assert "student_training: no record" in partial.point.missing


def test_hardware_classes_are_listed_and_one_can_be_kept(study, owner):
    reference = scenes.add_reference(study)
    for hardware in ("H100", "Xeon"):
        scenes.complete_run(study, "sft", reference, training_j=1.0, factor=1.0, hardware_class=hardware)
    assert studies.frontier(study, user=owner).hardware == ("H100", "Xeon")
    kept = studies.frontier(study, user=owner, hardware="Xeon")
    assert [placement.point.hardware for placement in kept.placements] == ["Xeon"]


def simulate(run):
    """One more record of the run, with a simulated meter behind it."""
    scenes.add_stage(run, "evaluation", 1.0, simulated=True)


def test_measured_runs_are_shown_without_the_simulated_ones(study, owner):
    runs = scenes.distilled_study(study)
    simulate(runs["sft 12 layers"])
    view = studies.frontier(study, user=owner)
    assert (view.simulated, view.left_out, len(view.placements)) == (False, 1, 5)
    assert not any(placement.point.simulated for placement in view.placements)
    other = studies.frontier(study, user=owner, simulated=True)
    assert (other.simulated, other.left_out) == (True, 5)
    assert [placement.point.run_ids for placement in other.placements] == [(str(runs["sft 12 layers"].pk),)]
    assert other.burnt.energy_j == 3121.0


def test_a_study_of_simulated_runs_alone_shows_them(study, owner):
    reference = scenes.add_reference(study)
    simulate(scenes.complete_run(study, "sft", reference, training_j=3000.0, factor=0.5))
    view = studies.frontier(study, user=owner)
    assert (view.simulated, view.left_out, len(view.standing)) == (True, 0, 1)


def test_a_simulated_baseline_is_no_baseline_of_a_measured_run(study, owner):
    runs = scenes.distilled_study(study)
    before = studies.break_evens(studies.frontier(study, user=owner))
    simulate(runs["sft 12 layers"])
    after = studies.break_evens(studies.frontier(study, user=owner))
    assert {pair.distilled.student for pair in before} == {"12 layers", "20 layers"}
    assert {pair.distilled.student for pair in after} == {"20 layers"}


def test_break_even_pairs_a_distilled_student_with_the_baseline_of_its_size(study, owner):
    scenes.distilled_study(study)
    pairs = studies.break_evens(studies.frontier(study, user=owner))
    assert {(pair.distilled.pipeline, pair.baseline.student, pair.result.count) for pair in pairs} == {
        ("kd", "12 layers", 12),
        ("kd", "20 layers", 12),
        ("synthetic_sft", "12 layers", 18),
        ("synthetic_sft", "20 layers", 18),
    }


def test_a_flag_marks_the_run_until_somebody_accepts_it(study, owner):
    run = scenes.add_run(study)
    stage = scenes.add_stage(run, "student_training", 5.0, flags=({"code": "coverage", "message": "Gaps."},))
    assert of_run(study, owner, run).flagged
    StageReview.objects.create(stage=stage, verdict="accepted", reason="short gaps", actor=owner)
    assert not of_run(study, owner, run).flagged


def test_trained_tokens_are_those_of_the_student(study, owner):
    run = scenes.complete_run(study, "sft", scenes.add_reference(study), training_j=3000.0, factor=0.5)
    figures = of_run(study, owner, run)
    assert (figures.tokens, figures.tokens_nominal) == (30_000, False)


def test_the_name_of_an_artifact_in_somebody_elses_project_is_not_told(study, owner, project):
    project.public = True
    project.save()
    runs = scenes.distilled_study(study)
    other = type(project).objects.create(slug="other", name="Other")
    runs["kd 12 layers"].uses.get().artifact.__class__.objects.update(project=other)
    (share,) = of_run(study, AnonymousUser(), runs["kd 12 layers"]).teacher_artifacts
    assert share.name == ""


def test_a_stranger_sees_no_run_of_a_private_project(study, stranger):
    scenes.distilled_study(study)
    assert studies.figures(study, stranger) == []


def test_figures_take_the_same_number_of_queries_for_any_number_of_runs(study, owner, django_assert_max_num_queries):
    scenes.distilled_study(study)
    owner.member_project_ids()
    with django_assert_max_num_queries(6):
        assert len(studies.figures(study, owner)) == 6


def test_a_row_holds_kilowatt_hours_and_the_runs_behind_the_point(study, owner):
    runs = scenes.distilled_study(study)
    rows = studies.rows(studies.frontier(study, user=owner))
    row = next(row for row in rows if row["pipeline"] == "sft" and row["student"] == "12 layers")
    assert row["run_ids"] == [str(runs["sft 12 layers"].pk)]
    assert row["energy_kwh"] == pytest.approx(3120 / 3.6e6)


def test_points_of_a_sweep_are_told_apart_by_what_differs(study, owner):
    reference = scenes.add_reference(study)
    for weight in (0.3, 0.8):
        spec = make_spec("kd", distillation={"ce_weight": weight}).to_dict()
        scenes.complete_run(study, "kd", reference, training_j=1.0, factor=1.0, spec=spec, configuration=f"kd-{weight}")
    scenes.complete_run(study, "sft", reference, training_j=1.0, factor=1.0)
    view = studies.frontier(study, user=owner)
    assert sorted(studies.distinctions(view).values()) == ["ce weight 0.3", "ce weight 0.8"]


def test_uploads_without_a_spec_are_told_apart_by_hardware(study, owner):
    reference = scenes.add_reference(study)
    for hardware in ("H100", "A100"):
        scenes.complete_run(study, "sft", reference, training_j=1.0, factor=1.0, spec={}, hardware_class=hardware)
    found = studies.distinctions(studies.frontier(study, user=owner))
    assert sorted(found.values()) == ["hardware A100", "hardware H100"]
