"""A whole run in one document."""

import copy
import json

import pytest

from registry.models import Artifact, AuditEvent, EvaluationScore, Run, Stage
from tests import scenes
from tests.api.conftest import wire
from tests.api.test_artifacts import registration


def stage(record_id, kind="student_training", **changes):
    values = wire(record_id=record_id, kind=kind, role="") | changes
    del values["run_id"]
    return values


def document(study, **changes):
    return {
        "schema_version": 1,
        "study": study.slug,
        "run": {"external_id": "mine", "pipeline": "sft", "student": "small", "student_size": "1B", "seed": 3},
        "stages": [stage("mine-data", "preprocess"), stage("mine-training"), stage("mine-evaluation", "evaluation")],
        "scores": [{"benchmark": name, "value": 0.4, "n": 10} for name in scenes.SUITE_SCORES],
    } | changes


@pytest.fixture
def reference(study):
    """The teacher's own run, which Q is measured against."""
    run = scenes.add_reference(study)
    Run.objects.filter(pk=run.pk).update(workload="")


def test_an_uploaded_run_stands_on_its_study_s_frontier(api, study, reference):
    response = api.post("runs/upload/", document(study))
    assert response.status_code == 201, response.content
    answer = response.json()
    assert answer["created"] is True
    assert [item["status"] for item in answer["stages"] + answer["scores"]] == ["created"] * 6
    points = api.get(f"studies/{study.slug}/frontier/").json()["points"]
    (point,) = [point for point in points if point["run_ids"] == [answer["run"]["id"]]]
    assert point["on_frontier"] is True
    assert point["energy_kwh"] == pytest.approx(3300 / 3.6e6)


