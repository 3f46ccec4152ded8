"""How fast measurements are taken in, and whether any is lost or counted twice when things die in the middle.

    STAGEMETER_HOME=/tmp/ingest .venv/bin/python -m bench.ingest [--seconds 5] [--kills 200]

Starts the web server as the container does (gunicorn, 2 workers of 4 threads) on embedded PostgreSQL, and prints
records and runs a second with 1 and 4 clients, CPU seconds each (of server and database), memory, the latency of
/healthz over keep-alive, and what became of the records after random kills of clients, workers and database sessions.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from registry import embedded

PORT = 8897
URL = f"http://127.0.0.1:{PORT}/api/v1/"
KINDS = ("preprocess", "logit_caching", "filtering", "student_training", "evaluation", "teacher_evaluation")
START = 1_769_860_800


def record(number: int, **changes: Any) -> dict[str, Any]:
    """A record as a meter on a GPU host writes it, about 1.3 kB."""
    moment = time.gmtime(START - number * 3600)
    later = time.gmtime(START - number * 3600 + 3500)
    return {
        "record_id": uuid4().hex,
        "kind": KINDS[number % 6],
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", moment),
        "ended_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", later),
        "duration_s": 3500.0,
        "components": ["gpu", "cpu", "ram"],
        "gpu_energy_j": 2.1e6,
        "gpu_energy_lower_j": 2.0e6,
        "gpu_energy_upper_j": 2.2e6,
        "gpu_method": "nvml_counter",
        "cpu_energy_j": 1.8e5,
        "cpu_method": "codecarbon_process",
        "ram_energy_j": 1e4,
        "sample_period_s": 0.1,
        "samples": 35000,
        "coverage": 0.999,
        "trained_tokens": 30_000_000,
        "devices": [{"uuid": f"GPU-{uuid4()}", "name": "NVIDIA H100", "energy_j": 2.1e6, "power_limit_w": 700.0}],
        "environment": {"git": {"commit": "a" * 40, "dirty": False}, "driver": "575.1", "libraries": {"torch": "2.13"}},
    } | changes


def document() -> dict[str, Any]:
    """A run with six stages and five scores."""
    run = {"external_id": uuid4().hex, "pipeline": "kd", "student": "small", "student_size": "1B", "teacher": "T"}
    scores = [{"benchmark": f"b{number}", "value": 0.4, "n": 100, "stderr": 0.01} for number in range(5)]
    return {"schema_version": 1, "study": "bench", "run": run, "stages": list(map(record, range(6))), "scores": scores}


def main() -> None:
    """Everything, in one go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--kills", type=int, default=200)
    asked = parser.parse_args()
    if "STAGEMETER_HOME" not in os.environ:
        raise SystemExit("set STAGEMETER_HOME to a folder that may be filled")
    Path(os.environ["STAGEMETER_HOME"], "static").mkdir(parents=True, exist_ok=True)
    embedded.fill_environment()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "registry.settings", "LOG_LEVEL": "ERROR"}
    token = _prepare()
    server = Server()
    try:
        print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
        _latency()
        headers = {"Authorization": f"Token {token}"}
        for clients in (1, 4):
            _speed("single records", clients, asked.seconds, 1, lambda http: _send(http, "stage-records/", record(0)))
            _speed("records, lists of 1,000", clients, asked.seconds, 1000, _list_of(1000))
            _speed("whole runs", clients, asked.seconds, 1, lambda http: _send(http, "runs/upload/", document()))
        _kills(server, headers, asked.kills)
    finally:
        server.stop()


