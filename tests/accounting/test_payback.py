"""N* with its interval, T* for substitutes, SCI, and where the energy went."""

from dataclasses import replace

import pytest

from registry.accounting.axes import Axes, Prices
from registry.accounting.breakeven import AT_ONCE, BREAKS_EVEN, NO_SUBSTITUTE
from registry.accounting.figures import ArtifactShare
from registry.accounting.measures import RunMeasures, Taken
from registry.accounting.outlook import outlook
from registry.accounting.payback import count_interval, substitutions
from registry.accounting.presets import PAPER_INFERENCE_J_PER_TOKEN
from registry.accounting.sci import sci
from registry.accounting.split import split
from registry.accounting.units import joules
from tests.accounting import paper
from tests.accounting.test_outlook import cell

SERVED = [
    replace(cell(*key), inference_j_per_token=PAPER_INFERENCE_J_PER_TOKEN[key[1]], inference_stated=True)
    for key in paper.CELLS
]


def spots(runs=SERVED, **axes):
    return outlook(runs, Axes(**axes)).spots


def pair(found, small, large):
    return next(s for s in found if (s.small.point.configuration, s.large.point.configuration) == (small, large))


def runs(name, student_kwh, teacher_kwh=None, **changes):
    base = paper.run("sft", "1B")
    made = ArtifactShare(artifact_id="cache", production_energy_j=joules(teacher_kwh)) if teacher_kwh else None
    return [
        RunMeasures(
            figures=replace(
                base,
                run_id=f"{name} {seed}",
                configuration=name,
                seed=seed,
                own_energy_j={"student": joules(energy)},
                teacher_artifacts=(made,) if made else (),
            ),
            **changes,
        )
        for seed, energy in enumerate(student_kwh)
    ]


def test_the_papers_single_runs_give_n_star_without_an_interval():
    assert count_interval([cell("kd", "1B")], [cell("sft", "1B")]) is None


def test_replicates_spread_n_star_around_the_exact_quotient():
    found = count_interval(runs("kd", [5.0, 5.2, 5.4], 11.0), runs("sft", [6.2, 6.3, 6.4]))
    assert found.lower < 10 < found.upper
    assert found.never == 0.0
    assert found == count_interval(runs("kd", [5.0, 5.2, 5.4], 11.0), runs("sft", [6.2, 6.3, 6.4]))


def test_where_the_saving_may_be_none_the_interval_ends_in_never():
    found = count_interval(runs("kd", [5.0, 6.0, 7.0], 11.0), runs("sft", [6.0, 6.2, 6.4]))
    assert found.upper is None
    assert 0 < found.never < 1


def test_bounds_of_the_teachers_records_alone_make_an_interval():
    bounded = {"lower_j": Taken(made={"cache": joules(9.0)}), "upper_j": Taken(made={"cache": joules(13.0)})}
    found = count_interval(runs("kd", [5.2], 11.0, **bounded), runs("sft", [6.3]))
    assert (found.lower, found.upper) == (9, 12)


def test_no_student_of_the_paper_is_a_substitute_within_a_hundredth():
    found = substitutions(spots(), tolerance=0.01)
    assert {s.against_large.verdict for s in found} == {NO_SUBSTITUTE}
    assert {s.small.point.student for s in found} == {"1B", "7B"}
    assert all(s.stated for s in found)


def test_kd_1b_for_7b_pays_its_extra_training_back_after_86_9_million_tokens():
    found = pair(substitutions(spots(), tolerance=0.2), "kd 1B", "sft 7B")
    assert (found.against_large.verdict, found.against_large.tokens) == (AT_ONCE, None)
    assert found.same_size.verdict == BREAKS_EVEN
    assert float(found.same_size.tokens) == pytest.approx(86.9e6, rel=0.001)
    assert found.days(1e6) == pytest.approx(86.9, rel=0.001)
    assert found.days(None) is None


def test_a_student_without_a_rate_per_token_is_no_row():
    assert substitutions(spots([cell(*key) for key in paper.CELLS]), tolerance=1.0) == ()


def test_sci_divides_by_the_unit_and_says_what_it_leaves_out():
    prices = Prices(pue=1.5, grid_kg_per_kwh=0.4)
    seen = spots(prices=prices)[0]
    bare = sci(seen, Axes(prices=prices), "student")
    assert (bare.kg, bare.whole) == (pytest.approx(7.0 * 1.5 * 0.4), False)
    assert sci(seen, Axes(prices=prices), "1000_tokens").kg == pytest.approx(7.0 * 1.5 * 0.4 / 30_000)
    assert sci(seen, Axes(), "student") is None


def test_embodied_emissions_without_hours_leave_sci_unknown_by_name():
    prices = Prices(grid_kg_per_kwh=0.4, embodied_kg_per_hour=0.03)
    found = sci(spots(prices=prices)[0], Axes(prices=prices), "student")
    assert (found.kg, found.missing) == (None, ("device-hours",))
    hours = Taken(own={"data": 3600.0, "student": 7200.0, "evaluation": 3600.0})
    timed = [replace(SERVED[0], device_seconds=hours)]
    whole = sci(spots(timed, prices=prices)[0], Axes(prices=prices), "student")
    assert (whole.kg, whole.whole) == (pytest.approx(7.0 * 0.4 + 4 * 0.03), True)


def test_lost_attempts_and_idle_are_split_off_and_follow_the_scope():
    lost = Taken(own={"data": 0.0, "student": joules(1.2), "evaluation": 0.0}, made={"kd teacher": joules(2.0)})
    idle = Taken(own={"data": joules(0.1), "student": joules(0.5)}, made={"kd teacher": joules(1.0)})
    run = replace(cell("kd", "1B"), lost_j=lost, idle_j=idle)
    (spot,) = spots([run], scope="amortised", n=2)
    parts = split(spot, Axes(scope="amortised", n=2))
    assert parts["student"].lost_j == pytest.approx(joules(1.2))
    assert parts["student"].useful_j == pytest.approx(joules(4.0))
    assert parts["teacher"].lost_j == pytest.approx(joules(1.0))
    assert parts["teacher"].net_j == pytest.approx(joules(5.0))
    assert parts["evaluation"].net_j is None
    assert sum(part.share for part in parts.values()) == pytest.approx(1.0)


def test_the_readers_own_rates_stand_in_the_place_of_measured_ones():
    plain = spots([cell(*key) for key in paper.CELLS])
    found = pair(substitutions(plain, tolerance=0.2, j_student=0.1, j_reference=0.3), "kd 1B", "sft 7B")
    assert (found.small_j_per_token, found.large_j_per_token) == (0.1, 0.3)
    assert float(found.same_size.tokens) == pytest.approx((16.90 - 7.00) * 3.6e6 / 0.2, rel=1e-6)
    assert substitutions(plain, tolerance=0.2, j_student=0.3, j_reference=0.1) == ()  # it would never pay