def test_the_same_document_again_changes_nothing(api, study):
    first, again = (api.post("runs/upload/", document(study)) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["created"] is False
    assert {item["status"] for item in again.json()["stages"] + again.json()["scores"]} == {"same"}
    assert (Run.objects.count(), Stage.objects.count(), EvaluationScore.objects.count()) == (1, 3, 3)


def test_another_run_under_the_same_name_is_409(api, study):
    api.post("runs/upload/", document(study))
    other = document(study, run={"external_id": "mine", "pipeline": "kd", "student": "small"})
    assert api.post("runs/upload/", other).status_code == 409


def test_a_run_brings_the_artifact_it_made(api, study):
    artifact = registration()
    answer = api.post("runs/upload/", document(study, artifacts=[artifact]))
    assert answer.status_code == 201, answer.content
    (use,) = api.get(f"runs/{answer.json()['run']['id']}/").json()["uses"]
    assert (use["how"], use["artifact"]["made_by_run"]) == ("made", answer.json()["run"]["id"])


def test_a_run_names_an_artifact_it_used(api, study):
    there = api.post("artifacts/", registration()).json()
    answer = api.post("runs/upload/", document(study, artifacts=[{"use": there["id"]}])).json()
    (use,) = api.get(f"runs/{answer['run']['id']}/").json()["uses"]
    assert (use["how"], use["artifact"]["id"]) == ("used", there["id"])


BAD = [
    ({"study": None}, "study"),
    ({"run": None}, "run"),
    ({"run": {"external_id": "x"}}, "run.pipeline"),
    ({"run": {"external_id": "x" * 300, "pipeline": "p", "student": "s"}}, "run.external_id"),
    ({"run": {"external_id": "x", "pipeline": "p", "student": "s", "seed": -1}}, "run.seed"),
    ({"run": {"external_id": "x", "pipeline": "p", "student": "s", "colour": 1}}, "run.colour"),
    ({"stages": {}}, "stages"),
    ({"stages": [5]}, "stages.0"),
    ({"stages": [{}]}, "stages.0.record_id"),
    ({"stages": [stage("a"), stage("b", ended_at="2020-01-01T00:00:00Z")]}, "stages.1.ended_at"),
    ({"stages": [stage("a", cpu_energy_j=-1)]}, "stages.0.cpu_energy_j"),
    ({"stages": [stage("r" * 300)]}, "stages.0.record_id"),
    ({"scores": [{"benchmark": "a"}]}, "scores.0.value"),
    ({"scores": [{"benchmark": "a", "value": "high"}]}, "scores.0.value"),
    ({"scores": [{"benchmark": "a", "value": 1, "n": 2**40}]}, "scores.0.n"),
    ({"scores": [{"benchmark": 5, "value": 1}]}, "scores.0.benchmark"),
    ({"artifacts": [{}]}, "artifacts.0.kind"),
    ({"artifacts": [{"use": "nothing"}]}, "artifacts.0.use"),
    ({"artifacts": [{"use": 5}]}, "artifacts.0.use"),
    ({"artifacts": [registration(row_digests=[])]}, "artifacts.0.row_digests"),
    ({"artifacts": [registration(licence="beer")]}, "artifacts.0.licence"),
    ({"schema_version": 2}, "schema_version"),
    ({"colour": "blue"}, "colour"),
]


@pytest.mark.parametrize(("changes", "field"), BAD)
def test_bad_input_is_refused_by_field_and_nothing_of_the_document_is_booked(api, study, changes, field):
    response = api.post("runs/upload/", copy.deepcopy(document(study)) | changes)
    assert response.status_code == 400, response.content
    assert field in response.json()["error"]["fields"]
    assert not Run.objects.exists()
    assert not Stage.objects.exists()
    assert not Artifact.objects.exists()


def test_a_document_beyond_the_cap_is_refused_with_413(api, study, settings):
    settings.MAX_LIST_ITEMS = 5
    assert api.post("runs/upload/", document(study)).status_code == 413


def test_a_study_that_one_may_not_see_is_404(outsider, study):
    assert outsider.post("runs/upload/", document(study)).status_code == 404


def test_a_token_for_one_project_uses_no_artifact_of_another(member, study, call_as):
    from registry.models import Membership
    from registry.services import studies

    other = studies.ensure_project(slug="another", name="Another", public=True)
    Membership.objects.create(project=other, user=member, role="submitter")
    there = call_as(member).post("artifacts/", registration(project="another")).json()
    body = document(study, artifacts=[{"use": there["id"]}])
    assert call_as(member, project=study.project).post("runs/upload/", body).status_code == 400
    assert call_as(member).post("runs/upload/", body).status_code == 201


def test_a_whole_run_takes_as_many_statements_however_much_it_brings(api, study, django_assert_max_num_queries):
    body = document(study)
    body["stages"] = [stage(f"s{number}") for number in range(40)]
    with django_assert_max_num_queries(4):
        assert api.post("runs/upload/", body).status_code == 201


def named(study, name, **run):
    body = document(study)
    body["run"] = body["run"] | {"external_id": name} | run
    body["stages"] = [stage(f"{name}-data", "preprocess"), stage(f"{name}-training")]
    return body


def results(response):
    assert response.status_code == 200, response.content
    return [(item["index"], item["external_id"], item["status"]) for item in response.json()["results"]]


def test_a_list_of_runs_gets_a_result_for_each_and_a_bad_one_spoils_only_itself(api, study, reference):
    known = named(study, "known")
    api.post("runs/upload/", known)
    clashing = named(study, "clashing")
    clashing["stages"][0] = stage("known-data", "preprocess", cpu_energy_j=1)
    body = [
        named(study, "a"),
        known,
        {"run": {"external_id": "bad"}},
        5,
        clashing,
        named(study, "b"),
        named(study, "a"),
    ]
    answer = api.post("runs/upload/", body)
    states = ["created", "same", "refused", "refused", "refused", "created", "same"]
    assert results(answer) == list(
        zip(range(7), ["a", "known", "bad", None, "clashing", "b", "a"], states, strict=True)
    )
    assert "study" in answer.json()["results"][2]["error"]["fields"]
    assert answer.json()["results"][4]["error"]["code"] == "conflict"
    assert set(Run.objects.filter(origin="upload").values_list("external_id", flat=True)) == {"known", "a", "b"}
    assert Stage.objects.filter(run__external_id="b").count() == 2


def test_runs_of_a_list_have_the_sums_and_marks_that_each_alone_would_have(api, study, reference):
    from registry.services import summaries

    doubtful = named(study, "doubtful")
    doubtful["stages"][1]["duration_s"] = 1.0
    lines = [
        named(study, "plain"),
        doubtful,
        named(study, "teacher", pipeline="teacher_reference"),
        named(study, "after"),
    ]
    raw = b"\n".join(json.dumps(line).encode() for line in lines)
    answer = api.post("runs/upload/", raw, content_type="application/x-ndjson")
    assert [state for *_, state in results(answer)] == ["created"] * 4
    for run in Run.objects.filter(origin="upload"):
        kept = {name: getattr(run.summary, name) for name in summaries.rebuilt(run)}
        assert kept == summaries.rebuilt(run)
    assert Run.objects.get(external_id="plain").summary.quality is not None
    assert "doubtful" in str(Run.objects.get(external_id="doubtful").summary.missing)
    assert AuditEvent.objects.filter(action="run uploaded").count() == 4


def test_an_atomic_list_of_runs_is_booked_whole_or_not_at_all(api, study):
    bad = named(study, "b") | {"scores": [{"benchmark": "x", "value": "high"}]}
    assert api.post("runs/upload/?atomic=1", [named(study, "a"), bad]).status_code == 400
    assert not Run.objects.exists()
    assert not Stage.objects.exists()


def test_a_list_of_runs_takes_as_many_statements_however_long_it_is(api, study, django_assert_max_num_queries):
    with django_assert_max_num_queries(8):
        assert api.post("runs/upload/", [named(study, f"r{number}") for number in range(30)]).status_code == 200
    assert Run.objects.count() == 30


def test_runs_that_come_in_one_list_with_their_teacher_s_reference_are_measured_against_it(api, study):
    teacher = named(study, "teacher", pipeline="teacher_reference")
    found = results(api.post("runs/upload/", [named(study, "early"), teacher, named(study, "late")]))
    assert [status for *_, status in found] == ["created"] * 3
    measured = Run.objects.filter(reference__external_id="teacher")
    assert set(measured.values_list("external_id", flat=True)) == {"early", "late"}


def test_of_two_runs_of_a_list_that_bring_the_same_record_the_second_is_refused(api, study):
    second = named(study, "b")
    second["stages"][0] = named(study, "a")["stages"][0] | {"duration_s": 1.5}
    found = results(api.post("runs/upload/", [named(study, "a"), second]))
    assert [status for *_, status in found] == ["created", "refused"]
    assert not Run.objects.filter(external_id="b").exists()
