"""Arithmetic on logs with known integrals, without a clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagemeter.integrate import Window, cpu_energy, gpu_energy, power_energy, sampling
from stagemeter.samplelog import CpuPoint, GpuPoint, SampleLog, Tick, add_lines

DEVICE = {"uuid": "GPU-1", "name": "card", "power_limit_w": 700.0}
WINDOW = Window(start=10.0, end=20.0, period_s=0.5)


def steady(watts, times, *, offset_mj=5000):
    return [GpuPoint(t, offset_mj + int(1000 * watts * t), watts) for t in times]


def every(step, start=9.5, end=20.5):
    return [start + i * step for i in range(round((end - start) / step) + 1)]


def without(times, a, b):
    return [t for t in times if not a < t < b]


def codes(energy):
    return [flag["code"] for flag in energy.flags]


def test_the_counters_difference_is_interpolated_at_both_edges():
    energy = gpu_energy(steady(300.0, every(0.4, 9.9, 20.7)), WINDOW, DEVICE, tick_s=0.1)
    assert energy.value_j == pytest.approx(3000, abs=0.01)
    assert energy.method == "nvml_counter"


def test_bounds_widen_with_the_counters_tick():
    fine, coarse = (gpu_energy(steady(300.0, every(0.5)), WINDOW, DEVICE, tick_s=tick) for tick in (0.001, 0.1))
    assert coarse.lower_j < fine.lower_j <= 3000 <= fine.upper_j < coarse.upper_j
    assert coarse.upper_j - coarse.value_j == pytest.approx(700 * 0.12, abs=0.1)


def test_a_watched_tick_takes_the_lag_out_of_an_edge_and_bounds_it():
    # 300 W; the counter moves at 9.97, 10.07, …, 20.07: a sample at an edge shows what it showed 30 ms before.
    def shown(t):
        return int(300_000 * ((t - 9.97) // 0.1 * 0.1))

    points = [GpuPoint(t, shown(t), 300.0) for t in (10.0, *every(0.53, 10.3, 19.8), 20.0)]
    ticks = [Tick(10.07, 0, 30_000), Tick(20.07, 3_000_000, 3_030_000)]
    energy = gpu_energy(points, WINDOW, DEVICE, tick_s=0.1, ticks=ticks)
    assert energy.value_j == pytest.approx(3000, abs=0.01)
    assert (energy.lower_j, energy.upper_j) == (pytest.approx(2970, abs=0.01), pytest.approx(3030, abs=0.01))


def test_a_counter_sees_across_a_hole_and_power_says_that_it_bridged_one():
    points = steady(300.0, without(every(0.5), 12, 17))
    assert gpu_energy(points, WINDOW, DEVICE, tick_s=0.1).value_j == pytest.approx(3000)
    by_power = power_energy(points, WINDOW, 700.0)
    assert codes(by_power) == ["power_gap"]
    assert by_power.lower_j == pytest.approx(300 * 5)
    assert by_power.upper_j == pytest.approx(300 * 5 + 700 * 5)


def test_a_gap_without_a_power_limit_has_no_upper_bound():
    assert power_energy(steady(300.0, without(every(0.5), 12, 17)), WINDOW, None).upper_j is None


def test_a_counter_that_falls_is_not_used():
    points = [p if p.t < 15 else GpuPoint(p.t, p.mj - 2_000_000, p.w) for p in steady(300.0, every(0.5))]
    energy = gpu_energy(points, WINDOW, DEVICE, tick_s=0.1)
    assert (energy.method, codes(energy)) == ("nvml_power", ["counter_reset"])
    assert energy.value_j == pytest.approx(3000)


def test_a_counter_that_jumps_beyond_what_the_card_can_draw_is_not_used():
    points = [p if p.t < 15 else GpuPoint(p.t, p.mj + 10_000_000, p.w) for p in steady(300.0, every(0.5))]
    energy = gpu_energy(points, WINDOW, DEVICE, tick_s=0.1)
    assert codes(energy) == ["counter_implausible"]
    assert energy.value_j == pytest.approx(3000)


def test_megawatts_are_left_out_and_counted():
    points = steady(300.0, every(0.5))
    points[10] = GpuPoint(points[10].t, points[10].mj, 3.7e6)
    by_power = power_energy(points, WINDOW, 700.0)
    assert codes(by_power) == ["power_implausible"]
    assert by_power.value_j == pytest.approx(3000)


def test_a_counter_and_a_power_that_disagree_are_both_kept_and_flagged():
    points = [GpuPoint(p.t, p.mj, 400.0) for p in steady(300.0, every(0.5))]
    energy = gpu_energy(points, WINDOW, DEVICE, tick_s=0.1)
    assert (energy.value_j, energy.cross_check_j) == (pytest.approx(3000), pytest.approx(4000))
    assert codes(energy) == ["counter_power_disagree"]


def test_a_log_that_stops_early_gives_no_figure():
    energy = gpu_energy(steady(300.0, every(0.5, 9.5, 15.0)), WINDOW, DEVICE, tick_s=0.1)
    assert energy.value_j is None
    assert codes(energy) == ["power_incomplete"]


def test_no_reading_at_all_gives_no_figure():
    assert gpu_energy([], WINDOW, DEVICE).value_j is None


def test_coverage_is_the_share_between_close_samples():
    quality = sampling(without(every(0.5), 12, 17), WINDOW)
    assert quality.coverage == pytest.approx(0.5)
    assert quality.longest_gap_s == pytest.approx(5)


def test_a_stage_without_samples_is_not_covered():
    quality = sampling([], WINDOW)
    assert (quality.coverage, quality.longest_gap_s, quality.samples) == (0.0, 10.0, 0)


@given(
    watts=st.lists(st.floats(0, 700), min_size=22, max_size=60),
    start=st.floats(0, 0.5),
    length=st.floats(0.1, 5),
)
def test_the_figure_by_power_lies_within_its_bounds_and_below_the_peak(watts, start, length):
    points = [GpuPoint(0.5 * i, None, w) for i, w in enumerate(watts)]
    energy = power_energy(points, Window(start=start, end=start + length, period_s=0.5), 700.0)
    assert energy.lower_j <= energy.value_j <= energy.upper_j
    assert energy.value_j <= max(watts) * length + 1e-6


@given(st.lists(st.integers(0, 700_000), min_size=22, max_size=60), st.floats(0.1, 9.9))
def test_two_halves_of_a_stage_sum_to_the_whole(steps, cut):
    total, points = 0, []
    for i, step in enumerate([0, *steps]):
        total += step // 2
        points.append(GpuPoint(0.5 * i, total, None))
    windows = [Window(start=a, end=b, period_s=0.5) for a, b in ((0, 10), (0, cut), (cut, 10))]
    whole, first, second = (
        gpu_energy(points, window, {"power_limit_w": None}, tick_s=0.1).value_j for window in windows
    )
    assert whole == pytest.approx(first + second, abs=1e-6)


def log_of(points, facts=None):
    facts = facts or {"cpu_tdp_w": 80.0, "cpu_threads": 4, "cpu_method": "codecarbon_process"}
    return SampleLog(headers=[{"cpu": facts}], cpu=points)


def test_cpu_energy_is_the_difference_of_the_cumulative_figure():
    points = [CpuPoint(t, 20.0 * (t - 9), 10.0 * (t - 9), t, 1) for t in every(1.0, 9.0, 21.0)]
    cpu, ram = cpu_energy(log_of(points), WINDOW)
    assert (cpu.value_j, ram.value_j) == (pytest.approx(200), pytest.approx(100))
    assert (cpu.lower_j, cpu.upper_j) == (None, None)


def test_a_hole_between_two_samplers_is_filled_from_cpu_seconds():
    # One core of four busy at 80 W: 20 W. The second sampler begins at zero again.
    first = [CpuPoint(t, 20.0 * (t - 9), 10.0 * (t - 9), t - 9, 1) for t in (9.0, 10.0, 11.0, 12.0)]
    second = [CpuPoint(t, 20.0 * (t - 16), 10.0 * (t - 16), t - 9, 2) for t in (16.0, 17.0, 18.0, 19.0, 20.0, 21.0)]
    cpu, ram = cpu_energy(log_of([*first, *second]), WINDOW)
    assert (cpu.value_j, ram.value_j) == (pytest.approx(200), pytest.approx(100))
    assert codes(cpu) == ["cpu_bridged"]


def test_cpu_readings_that_stop_early_give_no_figure():
    points = [CpuPoint(t, 20.0 * t, 10.0 * t, t, 1) for t in (9.0, 10.0, 11.0)]
    assert cpu_energy(log_of(points), WINDOW)[0].value_j is None


def test_a_line_that_broke_off_is_counted_and_the_next_one_read():
    log = SampleLog()
    add_lines(log, [b'{"kind":"sample","t":1.0,"wa', b'{"kind":"sample","t":2.0,"wall":5.0}\n', b"\n"])
    assert (log.damaged_lines, log.times) == (1, [2.0])
