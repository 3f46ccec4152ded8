"""Artifacts over REST."""

import copy

import pytest
from s3fs import S3FileSystem

from registry import storage
from registry.models import Artifact, Membership, Project
from registry.services import artifacts, studies
from tests import scenes

REGISTRATION = {
    "kind": "logit_cache",
    "name": "A cache",
    "identity": {"teacher": {"id": "big", "digest": "d"}, "precision": "bf16"},
    "capture": {"k": 100, "temperatures": [1, 2, 4]},
    "row_digests": ["a", "b", "c"],
    "licence": "Apache-2.0",
    "production_energy_j": 5000.0,
    "evidence_note": "read off a power log",
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
        ({"evidence_note": " "}, "evidence_note"),
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


@pytest.mark.parametrize("columns", [{"licence": ""}, {"licence": "CC-BY-NC-4.0"}, {"may_train": False}])
def test_what_may_not_be_handed_on_is_seen_in_a_public_project_and_not_downloaded(
    api, outsider, anonymous, stored, columns
):
    address = f"artifacts/{stored.pk}/files/rows.jsonl"
    Project.objects.filter(pk=stored.project_id).update(public=True)
    assert [caller.get(address).status_code for caller in (anonymous, outsider)] == [200, 200]
    Artifact.objects.filter(pk=stored.pk).update(**columns)
    for caller in (anonymous, outsider):
        assert caller.get(f"artifacts/{stored.pk}/").status_code == 200
        refused = caller.get(address)
        assert refused.status_code == 403
        assert "for members of the project" in refused.json()["error"]["message"]
    assert api.get(address).status_code == 200


def content(response):
    return b"".join(response.streaming_content)


def fetch(api, artifact, **headers):
    api.headers.update(headers)
    return api.get(f"artifacts/{artifact.pk}/files/rows.jsonl")


ROWS = b'{"prompt": "<script>"}\n'


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=2-8", 2, 9), ("bytes=5-", 5, 23), ("bytes=-4", 19, 23), ("bytes=20-999", 20, 23)],
)
def test_one_range_of_a_file_is_206_with_that_part(api, stored, asked, start, stop):
    response = fetch(api, stored, HTTP_RANGE=asked)
    assert (response.status_code, content(response)) == (206, ROWS[start:stop])
    assert response["Content-Range"] == f"bytes {start}-{stop - 1}/23"
    assert response["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=23-", "bytes=-0", "bytes=99-100"])
def test_a_range_outside_of_the_file_is_416(api, stored, asked):
    response = fetch(api, stored, HTTP_RANGE=asked)
    assert (response.status_code, response["Content-Range"]) == (416, "bytes */23")


@pytest.mark.parametrize("asked", ["bytes=8-2", "bytes=0-1,3-4", "lines=1-2", "bytes=x-"])
def test_what_is_no_single_range_is_answered_with_the_whole(api, stored, asked):
    response = fetch(api, stored, HTTP_RANGE=asked)
    assert (response.status_code, content(response)) == (200, ROWS)


def test_a_range_of_an_older_content_is_answered_with_the_whole(api, stored):
    response = fetch(api, stored, HTTP_RANGE="bytes=0-1", HTTP_IF_RANGE='"another"')
    assert (response.status_code, content(response)) == (200, ROWS)


def test_what_the_client_has_is_304(api, stored):
    etag = fetch(api, stored)["ETag"]
    response = fetch(api, stored, HTTP_IF_NONE_MATCH=f'"x", W/{etag}')
    assert (response.status_code, response.content) == (304, b"")


def test_head_says_what_get_would_send(api, stored, client):
    response = client.head(f"/api/v1/artifacts/{stored.pk}/files/rows.jsonl", **api.headers)
    assert (response.status_code, response["Content-Length"], response["Accept-Ranges"]) == (200, "23", "bytes")
    assert content(response) == b""


def test_a_signed_address_is_handed_out_only_to_who_may_read(api, outsider, stored, settings, monkeypatch):
    settings.SIGNED_DOWNLOADS = True
    assert fetch(api, stored).status_code == 200, "a folder signs nothing"
    settings.ARTIFACT_URL = "s3://bucket/prefix"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "k")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    S3FileSystem.clear_instance_cache()  # one that another test made keeps the address it was made with
    response = fetch(api, stored)
    assert response.status_code == 302
    assert response["Location"].startswith(f"http://127.0.0.1:9/bucket/prefix/{stored.storage_key[:2]}/")
    assert "attachment" in response["Location"]
    assert fetch(outsider, stored).status_code == 404


def test_an_energy_with_records_is_their_sum(api, study):
    records = [scenes.add_stage(scenes.add_run(study), "logit_caching", energy) for energy in (100.0, 50.0)]
    keys = [record.record_id for record in records]
    shown = api.post("artifacts/", registration(production_energy_j=None, evidence=keys)).json()
    assert (shown["production_energy_j"], shown["evidence"]) == (150.0, keys)


