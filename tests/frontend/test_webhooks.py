"""The webhook pages: for admins alone, the secret shown once, messages with what became of them."""

import re

import pytest
from django.urls import reverse

from registry.models import Webhook, WebhookDelivery
from registry.services import deliveries, webhooks

pytestmark = pytest.mark.django_db
FORM = {"url": "https://hooks.example.org/in", "format": "stagemeter", "events": ["run.failed"], "note": "channel"}


@pytest.fixture
def hook(owner, project):
    return webhooks.create(actor=owner, project=project, url=FORM["url"], events=FORM["events"], site="https://s")[0]


def test_an_admin_registers_one_and_sees_the_secret_once(client, owner, project):
    client.force_login(owner)
    page = client.post(reverse("webhooks"), FORM | {"project": project.slug})
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", page.content.decode()).group()
    assert "no-store" in page["Cache-Control"]
    hook = Webhook.objects.get()
    for address in (reverse("webhooks"), reverse("webhook", args=[hook.pk])):
        again = client.get(address).content.decode()
        assert "channel" in again and secret not in again
    renewed = client.post(reverse("webhook_renew", args=[hook.pk])).content.decode()
    assert "whsec_" in renewed and secret not in renewed


def test_a_refused_address_says_why_beside_its_field(client, owner, project):
    client.force_login(owner)
    page = client.post(reverse("webhooks"), FORM | {"project": project.slug, "url": "https://127.0.0.1/"})
    assert page.status_code == 400 and "no public address" in page.content.decode()
    assert not Webhook.objects.exists()


def test_nobody_but_an_admin_finds_it(client, hook, member):
    client.force_login(member)
    assert "admin of no project" in client.get(reverse("webhooks")).content.decode()
    assert client.get(reverse("webhook", args=[hook.pk])).status_code == 404
    for name in ("webhook_ping", "webhook_enable", "webhook_renew", "webhook_drop"):
        assert client.post(reverse(name, args=[hook.pk])).status_code == 404
    client.logout()
    assert client.get(reverse("webhooks")).status_code == 302


def test_it_is_tried_disabled_changed_and_dropped(client, hook, owner):
    client.force_login(owner)
    assert "on its way" in client.post(reverse("webhook_ping", args=[hook.pk]), follow=True).content.decode()
    row = WebhookDelivery.objects.get()
    deliveries.deliver(row.pk, post=lambda *_: 503)
    page = client.get(reverse("webhook", args=[hook.pk])).content.decode()
    assert "it answered 503" in page and "failing" in page and row.message_id in page
    assert "on its way again" in client.post(reverse("webhook_redeliver", args=[row.pk]), follow=True).content.decode()
    client.post(reverse("webhook_enable", args=[hook.pk]), {"enabled": "0"})
    assert "enable it first" in client.post(reverse("webhook_ping", args=[hook.pk]), follow=True).content.decode()
    changed = FORM | {"events": ["artifact.ready", "run.failed"], "note": "other"}
    client.post(reverse("webhook", args=[hook.pk]), changed)
    assert Webhook.objects.get().events == ["run.failed", "artifact.ready"]
    assert client.post(reverse("webhook", args=[hook.pk]), changed | {"url": "http://x.org/"}).status_code == 400
    client.post(reverse("webhook_drop", args=[hook.pk]))
    assert not Webhook.objects.exists()
