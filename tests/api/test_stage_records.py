"""Stage records over REST."""

from dataclasses import fields
from threading import Thread

import pytest
from django.db import connections

from registry.api.serializers.stages import StageRecordSerializer
from registry.models import AuditEvent, Membership, Stage
from registry.services import studies
from stagemeter.records import StageRecord
from tests import scenes
from tests.api.conftest import wire


def test_record_serializer_and_columns_are_one_shape():
    record = {field.name for field in fields(StageRecord)}
    columns = {field.attname for field in Stage._meta.concrete_fields}
    own = {"id", "project_id", "created_at", "artifact_id", "origin", "actor_id", "body_sha256", "energy_j"}
    assert set(StageRecordSerializer().fields) == record
    assert columns - own == record


def test_what_is_read_back_is_the_record_that_was_sent(api, project):
    sent = wire(extra={"note": "é", "deep": {"a": [1, 2.5, None]}}, flags=[{"code": "gap", "message": "One gap."}])
    api.post("stage-records/", sent)
    row = api.get("stage-records/").json()["results"][0]
    assert StageRecord.from_dict({name: row[name] for name in sent}) == StageRecord.from_dict(sent)


def test_a_new_record_is_201_and_the_same_again_is_200(api, project):
    sent = wire()
    first, again = api.post("stage-records/", sent), api.post("stage-records/", sent)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert Stage.objects.count() == 1


def test_the_answer_names_total_and_holes(api, project):
    whole = api.post("stage-records/", wire()).json()
    holed = api.post("stage-records/", wire(record_id="r2", ram_energy_j=None)).json()
    assert (whole["energy_j"], whole["missing"]) == (1100.0, [])
    assert (holed["energy_j"], holed["missing"]) == (None, ["ram"])


def test_another_body_under_the_same_record_id_is_409_and_names_it(api, project):
    sent = wire()
    api.post("stage-records/", sent)
    response = api.post("stage-records/", sent | {"cpu_energy_j": 1.0})
    assert response.status_code == 409
    assert response.json()["error"]["record_id"] == sent["record_id"]
    assert Stage.objects.get().cpu_energy_j == 1000.0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cpu_energy_j": -1}, "cpu_energy_j"),
        ({"cpu_energy_j": "12"}, "cpu_energy_j"),
        ({"cpu_energy_j": True}, "cpu_energy_j"),
        ({"cpu_energy_j": [1]}, "cpu_energy_j"),
        ({"duration_s": None}, "duration_s"),
        ({"ended_at": "2026-01-31T11:00:00Z"}, "ended_at"),
        ({"started_at": "2026-01-31T12:00:00"}, "started_at"),
        ({"started_at": 5}, "started_at"),
        ({"components": []}, "components"),
        ({"components": ["cpu", "cpu"]}, "components"),
        ({"components": [[]]}, "components"),
        ({"components": "cpu"}, "components"),
        ({"kind": "alchemy", "role": ""}, "role"),
        ({"kind": {"a": 1}}, "kind"),
        ({"kind": "k" * 500, "role": "data"}, "kind"),
        ({"record_id": "r" * 300}, "record_id"),
        ({"record_id": None}, "record_id"),
        ({"record_id": ""}, "record_id"),
        ({"run_id": "no-such-run"}, "run_id"),
        ({"run_id": 5}, "run_id"),
        ({"attempt_id": 5}, "attempt_id"),
        ({"parent_id": "p" * 300}, "parent_id"),
        ({"rank": 2}, "rank"),
        ({"rank": 2**40, "world_size": 2**41}, "rank"),
        ({"schema_version": 2}, "schema_version"),
        ({"samples": 2**63 - 1, "coverage": 1.5}, "coverage"),
        ({"devices": [1]}, "devices"),
        ({"extra": []}, "extra"),
        ({"colour": "blue"}, "colour"),
        ({"project": "no-such-project"}, "project"),
        ({"project": 5}, "project"),
        ({"study": ["x"]}, "study"),
        ({"gpu_energy_j": 5.0}, "gpu_energy_j"),
        ({"status": "fine"}, "status"),
    ],
)
def test_bad_input_is_refused_by_field_and_changes_nothing(api, project, changes, field):
    response = api.post("stage-records/", wire(**changes))
    assert response.status_code == 400, response.content
    assert field in response.json()["error"]["fields"]
    assert not Stage.objects.exists()
    assert not AuditEvent.objects.filter(action="stage recorded").exists()


