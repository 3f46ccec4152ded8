"""Times the pages and the REST layer of filled registries over HTTP: see fill.py. Every figure of "At size".

    .venv/bin/python -m bench.scale.run /tmp/scale/small /tmp/scale/big [--rounds 40]      under 8 minutes

Each argument is a `STAGEMETER_HOME` that fill.py filled. gunicorn as in production (2 processes, 4 threads each),
embedded PostgreSQL with its stock settings, one client over one kept connection, then four at once. Cold: the cache is
emptied before each request (the database's own stays). Beside each median and 95th percentile stands the processor time
of a request in web and database, which other work on the machine changes least. The load is printed too.
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

PORT = 8971
BASE = f"http://127.0.0.1:{PORT}"
WORDS = ("codeforces", "tulu 7B", "olmo 13B", "kd", "synthetic openr1", "sft 1B", "cluster-run-{n}", "run-{n}")
NEVER_MEET = "/api/v1/runs/?limit=100&search=codeforces+1B"  # both common, on no run together


def each(homes: list[str], rounds: int) -> None:
    """One registry after the other, each in a process of its own: servers and Django belong to one home."""
    for home in homes:
        environment = os.environ | {"STAGEMETER_HOME": home, "LOG_LEVEL": "WARNING"}
        command = [sys.executable, "-m", "bench.scale.run", "--one", "--rounds", str(rounds)]
        subprocess.run(command, check=True, env=environment)


class Bench:
    """A server, a client with one connection, and what is measured with them."""

    def __init__(self, rounds: int) -> None:
        import httpx
        import psutil
        from django.core.cache import cache

        from registry import embedded

        self.rounds, self.cache, self.http, self.process = rounds, cache, httpx, psutil
        self.client = httpx.Client(timeout=120)
        pid = int((embedded.server_home() / "postgres" / "postmaster.pid").read_text().split()[0])
        self.database = psutil.Process(pid)

    @contextmanager
    def served(self) -> Iterator[None]:
        """gunicorn, until the bench is done."""
        command = [sys.executable, "-m", "gunicorn", "registry.wsgi:application", "--bind", f"127.0.0.1:{PORT}"]
        command += [
            "--workers",
            "2",
            "--threads",
            "4",
            "--worker-class",
            "gthread",
            "--preload",
            "--log-level",
            "warning",
        ]
        server = subprocess.Popen(command)
        self.web = self.process.Process(server.pid)
        try:
            for _ in range(600):
                try:
                    self.client.get(f"{BASE}/healthz")
                    break
                except self.http.TransportError:
                    time.sleep(0.1)
            yield
        finally:
            server.terminate()
            server.wait()

    def used(self) -> tuple[float, float]:
        """Seconds of processor time so far: web, database (its ended processes included)."""
        return self._of(self.web), self._of(self.database)

    def _of(self, parent: "object") -> float:
        times = [parent.cpu_times()]  # type: ignore[attr-defined]
        total = times[0].user + times[0].system + times[0].children_user + times[0].children_system
        for child in parent.children(recursive=True):  # type: ignore[attr-defined]
            try:
                spent = child.cpu_times()
            except self.process.NoSuchProcess:
                continue
            total += spent.user + spent.system
        return total

    def timed(self, client: "object", address: str) -> tuple[float, "object"]:
        """Milliseconds and the answer. Raises for what isn't 200."""
        begun = time.perf_counter()
        answer = client.get(BASE + address)  # type: ignore[attr-defined]
        taken = 1e3 * (time.perf_counter() - begun)
        answer.raise_for_status()
        return taken, answer

    def repeated(self, name: str, address: Callable[[], str], rounds: int, *, cold: bool = False) -> None:
        """Many requests of one kind; the first two of a warm one are not counted."""
        for _ in range(0 if cold else 2):
            self.timed(self.client, address())
        found, sizes, before = [], [], self.used()
        for _ in range(rounds):
            if cold:
                self.cache.clear()
            taken, answer = self.timed(self.client, address())
            found.append(taken)
            sizes.append((len(answer.content), answer.num_bytes_downloaded))  # type: ignore[attr-defined]
        web, database = (1e3 * (now - then) / rounds for now, then in zip(self.used(), before, strict=True))
        plain, wire = (max(column) / 1000 for column in zip(*sizes, strict=True))
        show(name, found, f"processor {web:.1f} + {database:.1f} ms, {plain:.1f} KB, {wire:.1f} KB on the wire")

    def together(self, addresses: Callable[[], str], seconds: float, clients: int = 4) -> None:
        """Several clients at once, each with its own connection."""
        found: list[float] = []
        before, stop = self.used(), time.perf_counter() + seconds

        def ask() -> None:
            with self.http.Client(timeout=60) as client:
                while time.perf_counter() < stop:
                    found.append(self.timed(client, addresses())[0])

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        web, database = (1e3 * (now - then) / len(found) for now, then in zip(self.used(), before, strict=True))
        more = f"{len(found) / seconds:.0f} requests/s, processor {web:.1f} + {database:.1f} ms"
        show(f"{clients} clients, first page or search", found, more)

    def export(self) -> None:
        """20,000 runs as CSV, as they come."""
        begun = time.perf_counter()
        with self.client.stream("GET", f"{BASE}/runs/export.csv?study=study-1") as answer:
            pieces = [(time.perf_counter(), len(chunk)) for chunk in answer.iter_raw()]
        lasted, size = time.perf_counter() - begun, sum(n for _, n in pieces)
        first = pieces[0][0] - begun
        print(f"export, 20,000 runs, CSV: {lasted:.2f} s, first byte {first:.2f} s, {size / 1e6:.1f} MB compressed")

    def memory(self, when: str) -> None:
        """Resident memory of each web process."""
        sizes = ", ".join(f"{p.memory_info().rss / 1e6:.0f} MB" for p in self.web.children())
        print(f"memory of the web processes, {when}: {sizes}", flush=True)


