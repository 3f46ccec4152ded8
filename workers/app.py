"""The Celery application of the workers: Django set up, the one task registered, and a reaper in every worker.

Start one with `celery -A workers.app worker`. The reaper runs in the worker's parent process, so a busy child
never keeps it waiting: it books what dead attempts burnt, puts lost jobs back and sends again what the broker lost.
"""

import logging
import os
from contextlib import suppress
from typing import Any

from registry import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
embedded.fill_environment()

import django  # noqa: E402 (the environment is filled in first)

django.setup()

import psutil  # noqa: E402
from celery import bootsteps  # noqa: E402
from celery.signals import worker_shutting_down  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db import DatabaseError, close_old_connections, connections  # noqa: E402

from registry.celery import app  # noqa: E402
from registry.services import jobs  # noqa: E402
from stagemeter import spool  # noqa: E402
from workers import recovery, tasks  # noqa: E402

__all__ = ["app", "tasks"]

# Half of what a lease leaves to it: the other half is for whoever takes over to be told and to begin.
REAP_EVERY_S = min(5.0, settings.LEASE_SECONDS * jobs.REAP_SHARE / 2)

logger = logging.getLogger(__name__)


class Reaper(bootsteps.StartStopStep):
    """Runs beside the consumer, on the worker's own timer."""

    requires = ("celery.worker.components:Timer",)

    def start(self, parent: Any) -> None:
        """Reap at once (this worker may come back after a crash), then every few seconds."""
        spool.prune(settings.SPOOL_DIR)
        self.entry = parent.timer.call_repeatedly(REAP_EVERY_S, _reap)
        _reap()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 (Celery's signature)
        """Stop reaping."""
        self.entry.cancel()


def _reap() -> None:
    """One round. A database that is away now is asked again in the next round."""
    close_old_connections()
    try:
        recovery.book_dead_attempts()
        jobs.reap()
    except DatabaseError:
        logger.exception("the reaper could not reach the database; it tries again in %s s", REAP_EVERY_S)
        connections.close_all()


@worker_shutting_down.connect
def _stop_children(**_: object) -> None:
    """Whoever stops the worker stops its jobs: each keeps its place and hands its job back, within a step."""
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it has ended by itself
            if "sampler" not in " ".join(child.cmdline()):
                child.terminate()


app.steps["worker"].add(Reaper)
