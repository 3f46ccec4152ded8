"""Messages on their way: claimed, signed, sent, tried again for days, given up.

Standard Webhooks: `webhook-id` is the same at every attempt, `webhook-timestamp` the moment of this one, and
`webhook-signature` is `v1,` and the base64 of HMAC-SHA256(secret, "id.timestamp.body").
"""

import base64
import hashlib
import hmac
import logging
import random
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from registry import outgoing
from registry.models import Webhook, WebhookDelivery
from registry.services import audit, outbox, sealing

PURPOSE = "webhook secret"
SECRET_PREFIX = "whsec_"  # noqa: S105 (what stands before every secret)
# Pauses between the attempts, in seconds: a little over three days in all.
PAUSES_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.2  # each pause is this share longer or shorter, so that a receiver that comes back isn't overrun
CLAIM = timedelta(seconds=60)  # longer than any attempt takes
RESEND_AFTER = timedelta(seconds=60)
KEPT_FOR = timedelta(days=30)
SENT_AT_ONCE = 500
GONE = 410

logger = logging.getLogger(__name__)

Post = Callable[[str, bytes, dict[str, str]], int]


def deliver(delivery_id: uuid.UUID, post: Post = outgoing.post) -> None:
    """Try one message, if it is due and nobody else is at it."""
    now = timezone.now()
    mine = WebhookDelivery.objects.filter(pk=delivery_id, status="pending", due_at__lte=now, webhook__enabled=True)
    if not mine.update(due_at=now + CLAIM, tried_at=now, attempts=F("attempts") + 1):
        return
    row = WebhookDelivery.objects.select_related("webhook__project").get(pk=delivery_id)
    status, error = _attempt(row, post)
    with transaction.atomic():
        _settle(row, status, error)


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a message."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def sweep() -> int:
    """Send again what is due and may have been lost on its way. Returns how many."""
    now = timezone.now()
    due = WebhookDelivery.objects.filter(status="pending", due_at__lte=now, webhook__enabled=True)
    unsent = due.filter(Q(sent_at=None) | Q(sent_at__lt=now - RESEND_AFTER)).order_by("due_at")
    keys = list(unsent.values_list("pk", flat=True)[:SENT_AT_ONCE])
    WebhookDelivery.objects.filter(pk__in=keys).update(sent_at=now)
    for key in keys:
        outbox.send(key)
    return len(keys)


def forget() -> int:
    """Drop messages that were settled a month ago. Returns how many."""
    old = WebhookDelivery.objects.exclude(status="pending").filter(tried_at__lt=timezone.now() - KEPT_FOR)
    return old.delete()[0]


def _attempt(row: WebhookDelivery, post: Post) -> tuple[int | None, str]:
    """The answer's status, or `None` and why there is none."""
    body, timestamp = row.body.encode(), int(time.time())
    try:
        secret = sealing.unseal(row.webhook.sealed_secret, purpose=PURPOSE)
    except sealing.Unreadable as error:
        return None, f"its secret can't be read ({error}); make a new one"
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Stagemeter-Webhooks",
        "webhook-id": row.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, row.message_id, timestamp, body),
    }
    try:
        status = post(row.webhook.url, body, headers)
    except outgoing.Refused as error:
        return None, f"not sent: {error}"
    except outgoing.Unreachable as error:
        return None, str(error)
    if 300 <= status < 400:
        return status, "it redirects, which is not followed; give the address it leads to"
    return status, "" if 200 <= status < 300 else f"it answered {status}"


def _settle(row: WebhookDelivery, status: int | None, error: str) -> None:
    row.response_status, row.error, row.sent_at = status, error[:300], None
    hook = Webhook.objects.select_for_update().get(pk=row.webhook_id)
    if not error:
        row.status = WebhookDelivery.Status.DELIVERED
        if hook.failing_since is not None:
            Webhook.objects.filter(pk=hook.pk).update(failing_since=None)
    else:
        _failed(row, hook, status, error)
    row.save(update_fields=["response_status", "error", "sent_at", "status", "due_at"])


def _failed(row: WebhookDelivery, hook: Webhook, status: int | None, error: str) -> None:
    since = hook.failing_since = hook.failing_since or row.tried_at or timezone.now()
    hook.save(update_fields=["failing_since"])
    if status == GONE:
        row.status = WebhookDelivery.Status.FAILED
        _disable(hook, "it answered 410, which says that nobody is there any more")
    elif row.attempts > len(PAUSES_S):
        row.status = WebhookDelivery.Status.FAILED
        if since <= row.created_at + CLAIM:  # nothing arrived for as long as this one was tried
            _disable(hook, f"nothing arrived since {since:%d %b %Y %H:%M} UTC; last: {error}")
    else:
        pause_s = PAUSES_S[row.attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (no secret)
        row.due_at = timezone.now() + timedelta(seconds=pause_s)


def _disable(hook: Webhook, reason: str) -> None:
    if not hook.enabled:
        return
    hook.enabled, hook.disabled_reason = False, reason[:300]
    hook.save(update_fields=["enabled", "disabled_reason"])
    audit.record(actor=None, project=hook.project, action="webhook disabled", subject=hook, reason=reason)
    logger.warning("webhook %s of %s was disabled: %s", hook.pk, hook.project.slug, reason)