def show(name: str, found: list[float], more: str) -> None:
    """One line: median and 95th percentile."""
    p95 = statistics.quantiles(found, n=20)[-1] if len(found) > 1 else found[0]
    print(f"{name}: median {statistics.median(found):.0f} ms, p95 {p95:.0f} ms, n {len(found)}, {more}", flush=True)


def one(rounds: int) -> None:
    """All figures of one registry."""
    from registry import embedded

    embedded.fill_environment()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    import django

    django.setup()
    from registry.models import Run

    bench, draw, total = Bench(rounds), random.Random(3), Run.objects.count()  # noqa: S311 (no secret)
    words = lambda: draw.choice(WORDS).format(n=draw.randrange(total))  # noqa: E731
    first = lambda: "/api/v1/runs/?limit=100"  # noqa: E731
    search = lambda: f"/api/v1/runs/?limit=100&search={words()}"  # noqa: E731
    print(f"\n{total:,} runs; load {os.getloadavg()[0]:.1f} before")
    with bench.served():
        bench.timed(bench.client, first())
        bench.memory("at the start")
        bench.repeated("first page, REST, 100 rows", first, 2 * rounds)
        bench.repeated("search, REST, 100 rows", search, 4 * rounds)
        bench.repeated("search, two common words that never meet", lambda: NEVER_MEET, max(rounds // 4, 5))
        bench.repeated("first page, HTML, 50 rows", lambda: "/runs/", rounds)
        bench.repeated("search, HTML", lambda: f"/runs/?q={words()}", rounds)
        bench.together(lambda: first() if draw.random() < 0.5 else search(), 10)
        bench.export()
        if Run.objects.filter(study__slug="large").exists():
            _large(bench, draw, rounds)
        bench.memory("at the end")
    print(f"load {os.getloadavg()[0]:.1f} after")


def _large(bench: Bench, draw: random.Random, rounds: int) -> None:
    """The study of 10^5 configurations."""
    rest, page = "/api/v1/studies/large/frontier/?", "/studies/large/?"
    amortised = lambda: f"scope=amortised&n={draw.randrange(1, 1001)}"  # noqa: E731
    few = max(rounds // 2, 5)
    bench.repeated("frontier JSON, cold", lambda: rest + amortised(), few, cold=True)
    bench.repeated("frontier JSON, warm", lambda: rest, 2 * rounds)
    bench.repeated("study page, cold", lambda: page + amortised(), few, cold=True)
    bench.repeated("study page, warm", lambda: page, rounds)
    _, answer = bench.timed(bench.client, rest)
    print(f"points sent: {len(answer.json()['points']):,}")  # type: ignore[attr-defined]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("homes", nargs="*", default=[os.environ.get("STAGEMETER_HOME", "var")])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--one", action="store_true", help="the registry of STAGEMETER_HOME, in this process")
    asked = parser.parse_args()
    one(asked.rounds) if asked.one else each(asked.homes, asked.rounds)
