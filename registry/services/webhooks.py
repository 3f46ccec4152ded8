"""Webhooks: registered, changed, tried and dropped by a project's admins."""

import base64
import secrets
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from registry import outgoing
from registry.models import Membership, Project, User, Webhook, WebhookDelivery
from registry.selectors.messages import NAMES, PING, Happening
from registry.services import accounts, audit, outbox, sealing
from registry.services.deliveries import PURPOSE, SECRET_PREFIX
from registry.services.errors import Conflict, Invalid

MOST = 20  # of one project
SECRET_BYTES = 32
LONGEST_URL = 2000


@transaction.atomic
def create(
    *,
    actor: User | None,
    project: Project,
    url: str,
    events: Sequence[str],
    site: str,
    format: str = Webhook.Format.STAGEMETER,
    note: str = "",
) -> tuple[Webhook, str]:
    """A new webhook and its secret, which is shown once and lies sealed. Raises `Invalid`, `NotAllowed`, `Conflict`."""
    accounts.require_role(actor, project, Membership.Role.ADMIN)
    Project.objects.select_for_update().get(pk=project.pk)  # two at once are counted one after the other
    if Webhook.objects.filter(project=project).count() >= MOST:
        raise Conflict(f"{project.slug} has {MOST} webhooks, which is as many as a project may have; drop one first.")
    secret = _secret()
    hook = Webhook.objects.create(
        project=project,
        url=_url(url),
        events=_events(events, format),
        format=format,
        note=note,
        site=site.rstrip("/")[:200],
        sealed_secret=sealing.seal(secret, purpose=PURPOSE),
        created_by=actor,
    )
    audit.record(actor=actor, project=project, action="webhook created", subject=hook, url=hook.url)
    return hook, secret


@transaction.atomic
def change(*, actor: User, webhook: Webhook, **values: Any) -> Webhook:
    """Another `url`, `events`, `note`, or `enabled`. What was waiting while it was disabled is sent when it is enabled.

    Raises `Invalid`, `NotAllowed`.
    """
    accounts.require_role(actor, webhook.project, Membership.Role.ADMIN)
    webhook = Webhook.objects.select_for_update().get(pk=webhook.pk)
    if "url" in values:
        webhook.url = _url(values["url"])
    if "events" in values:
        webhook.events = _events(values["events"], webhook.format)
    webhook.note = values.get("note", webhook.note)
    if "enabled" in values:
        webhook.enabled = values["enabled"]
        webhook.disabled_reason, webhook.failing_since = "", None
    webhook.save()
    audit.record(
        actor=actor, project=webhook.project, action="webhook changed", subject=webhook, changed=sorted(values)
    )
    return webhook


@transaction.atomic
def renew_secret(*, actor: User, webhook: Webhook) -> str:
    """A new secret, which is shown once; the old one signs nothing from now on."""
    accounts.require_role(actor, webhook.project, Membership.Role.ADMIN)
    secret = _secret()
    webhook.sealed_secret = sealing.seal(secret, purpose=PURPOSE)
    webhook.save(update_fields=["sealed_secret"])
    audit.record(actor=actor, project=webhook.project, action="webhook secret renewed", subject=webhook)
    return secret


@transaction.atomic
def drop(*, actor: User, webhook: Webhook) -> None:
    """Gone, with the list of its messages."""
    accounts.require_role(actor, webhook.project, Membership.Role.ADMIN)
    audit.record(actor=actor, project=webhook.project, action="webhook dropped", subject=webhook, url=webhook.url)
    webhook.delete()


@transaction.atomic
def ping(*, actor: User | None, webhook: Webhook) -> WebhookDelivery:
    """Send a test message. Raises `Conflict` for a disabled one."""
    accounts.require_role(actor, webhook.project, Membership.Role.ADMIN)
    _require_enabled(webhook)
    happening = Happening(event=PING, at=timezone.now(), project=webhook.project, subject_id="", detail={})
    return outbox.write(webhook, happening)


@transaction.atomic
def redeliver(*, actor: User, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send a message once more, under its old id. Raises `Conflict` for one that is on its way."""
    accounts.require_role(actor, delivery.project, Membership.Role.ADMIN)
    _require_enabled(delivery.webhook)
    now = timezone.now()
    busy = WebhookDelivery.objects.filter(pk=delivery.pk, status="pending", attempts=0)
    if busy.exists():
        raise Conflict("This message is on its way for the first time; wait for what becomes of it.")
    WebhookDelivery.objects.filter(pk=delivery.pk).update(status="pending", attempts=0, due_at=now, sent_at=now)
    transaction.on_commit(lambda: outbox.send(delivery.pk))
    delivery.refresh_from_db()
    return delivery


def _require_enabled(webhook: Webhook) -> None:
    if not webhook.enabled:
        raise Conflict("This webhook is disabled; enable it first.")


def _secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _url(url: str) -> str:
    """The address as it will be called. A name is resolved when something is sent, and only then."""
    if len(url) > LONGEST_URL:
        raise Invalid({"url": f"it has {len(url)} characters; keep it below {LONGEST_URL}"})
    try:
        outgoing.target(url)
    except outgoing.Refused as error:
        raise Invalid({"url": f"{error}"}) from error
    return url


def _events(events: Sequence[str], format: str) -> list[str]:
    unknown = [event for event in events if event not in NAMES]
    if unknown or not events:
        named = f"{unknown[0][:40]!r} is no event" if unknown else "name at least one"
        raise Invalid({"events": f"{named}; there are {', '.join(NAMES)}"})
    told = [event for event in NAMES if event in events]
    if format == Webhook.Format.OPENLINEAGE and any(event.startswith("stage.") for event in told):
        raise Invalid({"events": "OpenLineage speaks of runs and datasets; leave the events of stages out"})
    return told
