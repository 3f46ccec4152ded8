"""Kill things at random moments while measurements travel, then look whether any was lost or counted twice.

    STAGEMETER_HOME=/tmp/ingest .venv/bin/python -m bench.ingest.kills [--kills 200] [--seed 7]

Each round starts one of three clients in a process of its own (the spool's `stagemeter upload`, 400 records as
NDJSON, 40 whole runs as NDJSON), waits until its request is on its way, and after a random time kills the server (all
of gunicorn), one worker, PostgreSQL (immediate shutdown, as after a power cut), or the client, or cuts the connection
after a random number of bytes. Then the same is sent again until all of it is confirmed, as a person or the spool
would. In the end every record must be there once with the content it was sent with, and `verify_ledger` find nothing.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.ingest.documents import document, ndjson, record
from bench.ingest.serving import PORT, Server, postmaster, prepare
from registry import embedded

PROXY = PORT + 1
# A whole server takes longest to be back, so it dies less often than one of its workers, which loses as much.
FAULTS = {"server": 3, "worker": 5, "database": 4, "client": 4, "network": 4}
CLIENTS = ("spool", "records", "runs")
SENDER = """
import http.client, os, sys
body = sys.stdin.buffer.read()
wire = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
headers = {"Authorization": "Token " + os.environ["BENCH_TOKEN"], "Content-Type": "application/x-ndjson"}
wire.request("POST", sys.argv[2], body, headers)
sys.exit(wire.getresponse().status != 200)
"""


class Proxy:
    """Passes bytes on between the client and the server, until it is told to cut."""

    def __init__(self) -> None:
        self.began, self.left = threading.Event(), -1
        self._listener = socket.create_server(("127.0.0.1", PROXY))
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, cut_after: int = -1) -> None:
        """Forget what was; cut after that many bytes in both directions together, -1 for never."""
        self.began.clear()
        self.left = cut_after

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", PORT))
            except OSError:
                client.close()
                continue
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while chunk := source.recv(4096):
                self.began.set()
                if 0 <= self.left < len(chunk):
                    target.sendall(chunk[: self.left])
                    self.left = -1
                    break
                self.left -= len(chunk) if self.left >= 0 else 0
                target.sendall(chunk)
            else:
                target.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        for end in (source, target):  # both ends see a reset, as when a cable is pulled and a router gives up
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


class Load:
    """What one round sends, and how. `finish` sends it until all of it is confirmed."""

    def __init__(self, client: str, home: Path) -> None:
        self.client, self.spool = client, home / "spool"
        self.records: list[dict[str, Any]] = []
        if client == "spool":
            shutil.rmtree(self.spool, ignore_errors=True)
            self._fill_spool()
        elif client == "records":
            self.records = [record(place, study="bench") for place in range(400)]
            self.path, self.body = "/api/v1/stage-records/", ndjson(self.records)
        else:
            runs = [document() for _ in range(40)]
            self.records = [{**stage, "run_id": run["run"]["external_id"]} for run in runs for stage in run["stages"]]
            self.path, self.body = "/api/v1/runs/upload/", ndjson(runs)

    def _fill_spool(self) -> None:
        from stagemeter import spool
        from stagemeter.records import StageRecord

        self.spool.mkdir(parents=True)
        for place in range(150):
            self.records.append(record(place))
            spool.write_record(self.spool, StageRecord.from_dict(self.records[-1]))
        for _ in range(3):
            run = document()
            stages = [StageRecord.from_dict(stage) for stage in run["stages"]]
            spool.keep_run(run["run"], stages, study="bench", scores=run["scores"], spool_dir=self.spool)
            self.records += [{**stage, "run_id": run["run"]["external_id"]} for stage in run["stages"]]

    def start(self, port: int) -> "subprocess.Popen[bytes]":
        """The client as a process."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if self.client == "spool":
            options = ["--url", f"http://127.0.0.1:{port}", "--study", "bench", "--attempts", "2"]
            command = [sys.executable, "-m", "stagemeter", "upload", *options]
            known = {"STAGEMETER_TOKEN": os.environ["BENCH_TOKEN"], "STAGEMETER_SPOOL": str(self.spool)}
            environment = os.environ | known
            return subprocess.Popen(command, env=environment, **quiet)
        command = [sys.executable, "-c", SENDER, str(port), self.path]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, **quiet)
        threading.Thread(target=_feed, args=[process, self.body], daemon=True).start()
        return process

    def finish(self) -> int:
        """Send until it is confirmed; how often that took. Raises `SystemExit` after 60."""
        for tries in range(1, 61):
            process = self.start(PORT)
            try:
                if process.wait(60) == 0 and not self._waiting():
                    return tries
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            time.sleep(0.3)
        raise SystemExit(f"{self.client}: no confirmation")

    def _waiting(self) -> bool:
        from stagemeter import spool

        return self.client == "spool" and bool(spool.pending(self.spool) or spool.pending_runs(self.spool))


