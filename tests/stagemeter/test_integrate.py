"""Power integrated, both witnesses beside each other, and how well a stage was sampled."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagemeter.energy import Window
from stagemeter.integrate import DeviceFold, gpu_energy, power_energy, sampling
from stagemeter.samplelog import GpuPoint
from tests.stagemeter.gpu_readings import DEVICE, every, steady, without

WINDOW = Window(start=10.0, end=20.0, period_s=0.5)


def codes(energy):
    return [flag["code"] for flag in energy.flags]


def test_power_says_that_it_bridged_a_hole():
    by_power = power_energy(steady(300.0, without(every(0.5), 12, 17)), WINDOW, 700.0)
    assert codes(by_power) == ["power_gap"]
    assert by_power.lower_j == pytest.approx(300 * 5, rel=0.01)
    assert by_power.upper_j == pytest.approx(300 * 5 + 700 * 5, rel=0.01)


@pytest.mark.parametrize("limit_w", [None, 0.0])
def test_a_card_that_does_not_say_its_limit_is_bounded_by_what_any_card_can_draw(limit_w):
    powers = [replace(p, mj=None) for p in steady(300.0, without(every(0.5), 12, 17))]
    energy = gpu_energy(powers, WINDOW, DEVICE | {"power_limit_w": limit_w})
    assert energy.upper_j == pytest.approx(300 * 5 + 2000 * 5, rel=0.01)
    assert codes(energy) == ["power_gap", "power_limit_unknown"]
    garbage = [replace(p, mj=p.mj + 2**40) if i % 3 == 2 else p for i, p in enumerate(steady(300.0, every(0.1)))]
    assert gpu_energy(garbage, WINDOW, DEVICE | {"power_limit_w": limit_w}).value_j == pytest.approx(3000, rel=0.01)


def test_readings_of_nothing_between_readings_of_something_are_left_out():
    """A driver that answers 0 W has not looked."""
    points = [replace(p, mj=None, w=0.0 if i % 3 == 0 else p.w) for i, p in enumerate(steady(300.0, every(0.1)))]
    energy = gpu_energy(points, WINDOW, DEVICE)
    assert energy.value_j == pytest.approx(3000, rel=0.001)
    assert codes(energy) == ["power_implausible"]
    assert "readings of 0 W" in energy.flags[0]["message"]


def test_a_power_that_is_always_zero_is_no_figure():
    assert gpu_energy([replace(p, mj=None) for p in steady(0.0, every(0.1))], WINDOW, DEVICE).value_j is None


def test_megawatts_are_left_out_and_counted():
    points = steady(300.0, every(0.5))
    points[10] = GpuPoint(points[10].t, points[10].mj, 3.7e6)
    by_power = power_energy(points, WINDOW, 700.0)
    assert codes(by_power) == ["power_implausible"]
    assert by_power.value_j == pytest.approx(3000)


def test_a_mean_over_the_second_before_is_not_the_power_at_an_edge():
    """Power steps from 100 to 600 W at the stage's start; the driver's mean follows for a second."""
    points = [GpuPoint(t, None, 100 + 500 * min(max(t - 10, 0), 1)) for t in every(0.1)]
    device = {**DEVICE, "power_window_s": 1.0}
    energy = gpu_energy(points, WINDOW, device)
    assert energy.value_j == pytest.approx(6000 - 250, abs=1)
    assert energy.lower_j <= 6000 <= energy.upper_j


def test_a_counter_and_a_power_that_disagree_are_both_kept_and_flagged():
    points = [replace(p, w=400.0) for p in steady(300.0, every(0.5))]
    energy = gpu_energy(points, WINDOW, DEVICE)
    assert (energy.value_j, energy.cross_check_j) == (pytest.approx(3000), pytest.approx(4000))
    assert codes(energy) == ["counter_power_disagree", "counter_pace_unknown"]
    assert "+33 %" in energy.flags[0]["message"]


def test_instant_power_that_beats_with_the_load_is_named():
    points = [replace(p, inst_w=216.0) for p in steady(300.0, every(0.1))]
    energy = gpu_energy(points, WINDOW, DEVICE)
    assert codes(energy) == ["instant_alias", "counter_pace_unknown"]
    assert "-28 %" in energy.flags[0]["message"]
    assert energy.instant_j == pytest.approx(2160)


def test_the_reference_harness_rule_is_the_same_code_at_half_a_second():
    """A burst of 0.1 s in every second, seen twice a second by a sensor without memory: off for ever."""
    points = [GpuPoint(t, None, 700.0 if round(t / 0.1) % 10 == 0 else 100.0) for t in every(0.1)]
    coarse = [p for i, p in enumerate(points) if i % 5 == 0]
    truth = 10 * (100 + 600 * 0.1)
    assert power_energy(points, WINDOW, 700.0).value_j == pytest.approx(truth, rel=0.05)
    assert power_energy(coarse, WINDOW, 700.0).value_j > 2 * truth


def test_a_device_holds_no_more_readings_on_a_long_stage():
    fold = DeviceFold(Window(start=10.0, end=100_000.0, period_s=0.1), DEVICE)
    for i in range(20_000):
        fold.add(GpuPoint(9.0 + 0.1 * i, 30_000 * i, 300.0))
    held = fold._counter._start.points, fold._counter._end.points
    assert sum(len(points) for points in held) < 100


def test_coverage_is_the_share_between_close_samples():
    quality = sampling(without(every(0.5), 12, 17), WINDOW)
    assert quality.coverage == pytest.approx(0.5)
    assert quality.longest_gap_s == pytest.approx(5)


def test_a_stage_without_samples_is_not_covered():
    quality = sampling([], WINDOW)
    assert (quality.coverage, quality.longest_gap_s, quality.samples) == (0.0, 10.0, 0)


def test_a_stage_that_samples_reach_into_is_covered_as_far():
    early, late = sampling(every(0.5, 5, 12.5), WINDOW), sampling(every(0.5, 17.5, 25), WINDOW)
    assert (early.coverage, early.longest_gap_s) == (pytest.approx(0.25), pytest.approx(7.5))
    assert (late.coverage, late.longest_gap_s) == (pytest.approx(0.25), pytest.approx(7.5))


@given(
    watts=st.lists(st.floats(1, 700), min_size=22, max_size=60),
    start=st.floats(0, 0.5),
    length=st.floats(0.1, 5),
)
def test_the_figure_by_power_lies_within_its_bounds_and_below_the_peak(watts, start, length):
    points = [GpuPoint(0.5 * i, None, w) for i, w in enumerate(watts)]
    energy = power_energy(points, Window(start=start, end=start + length, period_s=0.5), 700.0)
    assert energy.lower_j <= energy.value_j <= energy.upper_j
    assert energy.value_j <= max(watts) * length + 1e-6


@given(st.lists(st.integers(2, 700_000), min_size=22, max_size=60), st.floats(0.1, 9.9))
def test_two_halves_of_a_stage_sum_to_the_whole(steps, cut):
    total, points = 0, []
    for i, step in enumerate([0, *steps]):
        total += step // 2
        points.append(GpuPoint(0.5 * i, total, None))
    windows = [Window(start=a, end=b, period_s=0.5) for a, b in ((0, 10), (0, cut), (cut, 10))]
    whole, first, second = (gpu_energy(points, window, {"power_limit_w": None}).value_j for window in windows)
    assert whole == pytest.approx(first + second, abs=1e-6)
