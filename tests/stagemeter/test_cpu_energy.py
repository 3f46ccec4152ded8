"""CPU and RAM energy from logs whose energy is known."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagemeter.cpu_energy import cpu_energy, cpu_facts, register
from stagemeter.energy import Window
from stagemeter.samplelog import CpuPoint, RaplPoint, SampleLog, TreePoint
from stagemeter.sensors import flag

GIB = 2**30
FACTS = {"codecarbon": "3.3.2", "cpu_tdp_w": 80.0, "cpu_threads": 4, "ram_steps_w": [[0, 10.0], [16, 20.0]]}
WINDOW = Window(start=10.0, end=20.0, period_s=0.5)
RANGE_UJ = 262_143_328_850
TURN_J = RANGE_UJ / 1e6


def codes(energy):
    return [remark["code"] for remark in energy.flags]


def tree(times, *, cores=1.0, busy=None, rss=4 * GIB, segment=1):
    """A tree that keeps `cores` of the machine's busy cores at work."""
    busy = cores if busy is None else busy
    return [TreePoint(t, cores * t, rss, busy * t, 8 * GIB, segment) for t in times]


def codecarbon(times, *, watts=20.0, segment=1):
    """CodeCarbon's readings of a steady load since its first."""
    return [CpuPoint(t, watts * (t - times[0]), 10.0 * (t - times[0]), t, segment) for t in times]


def seconds(a, b):
    return [float(t) for t in range(a, b + 1)]


def log_of(points=(), *, cpu=(), facts=FACTS, flags=(), rapl=(), zones=("package-0",), unreadable=None):
    named = {name: {"kind": "dram" if "dram" in name else "package", "range_uj": RANGE_UJ} for name in zones}
    header = {"rapl": {"zones": named, "unreadable": unreadable or {}, "ceiling_w": 1200.0} if rapl else {}}
    log = SampleLog(headers=[header], tree=list(points), rapl=list(rapl), cpu=list(cpu))
    log.cpu_headers = [{"cpu": facts, "flags": list(flags)}]
    return log


def rapl(times, watts, *, start_j=0.0):
    """Registers by zone and power, come round as often as they have to."""
    return [
        RaplPoint(t, {name: int((start_j + w * t) * 1e6) % RANGE_UJ for name, w in watts.items()}, 1) for t in times
    ]


# CodeCarbon and its rule. One core of four at 80 W is 20 W.


def test_codecarbons_figures_are_used_where_it_read():
    log = log_of(tree(seconds(9, 21)), cpu=codecarbon(seconds(9, 21), watts=19.0))
    cpu, ram = cpu_energy(log, WINDOW)
    assert (cpu.value_j, ram.value_j) == (pytest.approx(190), pytest.approx(100))
    assert (cpu.lower_j, cpu.upper_j, cpu.method) == (None, None, "codecarbon_process")
    assert codes(cpu) == codes(ram) == ["estimated"]
    assert cpu_facts(log, cpu)["cpu_cross_check_j"] == pytest.approx(200)  # its rule, from CPU seconds


def test_a_stage_that_ends_before_codecarbon_is_loaded_is_estimated_by_its_rule():
    cpu, ram = cpu_energy(log_of(tree(seconds(9, 15))), Window(start=10.0, end=14.0, period_s=0.5))
    assert (cpu.value_j, ram.value_j) == (pytest.approx(80), pytest.approx(40))
    assert codes(cpu) == ["estimated"]


def test_what_codecarbon_did_not_see_before_its_first_reading_is_filled_in():
    cpu, ram = cpu_energy(log_of(tree(seconds(9, 21)), cpu=codecarbon(seconds(13, 21))), WINDOW)
    assert (cpu.value_j, ram.value_j) == (pytest.approx(200), pytest.approx(100))
    assert codes(cpu) == ["estimated"]


def test_a_hole_between_two_samplers_is_filled_in_and_flagged():
    points = [*codecarbon(seconds(9, 12)), *codecarbon(seconds(16, 21), segment=2)]
    cpu, ram = cpu_energy(log_of([*tree(seconds(9, 12)), *tree(seconds(16, 21), segment=2)], cpu=points), WINDOW)
    assert (cpu.value_j, ram.value_j) == (pytest.approx(200), pytest.approx(100))
    assert codes(cpu) == ["estimated", "cpu_bridged"]
    assert "4.0 s" in cpu.flags[1]["message"]


def test_a_codecarbon_that_died_is_filled_in_and_flagged():
    cpu, _ = cpu_energy(log_of(tree(seconds(9, 21)), cpu=codecarbon(seconds(9, 15))), WINDOW)
    assert cpu.value_j == pytest.approx(200)
    assert "cpu_bridged" in codes(cpu)


