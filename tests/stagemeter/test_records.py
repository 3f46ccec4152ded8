"""A record says what was measured, or refuses to be one."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagemeter.errors import RecordError
from stagemeter.records import StageRecord, total_energy
from tests.stagemeter.test_client import START, a_record


def body(**changes):
    return {**a_record().to_dict(), **changes}


def problems(**changes):
    with pytest.raises(RecordError) as refused:
        StageRecord.from_dict(body(**changes))
    return refused.value.problems


def test_a_record_survives_the_wire():
    record = a_record(devices=({"uuid": "GPU-1"},), flags=({"code": "a", "message": "b"},), extra={"x": [1, None]})
    assert StageRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_a_total_with_a_hole_is_not_a_total():
    record = a_record(components=("gpu", "cpu", "ram"))
    assert total_energy(record) == (None, ("gpu",))
    assert total_energy(a_record()) == (140.0, ())


def test_zero_is_a_measurement():
    assert total_energy(a_record(cpu_energy_j=0.0, ram_energy_j=0.0)) == (0.0, ())


def test_times_of_any_zone_are_kept_in_utc():
    berlin = timezone(timedelta(hours=1))
    record = StageRecord.from_dict(body(started_at=START.astimezone(berlin).isoformat()))
    assert record.started_at == START
    assert record.started_at.tzinfo is UTC


def test_the_role_follows_from_a_known_kind():
    assert a_record(kind="logit_caching").role == "teacher"
    assert "role" in problems(kind="pruning", role="")
    assert StageRecord.from_dict(body(kind="pruning", role="student")).role == "student"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu_energy_j", -1.0),
        ("cpu_energy_j", float("nan")),
        ("cpu_energy_j", float("inf")),
        pytest.param("cpu_energy_j", 10**400, id="cpu_energy_j-hundreds of digits"),
        ("cpu_energy_j", "12"),
        ("cpu_energy_j", True),
        ("duration_s", None),
        ("started_at", "yesterday"),
        ("started_at", "2026-01-31T12:00:00"),
        ("started_at", "0001-01-01T00:00:00+14:00"),
        ("ended_at", "2020-01-01T00:00:00Z"),
        ("trained_tokens", 1.5),
        ("trained_tokens", 2**63),
        pytest.param("trained_tokens", 10**5000, id="trained_tokens-thousands of digits"),
        ("rank", 1),
        ("rank", None),
        ("status", "done"),
        ("components", "cpu"),
        ("components", []),
        ("components", ["cpu", "cpu"]),
        ("components", ["reported", "cpu"]),
        ("components", [{}]),
        ("simulated", 1),
        ("kind", ""),
        ("kind", None),
        ("kind", "a\x00b"),
        ("name", "x" * 501),
        ("run_id", 7),
        ("run_id", "\ud800"),
        ("record_id", ""),
        ("coverage", 1.1),
        ("cpu_energy_lower_j", 41.0),
        ("cpu_energy_upper_j", 39.0),
        ("gpu_energy_lower_j", 1.0),
        ("gpu_energy_j", 5.0),
        ("devices", [{"energy_j": -1.0}]),
        ("devices", [{"energy_j": "12"}]),
        ("devices", [{"energy_j": True}]),
        ("devices", [{"uuid": "GPU-1", "energy_j": 5.0}, {"uuid": "GPU-2", "energy_j": float("nan")}]),
        pytest.param("devices", [{"energy_j": 10**400}], id="devices-hundreds of digits"),
        ("devices", [5]),
        ("environment", []),
        ("environment", {"x": float("nan")}),
        ("extra", {"x": "\x00"}),
        ("extra", {"\ud800": 1}),
        ("flags", ["text"]),
        ("flags", {}),
        ("schema_version", 2),
        ("energy", 5),
    ],
)
def test_what_cannot_be_true_is_refused_under_its_own_name(field, value):
    found = problems(**{field: value})
    assert field in found
    assert all(isinstance(text, str) and text.isprintable() for text in found.values())


def test_a_record_is_no_part_of_itself():
    assert list(problems(record_id="a", parent_id="a")) == ["parent_id"]


@pytest.mark.parametrize("energy_j", [None, 0, 12.5])
def test_a_device_may_say_its_energy_or_that_it_was_not_measured(energy_j):
    assert StageRecord.from_dict(body(devices=[{"uuid": "GPU-1", "energy_j": energy_j}])).devices


def test_every_missing_field_is_named_at_once():
    with pytest.raises(RecordError) as refused:
        StageRecord.from_dict({})
    assert set(refused.value.problems) == {"kind", "started_at", "ended_at", "duration_s", "components"}


@pytest.mark.parametrize("value", [None, [], "text", 5])
def test_what_is_no_object_is_no_record(value):
    with pytest.raises(RecordError, match="object"):
        StageRecord.from_dict(value)


def test_a_time_without_a_zone_is_refused_in_code_too():
    with pytest.raises(RecordError, match="zone"):
        a_record(started_at=datetime(2026, 1, 31, 12))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(body())), JSON)
def test_any_value_in_any_field_is_taken_or_refused_but_never_a_crash(field, value):
    try:
        record = StageRecord.from_dict(body(**{field: value}))
    except RecordError as refused:
        assert refused.problems
    else:
        assert StageRecord.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False))) == record


def test_only_a_reported_total_may_come_without_a_duration():
    reported = {"kind": "evaluation", "started_at": START, "ended_at": START, "components": ("reported",)}
    assert StageRecord(duration_s=None, reported_energy_j=5.0, **reported).duration_s is None
    assert "only a reported total" in problems(duration_s=None)["duration_s"]