def _feed(process: "subprocess.Popen[bytes]", raw: bytes) -> None:
    try:
        assert process.stdin is not None
        process.stdin.write(raw)
        process.stdin.close()
    except OSError:
        pass


def _break(fault: str, server: Server, client: "subprocess.Popen[bytes]", draw: random.Random) -> None:
    if fault == "server":
        server.kill()
    elif fault == "worker":
        draw.choice(server.tree()[1:]).kill()
    elif fault == "database":
        os.kill(postmaster(), signal.SIGQUIT)
    elif fault == "client":
        client.kill()


def _mend(fault: str, server: Server) -> None:
    if fault == "server":
        server.start()
    elif fault == "database":
        data = embedded.server_home() / "postgres"
        for _ in range(200):
            if not (data / "postmaster.pid").exists():
                break
            time.sleep(0.05)
        embedded._pgserver().get_server(data, cleanup_mode=None).ensure_postgres_running()


def kill(server: Server, rounds: int, kinds: list[str], draw: random.Random) -> None:
    """All rounds, and what came of them."""
    home, proxy, sent = Path(os.environ["STAGEMETER_HOME"]), Proxy(), []
    counts: Counter[str] = Counter()
    faults = draw.choices(kinds, [FAULTS[kind] for kind in kinds], k=rounds)
    for number in range(rounds):
        fault, client = faults[number], CLIENTS[number % 3]
        load = Load(client, home)
        sent += load.records
        proxy.arm(draw.randrange(600_000 if client != "spool" else 250_000) if fault == "network" else -1)
        process = load.start(PROXY)
        proxy.began.wait(20)
        time.sleep(draw.uniform(0, 0.5))
        _break(fault, server, process, draw)
        try:
            answered = process.wait(20) == 0
        except subprocess.TimeoutExpired:  # it waits for an answer that was cut off with the database, say
            process.kill()
            answered = process.wait() == 0
        _mend(fault, server)
        counts[fault] += 1
        counts["in the middle"] += not answered
        counts["sent again"] += load.finish()
        if number % 10 == 9:
            print(f"  {number + 1} of {rounds}: {dict(counts)}", flush=True)
    _account(sent, rounds, counts)


def _account(sent: list[dict[str, Any]], rounds: int, counts: Counter[str]) -> None:
    """Every record once, with its content; an audit line each; nothing derived that is wrong."""
    from django.db import connection

    from registry.models import AuditEvent, Run, Stage
    from registry.services import verification
    from registry.services.ledger import body_digest
    from stagemeter.records import StageRecord

    connection.close()
    here = dict(Stage.objects.values_list("record_id", "body_sha256"))
    fields = StageRecord.__dataclass_fields__
    wanted = {
        body["record_id"]: body_digest(StageRecord.from_dict({k: v for k, v in body.items() if k in fields}).to_dict())
        for body in sent
    }
    lost = sum(name not in here for name in wanted)
    other = sum(name in here and here[name] != digest for name, digest in wanted.items())
    twice = Stage.objects.count() - len(here) + len(here.keys() - wanted.keys())
    audited = AuditEvent.objects.filter(action="stage recorded").count() - len(here)
    uploaded = AuditEvent.objects.filter(action="run uploaded").count() - Run.objects.count()
    wrong = sum(1 for _ in verification.differences())
    print(
        f"{rounds} faults ({', '.join(f'{counts[fault]} {fault}' for fault in FAULTS)}), {counts['in the middle']} of "
        f"them before the answer: {len(wanted):,} records sent, {lost} lost, {twice} too many, {other} with other "
        f"content, {audited:+d} audit lines of records, {uploaded:+d} of runs, {wrong} differences in verify_ledger",
        flush=True,
    )
    if lost or twice or other or audited or uploaded or wrong:
        raise SystemExit(1)


def main() -> None:
    """On a fresh home."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    asked = parser.parse_args()
    if "STAGEMETER_HOME" not in os.environ:
        raise SystemExit("set STAGEMETER_HOME to a folder that may be filled")
    home = Path(os.environ["STAGEMETER_HOME"])
    (home / "static").mkdir(parents=True, exist_ok=True)
    embedded.fill_environment()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "registry.settings", "LOG_LEVEL": "CRITICAL"}
    os.environ["BENCH_TOKEN"] = prepare()
    from registry.models import Stage

    if Stage.objects.exists():
        raise SystemExit("this needs a home without records")
    server = Server()
    try:
        kill(server, asked.kills, asked.faults, random.Random(asked.seed))  # noqa: S311 (no secret)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
