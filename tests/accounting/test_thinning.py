"""A line with fewer points shows the same: peaks, edges and gaps stay."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.thinning import thin


def pieces(times, watts, size=10_000):
    times, watts = np.asarray(times, float), np.asarray(watts, np.float32)
    return [(times[i : i + size], watts[i : i + size]) for i in range(0, len(times), size)]


def test_a_short_line_stays_as_it_is():
    line = thin(pieces([0, 1, 2], [5, 6, 5]), points=100, gap_s=2)
    assert (list(line.times_s), list(line.power_w), line.gaps, line.samples) == ([0, 1, 2], [5, 6, 5], (), 3)


def test_nothing_is_an_empty_line():
    line = thin([], points=100, gap_s=2)
    assert (len(line.times_s), line.samples) == (0, 0)


def test_a_day_keeps_its_one_peak_and_its_one_dip():
    watts = np.full(864_000, 300.0)
    watts[123_456], watts[654_321] = 700.0, 1.0
    line = thin(pieces(np.arange(864_000) / 10, watts, size=65_536), points=2000, gap_s=0.2)
    assert 1000 <= len(line.times_s) <= 2010
    assert (line.power_w.max(), line.power_w.min()) == (700.0, 1.0)
    assert line.times_s[line.power_w.argmax()] == 12_345.6


def test_both_sides_of_a_gap_stay_also_where_it_falls_between_two_pieces():
    times = np.concatenate([np.arange(10_000), 15_000 + np.arange(10_000), 40_000 + np.arange(5_000)]).astype(float)
    line = thin(pieces(times, np.ones(25_000)), points=100, gap_s=2)
    assert line.gaps == ((9_999, 15_000), (24_999, 40_000))
    assert {9_999, 15_000, 24_999, 40_000} <= set(line.times_s)


def test_the_samples_beside_a_stages_edges_stay():
    line = thin(pieces(np.arange(10_000) + 0.5, np.ones(10_000)), points=50, gap_s=2, moments=(100.0, 7_000.5))
    assert {99.5, 100.5, 6_999.5, 7_000.5} <= set(line.times_s)


@given(
    steps=st.lists(st.floats(0, 1e3), min_size=1, max_size=300),
    watts=st.lists(st.floats(0, 1e4, width=32), min_size=300, max_size=300),
    points=st.integers(1, 60),
    size=st.integers(1, 100),
)
def test_whatever_the_line_its_ends_and_extremes_stay_in_order(steps, watts, points, size):
    times, watts = np.cumsum(steps), np.asarray(watts[: len(steps)], np.float32)
    line = thin(pieces(times, watts, size), points=points, gap_s=math.inf)
    assert line.samples == len(times)
    assert (line.times_s[0], line.times_s[-1]) == (times[0], times[-1])
    assert (line.power_w.min(), line.power_w.max()) == (watts.min(), watts.max())
    assert np.all(np.diff(line.times_s) >= 0)
    assert set(zip(line.times_s, line.power_w, strict=True)) <= set(zip(times, watts, strict=True))
    assert len(line.times_s) <= max(points, 4) + 8
