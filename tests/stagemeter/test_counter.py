"""What an energy counter says at an edge, against the exact integral."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagemeter.counter import knots
from stagemeter.energy import Window
from stagemeter.integrate import gpu_energy
from stagemeter.pace import tick_period
from stagemeter.samplelog import GpuPoint
from stagemeter.simulation import Waveform
from tests.stagemeter.gpu_readings import (
    BURSTS,
    DEVICE,
    RAMPS,
    SQUARE,
    TICK_S,
    every,
    schedule,
    steady,
    ticking,
    without,
)

STEADY = Waveform(((0.0, 700.0), (1.0, 700.0)))
WINDOW = Window(start=10.0, end=20.0, period_s=0.5)


def codes(energy):
    return [flag["code"] for flag in energy.flags]


def metered(wave, start, seconds, **options):
    """Energy by the rules, and the truth."""
    window = Window(start=start, end=start + seconds, period_s=0.1)
    points = ticking(wave, schedule(window.start, window.end), **options)
    return gpu_energy(points, window, DEVICE), wave.between_j(window.start, window.end)


def test_an_exact_counter_is_read_off_the_line_between_two_reads():
    energy = gpu_energy(steady(300.0, schedule(10.0, 20.0)), WINDOW, DEVICE)
    assert energy.value_j == pytest.approx(3000, abs=0.01)
    assert energy.method == "nvml_counter"


@pytest.mark.parametrize("start", [12.385, 12.391, 12.399, 12.79, 12.8])
def test_a_step_between_two_reads_of_an_exact_counter_is_found_by_the_powers_at_both(start):
    """An edge falls between two reads, and power steps there too: the energy says when."""
    times = every(0.02, 9.507, 20.5)
    points = [GpuPoint(t, int(1000 * SQUARE.energy_j(t)), None, SQUARE.power_w(t)) for t in times]
    energy = gpu_energy(points, Window(start=start, end=start + 0.2, period_s=0.02), DEVICE)
    assert energy.value_j == pytest.approx(SQUARE.between_j(start, start + 0.2), rel=0.001)


def test_the_pace_of_a_counter_is_seen_from_fast_reads():
    assert tick_period(ticking(SQUARE, every(0.002, 10, 10.4))) == pytest.approx(TICK_S, abs=0.003)
    assert tick_period(steady(300.0, every(0.002, 10, 10.4))) == 0.0
    assert tick_period(ticking(SQUARE, every(0.1, 10, 14))) is None
    assert tick_period([]) is None


def test_two_moves_that_are_not_neighbours_are_no_pace():
    """Each was seen closely, and ticks in between were not: their distance says nothing."""
    assert tick_period(ticking(SQUARE, [*every(0.002, 10, 10.02), *every(0.002, 10.3, 10.32)])) is None


def test_an_exact_counter_is_known_as_one_at_a_constant_pace_too():
    assert tick_period(steady(300.0, every(0.02, 10, 11))) == 0.0


def test_a_counter_is_exact_at_its_ticks():
    points = ticking(RAMPS, every(0.002, 10, 11))
    for knot in knots(points, TICK_S):
        assert knot.mj == pytest.approx(1000 * RAMPS.energy_j(knot.t), abs=700 * 2 * knot.doubt_s * 1000)
        assert knot.doubt_s <= 0.0021


def test_ticks_between_slow_reads_are_found_by_their_pace():
    points = ticking(SQUARE, sorted({*every(0.002, 10, 10.3), *every(0.09, 10.3, 11.5)}))
    slow = [knot for knot in knots(points, TICK_S) if knot.t > 10.45]
    assert len(slow) > 5
    for knot in slow:
        assert (knot.t - 0.013) % TICK_S == pytest.approx(0, abs=0.015) or (knot.t - 0.013) % TICK_S > TICK_S - 0.015


@pytest.mark.parametrize(("wave", "worst"), [(SQUARE, 0.02), (BURSTS, 0.15), (RAMPS, 0.05)])
def test_an_edge_inside_a_tick_is_placed_by_instant_power(wave, worst):
    """Mean error over many phases, of half a second, where the counter's difference alone is off by a third."""
    draw = random.Random(4)  # noqa: S311
    errors = []
    for _ in range(40):
        energy, truth = metered(wave, 10 + draw.random(), 0.5)
        errors.append(abs(energy.value_j - truth) / truth)
    assert sum(errors) / len(errors) < worst / 2
    assert sorted(errors)[-3] < worst


