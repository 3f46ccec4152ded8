"""The raw file behind a score: kept once, checked by its content, read by whoever sees the score."""

import gzip
import hashlib
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client

from registry.api.views.scores import FILE_EXAMPLE
from registry.models import ScoreFile
from registry.services import garbage, quotas, scores
from tests import scenes

CLIENT = Client()
SAMPLES = b"".join(b'{"doc_id": %d, "exact_match": 1.0, "target": "\xc3\xa9"}\n' % n for n in range(50))
ANNOTATIONS = json.dumps([{"instruction": "Say hello.", "preference": 1.5}], indent=1).encode()
ON_ONE_LINE = json.dumps([{"instruction": "Say hello.", "preference": 1.5}]).encode()


@pytest.fixture
def score(study):
    run = scenes.add_run(study)
    return scores.record_score(run=run, origin="upload", benchmark="gsm8k", value=0.5).row


@pytest.fixture
def send(api, score):
    def sent(content, caller=api, **headers):
        file = SimpleUploadedFile("../../etc/passwd", content)
        return CLIENT.post(f"/api/v1/scores/{score.pk}/file/", {"file": file}, **caller.headers, **headers)

    return sent


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (SAMPLES, "raw.jsonl"),
        (SAMPLES[:50].partition(b"\n")[0], "raw.jsonl"),
        (ANNOTATIONS, "raw.json"),
        (ON_ONE_LINE, "raw.json"),
        (FILE_EXAMPLE["file"].encode(), "raw.jsonl"),
    ],
    ids=["rows", "one row", "a document", "on one line", "the example"],
)
def test_a_file_is_kept_by_its_content_and_read_back_whole_and_in_part(send, api, score, content, name):
    answer = send(content)
    assert answer.status_code == 201, answer.content
    kept = answer.json()
    assert (kept["name"], kept["sha256"], kept["bytes"]) == (name, hashlib.sha256(content).hexdigest(), len(content))
    assert api.get("scores/").json()["results"][0]["file"] == kept
    whole = api.get(kept["address"])
    assert (b"".join(whole.streaming_content), whole["ETag"]) == (content, f'"{kept["sha256"]}"')
    assert 'attachment; filename="raw.' in whole["Content-Disposition"]
    part = CLIENT.get(kept["address"], HTTP_RANGE="bytes=3-9", **api.headers)
    assert (part.status_code, b"".join(part.streaming_content)) == (206, content[3:10])


def test_the_same_rows_are_the_same_file_however_they_come_and_others_are_refused(send, score):
    sent = (gzip.compress(SAMPLES), SAMPLES, gzip.compress(SAMPLES, 1), SAMPLES + b"{}\n")
    answers = [send(content) for content in sent]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 409]
    assert answers[-1].json()["error"]["score_id"] == score.score_id
    assert (ScoreFile.objects.count(), garbage.is_referenced(ScoreFile.objects.get().storage_key)) == (1, True)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        ScoreFile.objects.update(bytes=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n", "neither JSON nor JSONL"),
        (b"doc_id,exact_match\n0,1\n", "line 1 is no JSON"),
        (b'{"a": 1}\n{"a": \n', "line 2 is no JSON"),
        (b'{"a": "\xff"}\n', "no UTF-8 text"),
        ('{"a": 1}'.encode("utf-16"), "no UTF-8 text"),
        (b"[" * 100_000, "no JSON"),
        (b"\x80\x04\x95\x00", "a pickle"),
        (b"PK\x03\x04" + b"0" * 20, "a zip archive"),
        (gzip.compress(gzip.compress(SAMPLES)), "a gzip archive"),
        (gzip.compress(SAMPLES)[:60], "cannot be taken"),
        (b"\x1f\x8bno gzip", "cannot be taken"),
        (gzip.compress(b"{}\n" * 5000), "unpacks to more than 10,000 bytes"),
        (gzip.compress(b""), "it is empty"),
    ],
    ids=[
        "blank",
        "csv",
        "a row cut",
        "latin",
        "utf-16",
        "deep",
        "pickle",
        "zip",
        "gzip twice",
        "gzip cut",
        "no gzip",
        "a bomb",
        "nothing",
    ],
)
def test_what_is_no_json_or_unpacks_to_too_much_is_refused_and_nothing_is_kept(send, settings, content, said):
    settings.MAX_SCORE_FILE_BYTES = 10_000 if len(content) < 1000 else 10**6
    answer = send(content)
    assert (answer.status_code, said in str(answer.json()["error"]["fields"]["file"])) == (400, True), answer.content
    assert not ScoreFile.objects.exists()


def test_only_who_may_write_to_the_project_puts_one_there_and_a_stranger_reads_none(send, outsider, score, project):
    assert send(SAMPLES, outsider).status_code == 404
    assert send(SAMPLES).status_code == 201
    address = f"/api/v1/scores/{score.pk}/file/"
    assert outsider.get(address).status_code == 404
    project.public = True
    project.save()
    assert (outsider.get(address).status_code, send(SAMPLES, outsider).status_code) == (200, 403)


def test_it_counts_towards_the_quota_of_its_project(send, project):
    project.quota_bytes = len(SAMPLES) - 1
    project.save()
    assert send(SAMPLES).status_code == 409
    project.quota_bytes = len(SAMPLES)
    project.save()
    assert (send(SAMPLES).status_code, quotas.usage(project).used) == (201, len(SAMPLES))


def test_a_score_without_one_says_so_and_the_runs_page_shows_digest_and_size(send, api, score, member):
    assert "no raw file" in api.get(f"scores/{score.pk}/file/").json()["error"]["message"]
    assert send(SAMPLES, HTTP_IDEMPOTENCY_KEY="k").status_code == 201
    CLIENT.force_login(member)
    page = CLIENT.get(f"/runs/{score.run_id}/").content.decode()
    CLIENT.logout()
    table = page.partition('<table id="scores">')[2].partition("</table>")[0]
    assert f"/api/v1/scores/{score.pk}/file/" in table
    assert hashlib.sha256(SAMPLES).hexdigest() in table
