"""What one setting does, and which pipeline and size to choose; over the paper's tables and made-up sweeps."""

from dataclasses import replace

import pytest

from registry.accounting.advice import FITS, TOO_DEAR, TOO_POOR, UNKNOWN, Wish, advise
from registry.accounting.axes import Axes
from registry.accounting.measures import RunMeasures
from registry.accounting.outlook import outlook
from registry.accounting.sensitivity import sensitivities
from registry.accounting.units import joules
from tests.accounting import paper
from tests.accounting.test_outlook import cell
from tests.accounting.test_payback import SERVED, spots


def swept(*settings):
    """Spots and facts of KD runs: (temperature, weight, kWh, Q), all of one student."""
    runs, facts = [], {}
    for temperature, weight, energy, q in settings:
        name = f"T{temperature} a{weight}"
        figures = replace(
            paper.run("kd", "1B"),
            run_id=name,
            configuration=name,
            own_energy_j={"student": joules(energy)},
            teacher_artifacts=(),
            q=q,
        )
        runs.append(RunMeasures(figures=figures))
        facts[name] = {"distillation.temperature": temperature, "distillation.ce_weight": weight, "seed": len(runs)}
    found = outlook(runs, Axes()).spots
    return found, {spot.point.key: facts[spot.point.configuration] for spot in found}


def test_a_setting_is_followed_while_all_others_stay():
    found = sensitivities(*swept((1.0, 0.5, 5.0, 0.7), (4.0, 0.5, 5.2, 0.6), (2.0, 0.5, 5.1, 0.72)))
    (only,) = found
    assert (only.pipeline, only.setting) == ("kd", "distillation.temperature")
    (curve,) = only.curves
    assert [value for value, _ in curve.points] == [1.0, 2.0, 4.0]
    assert [spot.on_front for _, spot in curve.points] == [True, True, False]


def test_a_grid_gives_a_curve_for_each_value_of_the_other_setting():
    found = sensitivities(*swept((1.0, 0.3, 5, 0.7), (2.0, 0.3, 5, 0.7), (1.0, 0.8, 5, 0.7), (2.0, 0.8, 5, 0.7)))
    assert {s.setting: [c.label for c in s.curves] for s in found} == {
        "distillation.temperature": ["1B, ce weight 0.3", "1B, ce weight 0.8"],
        "distillation.ce_weight": ["1B, temperature 1.0", "1B, temperature 2.0"],
    }


def test_two_settings_that_change_together_are_no_curve():
    assert sensitivities(*swept((1.0, 0.3, 5, 0.7), (2.0, 0.8, 5, 0.7))) == ()


def test_runs_without_a_spec_vary_nothing_that_is_known():
    found, _ = swept((1.0, 0.5, 5.0, 0.7), (2.0, 0.5, 5.1, 0.7))
    assert sensitivities(found, {}) == ()


def verdicts(found):
    return {c.spot.point.configuration: c.verdict for c in found.candidates}


def test_a_single_student_at_q_0_7_is_best_taught_without_a_teacher_or_by_the_cheapest_that_reaches_it():
    found = advise(spots(), Wish(q_floor=0.69))
    assert found.choice.spot.point.configuration == "sft 1B"
    assert advise(spots(), Wish(q_floor=0.7)).choice.spot.point.configuration == "synthetic_sft 1B"


def test_many_students_make_the_teacher_cheap_and_distillation_the_choice():
    few, many = (advise(spots(), Wish(sizes=("7B",), students=n, q_floor=0.7)) for n in (1, 100))
    assert few.choice.spot.point.configuration == "sft 7B"
    assert many.choice.spot.point.configuration == "kd 7B"
    assert many.choice.training_kwh == pytest.approx(17.4 + 11 / 100)


def test_serving_counts_and_can_turn_the_choice_to_a_smaller_student():
    found = advise(spots(), Wish(q_floor=0.6, tokens=1e9))
    assert found.choice.spot.point.configuration == "sft 1B"
    assert found.choice.serving_kwh == pytest.approx(0.27 * 1e9 / 3.6e6)


def test_what_is_too_dear_or_too_poor_is_told_apart():
    found = verdicts(advise(spots(), Wish(q_floor=0.8, budget_kwh=20)))
    assert (found["sft 7B"], found["sft 13B"], found["kd 1B"]) == (FITS, TOO_DEAR, TOO_POOR)


def test_a_size_nobody_measured_has_no_basis_and_no_choice():
    found = advise(spots(), Wish(sizes=("70B",)))
    assert (found.choice, found.candidates, found.without_basis) == (None, (), ("70B",))


def test_serving_at_a_rate_nobody_measured_is_unknown_rather_than_free():
    unserved = [cell(*key) for key in paper.CELLS]
    found = advise(outlook(unserved, Axes()).spots, Wish(tokens=1e6))
    assert set(verdicts(found).values()) == {UNKNOWN}
    assert found.choice is None
    assert advise(outlook(SERVED, Axes()).spots, Wish(tokens=1e6)).choice is not None
