"""Against a small HTTP server that answers as it is told."""

import json
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from stagemeter import spool
from stagemeter.client import Client
from stagemeter.errors import ClientError, Refused, Unreachable
from stagemeter.records import StageRecord

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def a_record(**changes):
    values = {
        "kind": "student_training",
        "started_at": START,
        "ended_at": START + timedelta(seconds=10),
        "duration_s": 10.0,
        "components": ("cpu", "ram"),
        "cpu_energy_j": 40.0,
        "ram_energy_j": 100.0,
    }
    return StageRecord(**{**values, **changes})


class Server:
    """Gives the queued answers in turn and keeps what it was asked."""

    def __init__(self):
        self.answers, self.requests = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(None)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_json = self.headers["Content-Type"] == "application/json"
                self.answer(json.loads(body) if is_json else body)

            def answer(self, body):
                outer.requests.append((self.path, dict(self.headers), body))
                status, answer, headers = outer.answers.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                data = json.dumps(answer).encode() if not isinstance(answer, bytes) else answer
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def answer(self, status, body, **headers):
        self.answers.append((status, body, headers))

    def close(self):
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(server, waits):
    with Client(server.url, "secret", sleep=waits.append) as opened:
        yield opened


def results(*statuses):
    return {"results": [{"index": i, "status": status} for i, status in enumerate(statuses)]}


def test_records_travel_with_the_token_and_come_back_with_one_result_each(server, client):
    server.answer(200, results("created", "same"))
    records = [a_record(), a_record()]
    assert [r["status"] for r in client.upload(records, study="my-study")] == ["created", "same"]
    path, headers, body = server.requests[0]
    assert path == "/api/v1/stage-records/"
    assert headers["Authorization"] == "Token secret"
    assert body == [{**record.to_dict(), "study": "my-study"} for record in records]


def test_a_whole_run_travels_in_one_document(server, client):
    server.answer(201, {"id": "run-1"})
    record = a_record(run_id="mine")
    run = {"external_id": "mine", "pipeline": "kd", "student": "small"}
    assert client.upload_run(run, [record], study="s", scores=[{"benchmark": "gsm8k"}]) == {"id": "run-1"}
    path, _, body = server.requests[0]
    assert path == "/api/v1/runs/upload/"
    assert body["run"] == run
    assert body["scores"] == [{"benchmark": "gsm8k"}]
    assert "run_id" not in body["stages"][0]
    assert body["stages"][0]["record_id"] == record.record_id


def test_many_records_travel_in_batches_and_keep_their_places(server, client):
    server.answer(200, results(*["created"] * 200))
    server.answer(200, results("created"))
    found = client.upload(a_record() for _ in range(201))
    assert [result["index"] for result in found] == list(range(201))


def test_a_failing_server_is_asked_again_under_the_same_key(server, client, waits):
    server.answer(503, {})
    server.answer(500, b"<html>")
    server.answer(200, {"id": "run-1"})
    assert client.submit({"pipeline": "kd"}, study="s") == {"id": "run-1"}
    keys = {headers["Idempotency-Key"] for _, headers, _ in server.requests}
    assert len(keys) == 1
    assert len(waits) == 2
    assert server.requests[0][2] == {"spec": {"pipeline": "kd"}, "study": "s"}


def test_the_client_waits_as_long_as_it_is_asked_to(server, client, waits):
    server.answer(429, {}, **{"Retry-After": "7"})
    server.answer(200, {"exact": []})
    assert client.lookup({"kind": "logit_cache"}) == {"exact": []}
    assert waits == [7.0]


def test_a_refusal_is_raised_at_once_with_what_the_server_named(server, client, waits):
    server.answer(409, {"error": {"code": "conflict", "artifact": {"id": "a"}}})
    with pytest.raises(Refused) as refused:
        client.submit({})
    assert refused.value.status == 409
    assert refused.value.problems["artifact"] == {"id": "a"}
    assert waits == []


def test_a_server_that_stays_away_is_unreachable(server, client):
    server.close()
    with pytest.raises(Unreachable, match="5 times"):
        client.plan({})
    server.close = lambda: None


def test_a_page_that_is_no_api_is_said_to_be_none(server, client):
    server.answer(200, b"<html>hello</html>")
    with pytest.raises(ClientError, match="is this a Stagemeter server"):
        client.lookup({})


@pytest.mark.parametrize(("url", "token"), [("stagemeter.example", "t"), ("https://x", ""), ("https://x", "ä")])
def test_a_bad_address_or_token_is_refused_before_anything_is_sent(url, token):
    with pytest.raises(ClientError):
        Client(url, token)


def test_a_spool_is_emptied_of_what_the_server_took_and_keeps_the_rest(server, client, tmp_path):
    taken, refused = a_record(), a_record(started_at=START + timedelta(seconds=1))
    for record in (taken, refused):
        spool.write_record(tmp_path, record)
    server.answer(200, results("created", "refused"))
    client.upload_spool(tmp_path)
    assert spool.pending(tmp_path) == [refused]
