"""One size of `python -m bench.lookup`, on the database that DATABASE_URL names.

gunicorn as in production (2 processes, 4 threads each), one client over one kept-alive connection. Three questions: one
that an artifact equals, one that is cut out of a larger artifact, one that nothing answers.

Beside the time that passed stands the processor time of a lookup, in the web process and in PostgreSQL: on a machine
where others are at work that is the figure to go by.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ["DJANGO_SETTINGS_MODULE"] = "registry.settings"

from registry import embedded  # noqa: E402

embedded.fill_environment()

os.environ["LOG_LEVEL"] = "WARNING"

import django  # noqa: E402
import httpx  # noqa: E402
import psutil  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from bench.lookup import fill  # noqa: E402
from registry.accounting.reuse import ArtifactRequest  # noqa: E402
from registry.models import Artifact, Membership, Project, User  # noqa: E402
from registry.selectors import callers, prepared  # noqa: E402
from registry.services import accounts, reuse  # noqa: E402

PORT = 8993


def questions(kind: str, count: int) -> list[dict]:
    """Bodies of lookups, from artifacts that the asking project may use."""
    draw = random.Random(kind)  # noqa: S311 (no secret)
    mine = Project.objects.get(slug="bench-0")
    open_ones = Artifact.objects.filter(project=mine).values_list("pk", flat=True)
    asked = []
    for key in draw.sample(list(open_ones[:20_000]), count):
        artifact = Artifact.objects.select_related("rows").get(pk=key)
        body = {"kind": artifact.kind, "identity": artifact.identity, "capture": artifact.capture}
        rows = artifact.row_digests
        if kind == "covering":
            rows = sorted(draw.sample(rows, len(rows) // 2))
            body["capture"] = {
                **artifact.capture,
                **({"k": 10} if "k" in artifact.capture else {"max_new_tokens": 128}),
            }
        if kind == "miss":
            body["identity"] = {**artifact.identity, "precision": "fp8"}
        asked.append({**body, "row_digests": rows, "project": mine.slug})
    return asked


def busy_s(server: subprocess.Popen) -> tuple[dict[int, float], dict[int, float]]:
    """Seconds of processor time by process: those of the web, and all that this PostgreSQL runs."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        postgres = psutil.Process(cursor.fetchone()[0]).parent()
    return _spent(psutil.Process(server.pid).children(recursive=True)), _spent(postgres.children())


def _spent(processes: list[psutil.Process]) -> dict[int, float]:
    spent = {}
    for process in processes:
        with suppress(psutil.Error):  # it has ended
            times = process.cpu_times()
            spent[process.pid] = times.user + times.system
    return spent


def measure(client: httpx.Client, kind: str, count: int, server: subprocess.Popen) -> dict:
    """Milliseconds of each answer as the client sees them, and of processor time on average."""
    bodies = [json.dumps(body).encode() for body in questions(kind, count)]
    wanted = {"exact": ("use",), "covering": ("cut", "use"), "miss": ("make",)}[kind]
    times, wrong, rows = [], 0, []
    for place, body in enumerate(bodies):
        start = time.perf_counter()
        answer = client.post("/api/v1/artifacts/lookup/", content=body)
        took = 1000 * (time.perf_counter() - start)
        if place == count // 10:
            before = busy_s(server)
        answer.raise_for_status()
        wrong += answer.json()["decision"]["action"] not in wanted
        if place >= count // 10:  # the first ones warm caches up
            times.append(took)
            rows.append(len(body) / 1000)
    web_ms, database_ms = (
        1000 * sum(spent - old.get(pid, 0.0) for pid, spent in new.items()) / (len(times) - 1)
        for old, new in zip(before, busy_s(server), strict=True)
    )
    times.sort()
    p95 = times[int(0.95 * len(times))]
    spent = {"web": web_ms, "database": database_ms}
    return spent | {"median": statistics.median(times), "p95": p95, "wrong": wrong, "kb": statistics.median(rows)}


def wait_for(client: httpx.Client) -> None:
    """Return once the server answers, or after a minute: then the first question says what is wrong."""
    for _ in range(120):
        with suppress(httpx.ConnectError):
            client.get("/healthz")
            break
        time.sleep(0.5)


def plans() -> None:
    """EXPLAIN of the statements of misses, which ask the most."""
    asked: dict[str, dict[str, Any]] = {}
    send = prepared.rows

    def noted(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        asked[statement] = dict(values)
        return send(statement, values)

    user = User.objects.get(username="bench")
    prepared.rows = noted
    for body in questions("miss", 10):
        found = callers.project(body["project"], user, None)
        kept = {name: body[name] for name in ("kind", "identity", "capture")}
        reuse.find(ArtifactRequest(**kept, row_digests=tuple(body["row_digests"])), found, user)
    callers.token(user.auth_token_set.first().digest)
    for statement, values in asked.items():
        print(statement)
        print("\n".join(line for (line,) in send(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", values)), "\n")


@contextmanager
def served() -> Iterator[subprocess.Popen]:
    """gunicorn, until the block ends."""
    command = [sys.executable, "-m", "gunicorn", "registry.wsgi:application", "--bind", f"127.0.0.1:{PORT}"]
    command += ["--preload", "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--log-level", "error"]
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        yield server
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Fill, or print plans, or serve and ask; a line for each kind of question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="questions of each kind")
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--plans", action="store_true")
    options = parser.parse_args()
    size = int(connection.settings_dict["NAME"].rpartition("_")[2])
    call_command("migrate", verbosity=0)
    user, _ = User.objects.get_or_create(username="bench")
    for project in fill.projects()[:1]:
        Membership.objects.get_or_create(project=project, user=user, defaults={"role": "submitter"})
    _, secret = accounts.issue_token(user=user)
    if options.fill:
        began = time.perf_counter()
        fill.fill(size)
        print(f"{size:>8} artifacts there after {time.perf_counter() - began:.0f} s", flush=True)
        return
    if options.plans:
        plans()
        return
    with served() as server, httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as client:
        client.headers = {"Authorization": f"Token {secret}", "Content-Type": "application/json", "Host": "localhost"}
        wait_for(client)
        for kind in ("exact", "covering", "miss"):
            found = measure(client, kind, min(options.count, size // 60), server)
            print(
                f"{size:>8} {kind:<9} median {found['median']:6.1f} ms  p95 {found['p95']:6.1f} ms  "
                f"processor {found['web']:.1f} + {found['database']:.1f} ms  "
                f"body {found['kb']:.0f} kB  other answers {found['wrong']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
