"""The form of "Before you regenerate" in words: it asks what REST is asked, and leads on from the answer."""

import json

import pytest
from django.urls import reverse

from frontend.forms_lookup import NeedForm, opening
from registry.accounting.plan import DETERMINING, artifact_request
from registry.accounting.presets import tour
from registry.models import Artifact, Membership, Study
from registry.services import artifacts, licences, runs, studies
from registry.workloads import catalogue

pytestmark = pytest.mark.django_db
FOUND = ("exact", "covering", "making", "near", "elsewhere")


def ask(client, study, /, **settings):
    values = {name.replace("__", "."): value for name, value in settings.items()}
    usual = {"preset": "tour", "kind": "logit_cache", "study": study.slug}
    return client.get(reverse("lookup"), usual | values)


@pytest.fixture
def asking(client, member, study):
    client.force_login(member)
    return client, study


def add(study, kind="logit_cache", **changes) -> Artifact:
    spec = tour(20, "kd")
    request = artifact_request(kind, spec, catalogue.identities(spec))
    artifact = artifacts.register(
        actor=None,
        project=study.project,
        request=request,
        name=f"the {kind}",
        production_energy_j=9000.0,
        licence="Apache-2.0",
    )
    if changes:
        Artifact.objects.filter(pk=artifact.pk).update(**changes)
    return artifact


@pytest.fixture
def elsewhere(owner) -> Study:
    """A study of a project that the member has no part in, which hands its artifacts on by request."""
    lab = studies.ensure_project(slug="other-lab", name="Other", public=False)
    Membership.objects.create(project=lab, user=owner, role=Membership.Role.ADMIN)
    return studies.create_study(actor=None, project=lab, slug="other-study", name="Other", suite=["x"])


@pytest.fixture
def both(client, member, token_for):
    """`both(study, **settings)`: what the page answers, and what REST answers the document the page offers."""
    header = token_for(member)

    def asked(study, **settings):
        client.force_login(member)
        page = ask(client, study, **settings)
        client.logout()
        document = page.context["document"]
        rest = client.post(page.context["address"], document, "application/json", **header).json()
        return page.context["found"][0].answer, rest

    return asked


CASES = [
    ("use", {}, {}),
    ("use", {"kind": "synthetic_dataset"}, {}),
    ("cut", {"distillation__k": "10"}, {}),
    ("cut", {"dataset__max_length": "64"}, {}),
    ("cut", {"kind": "synthetic_dataset", "decoding__max_new_tokens": "8"}, {}),
    ("wait", {}, {"status": "making"}),
    ("make", {"distillation__temperatures": "1, 3"}, {}),
    ("make", {"kind": "synthetic_dataset", "decoding__seed": "7"}, {}),
    ("make", {"engine": "vllm"}, {}),
    ("make", {"teacher__precision": "bf16"}, {}),
    ("make", {"overlong_rows": "truncate"}, {}),
    (None, {"dataset__id": "acme/rows"}, {}),
]


@pytest.mark.parametrize(("action", "settings", "changes"), CASES)
def test_the_page_and_rest_give_the_same_answer(study, both, action, settings, changes):
    artifact = add(study, settings.get("kind", "logit_cache"), **changes)
    answer, rest = both(study, **settings)
    decision = rest["decision"]
    assert (answer.action, answer.reason) == (action, decision["reason"])
    assert (answer.action, answer.artifact_id) == (decision["action"], decision["artifact_id"])
    assert (answer.artifact_id == str(artifact.pk)) == (action in ("use", "cut", "wait"))
    for ours, theirs in (("exact", "exact"), ("covering", "covering"), ("making", "in_progress")):
        assert [one.artifact_id for one in getattr(answer, ours)] == [one["id"] for one in rest[theirs]]
    assert [(one.artifact_id, dict(one.differences), dict(one.asked), one.would_save_j) for one in answer.near] == [
        (one["artifact"]["id"], one["differences"], one["asked"], one["would_save_j"]) for one in rest["near"]
    ]
    assert bool(answer.near) == (action == "make")


def test_the_page_and_rest_name_the_same_one_elsewhere(owner, study, elsewhere, both):
    licences.share(actor=owner, artifact=add(elsewhere), sharing="request")
    answer, rest = both(study)
    assert [one.reason for one in answer.elsewhere] == [one["reason"] for one in rest["elsewhere"]]
    assert "ask its maintainers" in answer.elsewhere[0].reason


