"""Webhooks: who may have them, what they are told, how it is signed, what becomes of it when nobody is there."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from registry import outgoing
from registry.models import AuditEvent, IdempotencyKey, Webhook, WebhookDelivery
from registry.services import artifacts, deliveries, jobs, outbox, runs, studies, webhooks
from tests import scenes
from tests.conftest import make_record, make_spec

BODY = {"url": "https://hooks.example.org/in", "events": ["run.submitted", "run.failed", "artifact.withdrawn"]}


@pytest.fixture
def admin(owner, call_as):
    return call_as(owner)


@pytest.fixture
def made(admin, project):
    """A webhook as its maker got it, with the secret."""
    return admin.post("webhooks/", BODY | {"project": project.slug}).json()


@pytest.fixture
def hook(made):
    return Webhook.objects.get(pk=made["id"])


class Receiver:
    """Stands in for the network: keeps what is sent, and answers as it is told to."""

    def __init__(self, answer=200):
        self.answer, self.taken = answer, []

    def __call__(self, url, body, headers):
        self.taken.append((url, body, headers))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def _try(row, answer=200):
    receiver = Receiver(answer)
    deliveries.deliver(row.pk, post=receiver)
    row.refresh_from_db()
    return receiver


def _due(row):
    WebhookDelivery.objects.filter(pk=row.pk).update(due_at=timezone.now())


def test_an_admin_registers_one_and_sees_its_secret_once(admin, made, hook):
    assert made["secret"].startswith("whsec_") and len(base64.b64decode(made["secret"][6:])) == 32
    assert (
        made["secret"]
        not in json.dumps(admin.get("webhooks/").json()) + admin.get(f"webhooks/{hook.pk}/").content.decode()
    )
    assert made["secret"] not in hook.sealed_secret and made["secret"][6:] not in hook.sealed_secret


def test_a_repeated_request_does_not_repeat_the_secret(admin, project):
    body = BODY | {"project": project.slug}
    first, again = (admin.post("webhooks/", body, HTTP_IDEMPOTENCY_KEY="one") for _ in range(2))
    assert first.json()["secret"] and again.json() == first.json() | {"secret": None}
    assert first.json()["secret"] not in json.dumps(IdempotencyKey.objects.get().answer)


def test_a_member_who_is_no_admin_neither_makes_nor_sees_one(api, outsider, hook, project, member):
    refused = api.post("webhooks/", BODY | {"project": project.slug})
    assert refused.status_code == 403 and "role admin" in refused.json()["error"]["message"]
    for caller in (api, outsider):
        assert caller.get("webhooks/").json()["results"] == []
        assert caller.get(f"webhooks/{hook.pk}/").status_code == 404
        assert caller.post(f"webhooks/{hook.pk}/ping/", {}).status_code == 404


def test_a_token_that_may_only_submit_makes_none(owner, call_as, project):
    refused = call_as(owner, scopes=["read", "submit"]).post("webhooks/", BODY | {"project": project.slug})
    assert refused.status_code == 403 and "scope manage" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("url", "http://hooks.example.org/", "must be https"),
        ("url", "https://169.254.169.254/latest", "no public address"),
        ("url", "https://a:b@example.org/", "a user or a password"),
        ("url", "https://example.org/\n", "control character"),
        ("events", ["run.exploded"], "is not a valid choice"),
        ("events", [], "name at least one"),
        ("format", "cloud", "is not a valid choice"),
    ],
)
def test_what_can_not_be_told_is_refused(admin, project, field, value, sentence):
    refused = admin.post("webhooks/", BODY | {"project": project.slug, field: value})
    assert refused.status_code == 400 and sentence in refused.content.decode()
    assert not Webhook.objects.exists()


def test_an_event_and_its_message_are_committed_together_or_not_at_all(hook, study, owner):
    with pytest.raises(RuntimeError), transaction.atomic():
        runs.submit(actor=owner, study=study, spec=make_spec())
        assert WebhookDelivery.objects.exists()
        raise RuntimeError
    assert not WebhookDelivery.objects.exists()


def test_only_the_events_asked_for_are_told_to_the_project_they_are_of(hook, study, owner, stranger):
    other = studies.ensure_project(slug="somewhere-else", name="Other", public=True)
    told_nothing = {"url": BODY["url"], "events": BODY["events"], "site": "https://s"}
    elsewhere = webhooks.create(actor=None, project=other, **told_nothing)[0]
    run = runs.submit(actor=owner, study=study, spec=make_spec())
    told = [json.loads(row.body) for row in hook.deliveries.order_by("pk")]
    assert {one["type"] for one in told} == {"run.submitted"}
    mine = next(one for one in told if one["data"]["run"]["id"] == str(run.pk))
    assert mine["data"]["run"]["url"] == f"http://testserver/api/v1/runs/{run.pk}/"
    assert mine["data"]["project"] == study.project.slug
    assert not elsewhere.deliveries.exists()


def test_a_run_tells_of_its_start_and_its_failure(hook, study, owner):
    Webhook.objects.update(events=["run.started", "run.failed"])
    run = runs.submit(actor=owner, study=study, spec=make_spec())
    job = run.jobs.filter(status="ready").first() or run.reference.jobs.get(status="ready")
    ticket = jobs.claim(job_id=job.pk, worker="w")
    jobs.fail(ticket=ticket, record=make_record(kind=job.kind), error="out of memory", again=False)
    told = [json.loads(row.body) for row in hook.deliveries.order_by("pk")]
    assert [one["type"] for one in told] == ["run.started", "run.failed"]
    assert "out of memory" in told[1]["data"]["run"]["error"]


def test_a_message_is_signed_as_standard_webhooks_wants(made, admin, hook):
    row = WebhookDelivery.objects.get(pk=admin.post(f"webhooks/{hook.pk}/ping/", {}).json()["id"])
    url, body, headers = _try(row).taken[0]
    assert (url, json.loads(body)["type"]) == (hook.url, "ping")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = hmac.new(base64.b64decode(made["secret"][6:]), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert (
        headers["webhook-id"] == row.message_id
        and abs(int(headers["webhook-timestamp"]) - timezone.now().timestamp()) < 5
    )
    assert (row.status, row.attempts, row.response_status) == ("delivered", 1, 200)
    shown = admin.get("webhook-deliveries/", webhook=str(hook.pk)).json()["results"]
    assert [(one["status"], one["response_status"]) for one in shown] == [("delivered", 200)]


def test_two_couriers_try_a_message_once(admin, hook):
    row = WebhookDelivery.objects.get(pk=admin.post(f"webhooks/{hook.pk}/ping/", {}).json()["id"])
    assert len(_try(row, 500).taken) == 1
    assert _try(row).taken == []


def test_what_fails_is_tried_again_later_and_later_and_the_webhook_disabled_in_the_end(admin, hook, owner):
    row = webhooks.ping(actor=owner, webhook=hook)
    pauses, ids = [], set()
    for attempt in range(1, len(deliveries.PAUSES_S) + 2):
        _due(row)
        receiver = _try(row, outgoing.Unreachable("nobody is there") if attempt % 2 else 503)
        ids.add(receiver.taken[0][2]["webhook-id"])
        pauses.append((row.due_at - timezone.now()).total_seconds())
        assert row.attempts == attempt
    for pause, nominal in zip(pauses, deliveries.PAUSES_S, strict=False):
        assert 0.79 * nominal - 1 <= pause <= 1.21 * nominal
    assert len(ids) == 1 and sum(deliveries.PAUSES_S) > 3 * 86_400
    hook.refresh_from_db()
    assert row.status == "failed" and not hook.enabled and "nothing arrived since" in hook.disabled_reason
    assert AuditEvent.objects.filter(action="webhook disabled", subject_id=str(hook.pk)).count() == 1
    refused = admin.post(f"webhooks/{hook.pk}/ping/", {})
    assert refused.status_code == 409 and "enable it first" in refused.json()["error"]["message"]


def test_one_that_answers_now_and_then_stays_enabled(hook, owner):
    row = webhooks.ping(actor=owner, webhook=hook)
    WebhookDelivery.objects.filter(pk=row.pk).update(
        attempts=len(deliveries.PAUSES_S), created_at=timezone.now() - timedelta(days=4)
    )
    _try(row, 500)
    hook.refresh_from_db()
    assert row.status == "failed" and hook.enabled


@pytest.mark.parametrize(
    ("answer", "status", "enabled", "sentence"),
    [
        (302, "pending", True, "redirects"),
        (410, "failed", False, "410"),
        (outgoing.Refused("hooks.example.org is 10.0.0.1, which is no public address"), "pending", True, "not sent"),
    ],
)
def test_answers_that_mean_something(hook, answer, status, enabled, sentence):
    row = webhooks.ping(actor=None, webhook=hook)
    _try(row, answer)
    hook.refresh_from_db()
    assert (row.status, hook.enabled) == (status, enabled) and sentence in row.error


def test_a_secret_under_another_key_is_said_so_and_a_new_one_mends_it(admin, hook, owner, settings):
    row = webhooks.ping(actor=owner, webhook=hook)
    kept, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    assert _try(row).taken == [] and "make a new one" in row.error
    settings.SECRET_KEY_FALLBACKS = [kept]
    _due(row)
    assert len(_try(row).taken) == 1
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [], kept
    renewed = admin.post(f"webhooks/{hook.pk}/secret/", {}).json()["secret"]
    again = webhooks.ping(actor=owner, webhook=Webhook.objects.get(pk=hook.pk))
    _, body, headers = _try(again).taken[0]
    signature = deliveries.signature(renewed, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == signature


def test_a_message_is_sent_again_under_its_old_id(admin, hook, owner):
    row = webhooks.ping(actor=owner, webhook=hook)
    assert admin.post(f"webhook-deliveries/{row.pk}/redeliver/", {}).status_code == 409
    first = _try(row).taken[0]
    assert admin.post(f"webhook-deliveries/{row.pk}/redeliver/", {}).json()["status"] == "pending"
    again = _try(row).taken[0]
    assert again[1] == first[1] and again[2]["webhook-id"] == first[2]["webhook-id"]


def test_what_the_broker_lost_is_sent_again_and_what_is_old_forgotten(hook, owner, monkeypatch):
    row, sent = webhooks.ping(actor=owner, webhook=hook), []
    monkeypatch.setattr(outbox, "send", sent.append)
    assert deliveries.sweep() == 0
    WebhookDelivery.objects.update(sent_at=timezone.now() - timedelta(minutes=2))
    assert (deliveries.sweep(), sent) == (1, [row.pk])
    _try(row)
    WebhookDelivery.objects.update(tried_at=timezone.now() - timedelta(days=31))
    assert deliveries.forget() == 1


def test_what_waits_while_it_is_disabled_is_sent_once_it_is_enabled(admin, hook, owner):
    row = webhooks.ping(actor=owner, webhook=hook)
    assert admin.patch(f"webhooks/{hook.pk}/", {"enabled": False}).json()["enabled"] is False
    assert _try(row).taken == []
    admin.patch(f"webhooks/{hook.pk}/", {"enabled": True, "events": ["artifact.ready"], "note": "n"})
    assert len(_try(row).taken) == 1
    assert admin.get(f"webhooks/{hook.pk}/").json()["events"] == ["artifact.ready"]
    assert admin.delete(f"webhooks/{hook.pk}/").status_code == 204
    assert not WebhookDelivery.objects.exists()


def test_a_project_has_twenty_at_most(admin, hook, project, owner):
    for _ in range(webhooks.MOST - 1):
        webhooks.create(actor=owner, project=project, url=BODY["url"], events=BODY["events"], site="https://s")
    refused = admin.post("webhooks/", BODY | {"project": project.slug})
    assert refused.status_code == 409 and "drop one first" in refused.json()["error"]["message"]


def test_openlineage_is_spoken_by_a_webhook_that_asks_for_it(admin, study, owner, project):
    body = {"project": project.slug, "url": BODY["url"], "format": "openlineage"}
    refused = admin.post("webhooks/", body | {"events": ["stage.flagged"]})
    assert refused.status_code == 400 and "leave the events of stages out" in refused.content.decode()
    made = admin.post("webhooks/", body | {"events": ["run.submitted", "artifact.withdrawn"]}).json()
    run = runs.submit(actor=owner, study=study, spec=make_spec())
    artifact = scenes.add_artifact(scenes.add_run(study, "kd"))
    artifacts.withdraw(artifact=artifact, actor=owner, reason="Wrong template.")
    webhooks.ping(actor=owner, webhook=Webhook.objects.get(pk=made["id"]))
    told = [json.loads(row.body) for row in WebhookDelivery.objects.order_by("pk")]
    assert [one["schemaURL"].rpartition("/")[2] for one in told[-3:]] == ["RunEvent", "DatasetEvent", "JobEvent"]
    assert str(run.pk) in {one["run"]["runId"] for one in told if "run" in one}
    assert told[-2]["dataset"]["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "DROP"
