"""The published shape of a run document, and lists of chosen fields."""

import json

from tests.api.conftest import wire


def test_the_schema_of_a_run_document_stands_on_its_own(anonymous, db):
    answer = anonymous.get("runs/upload/schema/")
    assert answer.status_code == 200, answer.content
    schema = answer.json()
    assert {"study", "run"} <= set(schema["required"])
    text = json.dumps(schema)
    references = {part.split('"')[0] for part in text.split("#/$defs/")[1:]}
    assert references == set(schema["$defs"]) != set()
    assert "#/components" not in text


def test_a_list_may_be_asked_for_some_fields_only(api, project):
    api.post("stage-records/", wire(record_id="a"))
    answer = api.get("stage-records/", fields="energy_j,record_id").json()
    assert answer["results"] == [{"energy_j": 1100.0, "record_id": "a"}]


def test_a_field_that_is_none_is_named(api, project):
    answer = api.get("runs/", fields="id,colour")
    assert answer.status_code == 400
    assert "colour" in answer.json()["error"]["fields"]["fields"][0]
