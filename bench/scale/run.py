"""Times the pages and the REST layer of a filled registry over HTTP: see fill.py.

    STAGEMETER_HOME=/tmp/scale nice -n 0 .venv/bin/python -m bench.scale.run [--rounds 40]

gunicorn as in production (2 processes, 4 threads each), embedded PostgreSQL with its stock settings, one client over
one kept connection, then four at once. Cold: the cache is emptied before each request (the database's own stays).
Load of the machine is printed, since shared cores make every figure larger.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from registry import embedded

embedded.fill_environment()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
os.environ["LOG_LEVEL"] = "WARNING"

import django  # noqa: E402

django.setup()

import httpx  # noqa: E402
import psutil  # noqa: E402
from django.core.cache import cache  # noqa: E402

from registry.models import Run  # noqa: E402

PORT = 8971
BASE = f"http://127.0.0.1:{PORT}"
WORDS = ("codeforces", "tulu 7B", "olmo 13B", "kd", "synthetic openr1", "sft 1B", "cluster-run-{n}", "run-{n}")


@contextmanager
def served() -> Iterator[psutil.Process]:
    """gunicorn, until the bench is done."""
    command = [sys.executable, "-m", "gunicorn", "registry.wsgi:application", "--bind", f"127.0.0.1:{PORT}"]
    command += ["--workers", "2", "--threads", "4", "--worker-class", "gthread", "--log-level", "warning"]
    process = subprocess.Popen(command)
    try:
        for _ in range(600):
            try:
                httpx.get(f"{BASE}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def timed(client: httpx.Client, address: str) -> tuple[float, httpx.Response]:
    """Milliseconds and the answer. Raises for what isn't 200."""
    begun = time.perf_counter()
    answer = client.get(BASE + address)
    taken = 1e3 * (time.perf_counter() - begun)
    answer.raise_for_status()
    return taken, answer


def show(name: str, found: list[float], more: str = "") -> None:
    """One line: median and 95th percentile."""
    p95 = statistics.quantiles(found, n=20)[-1] if len(found) > 1 else found[0]
    print(f"{name}: median {statistics.median(found):.0f} ms, p95 {p95:.0f} ms, n {len(found)}{more}", flush=True)


def repeated(client: httpx.Client, name: str, address: Callable[[], str], rounds: int, *, cold: bool = False) -> None:
    """Many requests of one kind."""
    found, size = [], 0
    for _ in range(rounds):
        if cold:
            cache.clear()
        taken, answer = timed(client, address())
        found.append(taken)
        size = len(answer.content)
    show(name, found, f", {size / 1000:.0f} KB")


def together(addresses: Callable[[], str], seconds: float, clients: int = 4) -> None:
    """Several clients at once."""
    found: list[float] = []
    stop = time.perf_counter() + seconds

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            while time.perf_counter() < stop:
                found.append(timed(client, addresses())[0])

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    show(f"{clients} clients", found, f", {len(found) / seconds:.0f} requests/s")


def memory(process: psutil.Process) -> str:
    """Resident memory of each process of the web server."""
    return ", ".join(f"{p.memory_info().rss / 1e6:.0f} MB" for p in process.children())


def main(rounds: int) -> None:
    """All of it."""
    draw, total = random.Random(3), Run.objects.count()  # noqa: S311 (no secret)

    def first() -> str:
        return "/api/v1/runs/?limit=100"

    def search() -> str:
        return f"/api/v1/runs/?limit=100&search={draw.choice(WORDS).format(n=draw.randrange(total))}"

    def either() -> str:
        return first() if draw.random() < 0.5 else search()

    print(f"{total:,} runs; load {os.getloadavg()[0]:.1f} before")
    with served() as process, httpx.Client(timeout=120) as client:
        timed(client, "/api/v1/runs/?limit=1")
        print("memory:", memory(process))
        repeated(client, "first page, REST, 100 rows", first, rounds)
        repeated(client, "search, REST, 100 rows", search, 2 * rounds)
        repeated(client, "first page, HTML, 50 rows", lambda: "/runs/", rounds)
        repeated(
            client, "search, HTML", lambda: "/runs/?q=" + draw.choice(WORDS).format(n=draw.randrange(total)), rounds
        )
        together(either, 10)
        begun = time.perf_counter()
        with client.stream("GET", f"{BASE}/runs/export.csv?study=study-1") as answer:
            pieces = [(time.perf_counter(), len(chunk)) for chunk in answer.iter_raw()]
        lasted, size = time.perf_counter() - begun, sum(n for _, n in pieces)
        print(f"export, 20,000 runs, CSV: {lasted:.2f} s, first byte {pieces[0][0] - begun:.2f} s, {size / 1e6:.1f} MB")
        if Run.objects.filter(study__slug="large").exists():
            scopes = [f"scope=amortised&n={n}" for n in range(1, 1001)]
            rest, page = "/api/v1/studies/large/frontier/?", "/studies/large/?"
            repeated(client, "frontier JSON, cold", lambda: rest + draw.choice(scopes), max(rounds // 4, 5), cold=True)
            repeated(client, "frontier JSON, warm", lambda: rest, rounds)
            repeated(client, "study page, cold", lambda: page + draw.choice(scopes), max(rounds // 4, 5), cold=True)
            repeated(client, "study page, warm", lambda: page, rounds)
        print("memory:", memory(process))
    print(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    main(parser.parse_args().rounds)
