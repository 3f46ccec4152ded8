"""The page that takes other tools' files: looked at, asked about, booked."""

import html
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from registry.models import Run, Stage
from tests.importers import files

pytestmark = pytest.mark.django_db
ANSWERS = {"run-0-external_id": "kd-1", "run-0-pipeline": "kd", "run-0-student": "small", "stage-0": "student_training"}


@pytest.fixture
def page(client, member, study):
    """Sends a file, or what was answered, and gives the answer."""
    client.force_login(member)

    def send(content=None, name="emissions.csv", **form):
        if content is not None:
            form |= {"file": SimpleUploadedFile(name, content), "study": study.slug}
        return client.post(reverse("import"), form)

    return send


def state(answer):
    return html.unescape(re.search(r'name="state" value="([^"]*)"', answer.content.decode())[1])


def test_a_file_is_looked_at_and_what_it_does_not_say_is_asked_for(page):
    answer = page(files.emissions())
    assert answer.status_code == 200
    text = answer.content.decode()
    assert 'name="run-0-pipeline"' in text and 'name="stage-0"' in text and 'name="question-zone"' in text
    assert not Stage.objects.exists()


def test_what_was_answered_is_shown_as_it_would_be_booked_and_then_booked(page):
    carried = state(page(files.emissions()))
    looked = page(state=carried, look="1", **ANSWERS)
    assert "would be booked" in looked.content.decode()
    assert not Stage.objects.exists()
    booked = page(state=state(looked), book="1", **ANSWERS)
    assert booked.status_code == 200
    assert Run.objects.get().get_absolute_url() in booked.content.decode()
    assert Stage.objects.get().origin == "import"


def test_booking_too_early_says_what_is_missing_and_keeps_what_was_written(page):
    answer = page(state=state(page(files.emissions())), book="1", **{"run-0-student": "my own <b>"})
    text = answer.content.decode()
    assert "Still to be said" in text
    assert 'value="my own &lt;b&gt;"' in text
    assert not Run.objects.exists()


def test_models_of_a_leaderboard_are_chosen_first(page, study, member):
    carried = state(page(files.ALPACA, "leaderboard.csv"))
    looked = page(state=carried, look="1", groups=["student-1b"])
    assert 'name="run-1-external_id"' in looked.content.decode()
    assert 'name="run-0-external_id"' not in looked.content.decode()


def test_what_the_page_carries_is_signed_and_for_one_person_alone(page, client, owner):
    carried = state(page(files.emissions()))
    assert page(state=f"{carried[:-1]}x", book="1", **ANSWERS).status_code == 400
    client.force_login(owner)
    answer = client.post(reverse("import"), {"state": carried, "book": "1", **ANSWERS})
    assert answer.status_code == 400
    assert "no longer valid" in answer.content.decode()
    assert not Run.objects.exists()


def test_what_is_no_known_file_says_which_are(page):
    answer = page(b"a,b\n1,2\n")
    assert answer.status_code == 400
    assert "none of the known formats" in answer.content.decode()


def test_a_stranger_has_no_study_to_import_into(client, stranger, study):
    client.force_login(stranger)
    form = {"file": SimpleUploadedFile("e.csv", files.emissions()), "study": study.slug}
    assert client.post(reverse("import"), form).status_code == 400
    assert not Run.objects.exists()


def test_nobody_imports_without_signing_in(client):
    assert client.get(reverse("import")).status_code == 302
