"""Where artifacts lie: the same promises on a folder and on a real S3 server in this process."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import httpx
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from s3fs import S3FileSystem

from registry import storage
from registry.models import Artifact
from registry.services import artifacts, garbage, quotas
from registry.services.errors import Conflict
from registry.storage import StorageError
from tests import scenes


@pytest.fixture(scope="session")
def s3_server():
    """moto's server, which answers as S3 does, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path, settings, monkeypatch):
    """An empty store: a folder, or a bucket. Gives the file system and its root."""
    if request.param == "file":
        settings.ARTIFACT_URL = f"file://{tmp_path / 'store'}"
    else:
        names = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_server"))
        S3FileSystem.clear_instance_cache()  # one that another test made keeps the address it was made with
        bucket = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
        settings.ARTIFACT_URL = f"s3://{bucket}/some/prefix"
        fsspec.core.url_to_fs(settings.ARTIFACT_URL)[0].mkdir(bucket)
    return fsspec.core.url_to_fs(settings.ARTIFACT_URL)


@pytest.fixture
def folder(tmp_path) -> Path:
    """What a stage left."""
    path = tmp_path / "output"
    path.mkdir()
    (path / "rows.jsonl").write_bytes(b'{"prompt": "a"}\n' * 1000)
    (path / "manifest.json").write_bytes(b"{}")
    return path


def put(folder: Path) -> str:
    return storage.put(folder, storage.describe(folder))


def manifest_of(folder: Path) -> list[dict]:
    return [file.to_dict() for file in storage.describe(folder)]


def test_what_is_put_is_fetched_with_the_same_content(store, folder, tmp_path):
    key = put(folder)
    there = storage.fetch(key, manifest_of(folder), tmp_path / "copy")
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def test_the_same_content_lies_there_once_whoever_stores_it(store, folder):
    assert put(folder) == put(folder)
    assert [held.complete for held in storage.held()] == [True]


def test_other_content_gets_another_key(store, folder):
    first = put(folder)
    (folder / "manifest.json").write_bytes(b"[]")
    assert put(folder) != first


def test_an_upload_that_breaks_off_leaves_nothing_complete_and_goes_on(store, folder, monkeypatch):
    fs, _ = store
    sent, real = [], fs.put_file

    def put_file(source, target, *rest, **options):
        sent.append(Path(source).name)
        if len(sent) == 2:
            raise ConnectionError("the cable was pulled")
        return real(source, target, *rest, **options)

    monkeypatch.setattr(fs, "put_file", put_file)
    files = storage.describe(folder)
    with pytest.raises(ConnectionError):
        storage.put(folder, files)
    (broken,) = storage.held()
    assert not broken.complete
    assert not storage.is_complete(broken.key, files)
    storage.put(folder, files)
    assert sent == ["manifest.json", "rows.jsonl", "rows.jsonl"]  # what was there whole was not sent again
    assert storage.is_complete(broken.key, files)


def test_a_copy_that_differs_is_refused_and_not_left_there(store, folder, monkeypatch):
    fs, _ = store
    real = fs.put_file

    def put_file(source, target, *rest, **options):
        wrong = folder.parent / "wrong"
        wrong.write_bytes(b"x" * Path(source).stat().st_size)
        return real(str(wrong), target, *rest, **options)

    monkeypatch.setattr(fs, "put_file", put_file)
    with pytest.raises(StorageError, match="arrived with the SHA-256"):
        put(folder)
    assert list(storage.held()) == []


def test_a_file_that_was_damaged_is_replaced_when_it_is_put_again(store, folder, tmp_path):
    fs, root = store
    key = put(folder)
    fs.pipe_file(f"{root}/{key[:2]}/{key}/rows.jsonl", b"?" * 16_000)
    with pytest.raises(StorageError, match="its manifest says"):
        storage.fetch(key, manifest_of(folder), tmp_path / "copy")
    put(folder)
    storage.fetch(key, manifest_of(folder), tmp_path / "copy")


@pytest.mark.parametrize("begun", [b'{"prompt": "a"}\n' * 400, b"something else", b"x" * 20_000])
def test_a_download_that_broke_off_goes_on_or_begins_anew(store, folder, tmp_path, begun):
    key, copy = put(folder), tmp_path / "copy"
    copy.mkdir()
    (copy / "rows.jsonl.part").write_bytes(begun)
    storage.fetch(key, manifest_of(folder), copy)
    assert (copy / "rows.jsonl").read_bytes() == (folder / "rows.jsonl").read_bytes()
    assert not (copy / "rows.jsonl.part").exists()


def test_a_stretch_of_a_file_is_read_alone(store, folder):
    key = put(folder)
    assert b"".join(storage.read(key, "rows.jsonl", 16, 48)) == b'{"prompt": "a"}\n' * 2


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_signed_address_serves_its_file_to_be_saved_and_no_other(store, folder):
    key = put(folder)
    address = storage.signed_url(key, "rows.jsonl", seconds=60)
    answer = httpx.get(address)
    assert answer.content == (folder / "rows.jsonl").read_bytes()
    assert answer.headers["Content-Disposition"] == 'attachment; filename="rows.jsonl"'
    assert answer.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("name", ["../rows.jsonl", ".complete", "", "a/b", "rows.jsonl\x00"])
def test_no_name_leads_out_of_a_key(store, folder, name):
    with pytest.raises(StorageError):
        list(storage.read(put(folder), name))