def test_the_form_asks_for_exactly_what_determines_each_kind(study):
    form = NeedForm(None, start=opening("tour"), studies=Study.objects.all())
    assert form.fields.keys() - {"kind", "study", "engine", "overlong_rows"} == {
        n for s in DETERMINING.values() for n in s
    }


def test_what_another_kind_reads_is_ignored_with_a_sentence(client, member, study):
    add(study)
    client.force_login(member)
    answer = ask(client, study, decoding__seed="not a number")
    assert answer.context["found"][0].answer.action == "use"
    assert "Not read for a logit cache, and ignored: Decoding seed." in answer.content.decode()


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        ({"distillation__k": "0"}, "distillation.k", "between 1 and 4,096"),
        ({"distillation__k": "many"}, "distillation.k", "whole number"),
        ({"distillation__temperatures": "warm"}, "distillation.temperatures", "numbers with commas"),
        ({"distillation__temperatures": "1; 2"}, "distillation.temperatures", "finite number"),
        ({"distillation__temperatures": ","}, "distillation.temperatures", "above 0"),
        ({"dataset__train_rows": "1" * 30}, "dataset.train_rows", "whole number"),
        ({"dataset__train_rows": "99999"}, "dataset.train_rows", "rows"),
        ({"dataset__id": "nothing here"}, "dataset.id", "is no dataset here"),
        ({"teacher__id": "nobody"}, "teacher.id", "is no model here"),
        ({"kind": "student"}, "kind", "not one of the available choices"),
        ({"teacher__revision": "\x00"}, "teacher.revision", "Null characters"),
        ({"study": "\x00"}, "study", "Null characters"),
        ({"study": "nowhere"}, "study", "not one of the available choices"),
        ({"kind": "synthetic_dataset", "decoding__top_p": "1e999"}, "decoding.top_p", "Enter a number"),
    ],
)
def test_what_cannot_be_looked_up_is_said_beside_its_field(asking, said, field, words):
    client, study = asking
    answer = ask(client, study, **said)
    assert answer.status_code == 400
    assert words in " ".join(answer.context["need"].errors[field])
    assert client.get(reverse("lookup_request"), answer.wsgi_request.GET.dict()).status_code == 404


def test_an_answer_leads_on_to_a_run_that_asks_for_the_same(client, member, study):
    artifact = add(study, storage_key="there")
    client.force_login(member)
    answer = ask(client, study, distillation__k="10")
    body = answer.content.decode()
    assert f'href="{artifact.get_absolute_url()}"' in body
    form = client.get(answer.context["found"][0].run_address).context["form"]
    values = {name: form[name].value() for name in form.fields}
    assert (values["study"], values["pipeline"], values["distillation.k"]) == (study.slug, "kd", "10")
    assert values["teacher.precision"] == "fp32"


def test_the_request_to_lease_it_holds_the_digest_of_each_row(client, member, study, token_for):
    header = token_for(member)
    client.force_login(member)
    answer = ask(client, study)
    assert "find_artifact" in answer.content.decode()
    request = client.get(answer.context["request_address"]).json()
    client.logout()
    leased = client.post("/api/v1/artifacts/leases/", json.dumps(request), "application/json", **header).json()
    assert (leased["action"], len(request["row_digests"])) == ("make", 480)


def test_one_who_may_not_submit_is_led_to_no_form_for_a_run(client, member, study):
    Membership.objects.filter(user=member).update(role=Membership.Role.VIEWER)
    client.force_login(member)
    assert ask(client, study).context["found"][0].run_address == ""


def test_the_form_opens_on_behalf_of_a_study_one_may_submit_to(client, stranger, study):
    study.project.public = True
    study.project.save()
    mine = studies.ensure_project(slug="mine", name="Mine", public=False)
    Membership.objects.create(project=mine, user=stranger, role=Membership.Role.SUBMITTER)
    studies.create_study(actor=None, project=mine, slug="zz-mine", name="ZZ mine", suite=["x"])
    client.force_login(stranger)
    page = client.get(reverse("lookup"))
    assert page.context["need"]["study"].value() == "zz-mine"
    assert [one.slug for one in page.context["form"].fields["study"].queryset] == ["zz-mine", study.slug]


def test_one_without_its_files_is_said_to_be_unreadable_here_on_both_pages(client, member, study):
    artifact = add(study)
    client.force_login(member)
    answer = ask(client, study)
    assert "registered without its files" in answer.content.decode()
    assert answer.context["found"][0].run_address == ""
    planned = runs.plan(user=member, study=study, spec=tour(20, "kd")).stages[1].decision
    assert planned.action == "make"
    assert f"{artifact.name} would, but it was registered without its files" in planned.reason