def test_stated_bounds_cover_the_truth_and_say_something():
    draw = random.Random(5)  # noqa: S311
    covered = widths = 0
    for wave in (SQUARE, BURSTS, RAMPS):
        for _ in range(60):
            energy, truth = metered(wave, 10 + draw.random(), 1.0, phase_s=draw.random() / 10)
            covered += energy.lower_j <= truth <= energy.upper_j
            widths += (energy.upper_j - energy.lower_j) / truth
    assert covered >= 0.95 * 180
    assert widths / 180 < 0.08


def test_a_tick_that_no_reading_explains_is_bounded_by_the_cards_limit():
    """A burst between two instant readings shows in the counter alone; where in the tick it was, nobody knows."""
    wave = Waveform(((0.0, 100.0), (0.02, 100.0), (0.02, 700.0), (0.06, 700.0), (0.06, 100.0), (5.0, 100.0)))
    start = 15.04  # half way through the burst
    energy, truth = metered(wave, start, 1.0, phase_s=0.0)
    assert energy.lower_j <= truth <= energy.upper_j
    assert energy.upper_j - energy.lower_j > 5


def test_a_counter_sees_across_a_hole():
    points = steady(300.0, without(schedule(10.0, 20.0), 12, 17))
    assert gpu_energy(points, WINDOW, DEVICE).value_j == pytest.approx(3000, abs=0.01)


def test_a_counter_that_starts_over_goes_on_from_where_it_was():
    points = [p if p.t < 15 else replace(p, mj=p.mj - 4_400_000) for p in steady(300.0, schedule(10.0, 20.0))]
    energy = gpu_energy(points, WINDOW, DEVICE)
    assert (energy.method, codes(energy)) == ("nvml_counter", ["counter_reset"])
    assert energy.value_j == pytest.approx(3000, abs=0.1)
    assert energy.lower_j <= 3000 <= energy.upper_j


@pytest.mark.parametrize("wave", [SQUARE, STEADY])
def test_a_counter_that_starts_over_at_an_edge_is_within_its_bounds(wave):
    """What it had not published is lost, and the tick that holds the edge begins in one life and ends in the other."""
    for phase in range(24):
        start, end = 10.0 + phase / 37, 11.0 + phase / 37
        again = (start, end)[phase % 2] + (phase - 12) / 80
        points = ticking(wave, schedule(start, end), phase_s=phase / 300)
        lost = int(1000 * wave.energy_j(again))
        reloaded = [p if p.t < again else replace(p, mj=max(p.mj - lost, 0)) for p in points]
        energy = gpu_energy(reloaded, Window(start=start, end=end, period_s=0.1), DEVICE)
        assert codes(energy) == ["counter_reset"]
        assert energy.lower_j <= wave.between_j(start, end) <= energy.upper_j


def test_a_counter_that_freezes_at_the_end_is_not_believed():
    points = ticking(SQUARE, [*schedule(10.0, 11.0), *every(0.002, 11.14, 12.0)])
    frozen = [replace(p, mj=min(p.mj, int(1000 * SQUARE.energy_j(10.913)))) for p in points]
    energy = gpu_energy(frozen, Window(start=10.0, end=11.0, period_s=0.1), DEVICE)
    assert (energy.method, codes(energy)[0]) == ("nvml_power", "counter_frozen")


@pytest.mark.parametrize("jitter_s", [0.005, 0.02])
def test_ticks_that_come_unevenly_widen_the_bounds(jitter_s):
    rng, within = random.Random(1), 0  # noqa: S311
    for _ in range(100):
        start = rng.uniform(10, 11)
        late = [rng.uniform(0, jitter_s) for _ in range(60)]
        points = []
        for t in schedule(start, start + 1):
            tick = max(0.1 * n + late[n - 90] for n in range(90, 130) if 0.1 * n + late[n - 90] <= t)
            points.append(GpuPoint(t, int(1000 * SQUARE.energy_j(tick)), None, SQUARE.mean_w(tick - 0.025, tick)))
        energy = gpu_energy(points, Window(start=start, end=start + 1, period_s=0.1), DEVICE)
        within += energy.lower_j <= SQUARE.between_j(start, start + 1) <= energy.upper_j
    assert within >= 95