def test_a_codecarbon_that_never_came_is_flagged_once_it_is_late():
    window = Window(start=10.0, end=50.0, period_s=0.5)
    cpu, _ = cpu_energy(log_of(tree(seconds(9, 51))), window)
    assert cpu.value_j == pytest.approx(800)
    assert codes(cpu) == ["estimated", "cpu_bridged"]


def test_an_edge_between_two_estimates_is_found_by_the_trees_cpu_seconds():
    # Idle until 10.5, then one core. CodeCarbon reads at 10 and 11 and cannot tell when in between.
    points = [TreePoint(t, max(t - 10.5, 0.0), GIB, t, 8 * GIB, 1) for t in (9.0, 10.0, 10.5, 11.0, 12.0)]
    readings = [CpuPoint(t, 20 * max(t - 10.5, 0.0), 10 * (t - 9), t, 1) for t in (9.0, 10.0, 11.0, 12.0)]
    cpu, _ = cpu_energy(log_of(points, cpu=readings), Window(start=10.5, end=12.0, period_s=0.5))
    assert cpu.value_j == pytest.approx(30)


def test_without_codecarbon_there_is_no_figure_and_the_reason_is_said():
    failure = flag("codecarbon_failed", "CPU energy was not measured: No module named 'codecarbon'")
    cpu, ram = cpu_energy(log_of(tree(seconds(9, 21)), facts={}, flags=[failure]), WINDOW)
    assert (cpu.value_j, ram.value_j) == (None, None)
    assert (codes(cpu), codes(ram)) == (["cpu_unmeasured"], ["ram_unmeasured"])
    assert "No module named 'codecarbon'" in cpu.flags[0]["message"]


def test_a_codecarbon_that_failed_after_its_constants_were_known_leaves_its_rule():
    failure = flag("codecarbon_failed", "CodeCarbon failed while measuring")
    cpu, _ = cpu_energy(log_of(tree(seconds(9, 21)), flags=[failure]), WINDOW)
    assert cpu.value_j == pytest.approx(200)
    assert "codecarbon_failed" in codes(cpu)


def test_an_empty_log_gives_no_figure():
    log = SampleLog()
    cpu, ram = cpu_energy(log, WINDOW)
    assert (cpu.value_j, ram.value_j) == (None, None)
    assert cpu_facts(log, cpu) == {}


def test_a_tree_that_was_not_read_at_an_edge_gives_no_figure():
    cpu, ram = cpu_energy(log_of(tree(seconds(9, 15))), WINDOW)
    assert (cpu.value_j, ram.value_j) == (None, None)
    assert "both edges" in cpu.flags[0]["message"]


def test_codecarbon_far_from_its_own_rule_is_flagged():
    cpu, _ = cpu_energy(log_of(tree(seconds(9, 21)), cpu=codecarbon(seconds(9, 21), watts=2.0)), WINDOW)
    assert cpu.value_j == pytest.approx(20)
    assert codes(cpu) == ["estimated", "cpu_figures_disagree"]


def test_more_memory_draws_by_codecarbons_steps():
    assert cpu_energy(log_of(tree(seconds(9, 21), rss=17 * GIB)), WINDOW)[1].value_j == pytest.approx(200)


# RAPL


def test_a_stage_is_charged_its_share_of_the_busy_time_and_bounded_by_the_whole():
    readings = rapl(seconds(9, 21), {"package-0": 60.0, "package-1": 40.0})
    log = log_of(tree(seconds(9, 21), cores=1, busy=4), rapl=readings, zones=("package-0", "package-1"))
    cpu, ram = cpu_energy(log, WINDOW)
    assert (cpu.method, cpu.value_j, cpu.upper_j) == ("rapl", pytest.approx(250), pytest.approx(1000))
    assert cpu.lower_j == pytest.approx(0, abs=1e-3)  # nothing was drawn above the lowest power seen
    assert cpu.cross_check_j == pytest.approx(200)
    assert codes(cpu) == ["cpu_attributed"]
    assert "25 %" in cpu.flags[0]["message"]
    assert ram.method == "codecarbon_process"
    assert cpu_facts(log, cpu)["rapl"]["zones"].keys() == {"package-0", "package-1"}


def test_the_lower_bound_is_the_share_of_what_was_drawn_above_the_lowest_power():
    joules = [30.0 * t if t <= 15 else 30 * 15 + 110.0 * (t - 15) for t in seconds(9, 21)]
    readings = [RaplPoint(t, {"package-0": int(j * 1e6)}, 1) for t, j in zip(seconds(9, 21), joules, strict=True)]
    cpu, _ = cpu_energy(log_of(tree(seconds(9, 21), cores=1, busy=2), rapl=readings), WINDOW)
    assert cpu.value_j == pytest.approx(0.5 * (30 * 5 + 110 * 5))
    assert cpu.lower_j == pytest.approx(0.5 * 80 * 5)
    assert cpu.upper_j == pytest.approx(30 * 5 + 110 * 5)


