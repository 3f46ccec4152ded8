"""Whatever dies, and whenever: each record is booked once, and none is lost.

The server is one that keeps what it was sent, by record_id, and can fail at every point of an answer. The client dies
at any write, rename, sync, mark or request. After each death another client goes on with what lies on the disk.
"""

import json
import os
import random
import socket
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from stagemeter import client as clients
from stagemeter import spool
from stagemeter.client import Client
from stagemeter.errors import SpoolError, Unreachable
from tests.stagemeter.test_client import START, a_record

DEATHS = 210
RECORDS, BATCH = 5, 2
SERVER_FAULTS = ("refuse", "cut_before", "cut_after", "half_answer", "error_after", "busy", "bad_gateway")


class Killed(BaseException):
    """What `kill -9` is to the code: nothing catches it."""


class Ledger:
    """A server that books each record once and fails as it is told, one fault a request."""

    def __init__(self):
        self.booked, self.runs, self.faults, self.writes = {}, {}, [], 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                fault = outer.faults.pop() if outer.faults else ""
                if fault == "refuse":
                    return self.cut()
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if fault == "cut_before":
                    return self.cut()
                if fault in ("busy", "bad_gateway"):
                    return self.say(503 if fault == "busy" else 502, {})
                answer = outer.book(self.path, body)
                if fault == "cut_after":
                    return self.cut()
                if fault == "error_after":
                    return self.say(500, {})
                return self.say(200, answer, half=fault == "half_answer")

            def cut(self):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def say(self, status, answer, half=False):
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if half else data)
                if half:
                    self.wfile.flush()
                    self.cut()

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def book(self, path, body):
        if path.endswith("/runs/upload/"):
            created = body["run"]["external_id"] not in self.runs
            self.runs.setdefault(body["run"]["external_id"], body)
            self.writes += created
            results = [self._one(stage) for stage in body["stages"]]
            return {"created": created, "stages": results}
        return {"results": [self._one(record) for record in body]}

    def _one(self, record):
        key = record["record_id"]
        status = "same" if key in self.booked else "created"
        if status == "created":
            self.writes += 1
        assert self.booked.setdefault(key, record["cpu_energy_j"]) == record["cpu_energy_j"]
        return {"record_id": key, "status": status}

    def close(self):
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def ledger():
    running = Ledger()
    yield running
    running.close()


@pytest.fixture
def dying(monkeypatch):
    """`dying(n)`: the process is killed at its n-th step that touches the disk or the network; 0 never."""
    left = [0]

    def step(original, *, after):
        def call(*args, **kwargs):
            if not after:
                count()
            result = original(*args, **kwargs)
            if after:
                count()
            return result

        return call

    def count():
        if left[0]:
            left[0] -= 1
            if not left[0]:
                raise Killed

    monkeypatch.setattr(os, "fsync", step(os.fsync, after=False))
    for name in ("replace", "touch", "mkdir"):
        monkeypatch.setattr(Path, name, step(getattr(Path, name), after=True))
    monkeypatch.setattr(httpx.Client, "send", step(step(httpx.Client.send, after=True), after=False))
    return lambda n: left.__setitem__(0, n)


def keep(folder, records):
    """What a metered program does: each record into the spool, and the run in the end."""
    for record in records:
        if not (folder / record.record_id / "record.json").exists():
            spool.write_record(folder, record)
    if not list(folder.glob("run-*/run.json")):
        spool.keep_run({"external_id": "r", "pipeline": "kd", "student": "s"}, records[:2], study="s", spool_dir=folder)


def send(folder, ledger):
    with Client(ledger.url, "t", attempts=2, sleep=lambda _: None) as client:
        client.upload_spool(folder, study="s")


def is_done(folder):
    found = spool.counts(folder)
    return found["waiting"] == found["runs_waiting"] == 0 and found["sent"] == RECORDS


def test_two_hundred_deaths_of_client_server_and_network_lose_nothing_and_book_nothing_twice(
    ledger, dying, tmp_path, monkeypatch
):
    monkeypatch.setattr(clients, "BATCH", BATCH)
    chance = random.Random(7)  # noqa: S311 - which deaths, no secret
    deaths = {"client": 0, "server": 0}
    for number in range(DEATHS):
        if sum(deaths.values()) >= DEATHS:
            break
        folder = tmp_path / str(number)
        ledger.booked.clear()
        ledger.runs.clear()
        ledger.writes = 0
        records = [a_record(started_at=START - timedelta(seconds=n), cpu_energy_j=float(n)) for n in range(RECORDS)]
        for _ in range(100):
            ledger.faults = chance.choices([*SERVER_FAULTS, ""], k=chance.randrange(4))
            faults = len(ledger.faults)
            dying(chance.randrange(1, 30))
            try:
                keep(folder, records)
                send(folder, ledger)
            except Killed:
                deaths["client"] += 1
            except (Unreachable, SpoolError):
                pass
            dying(0)
            deaths["server"] += faults - len(ledger.faults)
            if folder.exists() and is_done(folder):
                break
        assert is_done(folder), spool.counts(folder)
        assert set(ledger.booked) == {record.record_id for record in records}
        assert ledger.writes == RECORDS + 1  # each once, and the run
        assert list(ledger.runs) == ["r"]
        assert not list(folder.glob("damaged/*"))
    assert sum(deaths.values()) >= 200, deaths
    assert min(deaths.values()) > 40, deaths


def test_a_run_that_is_kept_anew_while_it_travels_is_sent_again(tmp_path):
    run = {"external_id": "r", "pipeline": "kd", "student": "s"}
    spool.keep_run(run, [], study="s", spool_dir=tmp_path)
    ((folder, old),) = spool.pending_runs(tmp_path)
    spool.keep_run({**run, "seed": 1}, [], study="s", spool_dir=tmp_path)
    spool.mark_run_sent(folder, old)
    assert [document["run"]["seed"] for _, document in spool.pending_runs(tmp_path)] == [1]


def test_a_run_without_a_name_of_its_own_is_refused(tmp_path):
    with pytest.raises(SpoolError, match="external_id"):
        spool.keep_run({"pipeline": "kd"}, [], study="s", spool_dir=tmp_path)


def test_a_server_that_stays_away_for_a_day_is_asked_on(tmp_path):
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 1500:
            raise Killed

    with pytest.raises(Killed), Client("http://127.0.0.1:9", "t", attempts=10**9, sleep=sleep) as client:
        client.status()
    assert sum(waited) > 12 * 3600
    assert max(waited) <= clients.LONGEST_WAIT_S