def test_without_instant_power_a_changing_load_is_bounded_by_the_cards_limit():
    within = 0
    for phase in range(100):
        start = 10 + phase / 63
        points = [replace(p, inst_w=None) for p in ticking(BURSTS, schedule(start, start + 1), phase_s=phase / 1000)]
        energy = gpu_energy(points, Window(start=start, end=start + 1, period_s=0.1), DEVICE)
        within += energy.lower_j <= BURSTS.between_j(start, start + 1) <= energy.upper_j
    assert within >= 95


def test_a_counter_that_starts_over_twice_is_followed_twice():
    points = [replace(p, mj=p.mj % 1_000_000) for p in steady(300.0, schedule(10.0, 20.0))]
    energy = gpu_energy(points, WINDOW, DEVICE)
    assert codes(energy) == ["counter_reset"]
    assert energy.value_j == pytest.approx(3000, abs=1)


@pytest.mark.parametrize("mj", [0, 10**12])
def test_one_reading_of_nonsense_is_left_out(mj):
    points = steady(300.0, schedule(10.0, 20.0))
    points[len(points) // 2] = replace(points[len(points) // 2], mj=mj)
    energy = gpu_energy(points, WINDOW, DEVICE)
    assert codes(energy) == ["counter_implausible"]
    assert energy.value_j == pytest.approx(3000, abs=0.1)


def test_a_counter_that_jumps_ahead_and_stays_there_is_not_believed():
    points = [p if p.t < 15 else replace(p, mj=p.mj + 10_000_000) for p in steady(300.0, schedule(10.0, 20.0))]
    energy = gpu_energy(points, WINDOW, DEVICE)
    assert (energy.method, codes(energy)) == ("nvml_power", ["counter_implausible"])
    assert energy.value_j == pytest.approx(3000)


def test_a_counter_that_stands_still_under_load_is_not_believed():
    points = [replace(p, mj=min(p.mj, 5000 + 300 * 14_000)) for p in steady(300.0, schedule(10.0, 20.0))]
    energy = gpu_energy(points, WINDOW, DEVICE)
    assert (energy.method, codes(energy)) == ("nvml_power", ["counter_frozen"])
    assert energy.value_j == pytest.approx(3000)


def test_a_counter_that_freezes_shortly_before_the_end_is_not_believed():
    points = ticking(SQUARE, schedule(10.0, 20.0))
    frozen = [replace(p, mj=min(p.mj, int(1000 * SQUARE.energy_j(19.0)))) for p in points]
    assert codes(gpu_energy(frozen, WINDOW, DEVICE))[:1] == ["counter_frozen"]


@pytest.mark.parametrize("tick_s", [0.3, 0.4, 0.9])
def test_a_counter_with_slow_ticks_is_not_frozen(tick_s):
    watch = [*every(0.002, 8.0, 11.0), *every(0.1, 8.0, 23.0), *every(0.002, 13.0, 15.5)]
    points = ticking(STEADY, sorted(set(watch)), tick_s=tick_s)
    for phase in range(10):
        start, end = 10.0 + phase / 31, 13.0 + phase / 57
        energy = gpu_energy(points, Window(start=start, end=end, period_s=0.1), DEVICE)
        assert (energy.method, codes(energy)) == ("nvml_counter", [])
        assert energy.value_j == pytest.approx(700 * (end - start), rel=0.01)
        assert energy.lower_j <= 700 * (end - start) <= energy.upper_j


def test_a_slow_pace_that_was_not_seen_is_sought_in_the_slow_reads_and_said():
    points = ticking(STEADY, every(0.1, 8.0, 16.0), tick_s=0.4)
    for phase in range(10):
        start, end = 10.0 + phase / 31, 13.0 + phase / 57
        energy = gpu_energy(points, Window(start=start, end=end, period_s=0.1), DEVICE)
        assert codes(energy) == ["counter_pace_unknown"]
        assert energy.lower_j <= 700 * (end - start) <= energy.upper_j


def test_a_counter_that_fails_at_every_third_read_loses_nothing():
    points = [p if i % 3 else replace(p, mj=None) for i, p in enumerate(ticking(SQUARE, schedule(10.0, 20.0)))]
    energy = gpu_energy(points, WINDOW, DEVICE)
    assert energy.value_j == pytest.approx(SQUARE.between_j(10, 20), rel=0.01)


def test_a_log_that_stops_early_gives_no_figure():
    energy = gpu_energy(steady(300.0, every(0.1, 9.5, 15.0)), WINDOW, DEVICE)
    assert energy.value_j is None
    assert codes(energy) == ["power_incomplete"]


def test_no_reading_at_all_gives_no_figure():
    assert gpu_energy([], WINDOW, DEVICE).value_j is None


def test_a_kill_between_two_ticks_is_bounded_by_what_the_card_can_draw():
    """The sampler's last reading is the stage's end; no tick comes after it."""
    points = [p for p in ticking(SQUARE, schedule(10.0, 20.0)) if p.t <= 13.37]
    energy = gpu_energy(points, Window(start=10.0, end=points[-1].t, period_s=0.1), DEVICE)
    truth = SQUARE.between_j(10.0, points[-1].t)
    assert energy.lower_j <= truth <= energy.upper_j
    assert energy.value_j == pytest.approx(truth, abs=700 * TICK_S)


segments = st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(5, 700)), min_size=2, max_size=6)


