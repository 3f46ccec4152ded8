"""Who may do what: denied by default, decided in the queryset, held by a walk over every address."""

import uuid

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse

from registry.api import urls
from registry.models import Membership
from registry.services import studies, webhooks
from tests import scenes
from tests.api.conftest import wire

VIEWS = {pattern.name: pattern.callback.view_class for pattern in urls.v1}
CLIENT = Client()
SLUGS = ("study", "frontier")


@pytest.fixture
def things(study):
    """One of each in a private project, and the arguments that lead to them."""
    run = scenes.complete_run(study, "sft", scenes.add_reference(study), training_j=100.0, factor=0.5)
    artifact = scenes.add_artifact(run)
    trace = scenes.add_trace(run.stages.get(kind="student_training"))
    told = {"url": "https://hooks.example.org/", "events": ["run.failed"], "site": "https://here.example.org"}
    hook, _ = webhooks.create(actor=None, project=study.project, **told)
    delivery = webhooks.ping(actor=None, webhook=hook)
    return {
        **{name: [hook.pk] for name in ("webhook", "webhook-secret", "webhook-ping")},
        "redeliver": [delivery.pk],
        "run-openlineage": [run.pk],
        **{pattern.name: [study.slug] for pattern in urls.v1 if "studies/<slug" in str(pattern.pattern)},
        "run": [run.pk],
        "cancel": [run.pk],
        "trace": [trace.pk],
        "reviews": [trace.pk],
        "score-file": [run.scores.first().pk],
        "artifact": [artifact.pk],
        "artifact-lease": [artifact.pk],
        "artifact-file": [artifact.pk, "rows.jsonl"],
        "artifact-files": [artifact.pk],
        "artifact-upload": [artifact.pk, "rows.jsonl"],
        "artifact-sharing": [artifact.pk],
        "artifact-licence": [artifact.pk],
        "withdraw": [artifact.pk],
        "supersede": [artifact.pk],
        "aliases": [artifact.pk],
        "alias": [artifact.pk, "stable"],
        "artifact-by-name": [study.project.slug, artifact.handle, artifact.version],
    }


def _addresses(things):
    found = {name: reverse(f"api:{name}", args=things.get(name, [])) for name in VIEWS}
    return found | {"compare-runs": f"{found['compare-runs']}?run={things['run'][0]}"}


def _rows():
    """How many rows every table holds."""
    return {model._meta.label: model.objects.count() for model in apps.get_app_config("registry").get_models()}


def test_nobody_changes_anything_anywhere_and_nothing_breaks(things):
    before = _rows()
    for name, address in _addresses(things).items():
        for method in ("post", "put", "patch", "delete"):
            response = getattr(CLIENT, method)(address, b"{}", content_type="application/json")
            assert response.status_code in (401, 405), (name, method, response.status_code)
            assert response.json()["error"]["message"]
    assert _rows() == before


def test_nobody_sees_anything_of_a_private_project(things, study):
    for name, address in _addresses(things).items():
        response = CLIENT.get(address)
        assert response.status_code in (200, 404, 405), (name, response.status_code)
        assert study.project.slug.encode() not in response.content, name
        if response.status_code == 200 and name not in ("run-schema", "openlineage-facets"):
            assert response.json()["runs" if name == "compare-runs" else "results"] == []


def test_options_and_head_break_nothing(things, api):
    for address in _addresses(things).values():
        for headers in ({}, api.headers):
            for method in ("options", "head"):
                assert getattr(CLIENT, method)(address, **headers).status_code < 500


@pytest.mark.parametrize("name", [*SLUGS, "run", "trace", "artifact", "artifact-file"])
def test_what_a_stranger_may_not_see_looks_as_if_it_were_not_there(things, outsider, name):
    hidden = outsider.get(reverse(f"api:{name}", args=things[name]))
    absent_key = "no-such-study" if name in SLUGS else uuid.uuid4()
    absent = outsider.get(reverse(f"api:{name}", args=[absent_key, *things[name][1:]]))
    assert (hidden.status_code, hidden.content) == (404, absent.content)


def test_a_stranger_cannot_cancel_a_run_by_guessing_its_key(things, outsider):
    assert outsider.post(f"runs/{things['run'][0]}/cancel/", {}).status_code == 404


