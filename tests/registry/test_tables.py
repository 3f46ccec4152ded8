"""Tables that leave the house."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from pyarrow import parquet

from registry.tables import FORMATS, columns_of
from tests import scenes

COLUMNS = {"name": "text", "energy_j": "number", "n": "count", "on": "flag", "at": "moment", "missing": "object"}
MOMENT = datetime(2026, 1, 31, tzinfo=UTC)
ROWS = [("=1+1", 1.5, 3, True, MOMENT, {"student": ["gpu"]}), ("plain, text", None, None, None, None, {})]


def written(form, columns=COLUMNS, rows=ROWS):
    return b"".join(FORMATS[form][1](columns, rows))


def test_csv_holds_no_formula_and_nothing_for_what_is_not_measured():
    read = list(csv.DictReader(io.StringIO(written("csv").decode())))
    assert read[0]["name"] == "'=1+1" and read[0]["missing"] == '{"student": ["gpu"]}'
    assert read[1] == {"name": "plain, text", "energy_j": "", "n": "", "on": "", "at": "", "missing": ""}


def test_json_is_an_array_of_objects_also_when_empty():
    read = json.loads(written("json"))
    assert read[0] == {"name": "=1+1", "energy_j": 1.5, "n": 3, "on": True, "at": "2026-01-31T00:00:00+00:00"} | {
        "missing": {"student": ["gpu"]}
    }
    assert read[1]["energy_j"] is None
    assert json.loads(written("json", rows=[])) == []
    assert len(json.loads(written("json", rows=ROWS * 1500))) == 3000


def test_parquet_has_types_and_nulls():
    table = parquet.read_table(io.BytesIO(written("parquet")))
    assert [str(field.type) for field in table.schema] == [
        "string",
        "double",
        "int64",
        "bool",
        "timestamp[us, tz=UTC]",
        "string",
    ]
    assert table.column("energy_j").to_pylist() == [1.5, None]
    assert table.column("at").to_pylist() == [MOMENT, None]
    assert parquet.read_table(io.BytesIO(written("parquet", rows=[]))).num_rows == 0


def test_columns_are_judged_by_their_values():
    rows = [{"a": 1, "b": None, "c": 1}, {"a": 2, "b": None, "c": 0.5, "d": ["x"], "e": True}]
    assert columns_of(rows) == {"a": "count", "b": "text", "c": "number", "d": "object", "e": "flag"}


@pytest.mark.django_db
def test_the_runs_that_the_filters_leave_go_out_whole(study, client, owner):
    for n, name in enumerate(("=alpha", "=beta", "=gamma")):
        scenes.add_run(study, ("sft", "kd")[n % 2], external_id=name)
    client.force_login(owner)
    read = list(csv.DictReader(io.StringIO(b"".join(client.get("/runs/export.csv", {"pipeline": "sft"})).decode())))
    assert [row["external_id"] for row in read] == ["'=gamma", "'=alpha"]
    assert len(json.loads(b"".join(client.get("/runs/export.json")))) == 3
    searched = b"".join(client.get("/runs/export.json", {"q": "bet"}))
    assert [row["external_id"] for row in json.loads(searched)] == ["=beta"]
    assert client.get("/runs/export.xlsx").status_code == 404
    assert client.get("/runs/export.csv", {"pipeline": "none"}).status_code == 400
    client.logout()
    assert json.loads(b"".join(client.get("/runs/export.json"))) == []
