"""One shape for every refusal."""

import pytest

from registry.api.errors import flatten
from tests.api.conftest import wire


@pytest.mark.parametrize("path", ["/api/", "/api/v1/", "/api/v1/nothing/", "/api/v1/runs", "/api/v1/runs/7/"])
def test_an_address_that_is_none_answers_in_json_and_says_where_they_are_listed(db, anonymous, path):
    for response in (anonymous.get(path), anonymous.post(path, {})):
        assert response.status_code == 404
        assert "/api/docs/" in response.json()["error"]["message"]


def test_every_refusal_has_code_message_and_fields(api):
    for response in (api.get("nothing/"), api.get("runs/", limit="x"), api.post("scores/", []), api.post("runs/", 3)):
        if response.status_code >= 400:
            assert {"code", "message", "fields"} <= response.json()["error"].keys()


def test_each_bad_field_is_named_with_a_sentence(api, project):
    error = api.post("stage-records/", wire(cpu_energy_j=-1, ended_at="soon")).json()["error"]
    assert error["code"] == "invalid"
    assert error["fields"] == {"ended_at": ["'soon' is not an ISO 8601 time with a zone, such as 2026-01-31T12:00:00Z"]}
    error = api.post("stage-records/", wire(cpu_energy_j=-1)).json()["error"]
    assert error["fields"]["cpu_energy_j"] == ["-1 is negative; leave the field out if it was not measured"]
    assert error["message"].startswith("cpu_energy_j: -1 is negative")


def test_nested_fields_stand_under_dotted_names():
    detail = {"run": {"seed": ["no"]}, "scores": [{}, {"value": ["bad"]}], "non_field_errors": ["all"]}
    assert flatten(detail) == {"run.seed": ["no"], "scores.1.value": ["bad"], "body": ["all"]}


def test_a_method_that_is_not_offered_is_named(api):
    from django.test import Client

    response = Client().delete("/api/v1/runs/", **api.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")


def test_an_answer_in_another_format_than_json_is_refused_in_json(db, anonymous):
    from django.test import Client

    response = Client().get("/api/v1/runs/", HTTP_ACCEPT="application/xml")
    assert (response.status_code, response.json()["error"]["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("path", ["runs/", "stage-records/", "scores/", "artifacts/", "studies/", "factors/"])
def test_a_filter_nobody_knows_is_an_error(db, anonymous, path):
    response = anonymous.get(path, colour="blue")
    assert response.status_code == 400
    assert response.json()["error"]["fields"]["colour"][0].startswith("unknown filter; known here: ")


def test_a_time_in_a_zone_that_only_python_knows_is_taken(db, anonymous):
    assert anonymous.get("stage-records/", started_after="2026-01-31T12:00:00+22:59").status_code == 200


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("runs/", {"status": "asleep"}),
        ("runs/", {"created_after": "yesterday"}),
        ("runs/", {"created_after": "0001-01-01T00:00:00+14:00"}),
        ("stage-records/", {"kind": "a\x00b"}),
        ("stage-records/", {"run": "a\x00b"}),
        ("artifacts/", {"search": "\x00"}),
        ("artifacts/", {"kind": "cheese"}),
        ("studies/none/frontier/", {"scope": "\x00"}),
    ],
)
def test_a_filter_with_a_bad_value_is_refused(db, anonymous, path, query):
    assert anonymous.get(path, **query).status_code in (400, 404)
