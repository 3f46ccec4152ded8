"""Look before you make, from a script: the artifact with its files, a lease to make it, or waiting."""

import json

import pytest

from registry.api.views.leases import EXAMPLE
from registry.models import Artifact, ArtifactLease
from registry.services import accounts, artifacts
from stagemeter import spool
from stagemeter.client import Client
from stagemeter.errors import ClientError, Refused, StillMaking
from tests.conftest import make_record

pytestmark = pytest.mark.django_db(transaction=True)
REQUEST = {name: value for name, value in EXAMPLE.items() if name != "seconds"}


@pytest.fixture
def client_of(live_server):
    opened = []

    def connect(user, **options):
        _, secret = accounts.issue_token(user=user)
        opened.append(Client(live_server.url, secret, attempts=2, **options))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


def test_one_is_given_the_lease_and_the_other_waits_until_it_is_registered(client_of, member, owner, study, tmp_path):
    maker = client_of(member)
    found = maker.find_artifact(REQUEST, tmp_path, study=study.slug)
    assert (found.artifact, found.files) == (None, ())
    looks = []

    def meanwhile(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            found.lease.register(name="made", licence="Apache-2.0", production_energy_j=5.0, evidence_note="log")

    waiter = client_of(owner, sleep=meanwhile)
    with found.lease:
        got = waiter.find_artifact(REQUEST, tmp_path, study=study.slug)
    assert len(looks) == 2
    assert (got.artifact["name"], got.cut, got.lease) == ("made", False, None)
    assert Artifact.objects.get().production_energy_j == 5.0
    assert ArtifactLease.objects.get().ended_at is not None


def test_waiting_has_an_end_if_one_is_given(client_of, member, owner, study, tmp_path):
    client_of(member).find_artifact(REQUEST, tmp_path, study=study.slug)
    with pytest.raises(StillMaking, match=str(member)):
        client_of(owner, sleep=lambda _: None).find_artifact(REQUEST, tmp_path, study=study.slug, wait_s=0)


def test_a_making_that_fails_gives_its_lease_back(client_of, member, owner, study, tmp_path):
    found = client_of(member).find_artifact(REQUEST, tmp_path, study=study.slug)
    with pytest.raises(ZeroDivisionError), found.lease:
        raise ZeroDivisionError
    assert client_of(owner).find_artifact(REQUEST, tmp_path, study=study.slug, wait_s=0).lease is not None
    with pytest.raises(Refused):
        found.lease.renew()


@pytest.fixture
def stored(client_of, member, study, tmp_path):
    """A registered artifact with a file in the storage."""
    client = client_of(member)
    client.find_artifact(REQUEST, tmp_path, study=study.slug).lease.register(name="made", licence="Apache-2.0")
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps({"row": n}) + "\n" for n in range(2000)))
    artifact = Artifact.objects.get()
    artifacts.store(artifact=artifact, folder=folder, meta={}, row_digests=[])
    return client, (folder / "rows.jsonl").read_bytes()


def test_files_are_fetched_checked_and_not_fetched_again(stored, study, tmp_path):
    client, content = stored
    (path,) = client.find_artifact(REQUEST, tmp_path / "got", study=study.slug).files
    assert path.read_bytes() == content
    before = path.stat().st_mtime_ns
    client.find_artifact(REQUEST, tmp_path / "got", study=study.slug)
    assert path.stat().st_mtime_ns == before


def test_a_download_that_broke_off_goes_on_and_a_damaged_one_is_thrown_away(stored, study, tmp_path):
    client, content = stored
    part = tmp_path / "got" / "rows.jsonl.part"
    part.parent.mkdir()
    part.write_bytes(content[:1000])
    (path,) = client.find_artifact(REQUEST, part.parent, study=study.slug).files
    assert path.read_bytes() == content
    path.unlink()
    part.write_bytes(b"x" * 1000)
    with pytest.raises(ClientError, match="SHA-256"):
        client.find_artifact(REQUEST, part.parent, study=study.slug)
    assert not part.exists()


def test_a_run_that_was_kept_offline_is_booked_with_its_records(client_of, member, study, tmp_path):
    record = make_record()
    spool.write_record(tmp_path, record)
    run = {"external_id": "kept", "pipeline": "sft", "student": "small"}
    spool.keep_run(run, [record], study=study.slug, spool_dir=tmp_path)
    (result,) = client_of(member).upload_spool(tmp_path)
    assert result == {"run": "kept", "status": "created", "index": 0}
    assert study.runs.get().stages.get().record_id == record.record_id


def test_files_of_one_cluster_are_found_on_another(client_of, member, owner, study, tmp_path):
    maker, files = client_of(member), [tmp_path / "rows.jsonl", tmp_path / "facts.json"]
    for number, file in enumerate(files):
        file.write_text(json.dumps({"row": number}) + "\n")
    lease = maker.find_artifact(REQUEST, tmp_path, study=study.slug).lease
    sent = []
    put, maker._put_file = maker._put_file, lambda path, *rest: sent.append(path) or put(path, *rest)
    with pytest.raises(Refused):  # breaks off after the files have travelled
        lease.register(files, name="made", licence="no licence at all")
    with lease:
        made = lease.register(files, name="made", licence="Apache-2.0")
    assert len(sent) == 2 and len(made["files"]) == 2
    got = client_of(owner).find_artifact(REQUEST, tmp_path / "elsewhere", study=study.slug)
    assert {path.name: path.read_bytes() for path in got.files} == {file.name: file.read_bytes() for file in files}


def test_files_are_given_later_to_what_was_registered_without(client_of, member, owner, study, tmp_path):
    maker = client_of(member)
    made = maker.find_artifact(REQUEST, tmp_path, study=study.slug).lease.register(name="made", licence="Apache-2.0")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    assert [file["name"] for file in maker.attach_files(made["id"], [tmp_path / "rows.jsonl"])["files"]] == [
        "rows.jsonl"
    ]
    assert len(client_of(owner).find_artifact(REQUEST, tmp_path / "there", study=study.slug).files) == 1