def test_a_member_sees_each_of_them(things, api):
    for name in [*SLUGS, "run", "trace", "artifact"]:
        assert api.get(reverse(f"api:{name}", args=things[name])).status_code == 200, name


def test_what_is_public_is_read_without_a_login(things, study, anonymous):
    study.project.public = True
    study.project.save()
    for name in [*SLUGS, "run", "trace", "artifact"]:
        assert anonymous.get(reverse(f"api:{name}", args=things[name])).status_code == 200, name
    assert len(anonymous.get("runs/").json()["results"]) == 2


def test_every_post_names_its_scopes_and_honours_the_idempotency_key():
    posts = {name: view for name, view in VIEWS.items() if hasattr(view, "post")}
    assert len(posts) > 15
    for name, view in posts.items():
        assert view.scopes.get("POST"), name
        assert getattr(view.post, "honours_idempotency_key", False), name


@pytest.mark.parametrize(
    ("scope", "path", "wanted"),
    [
        ("read", "stage-records/", "upload"),
        ("read", "scores/", "upload"),
        ("read", "artifacts/", "upload"),
        ("read", "runs/upload/", "upload"),
        ("upload", "runs/", "submit"),
        ("read", "studies/", "submit or upload"),
    ],
)
def test_a_token_without_the_scope_is_refused_by_its_name(member, call_as, scope, path, wanted):
    before = _rows()
    response = call_as(member, scopes=[scope]).post(path, {})
    assert response.status_code == 403
    assert f"scope {wanted};" in response.json()["error"]["message"]
    assert {**_rows(), "registry.ApiToken": 0} == {**before, "registry.ApiToken": 0}


def test_a_token_that_may_only_upload_reads_nothing(member, call_as):
    assert call_as(member, scopes=["upload"]).get("runs/").status_code == 403


@pytest.fixture
def other_project(member):
    """A second project of the member."""
    project = studies.ensure_project(slug="other-lab", name="Other", public=True)
    Membership.objects.create(project=project, user=member, role=Membership.Role.ADMIN)
    return project


def test_a_token_for_one_project_sees_that_one_alone(member, study, other_project, call_as):
    there = studies.create_study(actor=member, project=other_project, slug="elsewhere", name="E", suite=["a"])
    bound = call_as(member, project=study.project)
    assert [row["slug"] for row in bound.get("studies/").json()["results"]] == [study.slug]
    assert bound.get(f"studies/{there.slug}/").status_code == 404


def test_a_token_for_one_project_writes_to_that_one_alone(member, project, other_project, call_as):
    bound = call_as(member, project=project)
    refused = bound.post("stage-records/", wire(project=other_project.slug))
    assert refused.status_code == 400
    assert "no project that you can see" in refused.json()["error"]["fields"]["project"][0]
    assert bound.post("stage-records/", wire()).json()["project"] == project.slug


def test_a_viewer_reads_and_does_not_write(stranger, project, study, call_as):
    Membership.objects.create(project=project, user=stranger, role=Membership.Role.VIEWER)
    viewer = call_as(stranger)
    assert viewer.get(f"studies/{study.slug}/").status_code == 200
    refused = viewer.post("stage-records/", wire(project=project.slug))
    assert refused.status_code == 403
    assert "role submitter" in refused.json()["error"]["message"]


def test_a_session_writes_only_with_its_csrf_token(member, project):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(member)
    refused = browser.post("/api/v1/stage-records/", wire(), content_type="application/json")
    assert refused.status_code == 403
    assert "CSRF" in refused.json()["error"]["message"]


def test_no_write_passes_over_a_query_parameter_it_does_not_know(things, owner, call_as):
    api, before = call_as(owner), None
    for name, address in _addresses(things).items():
        for method in ("post", "put", "patch", "delete"):
            if not hasattr(VIEWS[name], method):
                continue
            before = before or _rows()
            bare = address.partition("?")[0]
            response = getattr(CLIENT, method)(f"{bare}?dry=1", b"{}", content_type="application/json", **api.headers)
            assert response.status_code == 400, (name, method)
            assert "unknown parameter; known here: " in response.json()["error"]["fields"]["dry"][0]
    assert _rows() == before
