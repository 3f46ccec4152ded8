"""The published study, loaded through the services, gives the paper's tables back."""

import pytest
from django.contrib.auth.models import AnonymousUser

from registry.accounting.units import joules
from registry.importers import paper
from registry.models import Artifact, AuditEvent, EvaluationScore, Run, Stage, Study
from registry.selectors import studies
from registry.services.summaries import production
from tests.accounting.paper import CELLS, TABLE_2, TEACHER, TRAINING

ANYBODY = AnonymousUser()


@pytest.fixture(scope="module")
def loaded(module_db) -> Study:
    """The study, loaded once for this module."""
    return paper.load()


@pytest.fixture
def study(loaded, db) -> Study:
    return loaded


def _points(study, scope="full", n=1):
    view = studies.frontier(study, user=ANYBODY, scope=scope, n=n)
    return {(placement.point.pipeline, placement.point.student): placement for placement in view.placements}


def test_table_2_comes_back_as_nine_totals(study):
    points = _points(study)
    assert set(points) == set(CELLS)
    for cell, (kwh, _, _) in TABLE_2.items():
        assert points[cell].point.energy_j == pytest.approx(joules(float(kwh)), rel=1e-12)


def test_table_2_joules_per_token_come_back_over_nominal_tokens(study):
    for cell, placement in _points(study).items():
        assert placement.point.j_per_token == pytest.approx(float(TABLE_2[cell][1]), abs=0.0051)
        assert placement.point.tokens_nominal


def test_table_4_gives_the_q_of_table_2_in_all_nine_rows(study):
    assert {cell: f"{p.point.q:.2f}" for cell, p in _points(study).items()} == {
        cell: q for cell, (_, _, q) in TABLE_2.items()
    }


def test_table_3_stands_in_the_ledger_stage_by_stage(study):
    for (pipeline, size), kwh in TRAINING.items():
        stage = Stage.objects.get(run__pipeline=pipeline, run__student_size=size, kind="student_training")
        assert stage.reported_energy_j == joules(float(kwh))
        assert stage.origin == "published"
        assert (stage.gpu_energy_j, stage.cpu_energy_j) == (None, None)


def test_each_teacher_artifact_was_made_once_and_used_by_three_students(study):
    for kind, pipeline in (("logit_cache", "kd"), ("synthetic_dataset", "synthetic_sft")):
        artifact = Artifact.objects.get(kind=kind)
        assert artifact.production_energy_j == joules(float(TEACHER[pipeline]))
        assert production(artifact) == (artifact.production_energy_j, [], False)
        assert artifact.uses.count() == 3


def test_the_frontier_of_the_paper_comes_back_under_full_and_amortised(study):
    standing = {cell for cell, placement in _points(study).items() if placement.on_frontier}
    assert standing == {("sft", "1B"), ("synthetic_sft", "1B"), ("sft", "7B"), ("sft", "13B")}
    from_ten_on = {cell for cell, p in _points(study, "amortised", 10).items() if p.on_frontier}
    assert ("sft", "1B") not in from_ten_on and ("kd", "7B") in from_ten_on


def test_break_even_counts_come_back(study):
    found = {
        (item.distilled.pipeline, item.distilled.student): item.result.count
        for item in studies.break_evens(studies.frontier(study, user=ANYBODY))
    }
    assert found == {
        ("kd", "1B"): 10,
        ("kd", "7B"): 6,
        ("kd", "13B"): 4,
        ("synthetic_sft", "1B"): 12,
        ("synthetic_sft", "7B"): 6,
        ("synthetic_sft", "13B"): 3,
    }


def test_what_was_really_burnt_counts_each_artifact_once(study):
    burnt = studies.frontier(study, user=ANYBODY).burnt.energy_j
    assert burnt == pytest.approx(joules(191.3), rel=1e-9)


def test_the_prerun_stands_apart_from_every_run(study):
    prerun = Stage.objects.get(kind="prerun")
    assert prerun.run is None and prerun.reported_energy_j == joules(0.12)


def test_the_teacher_has_scores_and_no_point_on_the_frontier(study):
    teacher = Run.objects.get(study=study, pipeline="teacher_reference")
    assert teacher.scores.count() == 5
    assert study.runs.filter(reference=teacher).count() == 9


def test_loading_twice_books_once(study):
    def counts():
        return [model.objects.count() for model in (Run, Stage, EvaluationScore, Artifact, AuditEvent)]

    before = counts()
    assert paper.load() == study
    assert counts() == before


def test_the_study_says_what_is_inferred(study):
    assert "MT-Bench-101 (7.85) is inferred" in study.description and "nominal" in study.description
