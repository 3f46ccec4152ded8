"""How fast measurements are taken in, beside MLflow's server, and what that costs.

    STAGEMETER_HOME=/tmp/ingest .venv/bin/python -m bench.ingest [--seconds 10] [--mlflow PATH] [--memory 200000]

Starts the web server as the container does (gunicorn, 2 workers of 4 threads) on embedded PostgreSQL and asks it over
HTTP: latency of /healthz on a kept connection, single records, lists of 1,000, whole runs of 6 stages and 5 scores one
a request and 50 a request, with 1 and 4 clients. With `--mlflow` (the mlflow command of an environment of its own, see
bench/lookup/mlflow.sh) the same runs go to MLflow's server at the end, tuned, on the same PostgreSQL. With `--memory`
that many records go before it in lists of 1,000, and the server's memory is read as they come.

Bodies are made beforehand and sent by `http.client`, so that little of the two cores goes into asking. CPU is that of
the server's and the database's processes; requests are counted that were answered within the time.
`python -m bench.ingest.kills` is the other half: what becomes of records when things die.
"""

import argparse
import http.client
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ingest.documents import document, ndjson, record
from bench.ingest.serving import PORT, Server, cpu_s, family, memory_mb, postmaster, prepare
from registry import embedded

JSON, LINES = "application/json", "application/x-ndjson"


@dataclass(frozen=True)
class Load:
    """Requests of one kind: `bodies` makes that many, each of `each` things; `rate` is how many a second to prepare."""

    what: str
    path: str
    media: str
    each: int
    rate: int
    body: Callable[[], bytes]


LOADS = (
    Load("single records", "/api/v1/stage-records/", JSON, 1, 250, lambda: json.dumps(record(0)).encode()),
    Load(
        "records, 1,000 a request",
        "/api/v1/stage-records/",
        LINES,
        1000,
        5,
        lambda: ndjson([*map(record, range(1000))]),
    ),
    Load("whole runs, one a request", "/api/v1/runs/upload/", JSON, 1, 250, lambda: json.dumps(document()).encode()),
    Load(
        "whole runs, 50 a request",
        "/api/v1/runs/upload/",
        LINES,
        50,
        10,
        lambda: ndjson([document() for _ in range(50)]),
    ),
)


class Client:
    """One kept connection."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._wire = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = headers

    def send(self, path: str, body: bytes | None = None, media: str = JSON) -> bytes:
        """The answer's body. Raises `SystemExit` for a refusal."""
        method = "GET" if body is None else "POST"
        self._wire.request(method, path, body, {**self._headers, "Content-Type": media})
        answer = self._wire.getresponse()
        text = answer.read()
        if answer.status not in (200, 201) or b'"refused"' in text:
            raise SystemExit(f"{path}: {answer.status} {text[:300]!r}")
        return text


def timed(clients: int, seconds: float, step: Callable[[int], bool], processes: list[Any]) -> tuple[float, float]:
    """Steps a second of all clients together, and CPU ms of `processes` a step. A step is false at the end."""
    counts, ended = [0] * clients, [0.0] * clients
    began, before = time.monotonic(), cpu_s(processes)

    def work(place: int) -> None:
        while time.monotonic() < began + seconds and step(place):
            counts[place] += 1
        ended[place] = time.monotonic()  # not where it raised: SystemExit ends a thread without a word

    threads = [threading.Thread(target=work, args=[place]) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(ended):
        raise SystemExit(f"{ended.count(0.0)} of {clients} clients were refused or cut off")
    done, after = max(sum(counts), 1), cpu_s(processes)
    used_s = sum(after[process] - before[process] for process in after.keys() & before.keys())
    return done / (max(ended) - began), used_s / done * 1000


def speed(load: Load, clients: int, seconds: float, token: str, processes: list[Any]) -> float:
    """Things a second; prints it."""
    bodies = [load.body() for _ in range(int(load.rate * clients**0.5 * seconds) + clients)]
    wires = [Client(PORT, {"Authorization": f"Token {token}"}) for _ in range(clients)]

    def step(place: int) -> bool:
        try:
            body = bodies.pop()
        except IndexError:
            return False
        wires[place].send(load.path, body, load.media)
        return True

    rate, cpu_ms = timed(clients, seconds, step, processes)
    print(
        f"{load.what}, {clients} client(s): {rate * load.each:.0f}/s, {cpu_ms / load.each:.2f} ms CPU each",
        flush=True,
    )
    return rate * load.each


def latency() -> None:
    """/healthz on one kept connection: no 40 ms of waiting for an acknowledgement."""
    wire = Client(PORT, {})
    found = []
    for _ in range(500):
        began = time.perf_counter()
        wire.send("/healthz")
        found.append((time.perf_counter() - began) * 1000)
    found.sort()
    above = sum(took >= 40 for took in found)
    print(
        f"/healthz over keep-alive, 2 workers: median {statistics.median(found):.1f} ms, p95 {found[475]:.1f} ms, "
        f"{above} of 500 took 40 ms or more",
        flush=True,
    )


def memory(total: int, token: str, server: Server) -> None:
    """Resident memory of the web processes while `total` records come, 1,000 a request."""
    wire = Client(PORT, {"Authorization": f"Token {token}"})
    marks = {total * part // 10 for part in range(11)} | {0}
    for done in range(0, total + 1, 1000):
        if done in marks:
            each = ", ".join(f"{process.memory_info().rss / 1e6:.0f}" for process in server.tree()[1:])
            print(f"memory after {done:,} records: {each} MB a worker", flush=True)
        if done < total:
            wire.send("/api/v1/stage-records/", LOADS[1].body(), LINES)


def beside(mlflow: Path, seconds: float, ours: dict[int, float]) -> None:
    """MLflow's speed beside `ours`. Where it does not start or breaks, says so: our own figures stand all the same."""
    from bench.ingest.mlflow import compare

    try:
        compare(mlflow, seconds, ours)
    except (OSError, http.client.HTTPException, ValueError, SystemExit) as error:
        print(f"MLflow could not be measured: {error!r}", flush=True)


def main() -> None:
    """Everything, in one go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--memory", type=int, default=0, help="records to send while memory is read, such as 1000000")
    parser.add_argument("--mlflow", type=Path, help="the mlflow command to compare with")
    asked = parser.parse_args()
    if "STAGEMETER_HOME" not in os.environ:
        raise SystemExit("set STAGEMETER_HOME to a folder that may be filled")
    Path(os.environ["STAGEMETER_HOME"], "static").mkdir(parents=True, exist_ok=True)
    embedded.fill_environment()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "registry.settings", "LOG_LEVEL": "ERROR"}
    token = prepare()
    server = Server()
    ours = {}
    try:
        print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
        latency()
        for load in LOADS:  # each worker has answered each kind once
            for _ in range(8):
                Client(PORT, {"Authorization": f"Token {token}"}).send(load.path, load.body(), load.media)
        for load in LOADS:
            for clients in (1, 4):
                processes = server.tree() + family(postmaster())
                ours[load.what, clients] = speed(load, clients, asked.seconds, token, processes)
        print(f"memory of the server: {memory_mb(server.tree()):.0f} MB", flush=True)
        if asked.memory:
            memory(asked.memory, token, server)
        if asked.mlflow:
            beside(asked.mlflow, asked.seconds, {clients: ours[LOADS[2].what, clients] for clients in (1, 4)})
    finally:
        server.stop()


if __name__ == "__main__":
    main()
