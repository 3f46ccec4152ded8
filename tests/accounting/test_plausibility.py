"""What cannot be true of a record, and what is hardly true."""

from datetime import UTC, datetime, timedelta

import pytest

from registry.accounting.plausibility import doubts, impossible
from tests.conftest import make_record

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GPU = {"uuid": "GPU-1", "power_limit_w": 700.0}


def gpu(**changes):
    return make_record(**({"components": ("gpu",), "cpu_energy_j": None, "ram_energy_j": None} | changes))


def codes(record, now=NOW):
    return [doubt.code for doubt in doubts(record, now)]


def at(start, seconds, duration_s=None):
    end = start + timedelta(seconds=seconds)
    return {"started_at": start, "ended_at": end, "duration_s": seconds if duration_s is None else duration_s}


def test_an_ordinary_record_is_not_doubted():
    assert codes(make_record()) == []


def test_energy_up_to_the_power_limit_is_believed_and_above_it_is_not():
    two = (GPU, {**GPU, "uuid": "GPU-2"})
    assert codes(gpu(gpu_energy_j=60 * 1400.0, devices=two)) == []
    assert codes(gpu(gpu_energy_j=60 * 1400.0 * 1.06, devices=two)) == ["energy_above_power"]


def test_without_a_stated_limit_only_what_no_device_draws_is_doubted():
    unknown = ({"uuid": "GPU-1"},)
    assert codes(gpu(gpu_energy_j=60 * 2000.0, devices=unknown)) == []
    assert codes(gpu(gpu_energy_j=60 * 3001.0, devices=unknown)) == ["energy_above_power"]


@pytest.mark.parametrize(("name", "joules"), [("cpu_energy_j", 60 * 5001.0), ("ram_energy_j", 60 * 3001.0)])
def test_hosts_have_bounds_too(name, joules):
    assert codes(make_record(**{name: joules})) == ["energy_above_power"]


def test_energy_in_no_time_is_doubted_but_not_a_figure_from_a_table_that_states_none():
    start = make_record().started_at
    assert codes(make_record(**at(start, 0))) == ["energy_above_power"] * 2
    stated = {"components": ("reported",), "cpu_energy_j": None, "ram_energy_j": None, "reported_energy_j": 1e9}
    assert codes(make_record(**(at(start, 0) | {"duration_s": None}), **stated)) == []


@pytest.mark.parametrize(("tokens", "found"), [(6e8, []), (6e8 + 1, ["tokens_against_time"])])
def test_more_tokens_than_can_be_trained_on_in_that_time(tokens, found):
    assert codes(make_record(trained_tokens=int(tokens))) == found


def test_clocks_that_disagree_are_doubted():
    start = make_record().started_at
    assert codes(make_record(**at(start, 60, 64.9))) == []
    assert codes(make_record(**at(start, 60, 66.0))) == ["clocks_disagree"]


def test_a_record_from_the_future_is_doubted_and_from_the_day_after_tomorrow_impossible():
    soon, late = make_record(**at(NOW + timedelta(minutes=10), 60)), make_record(**at(NOW + timedelta(days=2), 60))
    assert codes(soon) == ["clock_ahead"]
    assert impossible(soon, NOW) == {}
    assert "future" in impossible(late, NOW)["ended_at"]
