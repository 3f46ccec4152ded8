"""Real Celery workers on the test's own database and broker: started, and killed."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
from django.conf import settings
from django.db import connection


def start_worker(log: Path, app: str = "workers.app", **environment: str) -> subprocess.Popen:
    """A worker of one process; `environment` goes over this process's own."""
    database = settings.DATABASES["default"]
    url = f"postgresql://{database['USER']}@/{connection.settings_dict['NAME']}?host={quote(database['HOST'], safe='')}"
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "--concurrency=1", "--loglevel=INFO"]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle"],
            cwd=settings.BASE_DIR,
            env=os.environ | {"DATABASE_URL": url} | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def family_of(worker: subprocess.Popen) -> list[psutil.Process]:
    """The worker and every process below it but the samplers, which outlive it on purpose."""
    try:
        processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    return [process for process in processes if not _is_sampler(process)]


def _is_sampler(process: psutil.Process) -> bool:
    try:
        return any(word in ("stagemeter.sampler", "stagemeter.cpu_sampler") for word in process.cmdline())
    except psutil.Error:  # gone, or a zombie
        return False


def kill_all(worker: subprocess.Popen) -> None:
    """SIGKILL to the worker and its family."""
    for process in family_of(worker):
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(process.pid, signal.SIGKILL)
    worker.wait()


def wait_for(condition, seconds: float, *logs: Path) -> None:
    """Wait until it holds; when it does not in time, fail with the end of the logs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "\n".join(log.read_text()[-3000:] for log in logs)
        time.sleep(0.1)
