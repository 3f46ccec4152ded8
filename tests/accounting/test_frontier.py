from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.figures import RunFigures
from registry.accounting.frontier import frontier, points


def run(name, energy_j=100.0, q=0.5, **changes):
    figures = RunFigures(
        run_id=name,
        pipeline="sft",
        student="1B",
        configuration=changes.pop("configuration", name),
        own_energy_j={"student": energy_j},
        q=q,
    )
    return replace(figures, **changes)


def placed(*runs, **options):
    return {p.point.configuration: p for p in frontier(points(runs, "full", **options))}


# A small grid, so that ties and equal coordinates come up often.
positions = st.lists(st.tuples(st.integers(1, 6).map(float), st.integers(1, 6).map(float)), max_size=12)


@given(positions)
def test_the_sweep_agrees_with_comparing_every_pair(cloud):
    result = frontier(points([run(str(i), e, q) for i, (e, q) in enumerate(cloud)], "full"))
    for (energy_j, q), placement in zip(cloud, result, strict=True):
        beaten = any(e <= energy_j and other >= q and (e, other) != (energy_j, q) for e, other in cloud)
        assert placement.on_frontier != beaten


@given(positions)
def test_a_dominated_point_names_one_that_stands_on_the_frontier_and_beats_it(cloud):
    result = frontier(points([run(str(i), e, q) for i, (e, q) in enumerate(cloud)], "full"))
    standing = {p.point.configuration for p in result if p.on_frontier}
    for placement in result:
        if not placement.on_frontier:
            assert placement.dominated_by.configuration in standing
            assert placement.energy_excess_j >= 0
            assert placement.q_shortfall >= 0
            assert placement.energy_excess_j > 0 or placement.q_shortfall > 0


@given(positions, st.randoms())
def test_the_order_of_the_runs_makes_no_difference(cloud, random):
    runs = [run(str(i), e, q) for i, (e, q) in enumerate(cloud)]
    shuffled = random.sample(runs, len(runs))
    standing = [{p.point.configuration for p in frontier(points(r, "full")) if p.on_frontier} for r in (runs, shuffled)]
    assert standing[0] == standing[1]


def test_exact_ties_are_all_kept():
    result = placed(run("a", 10.0, 0.5), run("b", 10.0, 0.5), run("c", 10.0, 0.4))
    assert [result[name].on_frontier for name in "abc"] == [True, True, False]


def test_the_nearest_of_those_that_beat_a_point_is_named():
    result = placed(
        run("cheap", 1.0, 0.5), run("near", 450.0, 0.61), run("far", 1000.0, 0.99), run("beaten", 500.0, 0.5)
    )
    beaten = result["beaten"]
    assert beaten.dominated_by.configuration == "near"
    assert beaten.energy_excess_j == 50.0
    assert beaten.q_shortfall == pytest.approx(0.11)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"complete": False}, ("stages that have not finished",)),
        ({"q": None}, ("Q",)),
        ({"own_energy_j": {"student": None}}, ("student",)),
    ],
)
def test_a_partial_run_is_shown_but_neither_stands_on_the_frontier_nor_beats_anything(changes, missing):
    result = placed(replace(run("partial", 1.0, 0.99), **changes), run("whole", 10.0, 0.5))
    assert not result["partial"].on_frontier
    assert result["partial"].dominated_by is None
    assert result["partial"].point.missing == missing
    assert result["whole"].on_frontier


def test_replicates_are_averaged_with_their_spread():
    point = points([run("s0", 10.0, 0.5, configuration="c"), run("s1", 14.0, 0.7, configuration="c")], "full")[0]
    assert (point.energy_j, point.n, point.run_ids) == (12.0, 2, ("s0", "s1"))
    assert point.energy_sd_j == pytest.approx(8**0.5)
    assert point.q == pytest.approx(0.6)
    assert point.by_role_j == {"student": 12.0}


def test_a_single_run_has_no_spread():
    point = points([run("a")], "full")[0]
    assert (point.energy_sd_j, point.q_sd) == (None, None)


def test_workloads_weigh_the_same_however_many_replicates_each_has():
    runs = [
        run("a", 10.0, 0.4, configuration="c", workload="math"),
        run("b", 10.0, 0.4, configuration="c", workload="math"),
        run("c", 40.0, 1.0, configuration="c", workload="code"),
    ]
    point = points(runs, "full")[0]
    assert (point.energy_j, point.workloads, point.n) == (25.0, ("math", "code"), 3)
    assert point.q == pytest.approx(0.7)


def test_workloads_stay_apart_where_the_study_says_so():
    runs = [run("a", configuration="c", workload="math"), run("b", configuration="c", workload="code")]
    assert [p.key for p in points(runs, "full", average_workloads=False)] == ["c · math", "c · code"]


def test_a_mean_that_lacks_a_workload_is_partial():
    runs = [
        run("a", configuration="whole", workload="math"),
        run("b", configuration="whole", workload="code"),
        run("c", 1.0, 0.9, configuration="lacking", workload="math"),
    ]
    result = placed(*runs, workloads=("math", "code"))
    assert result["lacking"].point.missing == ("workload code",)
    assert [name for name, p in result.items() if p.on_frontier] == ["whole"]


def test_a_partial_replicate_does_not_spoil_the_mean_of_the_whole_ones():
    point = points([run("a", 10.0, configuration="c"), run("b", 99.0, configuration="c", complete=False)], "full")[0]
    assert (point.energy_j, point.complete, point.n) == (10.0, True, 1)
    assert (point.run_ids, point.left_out_run_ids) == (("a",), ("b",))


def test_other_hardware_is_another_point():
    runs = [run("a", configuration="c", hardware="H100"), run("b", configuration="c", hardware="A100")]
    assert [p.key for p in points(runs, "full")] == ["c · H100", "c · A100"]


def test_one_flagged_run_marks_the_point():
    runs = [run("a", configuration="c"), run("b", configuration="c", flagged=True, origin="upload")]
    point = points(runs, "full")[0]
    assert (point.flagged, point.origins) == (True, ("worker", "upload"))


def test_a_simulated_run_is_no_replicate_of_a_measured_one():
    runs = [run("a", 90.0, configuration="c"), run("b", 10.0, configuration="c", simulated=True)]
    assert [(p.key, p.energy_j, p.simulated, p.n) for p in points(runs, "full")] == [
        ("c", 90.0, False, 1),
        ("c · simulated", 10.0, True, 1),
    ]


@given(positions, positions)
def test_simulated_and_measured_points_never_meet_on_a_frontier(measured, simulated):
    ours = [run(f"m{i}", e, q) for i, (e, q) in enumerate(measured)]
    others = [run(f"s{i}", e, q, simulated=True) for i, (e, q) in enumerate(simulated)]

    def standing(runs):
        return [(p.point.key, p.on_frontier, p.energy_excess_j) for p in frontier(points(runs, "full"))]

    together = standing([*others, *ours])
    assert together == [*standing(others), *standing(ours)]


def test_joules_per_token_need_tokens():
    assert points([run("a", 90.0, tokens=30)], "full")[0].j_per_token == 3.0
    assert points([run("a", 90.0, tokens=0)], "full")[0].j_per_token is None
    assert points([run("a", 90.0)], "full")[0].j_per_token is None


def test_nothing_gives_an_empty_frontier():
    assert frontier(points([], "full")) == ()
