"""The outbox: a message for each webhook that wants an event, written in the transaction of the event itself.

What is committed is told, at least once; what is rolled back never is. `services.deliveries` sends the messages.
"""

import json
import logging
import uuid
from collections.abc import Sequence
from functools import partial

from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from registry.celery import app
from registry.models import Project, Webhook, WebhookDelivery
from registry.selectors import messages, openlineage
from registry.selectors.messages import EVENTS, Happening

DELIVER = "stagemeter.deliver_webhook"
QUEUE = "stagemeter.webhooks"

logger = logging.getLogger(__name__)


def note(action: str, subjects: Sequence[tuple[Project, str, dict[str, object]]]) -> None:
    """Write the messages for one action on many rows: project, key and what the audit log keeps of each."""
    event = EVENTS.get(action)
    if event is None or not subjects:
        return
    projects = {project.pk for project, _, _ in subjects}
    hooks = list(Webhook.objects.filter(project__in=projects, enabled=True, events__contains=[event]))
    if not hooks:
        return
    now = timezone.now()
    for project, key, detail in subjects:
        told = Happening(event=event, at=now, project=project, subject_id=key, detail=detail)
        for hook in hooks:
            if hook.project_id == project.pk:
                write(hook, told)


def write(hook: Webhook, happening: Happening) -> WebhookDelivery:
    """One message to one webhook, handed to the courier once this transaction is committed."""
    speak = openlineage.message if hook.format == Webhook.Format.OPENLINEAGE else messages.body
    text = json.dumps(speak(happening, hook.site), ensure_ascii=False, separators=(",", ":"))
    row = WebhookDelivery.objects.create(
        project_id=hook.project_id, webhook=hook, event=happening.event, body=text, sent_at=timezone.now()
    )
    transaction.on_commit(partial(send, row.pk))
    return row


def send(delivery_id: uuid.UUID) -> None:
    """Hand the message's name to the broker. If the broker is away, the courier finds it in the database."""
    try:
        app.send_task(DELIVER, args=[str(delivery_id)], queue=QUEUE, retry=False)
    except OperationalError as error:
        logger.warning("webhook delivery %s waits in the database, the broker is away: %s", delivery_id, error)