def test_a_stage_that_sleeps_on_a_busy_machine_is_charged_nothing():
    log = log_of(tree(seconds(9, 21), cores=0, busy=4), rapl=rapl(seconds(9, 21), {"package-0": 90.0}))
    cpu, _ = cpu_energy(log, WINDOW)
    assert (cpu.value_j, cpu.lower_j, cpu.upper_j) == (0, 0, pytest.approx(900))


def test_a_register_that_began_again_is_counted_and_said():
    readings = rapl(seconds(9, 21), {"package-0": 100.0}, start_j=TURN_J - 1500)
    cpu, _ = cpu_energy(log_of(tree(seconds(9, 21)), rapl=readings), WINDOW)
    assert cpu.value_j == pytest.approx(1000)
    assert codes(cpu) == ["cpu_attributed", "rapl_wrapped"]


def test_a_gap_longer_than_a_turn_is_bounded_by_every_number_of_turns_the_zone_can_have_made():
    # 600 W for 1000 s is 2.3 turns; at 1200 W it would have been 4.6.
    times = [*seconds(0, 3), *seconds(1003, 1006)]
    readings = rapl(times, {"package-0": 600.0})
    window = Window(start=1.0, end=1005.0, period_s=0.5)
    cpu, _ = cpu_energy(log_of(tree(times), rapl=readings), window)
    assert cpu.value_j == pytest.approx(600 * 1004)
    assert cpu.upper_j == pytest.approx(600 * 1004 + 2 * TURN_J)
    assert "rapl_gap" in codes(cpu)


def test_a_register_that_was_reset_is_bridged_by_the_power_beside_it_and_bounded():
    readings = [
        RaplPoint(t, {"package-0": int(1e6 * (50_000 + 100 * t if t < 15 else 100 * (t - 15)))}, 1)
        for t in seconds(9, 21)
    ]
    cpu, _ = cpu_energy(log_of(tree(seconds(9, 21)), rapl=readings), WINDOW)
    assert cpu.value_j == pytest.approx(1000)
    assert cpu.lower_j <= 900
    assert 1000 <= cpu.upper_j <= 900 + 1200 * 1.02
    assert codes(cpu) == ["cpu_attributed", "rapl_reset"]


def test_a_register_that_stands_still_is_stuck_and_not_a_package_that_draws_nothing():
    readings = [RaplPoint(t, {"package-0": int(1e8 * min(t, 18))}, 1) for t in seconds(9, 21)]
    cpu, _ = cpu_energy(log_of(tree(seconds(9, 21)), cpu=codecarbon(seconds(9, 21)), rapl=readings), WINDOW)
    assert cpu.method == "codecarbon_process"
    assert codes(cpu) == ["rapl_incomplete", "estimated"]
    assert "package-0 stood still" in cpu.flags[0]["message"]


def test_a_package_that_may_not_be_read_leaves_the_estimate():
    readings, unreadable = rapl(seconds(9, 21), {"package-0": 60.0}), {"package-1": "may not be read by this user"}
    estimates = codecarbon(seconds(9, 21))
    log = log_of(tree(seconds(9, 21)), cpu=estimates, rapl=readings, unreadable=unreadable)
    cpu, _ = cpu_energy(log, WINDOW)
    assert cpu.method == "codecarbon_process"
    assert codes(cpu) == ["rapl_incomplete", "estimated"]
    assert "package-1 may not be read" in cpu.flags[0]["message"]


def test_a_zone_that_stops_answering_leaves_the_estimate():
    readings = [
        *rapl(seconds(9, 14), {"package-0": 60.0, "package-1": 40.0}),
        *rapl(seconds(15, 21), {"package-0": 60.0}),
    ]
    parts = {"cpu": codecarbon(seconds(9, 21)), "rapl": readings, "zones": ("package-0", "package-1")}
    cpu, _ = cpu_energy(log_of(tree(seconds(9, 21)), **parts), WINDOW)
    assert codes(cpu) == ["rapl_incomplete", "estimated"]
    assert "package-1" in cpu.flags[0]["message"]


def test_a_zone_that_failed_for_some_readings_is_seen_across():
    readings = rapl(seconds(9, 21), {"package-0": 60.0})
    holed = [RaplPoint(p.t, {} if 12 < p.t < 16 else p.uj, 1) for p in readings]
    assert cpu_energy(log_of(tree(seconds(9, 21)), rapl=holed), WINDOW)[0].value_j == pytest.approx(600)


