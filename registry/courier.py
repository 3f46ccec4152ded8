"""The courier: sends the messages of the outbox to webhooks, and draws what pages wait for, in a process of its own.

`celery -A registry.courier worker -Q stagemeter.webhooks --pool threads`: a worker that trains for hours would keep
every message waiting for as long. The database is the outbox; a timer here finds what the broker lost, what is to be
tried again, and what is old enough to be forgotten.
"""

import logging
import os
import uuid
from typing import Any

from registry import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
embedded.fill_environment()

import django  # noqa: E402 (the environment is filled in first)

django.setup()

from celery import Celery, bootsteps  # noqa: E402
from django.db import DatabaseError, close_old_connections, connections  # noqa: E402

from registry.services import deliveries, draws  # noqa: E402
from registry.services.draws import DRAW  # noqa: E402
from registry.services.outbox import DELIVER, QUEUE  # noqa: E402

SWEEP_EVERY_S = 5.0
FORGET_EVERY_S = 3600.0

app = Celery("stagemeter-courier")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_default_queue = QUEUE

logger = logging.getLogger(__name__)


@app.task(name=DELIVER)
def deliver(delivery_id: str) -> None:
    """Try that message, if it is due."""
    deliveries.deliver(uuid.UUID(delivery_id))


@app.task(name=DRAW)
def draw(study_id: str, assumed: dict[str, Any]) -> None:
    """Draw how sure the places of that study are."""
    draws.draw(uuid.UUID(study_id), assumed)


class Rounds(bootsteps.StartStopStep):
    """Looks into the outbox beside the consumer, on the worker's own timer."""

    requires = ("celery.worker.components:Timer",)

    def start(self, parent: Any) -> None:
        """Look at once, then every few seconds; clear up once an hour."""
        self.entries = [
            parent.timer.call_repeatedly(SWEEP_EVERY_S, _guarded, (deliveries.sweep,)),
            parent.timer.call_repeatedly(FORGET_EVERY_S, _guarded, (deliveries.forget,)),
        ]
        _guarded(deliveries.sweep)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 (Celery's signature)
        """Stop looking."""
        for entry in self.entries:
            entry.cancel()


def _guarded(work: Any) -> None:
    """One round. A database that is away now is asked again in the next round."""
    close_old_connections()
    try:
        work()
    except DatabaseError:
        logger.exception("the courier could not reach the database; it tries again")
        connections.close_all()


app.steps["worker"].add(Rounds)
