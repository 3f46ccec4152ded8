"""The frontier of very many points: the same answers as the definition, however the points lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.skyline import dominators, standing, thinned

points = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40)


def arrays(pairs):
    found = np.array(pairs, np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def beats(one, other):
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def all_on_the_frontier(n):
    return np.arange(n, dtype=np.float64), np.arange(n, dtype=np.float64)


def a_cloud(n):
    draw = np.random.default_rng(0)
    return draw.uniform(1, 100, n), draw.uniform(0, 1, n)


@given(pairs=points)
def test_it_stands_when_no_other_beats_it(pairs):
    expected = [not any(beats(other, one) for other in pairs) for one in pairs]
    assert standing(*arrays(pairs)).tolist() == expected


@given(pairs=points)
def test_the_dominator_is_the_nearest_that_beats_it(pairs):
    energy, q = arrays(pairs)
    mask = standing(energy, q)
    scale = [float(np.ptp(values)) or 1.0 if pairs else 1.0 for values in (energy, q)]

    def lead(one, other):
        return max((one[0] - other[0]) / scale[0], (other[1] - one[1]) / scale[1])

    for place, found in enumerate(dominators(energy, q, mask)):
        one = pairs[place]
        if mask[place]:
            assert found == -1
            continue
        above = [other for other, stands in zip(pairs, mask, strict=True) if stands and beats(other, one)]
        assert mask[found] and beats(pairs[found], one)
        assert lead(one, pairs[found]) == pytest.approx(min(lead(one, other) for other in above))


@given(pairs=points)
def test_candidates_within_a_slack_hold_all_that_stand(pairs):
    energy, q = arrays(pairs)
    assert not (standing(energy, q) & ~standing(energy, q, slack=1e-9)).any()


def test_a_hundred_thousand_points_that_all_stand_are_sorted_once():
    energy, q = all_on_the_frontier(100_000)
    mask = standing(energy, q)
    assert mask.all() and (dominators(energy, q, mask) == -1).all()


def test_few_points_are_all_shown_each_for_itself():
    energy, q = a_cloud(1500)
    found = thinned(energy, q, standing(energy, q))
    assert sorted(found.indices) == list(range(1500)) and (found.counts == 1).all()


@pytest.mark.parametrize("scene", [a_cloud, all_on_the_frontier])
def test_of_many_at_most_two_thousand_are_shown_and_all_are_counted(scene):
    energy, q = scene(50_000)
    mask = standing(energy, q)
    found = thinned(energy, q, mask)
    assert len(found.indices) == len(set(found.indices)) <= 2000
    shown = len(found.indices)
    assert found.counts.sum() == 50_000 or (found.frontier_thinned and not (~mask).any())
    assert shown > 500


def test_the_whole_frontier_is_shown_where_it_fits():
    energy, q = a_cloud(50_000)
    mask = standing(energy, q)
    found = thinned(energy, q, mask)
    assert set(np.flatnonzero(mask)) <= set(found.indices) and not found.frontier_thinned


def test_a_frontier_too_large_keeps_its_ends_and_says_so():
    energy, q = all_on_the_frontier(10_000)
    found = thinned(energy, q, standing(energy, q))
    assert found.frontier_thinned and (found.on_frontier, found.frontier_shown) == (10_000, 2000)
    assert {0, 9999} <= set(found.indices) and found.counts.sum() == 10_000


def test_points_in_one_place_are_one_neighbourhood():
    energy, q = np.full(5000, 3.0), np.full(5000, 0.5)
    energy[0], q[0] = 1.0, 0.9
    found = thinned(energy, q, standing(energy, q))
    assert len(found.indices) == 2 and sorted(found.counts) == [1, 4999]
