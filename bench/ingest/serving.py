"""The server under test, and the processes whose time and memory are counted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PORT = int(os.environ.get("BENCH_PORT", "8897"))
URL = f"http://127.0.0.1:{PORT}/api/v1/"


class Server:
    """gunicorn as the container starts it."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--bind", f"127.0.0.1:{PORT}", "--worker-class", "gthread", "--workers", "2", "--threads", "4"]
        command = [sys.executable, "-m", "gunicorn", "registry.wsgi:application", "--preload", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        self.wait()

    def wait(self) -> None:
        """Until it answers."""
        import httpx

        for _ in range(300):
            try:
                if httpx.get(f"http://127.0.0.1:{PORT}/healthz").status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise SystemExit("the server does not start")

    def tree(self) -> list[Any]:
        """Its processes."""
        return family(self.process.pid)

    def kill(self) -> None:
        """All of it at once, as by `kill -9`."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def prepare() -> str:
    """Tables, a study with its teacher's reference, and a token."""
    import django

    django.setup()
    from django.core.management import call_command

    from bench.ingest.documents import SUITE, reference
    from registry.models import Study, User
    from registry.services import accounts, studies, uploads

    call_command("migrate", verbosity=0)
    user = User.objects.filter(username="bench").first() or User.objects.create_user("bench")
    project = studies.ensure_project(slug="bench", name="Bench", public=True, admin=user)
    if not Study.objects.filter(slug="bench").exists():
        studies.create_study(actor=user, project=project, slug="bench", name="Bench", suite=SUITE)
    uploads.upload_run(actor=user, document=reference())
    return accounts.issue_token(user=user)[1]


def family(pid: int) -> list[Any]:
    """A process and everything below it."""
    import psutil

    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def postmaster() -> int:
    """The process id of the embedded PostgreSQL."""
    from registry.embedded import server_home

    return int(Path(server_home(), "postgres", "postmaster.pid").read_text().split()[0])


def cpu_s(processes: list[Any]) -> dict[Any, float]:
    """Processor seconds that each of them has used so far; without those that have ended."""
    import psutil

    used = {}
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        used[process] = times.user + times.system
    return used


def memory_mb(processes: list[Any]) -> float:
    """Resident memory, pages they share counted in each."""
    return sum(process.memory_info().rss for process in processes) / 1e6
