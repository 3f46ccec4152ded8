"""Long lists of records: NDJSON, JSON arrays beyond an ordinary body, thousands at a time."""

import json
from io import BytesIO

import pytest
from django.db import DataError
from django.test import RequestFactory
from rest_framework.exceptions import ParseError

from registry.api import batches, bulk
from registry.models import AuditEvent, Stage
from registry.services import ledger
from tests import scenes
from tests.api.conftest import Caller, wire
from tests.conftest import make_record


def ndjson(api: Caller, raw: bytes | list, query: str = "", **headers: str):
    body = raw if isinstance(raw, bytes) else b"\n".join(json.dumps(item).encode() for item in raw)
    return api.post(f"stage-records/{query}", body, content_type="application/x-ndjson", **headers)


def statuses(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [result["status"] for result in response.json()["results"]]


def test_every_line_gets_a_result_and_a_bad_one_spoils_only_itself(api, project):
    lines = [json.dumps(wire(record_id="a")), "", '{"kind": ', "[1]", json.dumps(wire(record_id="b")), '{"x": NaN}']
    results = ndjson(api, "\n".join(lines).encode()).json()["results"]
    assert [result["status"] for result in results] == ["created", "refused", "refused", "created", "refused"]
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]
    assert results[1]["error"]["code"] == results[4]["error"]["code"] == "parse_error"
    assert set(Stage.objects.values_list("record_id", flat=True)) == {"a", "b"}


def test_the_same_lines_again_are_the_same_and_an_audit_event_stands_for_each_once(api, project):
    lines = [wire(record_id=name) for name in "abc"]
    assert statuses(ndjson(api, lines)) == ["created"] * 3
    assert statuses(ndjson(api, lines[::-1])) == ["same"] * 3
    assert AuditEvent.objects.filter(action="stage recorded").count() == 3


def test_a_line_of_any_other_size_than_the_cap_is_named(api, project, monkeypatch):
    monkeypatch.setattr(bulk, "MAX_ITEM_BYTES", 2000)
    response = ndjson(api, [wire(extra={"note": "x" * 2000})])
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


def test_more_lines_than_the_cap_are_refused_and_nothing_is_booked(api, project, settings):
    settings.MAX_LIST_ITEMS = 2
    assert ndjson(api, [wire(), wire(), wire()]).status_code == 413
    assert not Stage.objects.exists()


def test_a_body_beyond_the_cap_of_a_list_is_refused(api, project, settings):
    settings.MAX_BULK_BYTES = 100
    assert ndjson(api, [wire()]).status_code == 413


@pytest.fixture
def small_bodies(settings, monkeypatch):
    """So that a few records are a long list."""
    settings.MAX_BODY_BYTES = 100
    monkeypatch.setattr(bulk, "CHUNK", 700)


@pytest.mark.usefixtures("small_bodies")
def test_a_long_array_is_read_item_by_item(api, project):
    items = [wire(record_id=f"é{number}", extra={"a": [1, {"b": "]"}]}) for number in range(5)]
    body = json.dumps(items, indent=1, ensure_ascii=False).encode()
    assert statuses(api.post("stage-records/", body)) == ["created"] * 5


@pytest.mark.usefixtures("small_bodies")
@pytest.mark.parametrize(
    "body",
    [
        b"[" + json.dumps(wire()).encode(),
        b"[" + json.dumps(wire()).encode() + b"] 1",
        b"[" + json.dumps(wire()).encode() + b" 5]" + b" " * 100,
        b"[" + json.dumps(wire(name="\ud800")).encode().replace(b"\\ud800", b"\xff") + b"]",
    ],
)
def test_a_long_array_that_is_no_json_books_nothing(api, project, body):
    response = api.post("stage-records/", body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "parse_error")
    assert not Stage.objects.exists()


@pytest.mark.usefixtures("small_bodies")
def test_the_same_long_list_under_its_key_is_answered_again(api, project):
    key = {"HTTP_IDEMPOTENCY_KEY": "k"}
    first, again = (api.post("stage-records/", [wire(record_id="a")], **key) for _ in range(2))
    assert statuses(first) == statuses(again) == ["created"]
    assert again["Idempotency-Replayed"] == "true"
    assert api.post("stage-records/", [wire(record_id="b")], **key).status_code == 422


def test_a_body_that_was_cut_off_books_nothing():
    request = RequestFactory().get("/")
    request.META["CONTENT_LENGTH"] = "5000"
    with pytest.raises(ParseError, match="cut off after 2 of 5,000 bytes"):
        bulk.NDJSONParser().parse(BytesIO(b"{}"), parser_context={"request": request})


@pytest.mark.django_db(transaction=True)
def test_each_chunk_is_a_transaction_of_its_own_and_an_atomic_list_is_one(transactional_db, api, project, monkeypatch):
    monkeypatch.setattr(batches, "AT_ONCE", 2)
    monkeypatch.setattr(ledger, "audit", Failing(after=1))
    items = [wire(record_id=name) for name in "abcd"]
    with pytest.raises(ZeroDivisionError):
        ndjson(api, items, "?atomic=1")
    assert not Stage.objects.exists()
    monkeypatch.setattr(ledger, "audit", Failing(after=1))
    with pytest.raises(ZeroDivisionError):
        ndjson(api, items)
    assert set(Stage.objects.values_list("record_id", flat=True)) == {"a", "b"}


class Failing:
    """An audit log that breaks after some calls."""

    def __init__(self, after: int) -> None:
        self.left = after

    def record_all(self, **_values) -> None:
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError


def test_a_row_that_the_database_itself_refuses_spoils_only_itself(project, monkeypatch):
    insert = ledger.bulk.insert

    def picky(model, rows, **options):
        if any(row.get("record_id") == "b" for row in rows):
            raise DataError("value out of range")
        return insert(model, rows, **options)

    monkeypatch.setattr(ledger.bulk, "insert", picky)
    entries = [ledger.Entry(record=make_record(record_id=name), project=project) for name in "abc"]
    outcomes = ledger.record_stages(entries, origin="upload")
    assert [outcomes[0], outcomes[2]] == [True, True]
    assert "out of range" in outcomes[1].problems["record"]


def test_a_thousand_records_of_many_runs_take_a_constant_number_of_queries(
    api, study, django_assert_max_num_queries, monkeypatch
):
    runs = [scenes.add_run(study, external_id=f"run-{number}") for number in range(30)]
    items = [wire(record_id=f"r{number}", run_id=f"run-{number % 30}") for number in range(90)]
    with django_assert_max_num_queries(30):
        assert set(statuses(ndjson(api, items))) == {"created"}
    for run in runs:
        run.refresh_from_db()
        assert (run.summary.records, run.summary.student_energy_j) == (3, 3300.0)
