"""Runs as OpenLineage events, held against what the specification requires of each part (2-0-2)."""

import json
from uuid import UUID

import jsonschema
import pytest

from registry.models import Run
from tests import scenes

TEXT = {"type": "string", "minLength": 1}
URI = {"type": "string", "pattern": "^[a-z]+://"}
FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "required": ["_producer", "_schemaURL"],
        "properties": {"_producer": URI, "_schemaURL": URI},
    },
}
DATASET = {
    "type": "object",
    "required": ["namespace", "name"],
    "properties": {"namespace": TEXT, "name": TEXT, "facets": FACETS},
}
RUN_EVENT = {
    "type": "object",
    "required": ["eventType", "eventTime", "producer", "schemaURL", "run", "job"],
    "additionalProperties": False,
    "properties": {
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "eventTime": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
        "producer": URI,
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "run": {"type": "object", "required": ["runId"], "properties": {"runId": TEXT, "facets": FACETS}},
        "job": DATASET,
        "inputs": {"type": "array", "items": DATASET},
        "outputs": {"type": "array", "items": DATASET},
    },
}


@pytest.fixture
def runs(study):
    return scenes.distilled_study(study)


def _events(caller, path):
    response = caller.get(path)
    assert (response.status_code, response["Content-Type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in response.getvalue().decode().splitlines()]


def test_a_study_is_events_of_each_of_its_runs_that_the_specification_takes(runs, study, api):
    events = _events(api, f"studies/{study.slug}/openlineage/")
    for event in events:
        jsonschema.validate(event, RUN_EVENT)
        UUID(event["run"]["runId"])
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * study.runs.count()
    assert {event["run"]["runId"] for event in events} == {str(key) for key in study.runs.values_list("pk", flat=True)}


def test_what_one_run_made_another_read(runs, study, api):
    ended = [event for event in _events(api, f"studies/{study.slug}/openlineage/") if event["eventType"] == "COMPLETE"]
    made = {output["name"] for event in ended for output in event["outputs"]}
    read = {source["name"] for event in ended for source in event["inputs"]}
    assert len(made) == 2 and read == made
    facet = next(event for event in ended if event["outputs"])["outputs"][0]["facets"]["stagemeter_artifact"]
    assert facet["production_energy_j"] > 0 and facet["fingerprint"] in next(iter(made)) + "".join(made)


def test_the_energy_facet_is_what_its_published_schema_says(runs, study, api, anonymous):
    schema = anonymous.get("openlineage/facets/").json()
    run = study.runs.filter(pipeline="sft").first()
    facet = _events(api, f"runs/{run.pk}/openlineage/")[1]["run"]["facets"]["stagemeter_energy"]
    assert facet["_schemaURL"] == schema["$id"] + "#/$defs/StagemeterEnergyRunFacet"
    own = schema["$defs"]["StagemeterEnergyRunFacet"]["allOf"][1]
    jsonschema.validate(facet, own)
    assert facet["student_energy_j"] == run.summary.student_energy_j and facet["gpu_energy_j"] is None


def test_runs_that_did_not_end_well_say_so(study, api):
    for status, kind in (("failed", "FAIL"), ("cancelled", "ABORT"), ("running", "RUNNING"), ("queued", "OTHER")):
        run = scenes.add_run(study, "sft", status=Run.Status(status), error="out of memory", configuration=status)
        events = _events(api, f"runs/{run.pk}/openlineage/")
        assert [event["eventType"] for event in events] == ([] if status == "queued" else ["START"]) + [kind]
        jsonschema.validate(events[-1], RUN_EVENT)
        assert ("out of memory" in json.dumps(events[-1])) == (status == "failed")
