from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.breakeven import amortised_series, inference_break_even, reuse_break_even

hundredths = st.integers(0, 10**6)


@given(hundredths, hundredths, hundredths)
def test_n_star_is_the_first_n_at_which_the_distilled_student_is_no_dearer(teacher, baseline, distilled):
    found = reuse_break_even(
        teacher_j=teacher / 100, baseline_student_j=baseline / 100, distilled_student_j=distilled / 100
    )
    if baseline <= distilled:
        assert (found.verdict, found.count) == ("never", None)
    else:
        assert found.count == ceil(Fraction(teacher, baseline - distilled))


def test_floats_that_divide_to_ten_do_not_round_up_to_eleven():
    assert 11 / (6.30 - 5.20) > 10
    assert reuse_break_even(teacher_j=11.0, baseline_student_j=6.30, distilled_student_j=5.20).count == 10


def test_delta_q_stands_beside_it():
    found = reuse_break_even(
        teacher_j=11, baseline_student_j=18.45, distilled_student_j=16.35, baseline_q=0.90, distilled_q=0.78
    )
    assert found.delta_q == -0.12


@pytest.mark.parametrize("distilled", [5.0, 6.0])
def test_a_student_that_saves_nothing_never_pays_the_teacher_back(distilled):
    found = reuse_break_even(teacher_j=1.0, baseline_student_j=5.0, distilled_student_j=distilled)
    assert (found.verdict, found.count, found.exact) == ("never", None, None)


def test_an_unknown_energy_gives_an_unknown_answer_not_never():
    assert reuse_break_even(teacher_j=None, baseline_student_j=5.0, distilled_student_j=6.0).verdict == "unknown"


def test_amortised_energy_falls_towards_the_students_own():
    assert amortised_series(12.0, 5.0, [1, 2, 3, 12]) == ((1, 17.0), (2, 11.0), (3, 9.0), (12, 6.0))


def serve(extra, reference, student, *, q=0.9, tolerance=0.05):
    return inference_break_even(
        extra_training_j=extra,
        reference_j_per_token=reference,
        student_j_per_token=student,
        reference_q=0.9,
        student_q=q,
        tolerance=tolerance,
    )


@pytest.mark.parametrize(
    ("extra", "reference", "student", "verdict", "tokens"),
    [
        (10.0, 0.7, 0.2, "breaks_even", 20),
        (-10.0, 0.7, 0.2, "at_once", None),
        (0.0, 0.7, 0.2, "at_once", None),
        (-10.0, 0.5, 0.5, "at_once", None),
        (0.0, 0.5, 0.5, "equal", None),
        (10.0, 0.5, 0.5, "never", None),
        (10.0, 0.2, 0.7, "never", None),
        (0.0, 0.2, 0.7, "never", None),
        (-10.0, 0.2, 0.7, "until", 20),
    ],
)
def test_the_signs_decide_what_the_quotient_means(extra, reference, student, verdict, tokens):
    found = serve(extra, reference, student)
    assert (found.verdict, found.tokens) == (verdict, tokens)


@given(st.integers(-1000, 1000), st.integers(0, 100), st.integers(0, 100))
def test_a_stated_number_of_tokens_is_where_both_cost_the_same(extra, reference, student):
    found = serve(extra, reference, student)
    if found.tokens is not None:
        assert found.tokens > 0
        assert abs(extra + found.tokens * student - found.tokens * reference) < Decimal("1e-15")
    else:
        assert found.verdict in ("at_once", "equal", "never")


def test_a_student_at_the_edge_of_the_tolerance_is_a_substitute():
    assert 0.9 - 0.7 > 0.2  # in binary floats
    assert serve(10.0, 0.7, 0.2, q=0.7, tolerance=0.2).verdict == "breaks_even"
    assert serve(10.0, 0.7, 0.2, q=0.69, tolerance=0.2).verdict == "no_substitute"


def test_a_better_student_is_a_substitute():
    assert serve(10.0, 0.7, 0.2, q=1.0).verdict == "breaks_even"


def test_no_substitute_says_by_how_much():
    assert serve(10.0, 0.7, 0.2, q=0.78).sentence == "No substitute: ΔQ = -0.12."


@pytest.mark.parametrize("hole", ["extra_training_j", "reference_j_per_token", "student_j_per_token", "student_q"])
def test_an_unknown_figure_gives_no_answer(hole):
    figures = {"extra_training_j": 1.0, "reference_j_per_token": 0.7, "student_j_per_token": 0.2}
    figures |= {"reference_q": 0.9, "student_q": 0.9, "tolerance": 0.0}
    found = inference_break_even(**(figures | {hole: None}))
    assert (found.verdict, found.tokens, found.formula) == ("unknown", None, None)
