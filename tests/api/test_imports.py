"""Other tools' files over REST."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from registry.models import Run, Stage
from tests.importers import files

CLIENT = Client()
KEY = files.CC2_ROW["run_id"]
ANSWERS = {
    "runs": {"kd": {"external_id": "kd-1", "pipeline": "kd", "student": "org/student"}},
    "stages": {KEY: "student_training"},
}


@pytest.fixture
def send(study, member, token_for):
    def post(content=None, *, who=None, headers=(), **form):
        file = SimpleUploadedFile("emissions.csv", files.emissions() if content is None else content)
        values = {"file": file, "study": study.slug} | {
            k: v if isinstance(v, str) else json.dumps(v) for k, v in form.items()
        }
        return CLIENT.post("/api/v1/imports/", values, **token_for(who or member), **dict(headers))

    return post


def test_a_dry_run_says_what_would_be_booked_and_what_is_still_to_be_said(send):
    answer = send(dry_run="1")
    body = answer.json()
    assert (answer.status_code, body["kept"], body["format"]) == (200, False, "codecarbon")
    assert set(body["needed"]) == {"runs.kd.pipeline", "runs.kd.student", f"stages.{KEY}"}
    assert [question["name"] for question in body["questions"]] == ["zone"]
    assert not Stage.objects.exists()


def test_a_file_is_booked_once_however_often_it_is_sent(send):
    first, again = send(answers=ANSWERS), send(answers=ANSWERS)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["runs"] == [str(Run.objects.get().pk)]
    assert [row["status"] for row in again.json()["rows"]] == ["same"]
    assert again.json()["before"] is True
    assert Stage.objects.count() == 1


def test_what_is_still_to_be_said_is_named_by_its_field(send):
    answer = send()
    assert answer.status_code == 400
    assert "answers.runs.kd.pipeline" in answer.json()["error"]["fields"]


def test_a_repeated_request_is_known_by_its_key_and_the_file_in_it(send):
    key = {"HTTP_IDEMPOTENCY_KEY": "one"}.items()
    first, again = send(answers=ANSWERS, headers=key), send(answers=ANSWERS, headers=key)
    assert again["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()
    assert send(files.emissions({"duration": "1"}), answers=ANSWERS, headers=key).status_code == 422


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"dry_run": "yes"}, "dry_run"),
        ({"dryrun": "1"}, "dryrun"),
        ({"answers": "[1"}, ""),
        ({"answers": '"x"'}, "answers"),
        ({"answers": {"runs": {"nobody": {}}}}, "answers.runs.nobody"),
    ],
)
def test_a_bad_form_is_refused_by_field(send, form, field):
    answer = send(**form)
    assert answer.status_code == 400
    assert not field or field in answer.json()["error"]["fields"]


def test_what_is_no_known_file_says_which_are(send):
    answer = send(b"a,b\n1,2\n", dry_run="1")
    assert answer.status_code == 400
    assert "CodeCarbon" in answer.json()["error"]["fields"]["file"][0]


def test_a_stranger_finds_no_study_and_imports_nothing(send, stranger):
    assert send(answers=ANSWERS, who=stranger).status_code == 404
    assert not Run.objects.exists()


def test_a_body_beyond_the_cap_is_refused_before_it_is_read(send, settings):
    settings.MAX_IMPORT_BYTES = 100
    assert send(dry_run="1").status_code == 413
