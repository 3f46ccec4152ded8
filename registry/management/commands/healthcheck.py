"""`manage.py healthcheck`: is the web server, or this host's worker or courier, alive? For containers."""

import json
import os
import platform
import urllib.request
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.celery import app


class Command(BaseCommand):
    help = "Exit 0 if /healthz answers with 200; with --worker or --courier, if that of this host answers."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--worker", action="store_true", help="ask this host's worker instead")
        parser.add_argument("--courier", action="store_true", help="ask this host's courier instead")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = "celery" if options["worker"] else "courier" if options["courier"] else ""
        self.stdout.write(_worker(asked) if asked else _web())


def _worker(kind: str) -> str:
    name = f"{kind}@{platform.node()}"
    if not app.control.ping(destination=[name], timeout=5):
        raise CommandError(f"The worker {name} does not answer.")
    return f"{name} answers"


def _web() -> str:
    base = f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"
    try:
        return json.dumps(ask(base))
    except (OSError, ValueError) as error:
        raise CommandError(f"{base}/healthz does not answer well: {error}") from error


def ask(base: str) -> dict[str, Any]:
    """What `/healthz` says there, once it says 200. Raises `OSError` or `ValueError` until then."""
    name = settings.ALLOWED_HOSTS[0].lstrip(".")
    request = urllib.request.Request(f"{base}/healthz", headers={} if name == "*" else {"Host": name})  # noqa: S310 (http)
    with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 (http to ourselves)
        answer: dict[str, Any] = json.load(response)
    return answer
