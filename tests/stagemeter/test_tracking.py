"""Runs of an MLflow tracking server: read page by page from here, and handed over as an exported JSON is."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from registry.importers import mlflow
from stagemeter import tracking
from stagemeter.errors import ClientError, Unreachable

POWER = "system/gpu_0_power_usage_watts"
START = 1_790_000_000_000


def _run(number):
    info = {"run_id": f"run{number}", "run_name": f"kd {number}", "status": "FINISHED"}
    info |= {"start_time": START, "end_time": START + 60_000}
    last = [{"key": key, "value": value, "timestamp": START, "step": 0} for key, value in ((POWER, 1.0), ("acc", 0.5))]
    return {"info": info, "data": {"metrics": last, "params": [{"key": "seed", "value": str(number)}], "tags": []}}


class Mlflow(BaseHTTPRequestHandler):
    """Answers as MLflow does, two runs and four points of a history a page."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body, self.headers.get("Authorization")))
        if self.path.endswith("experiments/search"):
            self._say({"experiments": [{"experiment_id": "7", "name": "grid"}, {"experiment_id": "8", "name": "old"}]})
        else:
            first = int(body.get("page_token", 0))
            runs = [_run(number) for number in range(first, min(first + 2, 3))]
            self._say({"runs": runs} | ({"next_page_token": str(first + 2)} if first + 2 < 3 else {}))

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        self.server.asked.append((urlsplit(self.path).path, query, self.headers.get("Authorization")))
        first = 0 if self.server.circle else int(query.get("page_token", ["0"])[0])
        points = [{"key": POWER, "value": 300.0, "timestamp": START + 10_000 * i, "step": i} for i in range(7)]
        more = {"next_page_token": str(first + 4)} if first + 4 < 7 else {}
        self._say({"metrics": points[first : first + 4]} | more)

    def _say(self, answer):
        content = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Mlflow)
    made.asked, made.status, made.circle = [], 200, False
    Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def _uri(server):
    return f"http://127.0.0.1:{server.server_port}"


def test_all_pages_of_runs_and_of_their_power_are_what_the_importer_takes(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "word")
    path = tracking.fetch(_uri(server), tmp_path, experiments=["grid"], where="attributes.status = 'FINISHED'")
    found = mlflow.findings([json.loads(path.read_text())], {})
    assert [stage.facts["gpu_energy_j"] for stage in found.stages] == [18_000.0] * 3
    assert [stage.facts["samples"] for stage in found.stages] == [7] * 3
    assert {score.values["benchmark"] for score in found.scores} == {"acc"}
    assert [group["seed"] for group in found.groups.values()] == [0, 1, 2]
    searched = [body for path, body, _ in server.asked if path.endswith("runs/search")]
    assert [body.get("page_token") for body in searched] == [None, "2"]
    assert searched[0]["experiment_ids"] == ["7"] and "FINISHED" in searched[0]["filter"]
    assert {header for _, _, header in server.asked} == {"Bearer word"}


def test_what_goes_wrong_there_is_said(server, tmp_path):
    with pytest.raises(ClientError, match="'none' is no experiment there; there are grid, old"):
        tracking.fetch(_uri(server), tmp_path, experiments=["none"])
    server.circle = True
    with pytest.raises(ClientError, match="have no end"):
        tracking.fetch(_uri(server), tmp_path)
    server.status = 403
    with pytest.raises(ClientError, match="answered 403 to experiments/search"):
        tracking.fetch(_uri(server), tmp_path)
    with pytest.raises(Unreachable, match="ConnectError"):
        tracking.fetch("http://127.0.0.1:1", tmp_path)
    with pytest.raises(ClientError, match="no address"):
        tracking.fetch("file:///etc", tmp_path)
