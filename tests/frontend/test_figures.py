"""How figures are written for people."""

import re

import pytest

from frontend.templatetags import figures
from registry.models import Stage


def text(markup):
    return re.sub(r"<[^>]+>", "", str(markup)).replace("&nbsp;", " ")


@pytest.mark.parametrize(
    ("joules", "written"),
    [
        (22_680_000, "6.30 kWh"),
        (842_400_000, "234.0 kWh"),
        (9000, "2.50 Wh"),
        (20, "20.00 J"),
        (0, "0.00 J"),
        (None, "not measured"),
        ("", "not measured"),
    ],
)
def test_energy_stands_in_the_unit_that_reads_best_and_none_is_never_zero(joules, written):
    assert text(figures.energy(joules)) == written


@pytest.mark.parametrize(("seconds", "written"), [(42, "42.0 s"), (200, "3 min 20 s"), (18720, "5 h 12 min")])
def test_durations_are_written_in_two_units(seconds, written):
    assert text(figures.seconds(seconds)) == written


def test_co2e_of_little_energy_is_in_grams():
    assert (text(figures.mass(0.0123)), text(figures.mass(2))) == ("12.30 g", "2.00 kg")


def test_nested_facts_become_rows():
    assert figures.flat({"a": {"b": True, "c": None}, "d": [1, 2], "e": []}) == [
        ("a.b", "yes"),
        ("a.c", "not stated"),
        ("d", "1, 2"),
        ("e", "none"),
    ]


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_text_that_a_spreadsheet_would_run_is_disarmed(value):
    from registry.tables import neutral

    assert neutral(value) == f"'{value}"


def test_a_negative_number_stays_a_number():
    from registry.tables import neutral

    assert neutral(-0.5) == -0.5


def test_a_list_of_objects_reads_as_facts_side_by_side():
    gpus = [{"name": "H100", "power_limit_w": 700}]
    assert figures.flat({"gpus": gpus}) == [("gpus", "name H100 · power_limit_w 700")]


def test_a_flag_that_two_components_raise_is_shown_once_with_both_messages():
    flags = [{"code": "estimated", "message": "CPU."}, {"code": "x", "message": "X."}]
    shown = figures.merged([*flags, {"code": "estimated", "message": "RAM."}])
    assert shown == [{"code": "estimated", "message": "CPU. RAM."}, flags[1]]


def test_each_component_is_listed_with_its_own_bounds():
    record = Stage(
        components=["gpu", "cpu"],
        gpu_energy_j=10.0,
        gpu_energy_lower_j=9.0,
        gpu_energy_upper_j=11.0,
        gpu_method="nvml_counter",
        cpu_energy_j=1.0,
    )
    gpu, cpu = figures.by_component(record)
    assert gpu == {"name": "gpu", "value": 10.0, "lower": 9.0, "upper": 11.0, "method": "nvml_counter"}
    assert (cpu["value"], cpu["lower"]) == (1.0, None)
