"""Sweeps over REST."""

import pytest

from registry.models import Artifact, Membership, Run
from tests.conftest import make_spec


def grid(pipeline="kd", **changes):
    values = make_spec(pipeline).to_dict()
    for part, settings in changes.items():
        values[part] = {**values[part], **settings} if isinstance(settings, dict) else settings
    return values


def body(study, *grids):
    return {"study": study.slug, "grids": list(grids)}


def test_a_plan_names_runs_artifacts_and_what_is_saved_and_changes_nothing(api, study):
    kd = grid(distillation={"temperature": [1, 2, 4], "ce_weight": [0.3, 0.5, 0.8]})
    synthetic = grid("synthetic_sft", decoding={"max_new_tokens": [4, 8]}, dataset={"train_rows": [40, 20]})
    response = api.post("runs/sweep/plan/", body(study, kd, synthetic))
    assert response.status_code == 200, response.content
    plan = response.json()
    assert len(plan["runs"]) == 13
    assert plan["runs"][0]["varied"] == {
        "pipeline": "kd",
        "dataset.train_rows": 40,
        "distillation.temperature": 1.0,
        "distillation.ce_weight": 0.3,
    }
    teachers = {need["kind"]: need for need in plan["artifacts"] if need["kind"] != "prepared_dataset"}
    assert {kind: (n["made"], n["alone"], n["by_exact"]) for kind, n in teachers.items()} == {
        "logit_cache": (1, 9, 3),
        "synthetic_dataset": (1, 4, 4),
    }
    assert [part["action"] for part in teachers["synthetic_dataset"]["parts"]].count("cut") == 3
    assert plan["saved_j"] is None
    assert not Run.objects.exists()


def test_submitting_queues_every_run_and_names_them_in_order(api, study):
    response = api.post("runs/sweep/", body(study, grid(seed=[0, 1, 2])))
    assert response.status_code == 201
    assert [run["seed"] for run in response.json()["runs"]] == [0, 1, 2]
    assert Artifact.objects.filter(kind="logit_cache").count() == 1


@pytest.mark.parametrize(
    ("grids", "field"),
    [
        ([], "grids"),
        ([5], "grids.0"),
        ([{"pipeline": "kd"}], "teacher"),
        ([grid(seed=[])], "seed"),
        ([grid(seed=[0, "x"])], "seed"),
        ([grid(seed=list(range(501)))], "grids"),
        ([{**grid(), "colour": ["red"]}], "colour"),
        ([grid(teacher={"id": ["smollm2-135m-instruct", "nobody"]})], "teacher.id"),
        ([{**grid(), "pipeline": ["kd", "teacher_reference"]}], "pipeline"),
    ],
)
@pytest.mark.parametrize("path", ["runs/sweep/", "runs/sweep/plan/"])
def test_bad_grids_are_refused_by_field_and_queue_nothing(api, study, path, grids, field):
    response = api.post(path, body(study, *grids))
    assert response.status_code == 400, response.content
    assert field in response.json()["error"]["fields"]
    assert not Run.objects.exists()


def test_a_study_nobody_shows_is_refused(outsider, api, study):
    for caller, slug in ((outsider, study.slug), (api, "none")):
        response = caller.post("runs/sweep/", {"study": slug, "grids": [grid()]})
        assert "study" in response.json()["error"]["fields"]


def test_a_viewer_plans_and_submits_nothing(stranger, call_as, study):

    Membership.objects.create(project=study.project, user=stranger, role="viewer")
    viewer = call_as(stranger)
    assert viewer.post("runs/sweep/plan/", body(study, grid())).status_code == 200
    assert viewer.post("runs/sweep/", body(study, grid())).status_code == 403