@pytest.mark.parametrize("name", ["kind", "started_at", "ended_at", "duration_s", "components"])
def test_a_missing_field_is_named(api, project, name):
    body = wire()
    del body[name]
    response = api.post("stage-records/", body)
    assert (response.status_code, response.json()["error"]["fields"][name]) == (400, ["this field is required"])


def test_energies_whose_sum_no_float_holds_are_refused(api, project):
    response = api.post("stage-records/", wire(cpu_energy_j=1.7e308, ram_energy_j=1.7e308))
    assert response.status_code == 400


def test_a_list_books_the_good_ones_and_names_the_bad_ones(api, project):
    good, bad, clash = wire(record_id="a"), wire(record_id="b", cpu_energy_j=-1), wire(record_id="a", name="other")
    response = api.post("stage-records/", [good, bad, clash, good, "nonsense"])
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]
    assert [result["status"] for result in results] == ["created", "refused", "refused", "same", "refused"]
    assert [result["record_id"] for result in results] == ["a", "b", "a", "a", None]
    assert results[1]["error"]["fields"]["cpu_energy_j"]
    assert results[2]["error"]["code"] == "conflict"
    assert list(Stage.objects.values_list("record_id", flat=True)) == ["a"]


def test_atomic_books_none_of_a_list_with_a_bad_one(api, project):
    response = api.post("stage-records/?atomic=1", [wire(record_id="a"), wire(record_id="b", cpu_energy_j=-1)])
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "refused")
    assert [(result["index"], result["record_id"]) for result in error["results"]] == [(1, "b")]
    assert not Stage.objects.exists()


def test_atomic_answers_409_where_only_something_booked_stands_in_the_way(api, project):
    api.post("stage-records/", wire(record_id="a"))
    response = api.post("stage-records/?atomic=1", [wire(record_id="b"), wire(record_id="a", name="other")])
    assert response.status_code == 409
    assert Stage.objects.count() == 1


def test_atomic_books_all_of_a_good_list(api, project):
    response = api.post("stage-records/?atomic=1", [wire(record_id="a"), wire(record_id="b")])
    assert [result["status"] for result in response.json()["results"]] == ["created", "created"]


def test_atomic_is_0_or_1(api, project):
    assert api.post("stage-records/?atomic=yes", []).status_code == 400


@pytest.mark.parametrize("address", ["stage-records/", "scores/"])
def test_a_misspelt_parameter_is_refused_by_name_and_books_nothing(api, address):
    response = api.post(address + "?atomc=1", [wire(record_id="a")])
    assert response.status_code == 400
    assert response.json()["error"]["fields"] == {"atomc": ["unknown parameter; known here: atomic"]}
    assert not Stage.objects.exists()


def test_a_record_of_a_run_is_found_by_the_uploaders_name_for_it(api, study):
    run = scenes.add_run(study, external_id="mine")
    response = api.post("stage-records/", wire(run_id="mine", study=study.slug))
    assert response.json()["run_id"] == str(run.pk)
    assert run.summary.records == 1


@pytest.fixture
def two_projects(member, study):
    other = studies.ensure_project(slug="second-lab", name="Second", public=False)
    Membership.objects.create(project=other, user=member, role=Membership.Role.SUBMITTER)
    return study.project, other


def test_with_several_projects_one_must_be_named(api, two_projects):
    response = api.post("stage-records/", wire())
    assert response.status_code == 400
    assert all(project.slug in response.json()["error"]["fields"]["project"][0] for project in two_projects)


def test_a_run_says_which_of_several_projects_is_meant(api, two_projects, study):
    run = scenes.add_run(study)
    assert api.post("stage-records/", wire(run_id=str(run.pk))).json()["project"] == study.project.slug


def test_project_and_study_must_not_contradict_each_other(api, two_projects, study):
    response = api.post("stage-records/", wire(study=study.slug, project=two_projects[1].slug))
    assert "belongs to" in response.json()["error"]["fields"]["project"][0]