def test_garbage_is_what_no_row_names_and_nobody_touched_lately(store, folder, study):
    kept = scenes.add_artifact(scenes.add_run(study))
    artifacts.store(artifact=kept, folder=folder, meta={}, row_digests=[])
    (folder / "manifest.json").write_bytes(b"[]")
    stray = put(folder)
    fs, root = store
    fs.pipe_file(f"{root}/{kept.storage_key[:2]}/{kept.storage_key}/rows.jsonl.0a1b.part", b"half")
    assert list(garbage.collect(before=datetime(2020, 1, 1, tzinfo=UTC), dry_run=False)) == []
    soon = timezone.now() + timedelta(minutes=1)
    tried = list(garbage.collect(before=soon, dry_run=True))
    assert {(g.key, g.name) for g in tried} == {(stray, ""), (kept.storage_key, "rows.jsonl.0a1b.part")}
    assert len(list(storage.held())) == 2, "a dry run changes nothing"
    assert list(garbage.collect(before=soon, dry_run=False)) == tried
    (left,) = storage.held()
    assert (left.key, left.parts, left.complete) == (kept.storage_key, (), True)


@pytest.fixture
def folder_store(tmp_path, settings):
    """A folder, for what does not differ between stores."""
    settings.ARTIFACT_URL = f"file://{tmp_path / 'store'}"


def test_files_that_were_cleared_away_meanwhile_are_sent_again(folder_store, folder, study, monkeypatch):
    artifact, real = scenes.add_artifact(scenes.add_run(study)), garbage.hold

    def hold(key):
        storage.remove(key)
        return real(key)

    monkeypatch.setattr(garbage, "hold", hold)
    artifacts.store(artifact=artifact, folder=folder, meta={}, row_digests=[])
    assert storage.is_complete(artifact.storage_key, storage.describe(folder))


def test_the_command_lets_go_of_withdrawn_files_and_keeps_the_row(folder_store, folder, study, owner, capsys):
    artifact = scenes.add_artifact(scenes.add_run(study))
    artifacts.store(artifact=artifact, folder=folder, meta={}, row_digests=[])
    artifacts.withdraw(artifact=artifact, actor=owner, reason="wrong rows")
    call_command("collect_garbage", "--withdrawn", "--hours", "0", "--dry-run")
    assert "would be cleared away" in capsys.readouterr().out
    call_command("collect_garbage", "--hours", "0")
    assert len(list(storage.held())) == 1, "without --withdrawn its files stay"
    call_command("collect_garbage", "--withdrawn", "--hours", "0")
    artifact.refresh_from_db()
    assert (list(storage.held()), artifact.storage_key, len(artifact.manifest)) == ([], "", 2)


def test_an_old_artifact_that_was_withdrawn_just_now_keeps_its_files(folder_store, folder, study, owner):
    artifact = scenes.add_artifact(scenes.add_run(study))
    artifacts.store(artifact=artifact, folder=folder, meta={}, row_digests=[])
    Artifact.objects.filter(pk=artifact.pk).update(created_at=timezone.now() - timedelta(days=30))
    artifacts.withdraw(artifact=artifact, actor=owner, reason="by mistake")
    call_command("collect_garbage", "--withdrawn")
    assert Artifact.objects.get().storage_key
    assert len(list(storage.held())) == 1


@pytest.mark.django_db(transaction=True)
def test_registrations_at_once_share_one_quota(folder_store, folder, study):
    """Each has passed the check before any is booked, as simultaneous requests do; then they are booked at once."""
    study.project.quota_bytes = 40_000  # room for two of 16 kB
    study.project.save()
    made = [scenes.add_artifact(scenes.add_run(study)) for _ in range(4)]
    start, answers = threading.Barrier(len(made)), []

    def store(artifact):
        own = folder.with_name(str(artifact.pk))
        shutil.copytree(folder, own)
        (own / "extra.json").write_text(json.dumps(str(artifact.pk)))
        start.wait()
        try:
            artifacts.store(artifact=Artifact.objects.get(pk=artifact.pk), folder=own, meta={}, row_digests=[])
            answers.append("stored")
        except Conflict:
            answers.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=store, args=(artifact,)) for artifact in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["refused", "refused", "stored", "stored"]
    assert quotas.usage(study.project).used <= 40_000


def test_a_quota_is_refused_with_its_way_out_and_nothing_is_sent(folder_store, folder, study):
    artifact = scenes.add_artifact(scenes.add_run(study))
    study.project.quota_bytes = 16_001
    study.project.save()
    artifact.refresh_from_db()
    with pytest.raises(
        Conflict, match=r"may keep 16 kB of artifact files and keeps 0 bytes.*16 kB do not fit"
    ) as refused:
        artifacts.store(artifact=artifact, folder=folder, meta={}, row_digests=[])
    assert "collect_garbage" in refused.value.message
    assert (list(storage.held()), Artifact.objects.get().storage_key) == ([], "")


def test_files_that_two_artifacts_share_count_once(folder_store, folder, study):
    run = scenes.add_run(study)
    study.project.quota_bytes = 16_002
    study.project.save()
    for artifact in (scenes.add_artifact(run), scenes.add_artifact(run)):
        artifacts.store(artifact=Artifact.objects.get(pk=artifact.pk), folder=folder, meta={}, row_digests=[])
    assert quotas.usage(study.project) == quotas.Usage(used=16_002, quota=16_002)


def test_the_installation_s_quota_holds_where_a_project_has_none(folder_store, study, settings):
    settings.PROJECT_QUOTA_BYTES = 5
    assert quotas.usage(study.project).quota == 5
    study.project.quota_bytes = 0
    assert quotas.usage(study.project).quota == 0