class Server:
    """gunicorn as the container starts it."""

    def __init__(self) -> None:
        options = ["--bind", f"127.0.0.1:{PORT}", "--worker-class", "gthread", "--workers", "2", "--threads", "4"]
        command = [sys.executable, "-m", "gunicorn", "registry.wsgi:application", "--preload", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
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

    def workers(self) -> list[Any]:
        """Its worker processes."""
        import psutil

        return psutil.Process(self.process.pid).children()

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def _prepare() -> str:
    import django

    django.setup()
    from django.core.management import call_command

    from registry.models import Study, User
    from registry.services import accounts, studies

    call_command("migrate", verbosity=0)
    user = User.objects.filter(username="bench").first() or User.objects.create_user("bench")
    project = studies.ensure_project(slug="bench", name="Bench", public=True, admin=user)
    if not Study.objects.filter(slug="bench").exists():
        suite = [f"b{number}" for number in range(5)]
        studies.create_study(actor=user, project=project, slug="bench", name="Bench", suite=suite)
    os.environ["BENCH_TOKEN"] = accounts.issue_token(user=user)[1]
    return os.environ["BENCH_TOKEN"]


def _http() -> Any:
    import httpx

    return httpx.Client(headers={"Authorization": f"Token {os.environ['BENCH_TOKEN']}"}, timeout=120)


def _send(http: Any, path: str, body: Any) -> None:
    answer = http.post(URL + path, json=body)
    if answer.status_code not in (200, 201):
        raise SystemExit(f"{path}: {answer.status_code} {answer.text[:300]}")


def _list_of(size: int) -> Callable[[Any], None]:
    return lambda http: _send(http, "stage-records/", [record(number) for number in range(size)])


def _speed(what: str, clients: int, seconds: float, each: int, send: Callable[[Any], None]) -> None:
    """Run `clients` threads for `seconds` and print what they got done, and the CPU it took outside of this process."""
    counts = [0] * clients
    until = time.monotonic() + seconds

    def work(place: int) -> None:
        with _http() as http:
            while time.monotonic() < until:
                send(http)
                counts[place] += each

    before, began = _cpu_s(), time.monotonic()
    threads = [threading.Thread(target=work, args=[place]) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, done = time.monotonic() - began, sum(counts)
    cpu_ms = (_cpu_s() - before) / max(done, 1) * 1000
    print(
        f"{what}, {clients} client(s): {done / took:.0f}/s, {cpu_ms:.2f} ms CPU each, {_memory_mb():.0f} MB server",
        flush=True,
    )


def _tree() -> list[Any]:
    """The server's processes, and the database's."""
    import psutil

    mine = psutil.Process().children(recursive=True)
    home = os.environ["STAGEMETER_HOME"]
    base = [
        p
        for p in psutil.process_iter(["cmdline"])
        if home in " ".join(p.info["cmdline"] or []) and "postgres" in p.name()
    ]
    return mine + [child for process in base for child in [process, *process.children(recursive=True)]]


def _cpu_s() -> float:
    import psutil

    total = 0.0
    for process in _tree():
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


def _memory_mb() -> float:
    import psutil

    return sum(process.memory_info().rss for process in psutil.Process().children(recursive=True)) / 1e6


def _latency() -> None:
    """/healthz over one connection kept open: no 40 ms of waiting for an acknowledgement."""
    with _http() as http:
        found = []
        for _ in range(300):
            began = time.perf_counter()
            http.get(f"http://127.0.0.1:{PORT}/healthz")
            found.append((time.perf_counter() - began) * 1000)
    found.sort()
    print(
        f"/healthz over keep-alive, 2 workers: median {statistics.median(found):.1f} ms, p95 {found[285]:.1f} ms",
        flush=True,
    )


CLIENT = """
import os, sys, httpx
headers = {"Authorization": "Token " + os.environ["BENCH_TOKEN"], "Content-Type": "application/x-ndjson"}
httpx.post(sys.argv[1], content=sys.stdin.buffer.read(), headers=headers, timeout=60)
"""


def _kills(server: Server, headers: dict[str, str], kills: int) -> None:
    """Lists of records while a client, a worker or the database's sessions die; each list is then sent again."""
    import httpx
    from django.db import connection

    from registry.models import AuditEvent, Stage

    draw = random.Random(7)  # noqa: S311 (no secret)
    before, sent, partly = Stage.objects.count(), [], 0
    for number in range(kills):
        how = ("client", "worker", "database")[number % 3]
        body = [record(place) for place in range(200)]
        sent += [item["record_id"] for item in body]
        raw = b"\n".join(json.dumps(item).encode() for item in body)
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, URL + "stage-records/"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        threading.Thread(target=_feed, args=[client, raw], daemon=True).start()
        time.sleep(draw.uniform(0.05, 1.2))
        if how == "client":
            client.kill()
        elif how == "worker":
            workers = server.workers()
            if workers:
                draw.choice(workers).kill()
        else:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                    "AND datname = current_database()"
                )
        client.wait()
        partly += 0 < Stage.objects.filter(record_id__in=[item["record_id"] for item in body]).count() < 200
        for _ in range(50):  # as a spool does, until it has an answer for each
            try:
                answer = httpx.post(
                    URL + "stage-records/",
                    content=raw,
                    headers={**headers, "Content-Type": "application/x-ndjson"},
                    timeout=60,
                )
                if answer.status_code == 200 and all(r["status"] != "refused" for r in answer.json()["results"]):
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        else:
            raise SystemExit(f"no answer after kill {number}")
    here = Stage.objects.filter(record_id__in=sent).count()
    audited = AuditEvent.objects.filter(action="stage recorded").count()
    print(
        f"{kills} kills of clients, workers and database sessions, {len(sent):,} records: {len(sent) - here} lost, "
        f"{Stage.objects.count() - before - here} too many, {partly} lists left in part; "
        f"{audited - Stage.objects.count()} audit lines too many",
        flush=True,
    )


def _feed(client: "subprocess.Popen[bytes]", raw: bytes) -> None:
    try:
        assert client.stdin is not None
        client.stdin.write(raw)
        client.stdin.close()
    except OSError:
        pass


if __name__ == "__main__":
    main()
