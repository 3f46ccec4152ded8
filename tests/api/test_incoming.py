"""Files of artifacts made elsewhere: checked one by one, named together, and of nobody but their sender until then."""

import hashlib
import json
import uuid

import pytest

from registry import storage
from registry.api.views.artifacts import REGISTRATION
from registry.api.views.incoming import EXAMPLE
from registry.models import Artifact
from tests.api.conftest import _CLIENT

ROWS = b'{"row": 1}\n{"row": 2}\n'
MORE = b'{"k": 100}'


def _sha(content):
    return hashlib.sha256(content).hexdigest()


def _put(caller, upload, name, content, sha256=None, **query):
    address = f"/api/v1/artifacts/uploads/{upload}/{name}?sha256={sha256 or _sha(content)}"
    address += "".join(f"&{key}={value}" for key, value in query.items())
    return _CLIENT.put(address, content, content_type="application/octet-stream", **caller.headers)


def _named(upload, **files):
    listed = [{"name": name.replace("_", "."), "sha256": _sha(content)} for name, content in files.items()]
    return {"upload": str(upload), "files": listed}


@pytest.fixture
def registered(api, study):
    body = REGISTRATION | {"project": study.project.slug, "row_digests": [uuid.uuid4().hex]}
    return api.post("artifacts/", body).json()["id"]


def test_all_files_or_none_become_the_artifacts(api, registered):
    upload = uuid.uuid4()
    wanted = _named(upload, rows_jsonl=ROWS, facts_json=MORE)
    assert _put(api, upload, "rows.jsonl", ROWS).json()["media_type"] == "application/jsonl"
    refused = api.post(f"artifacts/{registered}/files/", wanted)
    assert (refused.status_code, refused.json()["error"]["missing"]) == (409, ["facts.json"])
    assert not Artifact.objects.get(pk=registered).storage_key
    _put(api, upload, "facts.json", MORE)
    shown = api.post(f"artifacts/{registered}/files/", wanted).json()
    assert {file["name"]: file["bytes"] for file in shown["files"]} == {"rows.jsonl": 22, "facts.json": 10}
    assert api.get(f"artifacts/{registered}/files/rows.jsonl").getvalue() == ROWS
    again = api.post(f"artifacts/{registered}/files/", wanted)
    assert again.status_code == 409 and "has its files" in again.json()["error"]["message"]


def test_registering_with_files_is_one_step(api, study):
    upload = uuid.uuid4()
    body = REGISTRATION | {"project": study.project.slug, "stored": _named(upload, rows_jsonl=ROWS)}
    assert api.post("artifacts/", body).json()["error"]["missing"] == ["rows.jsonl"]
    assert not Artifact.objects.exists()
    _put(api, upload, "rows.jsonl", ROWS)
    assert [file["name"] for file in api.post("artifacts/", body).json()["files"]] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "sha256", "sentence"),
    [
        ("rows.jsonl", b"\x80\x04pickled", None, "a pickle"),
        ("rows.safetensors", b"PK\x03\x04", None, "a zip archive"),
        ("rows.exe", ROWS, None, "none of the formats"),
        ("..%2frows.jsonl", ROWS, None, "must be letters"),
        (".complete", ROWS, None, "must be letters"),
        ("rows.jsonl", ROWS, "0" * 64, "send it again"),
        ("rows.jsonl", ROWS, "none", "sha256"),
    ],
)
@pytest.mark.usefixtures("study")
def test_what_is_not_what_it_says_is_refused(api, name, content, sha256, sentence):
    refused = _put(api, uuid.uuid4(), name, content, sha256)
    assert refused.status_code in (400, 404) and (refused.status_code == 404 or sentence in refused.content.decode())


def test_knowing_a_digest_is_no_right_to_the_content(api, owner, call_as, registered):
    upload = uuid.uuid4()
    _put(api, upload, "rows.jsonl", ROWS)
    taken = call_as(owner).post(f"artifacts/{registered}/files/", _named(upload, rows_jsonl=ROWS))
    assert taken.status_code == 409 and taken.json()["error"]["missing"] == ["rows.jsonl"]


def test_somebody_elses_artifact_takes_no_files_from_a_member(api, outsider, owner, call_as, study):
    body = REGISTRATION | {"project": study.project.slug}
    theirs = call_as(owner).post("artifacts/", body).json()["id"]
    assert api.post(f"artifacts/{theirs}/files/", EXAMPLE).status_code == 403
    assert outsider.post(f"artifacts/{theirs}/files/", EXAMPLE).status_code == 404
    assert _put(outsider, uuid.uuid4(), "rows.jsonl", ROWS).status_code == 400
    assert _put(outsider, uuid.uuid4(), "rows.jsonl", ROWS, project=study.project.slug).status_code == 400


def test_what_was_stated_of_the_files_must_be_so(api, study):
    upload = uuid.uuid4()
    _put(api, upload, "rows.jsonl", ROWS)
    body = REGISTRATION | {"project": study.project.slug, "stored": _named(upload, rows_jsonl=ROWS)}
    for wrong in ({"bytes": 5}, {"content_sha256": "1" * 64}):
        refused = api.post("artifacts/", body | wrong)
        assert refused.status_code == 400 and next(iter(wrong)) in refused.json()["error"]["fields"]
    assert not Artifact.objects.exists()
    assert api.post("artifacts/", body | {"bytes": len(ROWS), "content_sha256": _sha(ROWS)}).status_code == 201


def test_a_project_without_room_refuses_before_anything_is_kept(api, study, settings):
    study.project.quota_bytes = 10
    study.project.save()
    before = len(list(storage.held()))
    refused = _put(api, uuid.uuid4(), "rows.jsonl", ROWS)
    assert refused.status_code == 409 and "do not fit" in refused.json()["error"]["message"]
    study.project.quota_bytes = None
    study.project.save()
    settings.MAX_ARTIFACT_FILE_BYTES = 10
    assert _put(api, uuid.uuid4(), "rows.jsonl", ROWS).status_code == 413
    assert len(list(storage.held())) == before


def test_what_a_worker_needs_is_found_with_its_files(api, study):
    upload = uuid.uuid4()
    _put(api, upload, "rows.jsonl", ROWS)
    body = REGISTRATION | {"project": study.project.slug, "stored": _named(upload, rows_jsonl=ROWS)}
    made = Artifact.objects.get(pk=api.post("artifacts/", body).json()["id"])
    assert storage.is_complete(made.storage_key, [storage.StoredFile(**entry) for entry in made.manifest])
    assert json.loads(json.dumps(made.manifest))[0]["sha256"] == _sha(ROWS)
