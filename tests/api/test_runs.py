"""Runs over REST: planned, submitted, read, cancelled."""

import json

import pytest
from rest_framework.renderers import JSONRenderer

from registry.api import run_rows
from registry.api.serializers.runs import RunSerializer
from registry.models import Artifact, Job, Run
from tests import scenes
from tests.conftest import make_spec

DATASET = {"id": "tour-facts", "train_rows": 40, "validation_rows": 8, "evaluation_rows": 16}


def submission(study, pipeline="kd", **changes):
    return {"study": study.slug, **make_spec(pipeline, dataset=DATASET).to_dict()} | changes


def test_a_plan_names_stages_decisions_and_costs_and_changes_nothing(api, study):
    response = api.post("runs/plan/", submission(study))
    assert response.status_code == 200
    plan = response.json()
    assert [stage["kind"] for stage in plan["stages"]][:2] == ["preprocess", "logit_caching"]
    assert plan["stages"][1]["action"] == "make"
    assert plan["stages"][1]["expected_energy_j"] is None
    assert plan["stages"][1]["expected_basis"].startswith("unknown")
    assert plan["stages"][1]["floor"]["energy_j"] > 0
    assert plan["stages"][0]["floor"] is None
    assert plan["needs_reference"] is True
    assert not Run.objects.exists()
    assert not Artifact.objects.exists()


def test_a_preset_is_planned_by_name_with_what_is_said_beside_it(api, study):
    body = {"study": study.slug, "preset": "paper-kd-7b-math-literal", "training": {"max_steps": 9}}
    asked = api.post("runs/plan/", body | {"evaluation": {"suite": ["token_accuracy"]}})
    assert asked.status_code == 200, asked.json()
    spec = asked.json()["spec"]
    assert (spec["dataset"]["id"], spec["student"]["id"]) == ("open-r1/OpenR1-Math-220k", "allenai/OLMo-2-1124-7B")
    assert (spec["training"]["max_steps"], spec["training"]["weights"]) == (9, "nearest")
    floors = {stage["kind"]: stage["floor"] for stage in asked.json()["stages"]}
    assert floors["logit_caching"]["energy_j"] > floors["student_training"]["energy_j"] > 0
    refused = api.post("runs/plan/", body | {"preset": "paper-kd-70b-math"})
    assert refused.status_code == 400
    assert "paper-kd-13b-code" in str(refused.json())


def test_submitting_queues_the_jobs(api, study):
    response = api.post("runs/", submission(study))
    assert response.status_code == 201
    run = response.json()
    assert (run["status"], run["study"], run["pipeline"]) == ("queued", study.slug, "kd")
    assert [job["kind"] for job in run["jobs"]] == ["preprocess", "logit_caching", "student_training", "evaluation"]
    assert [job["decision"] for job in run["jobs"]] == ["make", "make", "make", "make"]


def test_the_spec_of_a_run_can_be_posted_again_as_it_is(api, study):
    first = api.post("runs/", submission(study)).json()
    spec = api.get(f"runs/{first['id']}/").json()["spec"]
    again = api.post("runs/", spec)
    assert again.status_code == 201
    assert again.json()["spec"] == spec
    assert [job["decision"] for job in again.json()["jobs"]][:2] == ["wait", "wait"]


def test_a_spec_may_stand_under_its_own_name(api, study):
    spec = submission(study)
    del spec["study"]
    assert api.post("runs/", {"spec": spec, "study": study.slug}).status_code == 201


@pytest.fixture
def cached(api, study):
    """A run whose logit cache is ready."""
    api.post("runs/", submission(study))
    Artifact.objects.filter(kind="logit_cache").update(status="ready", production_energy_j=7.0, storage_key="0" * 32)
    return Artifact.objects.get(kind="logit_cache")


def test_what_exists_is_planned_to_be_used(api, study, cached):
    stage = api.post("runs/plan/", submission(study)).json()["stages"][1]
    assert (stage["action"], stage["artifact"]["id"], stage["expected_energy_j"]) == ("use", str(cached.pk), 0.0)


def test_regenerating_without_a_reason_is_409_with_the_artifact(api, study, cached):
    before = Run.objects.count()
    response = api.post("runs/", submission(study, regenerate=True))
    error = response.json()["error"]
    assert (response.status_code, error["artifact"]["id"]) == (409, str(cached.pk))
    assert error["artifact"]["production_energy_j"] == 7.0
    assert "regenerate_reason" in error["message"]
    assert Run.objects.count() == before