def test_an_energy_that_its_records_do_not_give_is_refused(api, study):
    record = scenes.add_stage(scenes.add_run(study), "logit_caching", 100.0)
    response = api.post("artifacts/", registration(production_energy_j=90.0, evidence=[record.record_id]))
    assert "add up to 100 J" in response.json()["error"]["fields"]["production_energy_j"][0]
    response = api.post("artifacts/", registration(evidence=["no-such-record"]))
    assert "no-such-record" in response.json()["error"]["fields"]["evidence"][0]
    assert not Artifact.objects.exists()


def test_records_of_another_project_are_no_evidence(api, project, owner):
    from registry.services import studies as services

    other = services.ensure_project(slug="other", name="Other", public=True)
    theirs = services.create_study(actor=None, project=other, slug="theirs", name="Theirs", suite=["x"])
    record = scenes.add_stage(scenes.add_run(theirs), "logit_caching", 100.0)
    assert api.post("artifacts/", registration(evidence=[record.record_id])).status_code == 400


def test_an_unproven_energy_keeps_its_statement(api, project):
    shown = api.post("artifacts/", registration(evidence_note="Estimated from the cluster's job log")).json()
    assert (shown["evidence"], shown["evidence_note"]) == ([], "Estimated from the cluster's job log")


def test_teacher_and_dataset_licences_are_joined_where_none_is_stated(api, project):
    both = {"licence": "", "teacher_licence": "Apache-2.0", "dataset_licence": "ODC-By-1.0"}
    assert api.post("artifacts/", registration(**both)).json()["licence"] == "Apache-2.0 AND ODC-By-1.0"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"licence": "MIT", "teacher_licence": "Apache-2.0", "dataset_licence": "ODC-By-1.0"}, "licence"),
        ({"licence": "LicenseRef-house"}, "licence_name"),
        ({"licence": "LicenseRef-house", "licence_name": "House rules"}, "licence_link"),
        ({"teacher_licence": "beer"}, "teacher_licence"),
        ({"may_train": "yes"}, "may_train"),
        ({"evidence": [5]}, "evidence.0"),
    ],
)
def test_licences_that_do_not_fit_are_refused_by_field(api, project, changes, field):
    response = api.post("artifacts/", registration(**changes))
    assert (response.status_code, list(response.json()["error"]["fields"])) == (400, [field]) or (
        field in response.json()["error"]["fields"]
    )
    assert not Artifact.objects.exists()


def test_a_maintainer_publishes_and_narrows_over_rest(api, owner, call_as, project):
    key = api.post("artifacts/", registration()).json()["id"]
    curator = call_as(owner)
    assert api.post(f"artifacts/{key}/sharing/", {"sharing": "shared"}).status_code == 403
    assert curator.post(f"artifacts/{key}/sharing/", {"sharing": "shared"}).json()["sharing"] == "shared"
    body = {"licence": "Apache-2.0 AND CC-BY-NC-4.0", "note": "its rows turned out to be non-commercial"}
    shown = curator.post(f"artifacts/{key}/licence/", body).json()
    assert (shown["licence"], shown["sharing"], shown["licence_note"]) == (body["licence"], "project", body["note"])
    response = curator.post(f"artifacts/{key}/sharing/", {"sharing": "shared"})
    assert (response.status_code, "cannot be published" in response.json()["error"]["message"]) == (409, True)


def test_a_lookup_says_that_one_may_be_asked_for(api, owner, call_as, project, stranger):
    from registry.models import Membership
    from registry.services import studies as services

    key = api.post("artifacts/", registration()).json()["id"]
    call_as(owner).post(f"artifacts/{key}/sharing/", {"sharing": "request"})
    own = services.ensure_project(slug="own", name="Own", public=False)
    Membership.objects.create(project=own, user=stranger, role=Membership.Role.SUBMITTER)
    body = {name: registration()[name] for name in ("kind", "identity", "capture", "row_digests")}
    answer = call_as(stranger).post("artifacts/lookup/", body).json()
    assert (answer["exact"], answer["decision"]["action"]) == ([], "make")
    assert [one["project"] for one in answer["elsewhere"]] == [project.slug]
    assert key not in str(answer)


def test_a_token_for_one_project_may_register_what_lookup_and_lease_told_it_to_make(project, member, owner, call_as):
    public = studies.ensure_project(slug="commons", name="Commons", public=True)
    Membership.objects.create(project=public, user=owner, role=Membership.Role.SUBMITTER)
    there = call_as(owner).post("artifacts/", registration(project=public.slug))
    assert there.status_code == 201
    bound, question = call_as(member, project=project), {"kind", "identity", "capture", "row_digests"}
    wanted = {name: value for name, value in REGISTRATION.items() if name in question}
    assert bound.post("artifacts/lookup/", wanted).json()["decision"]["action"] == "make"
    assert bound.post("artifacts/leases/", wanted | {"seconds": 60}).json()["action"] == "make"
    assert bound.post("artifacts/", registration()).status_code == 201