def test_a_run_of_another_project_is_no_run_of_this_one(api, two_projects, study):
    run = scenes.add_run(study)
    response = api.post("stage-records/", wire(run_id=str(run.pk), project=two_projects[1].slug))
    assert (response.status_code, "run_id" in response.json()["error"]["fields"]) == (400, True)


def test_somebody_without_a_project_is_told_so(outsider):
    response = outsider.post("stage-records/", wire())
    assert "member of no project" in response.json()["error"]["fields"]["project"][0]


def test_the_list_is_filtered(api, study):
    run = scenes.add_run(study, external_id="mine")
    api.post(
        "stage-records/",
        [wire(record_id="a", run_id="mine"), wire(record_id="b", kind="evaluation", role="evaluation")],
    )

    def found(**query):
        return [row["record_id"] for row in api.get("stage-records/", **query).json()["results"]]

    assert found(run=str(run.pk)) == found(run="mine") == found(study=study.slug) == ["a"]
    assert found(kind="evaluation") == found(role="evaluation") == ["b"]
    assert found(record_id="a", status="completed", simulated="false", origin="upload") == ["a"]
    assert found(started_after="2027-01-01T00:00:00Z") == []
    assert found(project=study.project.slug) == ["b", "a"]


def test_a_list_rebuilds_a_run_s_sums_once(api, study, django_assert_max_num_queries):
    run = scenes.add_run(study, external_id="mine")
    with django_assert_max_num_queries(20 * 10 + 30):
        api.post("stage-records/", [wire(record_id=f"r{number}", run_id="mine") for number in range(20)])
    run.summary.refresh_from_db()
    assert (run.summary.records, run.summary.student_energy_j) == (20, 22_000.0)


def test_a_list_that_is_refused_leaves_the_sums_as_they_were(api, study):
    run = scenes.add_run(study, external_id="mine")
    api.post("stage-records/", wire(record_id="a", run_id="mine"))
    api.post("stage-records/?atomic=1", [wire(record_id="b", run_id="mine"), wire(record_id="c", cpu_energy_j=-1)])
    run.summary.refresh_from_db()
    assert run.summary.records == 1


@pytest.mark.django_db(transaction=True)
def test_records_of_one_run_that_come_at_the_same_moment_are_all_in_its_sums(transactional_db, api, study):
    run = scenes.add_run(study, external_id="mine")

    def send(sender):
        try:
            for number in range(3):
                assert (
                    api.post("stage-records/", wire(record_id=f"{sender}-{number}", run_id="mine")).status_code == 201
                )
        finally:
            connections.close_all()

    threads = [Thread(target=send, args=[sender]) for sender in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.summary.refresh_from_db()
    assert (run.summary.records, run.summary.student_energy_j) == (12, 13_200.0)


@pytest.mark.parametrize("order", [("whole", "part"), ("part", "whole")])
def test_a_part_says_while_its_whole_is_missing_and_the_total_waits_for_it(api, study, order):
    run = scenes.add_run(study, external_id="mine")
    bodies = {
        "whole": wire(record_id="whole", run_id="mine"),
        "part": wire(record_id="part", run_id="mine", parent_id="whole"),
    }
    booked = {name: api.post("stage-records/", bodies[name]).json()["parent_missing"] for name in order}
    assert booked == {"whole": False, "part": order[0] == "part"}
    listed = {row["record_id"]: row["parent_missing"] for row in api.get("stage-records/").json()["results"]}
    assert listed == {"whole": False, "part": False}
    run.summary.refresh_from_db()
    assert (run.summary.student_energy_j, run.summary.missing.get("student")) == (1100.0, None)


def test_a_part_whose_whole_never_comes_is_in_no_sum_and_leaves_a_hole(api, study):
    run = scenes.add_run(study, external_id="mine")
    for body in (wire(record_id="other", run_id="mine"), wire(record_id="part", run_id="mine", parent_id="whole")):
        api.post("stage-records/", body)
    listed = {row["record_id"]: row["parent_missing"] for row in api.get("stage-records/").json()["results"]}
    assert listed == {"other": False, "part": True}
    assert api.get(f"runs/{run.pk}/").json()["energy_j"] is None
    assert run.summary.missing["student"] == ["student_training: the record whole that it is a part of"]
