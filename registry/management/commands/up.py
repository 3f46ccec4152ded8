"""`manage.py up`: everything on this machine, from the tables to a worker, until Ctrl-C."""

import fcntl
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from registry.importers import factors, paper
from registry.management.commands import healthcheck
from registry.models import User
from registry.services import accounts, outbox, studies, tour
from registry.supervisor import Child, Supervisor
from stagemeter import simulation
from stagemeter.errors import MeterError

USER = "demo"
PASSWORD_FILE = "demo_password"  # noqa: S105 (a file's name)
ANSWER_WITHIN_S = 60.0
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 (compared with, not listened on)


class _Stop(BaseException):
    """Somebody asked us to stop."""


class Command(BaseCommand):
    """Starts the web server, one worker and the courier over the configured, or the embedded, PostgreSQL and Redis."""

    help = "Run everything on this machine: migrate, published study, web server, worker, courier, the tour."
    requires_system_checks = []  # migrate runs them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-tour", action="store_true", help="queue no runs at the first start")
        parser.add_argument(
            "--simulated-gpu", action="store_true", help="let the worker find a simulated GPU; its records are marked"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = _address()
        _check_free(host, port)
        gpu = _simulated_gpu(settings.HOME) if options["simulated_gpu"] else {}
        children = Supervisor(self._say, settings.BASE_DIR, _environment(host))
        with _only_one(settings.HOME), suppress(_Stop), _until_told(), _stopping(children, self._say):
            self._prepare()
            children.start(_web(host, port))
            children.start(_worker(gpu))
            children.start(_courier())
            login = self._load(with_tour=not options["no_tour"])
            if gpu:
                self._say("GPU energy is simulated in this start, and every record made now is marked so.")
            self._announce(children, host, port, login)
            while True:
                children.watch()
                time.sleep(0.5)

    def _prepare(self) -> None:
        call_command("migrate", verbosity=0, interactive=False)

    def _load(self, *, with_tour: bool) -> str:
        """What a newcomer finds: the published study, an account, the tour. Returns the login as a sentence."""
        paper.load()
        factors.load()
        user, login = _account(settings.HOME / PASSWORD_FILE)
        project = studies.ensure_project(slug="lab", name="Lab", public=True, admin=user)
        if with_tour and (queued := tour.queue(actor=user, project=project)[1]):
            self._say(f"The tour is queued: {len(queued)} runs of a real model, metered on this machine.")
        connections.close_all()
        return login

    def _announce(self, children: Supervisor, host: str, port: int, login: str) -> None:
        """Print the address once the server answers; say so if it doesn't."""
        local = "127.0.0.1" if host in WILDCARDS else host
        base = f"http://{f'[{local}]' if ':' in local else local}:{port}"
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while not _answers(base):
            if time.monotonic() > deadline:
                self._say(f"No answer at {base}/healthz within {ANSWER_WITHIN_S:.0f} s; the messages above say why.")
                return
            children.watch()
            time.sleep(0.2)
        self._say(f"Stagemeter is at {base}/\n{login}\nCtrl-C stops it; the next start goes on where this one ended.")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _address() -> tuple[str, int]:
    """`HOST` and `PORT`, or 127.0.0.1:8000. Raises `CommandError` for what is no port."""
    text = os.environ.get("PORT") or "8000"
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise CommandError(f"PORT is {text!r}; it must be a whole number from 1 to 65535.")
    return os.environ.get("HOST") or "127.0.0.1", int(text)


def _check_free(host: str, port: int) -> None:
    """Refuse an address nobody can listen on, before anything is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise CommandError(
                f"Cannot listen on {host}:{port} ({reason}); choose another: PORT={port % 65535 + 1} make run"
            ) from error


def _environment(host: str) -> dict[str, str]:
    """What the children inherit. The servers are ours already, so they find both addresses filled in."""
    environment = dict(os.environ)
    if "ALLOWED_HOSTS" not in environment:
        name = socket.gethostname() if host in WILDCARDS else host
        environment["ALLOWED_HOSTS"] = ",".join(dict.fromkeys([*settings.ALLOWED_HOSTS, name]))
    return environment


def _web(host: str, port: int) -> Child:
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    command = [sys.executable, "-m", "gunicorn", "registry.wsgi:application", "--bind", bind, "--preload"]
    command += ["--worker-class", "gthread", "--workers", "2", "--threads", "4", "--log-level", "warning"]
    return Child(name="web server", command=[*command, "--graceful-timeout", "3"], grace_s=6)


def _worker(gpu: Mapping[str, str]) -> Child:
    # Celery warns root at length; whoever starts this as root (a container does) knows.
    command = [sys.executable, "-W", "ignore:You're running the worker", "-m", "celery", "--quiet", "-A", "workers.app"]
    command += ["worker", "--concurrency", "1", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    return Child(name="worker", command=command, grace_s=4, environment=gpu)


def _courier() -> Child:
    command = [sys.executable, "-W", "ignore:You're running the worker", "-m", "celery", "--quiet"]
    command += ["-A", "registry.courier", "worker", "-Q", outbox.QUEUE, "--pool", "threads", "--concurrency", "4"]
    command += ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--hostname", "courier@%h"]
    return Child(name="courier", command=command, grace_s=4)


def _simulated_gpu(home: Path) -> dict[str, str]:
    """What a worker's environment needs to find a simulated GPU. Raises `CommandError` if it cannot be compiled."""
    folder = home / "simulated-gpu"
    try:
        simulation.build(folder)
    except MeterError as error:
        raise CommandError(f"{error}. Or start without it: make run") from error
    wanted = simulation.environment(folder, simulation.training_power(), profile="hopper", noise=2)
    return {**wanted, "STAGEMETER_SIMULATED": "1"}


def _account(path: Path) -> tuple[User, str]:
    """The local account, made at the first start with a random password that only the owner of `path` can read."""
    password = secrets.token_urlsafe(12)
    user, created = accounts.ensure_user(username=USER, password=password)
    if created:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(f"{password}\n")
    known = path.read_text().strip() if path.exists() else ""
    if known and user.check_password(known):
        return user, f"Log in as {USER} with the password {known}"
    return user, f"Log in as {USER} with the password you chose, or set one: python manage.py changepassword {USER}"


def _answers(base: str) -> bool:
    try:
        healthcheck.ask(base)
    except (OSError, ValueError):  # nobody there yet, or not ready
        return False
    return True


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """One start per home: a second one would queue work for the same database with another worker."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(
                f"Stagemeter runs already over {home}; stop that one, or set STAGEMETER_HOME to another folder."
            ) from error
        yield


@contextmanager
def _until_told() -> Iterator[None]:
    """Turn the first Ctrl-C, SIGTERM or hang-up into `_Stop`; later ones find us stopping already."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_signum: int, _frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise _Stop

    for each in signals:
        signal.signal(each, stop)
    yield


@contextmanager
def _stopping(children: Supervisor, say: Any) -> Iterator[None]:
    try:
        yield
    except _Stop:
        say("Stopping.")
        raise
    finally:
        children.stop()
