"""Asking who made it, and bringing what was measured elsewhere."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from frontend.views.uploads import EXAMPLE
from registry.accounting.plan import artifact_request
from registry.accounting.presets import tour
from registry.models import Membership, Run, Stage
from registry.selectors import studies as selectors
from registry.services import artifacts, licences, studies
from registry.workloads import catalogue
from tests import scenes
from tests.conftest import make_record

pytestmark = pytest.mark.django_db


def look_up(client, study, document):
    text = document if isinstance(document, str) else json.dumps(document)
    return client.post(reverse("lookup"), {"study": study.slug, "text": text})


@pytest.fixture
def cache(study):
    wanted = artifact_request("logit_cache", tour(20, "kd"), catalogue.identities(tour(20, "kd")))
    return artifacts.register(
        actor=None, project=study.project, request=wanted, name="the cache", production_energy_j=9000.0
    )


def changed(**distillation):
    document = tour(20, "kd").to_dict()
    document["distillation"] |= distillation
    return document


def test_what_is_asked_for_is_found_exactly(client, member, study, cache):
    client.force_login(member)
    (match,) = look_up(client, study, tour(20, "kd").to_dict()).context["found"]
    assert [candidate.artifact_id for candidate in match.answer.exact] == [str(cache.pk)]
    assert match.fingerprint == cache.fingerprint


def test_less_than_what_is_held_is_covered(client, member, study, cache):
    client.force_login(member)
    (match,) = look_up(client, study, changed(k=10)).context["found"]
    assert [candidate.artifact_id for candidate in match.answer.covering] == [str(cache.pk)]


def test_more_than_what_is_held_is_a_near_miss_with_what_it_would_save(client, member, study, cache):
    client.force_login(member)
    (match,) = look_up(client, study, changed(k=4000)).context["found"]
    assert [(miss.artifact_id, miss.would_save_j) for miss in match.answer.near] == [(str(cache.pk), 9000.0)]


def test_a_request_for_one_artifact_is_answered_too(client, member, study, cache):
    client.force_login(member)
    document = {
        "kind": cache.kind,
        "identity": cache.identity,
        "capture": cache.capture,
        "row_digests": cache.row_digests,
    }
    (match,) = look_up(client, study, document).context["found"]
    assert [candidate.artifact_id for candidate in match.answer.exact] == [str(cache.pk)]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "The body is no JSON"),
        ("[]", "Give one JSON object"),
        ('{"kind": "logit_cache"}', "An artifact request has kind"),
        ('{"kind": "logit_cache", "identity": {}, "row_digests": [1]}', "list of texts"),
        ('{"kind": "anything", "identity": {}}', "one of logit_cache"),
        ('{"kind": "logit_cache", "identity": {"a": NaN}}', "NaN is no JSON number"),
        ('{"kind": "logit_cache", "kind": "logit_cache"}', "'kind' stands twice"),
        ('{"kind": "logit_cache", "identity": {"a": 1e999}}', "1e999 is beyond every number"),
        ('{"pipeline": "kd"}', "this field is required"),
        (tour(20, "sft").to_dict(), "needs nothing from a teacher"),
    ],
)
def test_what_cannot_be_looked_up_is_said(client, member, study, document, sentence):
    client.force_login(member)
    answer = look_up(client, study, document)
    assert answer.status_code == 400
    assert sentence in " ".join(answer.context["form"].errors["text"])


@pytest.fixture
def mine(owner, project):
    return studies.create_study(actor=owner, project=project, slug="my-study", name="Mine", suite=["gsm8k"])


def test_looking_first_keeps_nothing(client, member, mine):
    client.force_login(member)
    answer = client.post(reverse("upload"), {"text": EXAMPLE, "look": "1"})
    assert [line.status for line in answer.context["outcome"].lines] == ["new", "new"]
    assert not Run.objects.exists()
    assert not Stage.objects.exists()


def test_a_run_document_is_booked_once_and_stands_in_its_study(client, member, mine):
    client.force_login(member)
    for expected in ("new", "same"):
        answer = client.post(reverse("upload"), {"text": EXAMPLE, "book": "1"})
        assert {line.status for line in answer.context["outcome"].lines} == {expected}
    (figures,) = selectors.figures(mine, member)
    assert figures.own_energy_j["student"] == 12_960_000 + 1_700_000


def test_records_come_as_lines_of_a_file_and_bad_ones_are_named(client, member, mine):
    good, bad = make_record().to_dict(), make_record().to_dict() | {"cpu_energy_j": -1}
    file = SimpleUploadedFile("records.ndjson", "\n".join(map(json.dumps, (good, bad))).encode())
    client.force_login(member)
    answer = client.post(reverse("upload"), {"file": file, "study": mine.slug, "book": "1"})
    first, second = answer.context["outcome"].lines
    assert (first.status, second.status) == ("new", "refused")
    assert "negative" in second.problems["cpu_energy_j"]
    assert Stage.objects.count() == 1


@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n  "])
def test_lines_may_be_set_apart_and_hold_any_character(client, member, mine, between):
    records = [make_record(name="one\u2028line").to_dict(), make_record().to_dict()]
    text = between.join(json.dumps(record, ensure_ascii=False) for record in records)
    client.force_login(member)
    answer = client.post(reverse("upload"), {"text": text, "study": mine.slug, "book": "1"})
    assert [line.status for line in answer.context["outcome"].lines] == ["new", "new"]


def test_a_document_written_over_many_lines_is_one_document(client, member, mine):
    text = json.dumps(make_record(devices=({"uuid": "GPU-1"}, {"uuid": "GPU-2"})).to_dict(), indent=1)
    client.force_login(member)
    answer = client.post(reverse("upload"), {"text": text, "study": mine.slug, "book": "1"})
    assert [line.status for line in answer.context["outcome"].lines] == ["new"]


def test_records_without_a_study_or_a_run_have_nowhere_to_go(client, member, mine):
    client.force_login(member)
    answer = client.post(reverse("upload"), {"text": json.dumps(make_record().to_dict()), "book": "1"})
    assert answer.status_code == 400
    assert "choose a study" in answer.context["outcome"].lines[0].problems["run_id"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("not json", "The body is no JSON"),
        ('{"a": 1}\nnot json', "line 2 column 1"),
        ('{"a": 1}\n\n{"a": 1}\n{"a": ', "Line 4: "),
        ('{"a": 1}\n{"a": 1, "a": 2}', "Line 2: This cannot be read: The body is no JSON: the key 'a' stands twice"),
        ("[1, 2]", "Give JSON objects"),
        ('{"cpu_energy_j": NaN}', "NaN is no JSON number"),
        ('{"cpu_energy_j": 1, "cpu_energy_j": 2}', "'cpu_energy_j' stands twice"),
        ('{"trained_tokens": 99999999999999999999}', "beyond 64 bits"),
    ],
)
def test_what_is_no_upload_is_said(client, member, mine, text, sentence):
    client.force_login(member)
    answer = client.post(reverse("upload"), {"text": text, "book": "1"})
    assert answer.status_code == 400
    assert sentence in " ".join(answer.context["form"].errors["text"])


def test_nothing_at_all_is_refused(client, member, mine):
    client.force_login(member)
    assert client.post(reverse("upload"), {"book": "1"}).status_code == 400


def test_a_stranger_uploads_nothing_into_somebody_elses_study(client, stranger, mine):
    client.force_login(stranger)
    answer = client.post(reverse("upload"), {"text": EXAMPLE, "book": "1"})
    assert answer.status_code == 400
    assert not Run.objects.exists()


@pytest.mark.parametrize("text", ['{"study": "\\u0000", "run": {}}', "[" * 100_000, '{"a": ' * 900 + "1" + "}" * 900])
@pytest.mark.parametrize("name", ["lookup", "upload"])
def test_hostile_json_is_refused_and_never_breaks_the_page(client, member, mine, name, text):
    client.force_login(member)
    answer = client.post(reverse(name), {"text": text, "study": mine.slug, "book": "1"})
    assert answer.status_code == 400


def test_a_file_that_is_too_large_is_refused(client, member, mine, settings):
    settings.MAX_BODY_BYTES = 100
    file = SimpleUploadedFile("records.json", b"[" + b" " * 200 + b"]")
    client.force_login(member)
    answer = client.post(reverse("upload"), {"file": file, "book": "1"})
    assert answer.status_code == 400
    assert "split it" in answer.content.decode()


def test_half_a_surrogate_pair_in_an_upload_is_refused_with_a_sentence(client, member):
    client.force_login(member)
    answer = client.post(reverse("upload"), {"text": '{"study": "\\ud800", "run": {}}'})
    assert answer.status_code == 400
    assert "surrogate" in answer.content.decode()


def test_the_page_gives_the_same_decision_as_rest(client, member, study, token_for):
    cache = scenes.add_artifact(scenes.add_run(study))
    asked = {"kind": cache.kind, "identity": cache.identity, "capture": cache.capture, "row_digests": ["a", "c"]}
    client.force_login(member)
    page = client.post(reverse("lookup"), {"study": study.slug, "text": json.dumps(asked)})
    client.logout()
    rest = client.post(
        "/api/v1/artifacts/lookup/",
        json.dumps(asked | {"study": study.slug}),
        content_type="application/json",
        **token_for(member),
    ).json()
    decision = page.context["found"][0].answer
    assert rest["decision"]["reason"] == decision.reason
    assert (decision.action, rest["decision"]["action"]) == ("cut", "cut")
    assert decision.reason in page.content.decode()


def test_the_page_says_that_one_may_be_asked_for(client, owner, stranger, study):
    cache = scenes.add_artifact(scenes.add_run(study))
    licences.share(actor=owner, artifact=cache, sharing="request")
    own = studies.ensure_project(slug="own-lab", name="Own", public=False)
    Membership.objects.create(project=own, user=stranger, role=Membership.Role.SUBMITTER)
    theirs = studies.create_study(actor=None, project=own, slug="own-study", name="Own study", suite=["x"])
    asked = {"kind": cache.kind, "identity": cache.identity, "capture": cache.capture, "row_digests": ["a"]}
    client.force_login(stranger)
    body = client.post(reverse("lookup"), {"study": theirs.slug, "text": json.dumps(asked)}).content.decode()
    assert "ask its maintainers to publish it" in body
    assert str(cache.pk) not in body
