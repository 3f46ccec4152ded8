"""Small drawings without JavaScript."""

import pytest

from frontend.sparkline import power_line


def test_a_power_line_runs_from_the_left_to_the_right_edge_and_from_zero_watts_up():
    points = [tuple(map(float, point.split(","))) for point in power_line([[0, 0], [5, 10], [10, 5]]).split()]
    assert [x for x, _ in points] == [0.0, 120.0, 240.0]
    assert [y for _, y in points] == [72.0, 8.0, 40.0]


@pytest.mark.parametrize("curve", [[], [[0, 10]]])
def test_there_is_no_power_line_below_two_points(curve):
    assert power_line(curve) == ""


def test_a_host_that_burns_nothing_measurable_is_a_flat_line():
    assert power_line([[0, 0], [1, 0]]) == "0.0,72.0 240.0,72.0"
