"""Artifacts over REST."""

import copy

import pytest

from registry import storage
from registry.models import Artifact
from registry.services import artifacts
from tests import scenes

REGISTRATION = {
    "kind": "logit_cache",
    "name": "A cache",
    "identity": {"teacher": {"id": "big", "digest": "d"}, "precision": "bf16"},
    "capture": {"k": 100, "temperatures": [1, 2, 4]},
    "row_digests": ["a", "b", "c"],
    "licence": "Apache-2.0",
    "production_energy_j": 5000.0,
}


def registration(**changes):
    return copy.deepcopy(REGISTRATION) | changes


def test_registering_answers_with_the_artifact(api, project):
    response = api.post("artifacts/", registration())
    assert response.status_code == 201
    shown = response.json()
    assert (shown["project"], shown["status"], shown["origin"]) == (project.slug, "ready", "upload")
    assert (shown["rows"], shown["row_digests"], shown["teacher"]) == (3, ["a", "b", "c"], "big")
    assert (shown["production_energy_j"], shown["files"], shown["uses"]) == (5000.0, [], [])


@pytest.mark.parametrize(
    "smaller",
    [{}, {"capture": {"k": 50, "temperatures": [1]}}, {"row_digests": ["b"]}, {"row_digests": ["c", "b", "a"]}],
)
def test_what_is_there_already_is_409_with_the_artifact(api, project, smaller):
    first = api.post("artifacts/", registration()).json()
    response = api.post("artifacts/", registration(**smaller))
    assert response.status_code == 409
    there = response.json()["error"]["artifact"]
    assert (there["id"], there["name"], there["production_energy_j"]) == (first["id"], "A cache", 5000.0)
    assert Artifact.objects.count() == 1


def test_a_larger_one_is_no_duplicate(api, project):
    api.post("artifacts/", registration())
    assert api.post("artifacts/", registration(row_digests=["a", "b", "c", "d"])).status_code == 201


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "cheese"}, "kind"),
        ({"kind": "student"}, "kind"),
        ({"kind": 5}, "kind"),
        ({"identity": []}, "identity"),
        ({"identity": {}}, "identity.teacher.id"),
        ({"identity": {"teacher": {"id": "t" * 201}}}, "identity.teacher.id"),
        ({"identity": {"teacher": {"id": "t"}, "dataset": "tulu"}}, "identity.dataset.id"),
        ({"capture": {"k": "many"}}, "capture.k"),
        ({"capture": {"k": 0}}, "capture.k"),
        ({"capture": {"temperatures": 1}}, "capture.temperatures"),
        ({"capture": {"temperatures": ["1"]}}, "capture.temperatures"),
        ({"capture": {"temperatures": []}}, "capture.temperatures"),
        ({"row_digests": []}, "row_digests"),
        ({"row_digests": "abc"}, "row_digests"),
        ({"row_digests": [1]}, "row_digests.0"),
        ({"licence": "beer"}, "licence"),
        ({"production_energy_j": -1}, "production_energy_j"),
        ({"production_energy_j": "5"}, "production_energy_j"),
        ({"production_energy_j": 1e300}, "production_energy_j"),
        ({"bytes": -1}, "bytes"),
        ({"content_sha256": "xyz"}, "content_sha256"),
        ({"name": "n" * 201}, "name"),
        ({"run_id": "no-such-run"}, "run_id"),
        ({"colour": "blue"}, "colour"),
        ({"meta": []}, "meta"),
    ],
)
def test_bad_input_is_refused_by_field_and_changes_nothing(api, project, changes, field):
    response = api.post("artifacts/", registration(**changes))
    assert response.status_code == 400, response.content
    assert field in response.json()["error"]["fields"]
    assert not Artifact.objects.exists()


def test_energy_that_nobody_stated_is_null_and_named(api, project):
    shown = api.post("artifacts/", registration(production_energy_j=None)).json()
    assert (shown["production_energy_j"], shown["production_missing"]) == (None, ["not stated"])


def test_the_run_that_made_it_is_named(api, study):
    run = scenes.add_run(study, external_id="mine")
    shown = api.post("artifacts/", registration(run_id="mine", study=study.slug)).json()
    assert shown["made_by_run"] == str(run.pk)


def test_the_list_is_searched_and_filtered(api, project):
    api.post("artifacts/", registration())
    api.post("artifacts/", registration(kind="synthetic_dataset", capture={}, name="Answers", licence="MIT"))

    def found(**query):
        return [row["name"] for row in api.get("artifacts/", **query).json()["results"]]

    assert found() == ["Answers", "A cache"]
    assert found(search="cach") == found(kind="logit_cache") == found(licence="Apache-2.0") == ["A cache"]
    assert found(search="BIG", teacher="big", status="ready", origin="upload", project=project.slug) == found()
    assert found(search="%") == []


def test_a_list_counts_rows_and_carries_no_digests(api, project):
    api.post("artifacts/", registration())
    row = api.get("artifacts/").json()["results"][0]
    assert (row["rows"], "row_digests" in row) == (3, False)


def test_uses_name_only_runs_that_may_be_seen(api, study):
    artifact = scenes.add_artifact(scenes.add_run(study))
    uses = api.get(f"artifacts/{artifact.pk}/").json()["uses"]
    assert [(use["how"], use["used_share"]) for use in uses] == [("made", 1.0)]


@pytest.fixture
def stored(study, tmp_path):
    """An artifact with one file in the storage."""
    artifact = scenes.add_artifact(scenes.add_run(study))
    (tmp_path / "rows.jsonl").write_bytes(b'{"prompt": "<script>"}\n')
    artifacts.store(artifact=artifact, folder=tmp_path, meta={"rows": 1}, row_digests=["a"])
    return artifact


def test_a_file_comes_as_an_attachment_that_no_browser_runs(api, stored):
    shown = api.get(f"artifacts/{stored.pk}/").json()["files"][0]
    response = api.get(shown["url"])
    assert b"".join(response.streaming_content) == b'{"prompt": "<script>"}\n'
    assert response["Content-Disposition"] == 'attachment; filename="rows.jsonl"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Type"] == "application/octet-stream"
    assert response["ETag"] == f'"{shown["sha256"]}"'
    assert int(response["Content-Length"]) == shown["bytes"]


@pytest.mark.parametrize("name", ["other.jsonl", "..%2F..%2Fsecret_key", "%2e%2e", "rows.jsonl%00", "ROWS.JSONL", "é"])
def test_a_name_that_is_not_in_the_manifest_is_404(api, stored, name):
    assert api.get(f"artifacts/{stored.pk}/files/{name}").status_code == 404


def test_a_file_that_is_gone_from_the_storage_is_404_before_the_answer_has_begun(api, stored):
    fs, root = storage._open(stored.storage_key)
    fs.rm(root, recursive=True)
    response = api.get(f"artifacts/{stored.pk}/files/rows.jsonl")
    assert (response.status_code, "not in the storage any more" in response.json()["error"]["message"]) == (404, True)


def test_a_file_of_a_private_project_is_404_for_a_stranger(outsider, stored):
    assert outsider.get(f"artifacts/{stored.pk}/files/rows.jsonl").status_code == 404
