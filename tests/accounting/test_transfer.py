"""The same study under other assumptions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.breakeven import reuse_break_even
from registry.accounting.figures import charge
from registry.accounting.frontier import frontier, points
from registry.accounting.transfer import Factors, TransferError, transferred
from registry.accounting.units import kwh
from tests.accounting import paper

factors = st.floats(0.001, 1000)


def on_frontier(runs, scope="full", n=1):
    return {p.point.configuration for p in frontier(points(runs, scope, n)) if p.on_frontier}


def test_without_a_factor_nothing_changes():
    assert Factors().as_measured
    assert transferred(paper.RUNS, Factors()) == paper.RUNS


def test_the_parts_take_their_own_factors_and_data_none():
    [run] = transferred([paper.run("kd", "7B")], Factors(teacher=0.5, student=2, evaluation=3))
    charged = charge(run, "full")
    assert {role: round(kwh(energy), 6) for role, energy in charged.by_role.items()} == {
        "data": 0.37,
        "student": 32.70,
        "evaluation": 2.04,
        "teacher": 5.50,
    }


@given(teacher=factors, student=factors)
def test_break_even_follows_the_quotient_of_the_factors(teacher, student):
    sft, kd = transferred([paper.run("sft", "7B"), paper.run("kd", "7B")], Factors(teacher=teacher, student=student))
    found = reuse_break_even(
        teacher_j=kd.teacher_artifacts[0].production_energy_j,
        baseline_student_j=sft.own_energy_j["student"],
        distilled_student_j=kd.own_energy_j["student"],
    )
    assert float(found.exact) == pytest.approx(11.00 / 2.10 * teacher / student, rel=1e-9)


def test_a_cheap_teacher_brings_kd_onto_the_frontier():
    assert "kd 1B" not in on_frontier(paper.RUNS)
    assert "kd 1B" in on_frontier(transferred(paper.RUNS, Factors(teacher=1 / 3)))


def test_what_was_not_measured_is_not_invented():
    hole = replace(paper.run("kd", "7B"), own_energy_j={"student": None})
    [run] = transferred([hole], Factors(student=2))
    assert run.own_energy_j == {"student": None}


@pytest.mark.parametrize("factor", [0, -1, 0.0001, 1001, float("nan"), float("inf")])
def test_a_factor_that_cannot_be_is_refused_by_name(factor):
    with pytest.raises(TransferError, match="teacher"):
        Factors(teacher=factor)