def test_regenerating_with_a_reason_needs_a_maintainer(api, owner, study, cached, call_as):
    body = submission(study, regenerate=True, regenerate_reason="The first one was made with a broken tokenizer.")
    assert api.post("runs/", body).status_code == 403
    run = call_as(owner).post("runs/", body)
    assert run.status_code == 201
    made = Artifact.objects.get(kind="logit_cache", made_by_run=run.json()["id"])
    assert made.regenerate_reason.startswith("The first one")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pipeline": "alchemy"}, "pipeline"),
        ({"pipeline": "teacher_reference"}, "pipeline"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate"),
        ({"training": {"warmth": 1}}, "training.warmth"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate"),
        ({"teacher": {"id": "no such model"}}, "teacher.id"),
        ({"dataset": {"id": "no such dataset"}}, "dataset.id"),
        ({"dataset": {**DATASET, "train_rows": 10**7}}, "dataset"),
        ({"evaluation": {"suite": ["alpaca_eval_2_lc"]}}, "evaluation.suite"),
        ({"evaluation": {"suite": [["a"]]}}, "evaluation.suite"),
        ({"student": 5}, "student"),
        ({"student": {"id": "smollm2-135m-instruct", "drop_layers": "25-99"}}, "student.id"),
        ({"seed": 1.5}, "seed"),
        ({"study": "no-such-study"}, "study"),
        ({"study": None}, "study"),
        ({"regenerate": "yes"}, "regenerate"),
        ({"regenerate_reason": 5}, "regenerate_reason"),
        ({"colour": "blue"}, "colour"),
    ],
)
@pytest.mark.parametrize("path", ["runs/", "runs/plan/"])
def test_bad_input_is_refused_by_field_and_changes_nothing(api, study, path, changes, field):
    response = api.post(path, submission(study) | changes)
    assert response.status_code == 400, response.content
    assert field in response.json()["error"]["fields"]
    assert not Run.objects.exists()


def test_a_member_cancels_a_run_once(api, study):
    run = api.post("runs/", submission(study)).json()
    cancelled = api.post(f"runs/{run['id']}/cancel/", {})
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert set(Job.objects.filter(run=run["id"]).values_list("status", flat=True)) == {"cancelled"}
    assert api.post(f"runs/{run['id']}/cancel/", {}).status_code == 409


def test_a_run_is_read_with_sums_scores_and_artifacts(api, study):
    runs = scenes.distilled_study(study)
    shown = api.get(f"runs/{runs['kd 20 layers'].pk}/").json()
    assert shown["summary"]["quality"] == pytest.approx(0.98)
    assert shown["summary"]["gpu_energy_j"] is None
    assert shown["summary"]["student_energy_j"] == pytest.approx(6200.0)
    assert {score["benchmark"] for score in shown["scores"]} == {"token_accuracy", "choice", "exact_match"}
    assert [(use["how"], use["artifact"]["kind"]) for use in shown["uses"]] == [("used", "logit_cache")]
    assert shown["environment"]["cpu_model"] == "Xeon Gold 6442Y"


def test_an_upload_without_a_spec_has_none(api, study):
    run = scenes.add_run(study, "own_recipe")
    assert api.get(f"runs/{run.pk}/").json()["spec"] is None


def test_the_list_is_filtered(api, study):
    scenes.add_run(study, "sft", external_id="mine", origin="upload")
    scenes.add_run(study, "kd", status="failed")

    def found(**query):
        return [row["pipeline"] for row in api.get("runs/", **query).json()["results"]]

    assert found(study=study.slug) == found(project=study.project.slug) == found(teacher="smollm2-135m-instruct")
    assert found(status="finished") == found(origin="upload") == found(external_id="mine") == ["sft"]
    assert found(pipeline="kd") == ["kd"]
    assert found(created_after="2027-01-01T00:00:00Z") == []


def test_a_row_says_what_a_serializer_of_the_run_says(api, study):
    scenes.add_run(study, "kd")  # nothing booked
    scenes.add_stage(scenes.add_run(study, "sft", external_id="holed"), "student_training", None)
    scenes.complete_run(study, "sft", scenes.add_reference(study), training_j=4000.0, factor=0.9, seed=7)
    answer = api.get("runs/", fields=",".join(run_rows.KNOWN)).json()["results"]
    runs = study.runs.select_related("project", "study", "summary").order_by("-pk")
    assert answer == json.loads(JSONRenderer().render(RunSerializer(runs, many=True).data))
    assert set(run_rows.KNOWN) == set(RunSerializer.Meta.fields)
    short = [{name: row[name] for name in run_rows.SHORT} for row in answer]
    assert api.get("runs/").json()["results"] == short
    assert [row["energy_j"] for row in short] == [4120.0, 410.0, None, None]
    assert len(json.dumps(short[0])) < 500