def waveform(parts):
    """Power that stands at each value for a while."""
    points, t = [], 0.0
    for seconds, watts in parts:
        points += [(t, watts), (t + seconds, watts)]
        t += seconds
    return Waveform(tuple(points))


@settings(max_examples=60, deadline=None)
@given(parts=segments, start=st.floats(10, 11), seconds=st.floats(0.05, 3), phase=st.floats(0, 0.0999))
def test_whatever_is_drawn_the_figure_is_off_by_no_more_than_two_ticks(parts, start, seconds, phase):
    wave = waveform(parts)
    energy, truth = metered(wave, start, seconds, phase_s=phase)
    assert 0 <= energy.lower_j <= energy.value_j <= energy.upper_j
    assert energy.value_j == pytest.approx(truth, abs=2 * 700 * TICK_S / 2 + 3)


@settings(max_examples=40, deadline=None)
@given(
    parts=segments,
    seconds=st.floats(0.2, 3),
    faults=st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(["none", "zero", "huge", "back", "lost"])), max_size=6
    ),
)
def test_whatever_fails_no_figure_is_negative_or_beyond_its_bounds(parts, seconds, faults):
    wave = waveform(parts)
    window = Window(start=10.3, end=10.3 + seconds, period_s=0.1)
    points = ticking(wave, schedule(window.start, window.end))
    for place, fault in faults:
        at = place % len(points)
        if fault == "none":
            points[at] = GpuPoint(points[at].t, None, None)
        elif fault == "lost":
            points = points[: max(at, 1)]
        elif fault == "back":
            base = points[at].mj or 0
            points[at:] = [replace(p, mj=None if p.mj is None else max(p.mj - base, 0)) for p in points[at:]]
        else:
            points[at] = replace(points[at], mj=0 if fault == "zero" else 10**12, w=10**7)
    energy = gpu_energy(points, window, DEVICE)
    if energy.value_j is not None:
        assert 0 <= energy.lower_j <= energy.value_j
        assert energy.upper_j is None or energy.value_j <= energy.upper_j
        assert energy.value_j <= 1.5 * 700 * (seconds + 0.7) + 1
    else:
        assert energy.flags


@pytest.mark.parametrize(
    ("first", "every_s", "resumed", "then_every_s", "end"),
    [
        (9.99693, 0.002226, 11.21337, 0.002056, 10.7971),
        (9.91554, 0.002041, 11.21314, 0.002106, 10.9701),
        (9.95288, 0.002213, 11.31328, 0.002112, 10.7187),
        (9.9539, 0.002389, 11.01317, 0.002206, 10.897),
    ],
)
def test_a_tick_seen_from_both_sides_of_a_hole_is_one(first, every_s, resumed, then_every_s, end):
    """A sampler died, another began, and the stage ends in between: what its first read says, its first move says too.

    The pace is known to a hundredth, so the two can come out a little further apart than they may be.
    """
    reads = [*every(every_s, first, 10.4), 10.4536, 10.5536, *every(then_every_s, resumed, resumed + 0.3)]
    window = Window(start=first + 0.05, end=end, period_s=0.1)
    energy = gpu_energy(ticking(STEADY, reads), window, DEVICE)
    truth = STEADY.between_j(window.start, window.end)
    assert energy.lower_j <= truth <= energy.upper_j
    assert energy.value_j == pytest.approx(truth, rel=0.01)
