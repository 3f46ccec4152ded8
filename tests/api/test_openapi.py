"""The OpenAPI file and the page that shows it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from openapi_spec_validator import validate

from registry.api import urls

COMMITTED = Path(__file__).resolve().parents[2] / "docs/openapi.yaml"
SCHEMA = yaml.safe_load(COMMITTED.read_text())
BODILESS = ("/cancel/", "/secret/", "/ping/", "/redeliver/")
OPERATIONS = [
    (path, method, operation)
    for path, methods in SCHEMA["paths"].items()
    for method, operation in methods.items()
    if method in ("get", "post")
]


def test_the_committed_file_is_the_generated_one(tmp_path):
    fresh = tmp_path / "openapi.yaml"
    call_command("spectacular", file=str(fresh), validate=True, fail_on_warn=True)
    assert fresh.read_text() == COMMITTED.read_text(), "run: make openapi"


def test_the_file_is_valid_openapi_3_1():
    assert SCHEMA["openapi"] == "3.1.0"
    validate(SCHEMA)


def test_every_address_stands_in_it():
    expected = {"/healthz"}
    for pattern in urls.v1:
        expected.add("/api/v1/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern)))
    assert set(SCHEMA["paths"]) == expected


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=lambda part: str(part)[:40])
def test_every_operation_says_what_it_takes_and_answers(path, method, operation):
    assert operation["description"]
    good = [response for status, response in operation["responses"].items() if status < "300"]
    assert good and all(response["content"] for response in good)
    assert {"400", "401", "403"} <= operation["responses"].keys()
    if method == "post" and not path.endswith(BODILESS):
        content = operation["requestBody"]["content"]
        media = content.get("application/json") or content["multipart/form-data"]
        assert media["schema"] and media["examples"]
        assert {"409", "413", "415", "422"} <= operation["responses"].keys()


EXAMPLES = {
    operation["operationId"]: (path, next(iter(media["examples"].values()))["value"])
    for path, _, operation in OPERATIONS
    if (media := operation.get("requestBody", {}).get("content", {}).get("application/json"))
}


def _registered(api, registration, teacher):
    """One more artifact, by a teacher of its own."""
    identity = {**registration["identity"], "teacher": {"id": teacher}}
    return api.post("artifacts/", registration | {"identity": identity}).json()["id"]


def _of_any_artifact(api, examples):
    """The example that names files, which nobody has sent."""
    path, body = examples.pop("attach_artifact_files")
    return path.replace("{id}", _registered(api, examples["register_artifact"][1], "of files")), body


def test_every_example_of_a_request_is_taken(owner, study, call_as):
    from registry.services import studies

    api = call_as(owner)
    studies.create_study(actor=owner, project=study.project, slug="tour", name="Tour", suite=["gsm8k"])
    text = json.dumps(EXAMPLES).replace("my-lab", study.project.slug)
    order = ["create_study", "upload_run", "register_artifact", "look_up_artifacts", "plan_run", "submit_run"]
    order += ["plan_sweep", "submit_sweep", "lease_artifact", "create_webhook"]
    examples = json.loads(text)
    assert "have not arrived" in api.post(*_of_any_artifact(api, examples)).json()["error"]["message"]
    of_artifacts = {name: example for name, example in examples.items() if "/artifacts/{id}/" in example[0]}
    assert set(examples) == {*order, *of_artifacts, "book_stage_records", "book_scores", "review_stage_record"}
    for name in order:
        path, body = examples[name]
        assert api.post(path, body).status_code in (200, 201), (name, api.post(path, body).content)
    for path, body in of_artifacts.values():
        registration = examples["register_artifact"][1]
        made = [_registered(api, registration, f"{path} {n}") for n in range(2)]
        response = api.post(path.replace("{id}", made[0]), body | ({"by": made[1]} if "by" in body else {}))
        assert response.status_code == 200, (path, response.content)
    for name in ("book_stage_records", "book_scores"):
        path, body = examples[name]
        assert api.post(path, body | {"run_id": "kd-1b-seed0"}).status_code == 201, name
    path, body = examples["review_stage_record"]
    record = api.get("stage-records/").json()["results"][0]["id"]
    for review in ({"verdict": "flagged", "reason": "More than its card can draw."}, body):
        assert api.post(path.replace("{id}", record), review).status_code == 201, review


@pytest.mark.parametrize("accept", ["application/json", "application/vnd.oai.openapi+json", "*/*"])
def test_the_file_is_served_without_a_login(db, accept):
    response = Client().get("/api/schema/", HTTP_ACCEPT=accept)
    assert response.status_code == 200
    assert b"/api/v1/stage-records/" in response.content


def test_the_docs_page_runs_nothing_inline_and_asks_no_other_host(db):
    page = Client().get("/api/docs/")
    html = page.content.decode()
    assert page.status_code == 200
    assert "script-src 'self'" in page["Content-Security-Policy"]
    scripts = re.findall(r"<script(.*?)>(.*?)</script>", html, re.S)
    assert len(scripts) == 3
    assert all("src=" in attributes and not body.strip() for attributes, body in scripts)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert addresses and all(address.startswith("/") for address in addresses)
    script = Client().get("/api/docs/", {"script": ""})
    assert script["Content-Type"].startswith("application/javascript")
    assert "/api/schema/" in script.content.decode()
