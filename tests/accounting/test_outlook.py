"""Any two axes, the front's volume, and how sure a place is; over the paper's tables and over made-up runs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.accounting.axes import Axes, AxisError, Prices, cost_of, quality_of, shares
from registry.accounting.fronts import hypervolume
from registry.accounting.measures import RunMeasures, Score, Taken
from registry.accounting.outlook import outlook
from registry.accounting.uncertainty import UNDECIDED, bounds_of, noise
from registry.accounting.units import joules
from tests.accounting import paper

TEACHER = {name: Score(value=value) for name, value in zip(paper.SUITE, paper.TEACHER_SCORES, strict=True)}
EQUAL = dict.fromkeys(paper.SUITE, 1.0)


def cell(pipeline, size):
    """A cell of the paper's grid with table 4's scores, and the Q that follows from them unrounded."""
    scores = {n: Score(value=v) for n, v in zip(paper.SUITE, paper.TABLE_4[pipeline, size], strict=True)}
    q = sum(score.value / TEACHER[name].value for name, score in scores.items()) / len(scores)
    return RunMeasures(figures=replace(paper.run(pipeline, size), q=q), scores=scores, teacher_scores=TEACHER)


GRID = [cell(*key) for key in paper.CELLS]
SIX_HOURS = Taken(own={"data": 3600.0, "student": 10800.0, "evaluation": 3600.0}, made={"kd teacher": 7200.0})


def seen(runs=GRID, reference=(None, None), **axes):
    return outlook(runs, Axes(**axes), reference=reference)


def front(found):
    return {spot.point.configuration for spot in found.spots if spot.on_front}


def probability(found, name, **options):
    told = noise(found, suite=paper.SUITE, **options)
    key = next(spot.point.key for spot in found.spots if spot.point.configuration == name)
    return told.of[key]


grid = st.lists(st.tuples(st.integers(1, 5).map(float), st.integers(1, 5).map(float)), max_size=12)


@given(grid)
@settings(deadline=None)
def test_the_volume_is_the_area_counted_square_by_square(cloud):
    cost, quality = (np.array([pair[axis] for pair in cloud], float) for axis in (0, 1))
    squares = sum(any(c <= x and q > y for c, q in cloud) for x in range(6) for y in range(6))
    assert hypervolume(cost, quality, (6.0, 0.0)) == squares


def test_the_papers_frontier_is_the_same_over_energy_and_q():
    assert front(seen()) == {"sft 1B", "synthetic_sft 1B", "sft 7B", "sft 13B"}


def test_equal_weights_give_q_and_one_weight_gives_that_benchmarks_share():
    run = GRID[0]
    assert quality_of(run, Axes(quality="weighted", weights=EQUAL)).value == pytest.approx(run.figures.q)
    assert quality_of(run, Axes(quality="weighted", weights={"gsm8k": 7.0})).value == pytest.approx(68 / 78.4)
    assert quality_of(run, Axes(quality="gsm8k")).value == 68


def test_another_quality_makes_another_front():
    assert "kd 7B" in front(seen(quality="gsm8k", scope="student_only"))
    assert "sft 7B" not in front(seen(quality="gsm8k", scope="student_only"))
    assert "synthetic_sft 7B" not in front(seen(quality="mmlu"))


def test_a_benchmark_that_carries_weight_and_is_not_there_makes_the_point_partial():
    runs = [replace(GRID[0], scores={"gsm8k": Score(value=68)}), *GRID[1:]]
    found = seen(runs, quality="weighted", weights={"gsm8k": 1.0, "mmlu": 1.0})
    (partial,) = found.partial
    assert (partial.point.configuration, partial.missing) == ("sft 1B", ("mmlu",))
    assert seen(runs, quality="weighted", weights={"gsm8k": 1.0, "mmlu": 0.0}).partial == ()


def test_co2e_and_money_are_energy_times_the_readers_factors():
    prices = Prices(pue=1.2, grid_kg_per_kwh=0.4, per_kwh=0.25)
    assert cost_of(GRID[0], Axes(cost="co2e", prices=prices)).value == pytest.approx(7.0 * 1.2 * 0.4)
    assert cost_of(GRID[0], Axes(cost="cost", prices=prices)).value == pytest.approx(7.0 * 1.2 * 0.25)


def test_hours_are_charged_as_energy_is_the_teachers_shared_ones_too():
    run = replace(cell("kd", "1B"), seconds=SIX_HOURS, device_seconds=SIX_HOURS)
    for scope, n, hours in (("full", 1, 7), ("amortised", 2, 6), ("student_only", 1, 5)):
        assert cost_of(run, Axes(cost="time", scope=scope, n=n)).value == pytest.approx(hours)
    rented = Axes(cost="cost", prices=Prices(per_device_hour=3.0))
    assert cost_of(run, rented).value == pytest.approx(21.0)


def test_hours_nobody_stated_are_missing_by_name():
    found = cost_of(cell("kd", "1B"), Axes(cost="time"))
    assert found.value is None
    assert found.missing == (
        "wall time of data",
        "wall time of student",
        "wall time of evaluation",
        "wall time of kd teacher",
    )


def test_embodied_emissions_count_only_when_they_are_given():
    run = replace(cell("sft", "1B"), device_seconds=SIX_HOURS)
    bare = cost_of(run, Axes(cost="co2e", prices=Prices(grid_kg_per_kwh=0.5))).value
    whole = cost_of(run, Axes(cost="co2e", prices=Prices(grid_kg_per_kwh=0.5, embodied_kg_per_hour=0.02))).value
    assert (bare, whole) == (pytest.approx(3.5), pytest.approx(3.5 + 5 * 0.02))


@pytest.mark.parametrize(
    ("axes", "word"),
    [
        ({"cost": "co2e"}, "grid"),
        ({"cost": "cost"}, "price"),
        ({"cost": "joy"}, "joy"),
        ({"quality": "weighted", "weights": {"mmlu": 0.0}}, "weight"),
    ],
)
def test_an_axis_without_its_assumption_is_refused_by_name(axes, word):
    with pytest.raises(AxisError, match=word):
        Axes(**axes)


def test_weights_are_renormalised_and_never_negative():
    assert shares({"a": 3.0, "b": 1.0}) == {"a": 0.75, "b": 0.25}
    with pytest.raises(AxisError, match="-1"):
        shares({"a": -1.0})


def test_a_beaten_point_says_by_whom_and_by_how_much():
    beaten = next(spot for spot in seen().spots if spot.point.configuration == "kd 13B")
    assert beaten.beaten_by.configuration == "sft 13B"
    assert beaten.cost_excess == pytest.approx(42.5 - 34.6)
    assert beaten.quality_shortfall == pytest.approx(0.99 - 0.82, abs=0.01)


def test_the_volume_states_what_it_is_measured_against():
    assert seen().reference == (pytest.approx(42.5), pytest.approx(0.69, abs=0.005))
    assert not seen().reference_given
    given = seen(reference=(50.0, 0.0))
    assert given.reference == (50.0, 0.0)
    assert given.hypervolume > seen().hypervolume


def test_kd_1b_against_synthetic_1b_is_not_decided_with_an_error_of_one_point():
    found = seen()
    assert probability(found, "kd 1B", assumed_points=1.0).verdict == UNDECIDED
    assert probability(found, "synthetic_sft 1B", assumed_points=1.0).verdict == UNDECIDED
    assert probability(found, "sft 13B", assumed_points=1.0).verdict == "on"
    assert probability(found, "kd 13B", assumed_points=1.0).verdict == "off"


def test_without_any_error_stated_places_are_as_they_stand_and_the_noise_says_so():
    told = noise(seen(), suite=paper.SUITE)
    assert (told.sources, told.draws, told.undecided) == ((), 0, ())
    assert told.unstated == paper.SUITE
    assert noise(seen(), suite=paper.SUITE, assumed_points=1.0).assumed == paper.SUITE


def test_a_stated_standard_error_counts_before_an_assumed_one():
    scored = [replace(r, scores={n: replace(s, stderr=0.001) for n, s in r.scores.items()}) for r in GRID]
    told = noise(seen(scored), suite=paper.SUITE, assumed_points=None)
    assert (told.sources, told.unstated, told.undecided) == (("benchmark standard errors",), (), ())


def replicates(name, energies, qualities):
    base = paper.run("sft", "1B")
    return [
        RunMeasures(
            figures=replace(
                base, run_id=f"{name} {seed}", configuration=name, seed=seed, own_energy_j={"student": joules(e)}, q=q
            )
        )
        for seed, (e, q) in enumerate(zip(energies, qualities, strict=True))
    ]


def test_replicates_that_overlap_leave_the_place_open_and_those_far_apart_do_not():
    runs = replicates("a", [10.0, 11.0, 12.0], [0.5, 0.5, 0.5]) + replicates("b", [10.2, 11.2, 12.2], [0.5, 0.5, 0.5])
    assert {sure.verdict for sure in noise(seen(runs)).of.values()} == {UNDECIDED}
    apart = replicates("a", [10.0, 11.0, 12.0], [0.5, 0.5, 0.5]) + replicates("b", [20.0, 21.0, 22.0], [0.5, 0.5, 0.5])
    assert [sure.verdict for sure in noise(seen(apart)).of.values()] == ["on", "off"]


def test_the_mean_of_resamples_scatters_as_the_mean_of_replicates_does():
    found = seen(replicates("a", [9.0, 10.0, 11.0], [0.5, 0.5, 0.5]))
    (sure,) = noise(found).of.values()
    # sd 1, n 3: the mean's standard error is 0.577; the three values bound how far a resample can go.
    assert sure.cost.lower == pytest.approx(10 - 1.96 * 0.577, abs=0.15)
    assert sure.quality is None


def test_draws_do_not_depend_on_who_stands_beside():
    alone = noise(seen(replicates("a", [9.0, 11.0], [0.5, 0.6]))).of
    beside = noise(seen(replicates("b", [1.0, 2.0], [0.1, 0.2]) + replicates("a", [9.0, 11.0], [0.5, 0.6]))).of
    (key,) = alone
    assert alone[key].cost == beside[key].cost


def test_bounds_of_records_give_the_interval_and_say_how_much_they_cover():
    own = {"data": joules(0.37), "student": joules(6.3), "evaluation": joules(0.33)}
    run = replace(
        cell("sft", "1B"),
        lower_j=Taken(own=own | {"student": joules(6.0)}),
        upper_j=Taken(own=own | {"student": joules(6.5)}),
        bounded_j=Taken(own=dict.fromkeys(own, 0.0) | {"student": joules(6.3)}),
    )
    (spot,) = seen([run]).spots
    found = bounds_of(spot, Axes())
    assert (found.lower_kwh, found.upper_kwh, found.share) == tuple(map(pytest.approx, (6.7, 7.2, 0.9)))
    assert noise(seen([run])).sources == ("bounds of records",)
    assert bounds_of(seen().spots[0], Axes()) is None