def test_memory_zones_are_charged_by_resident_memory():
    readings = rapl(seconds(9, 21), {"package-0": 60.0, "package-0/dram": 12.0})
    log = log_of(tree(seconds(9, 21), rss=2 * GIB), rapl=readings, zones=("package-0", "package-0/dram"))
    _, ram = cpu_energy(log, WINDOW)
    assert (ram.method, ram.value_j) == ("rapl", pytest.approx(120 / 4))
    assert (ram.lower_j, ram.upper_j) == (0, pytest.approx(120))
    assert codes(ram) == ["ram_attributed"]


def test_without_codecarbon_registers_give_the_cpus_figure():
    failure = flag("codecarbon_failed", "not installed")
    log = log_of(tree(seconds(9, 21)), facts={}, flags=[failure], rapl=rapl(seconds(9, 21), {"package-0": 60.0}))
    cpu, ram = cpu_energy(log, WINDOW)
    assert (cpu.value_j, cpu.cross_check_j, ram.value_j) == (pytest.approx(600), None, None)


@given(
    st.lists(st.tuples(st.floats(0.001, 400), st.floats(0, 600)), min_size=1, max_size=30),
    st.integers(0, RANGE_UJ - 1),
)
def test_a_registers_bounds_hold_what_was_drawn_however_often_it_began_again(steps, first_uj):
    times = list(itertools.accumulate((dt for dt, _ in steps), initial=0.0))
    joules = list(itertools.accumulate((dt * watts for dt, watts in steps), initial=0.0))
    readings = [(t, (first_uj + int(j * 1e6)) % RANGE_UJ) for t, j in zip(times, joules, strict=True)]
    zone = register("package-0", readings, RANGE_UJ, 1200.0)
    assert sum(part.low for part in zone.drawn) <= joules[-1] + 1e-3
    assert sum(part.high for part in zone.drawn) >= joules[-1] - 1e-3
    assert all(0 <= part.low <= part.value <= part.high for part in zone.drawn)
    if all(dt < 200 for dt, _ in steps):
        assert sum(part.value for part in zone.drawn) == pytest.approx(joules[-1], abs=1e-3)
        assert not zone.doubts


@st.composite
def logs(draw):
    """A log as it may come: loads, shares, samplers and CodeCarbons that die, registers that fail or jump."""
    steps = draw(st.lists(st.floats(0.01, 5), min_size=3, max_size=15))
    times = list(itertools.accumulate(steps, initial=0.0))
    points, readings, registers = [], [], []
    cpu_s = busy_s = cpu_j = ram_j = 0.0
    segment = 1
    for t in times:
        cpu_s += draw(st.floats(0, 4))
        busy_s += draw(st.floats(0, 8))
        cpu_j += draw(st.floats(0, 100))
        ram_j += draw(st.floats(0, 40))
        if draw(st.integers(0, 9)) == 0:
            segment, cpu_s, cpu_j, ram_j = segment + 1, draw(st.floats(0, 3)), 0.0, 0.0
        points.append(TreePoint(t, cpu_s, draw(st.integers(0, 40)) * GIB, busy_s, 32 * GIB, segment))
        if draw(st.booleans()):
            readings.append(CpuPoint(t, cpu_j, ram_j, cpu_s, segment))
        uj = draw(st.integers(0, RANGE_UJ - 1))
        names = draw(st.sets(st.sampled_from(["package-0", "package-0/dram"])))
        registers.append(RaplPoint(t, dict.fromkeys(names, uj), segment))
    with_rapl = draw(st.booleans())
    zones = ("package-0", "package-0/dram")
    return log_of(points, cpu=readings, rapl=registers if with_rapl else (), zones=zones)


def window(a, b):
    return Window(start=a, end=b, period_s=0.5)


@given(logs(), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_energy_is_never_negative_grows_with_the_window_and_adds_up(log, cuts):
    end = log.tree[-1].t
    a, b, c = sorted(cut * end for cut in cuts)
    for part in (0, 1):  # CPU, RAM
        first, second, whole = (cpu_energy(log, window(*w))[part] for w in ((a, b), (b, c), (a, c)))
        if None in (first.value_j, second.value_j, whole.value_j):
            continue
        assert first.value_j >= 0
        assert second.value_j >= 0
        if first.method == second.method == whole.method:  # an edge out of a register's reach leaves the estimate
            assert whole.value_j >= max(first.value_j, second.value_j) - 1e-6
            assert whole.value_j == pytest.approx(first.value_j + second.value_j, rel=1e-9, abs=1e-6)
        if whole.method == "rapl":
            assert 0 <= whole.lower_j <= whole.value_j <= whole.upper_j
        else:
            assert (whole.lower_j, whole.upper_j) == (None, None)


@given(logs())
def test_a_window_without_length_costs_nothing(log):
    middle = log.tree[len(log.tree) // 2].t
    assert cpu_energy(log, window(middle, middle))[0].value_j in (0, None)
