import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.quality import QualityError, quality

positive = st.floats(0.01, 100)


@given(st.dictionaries(st.text(min_size=1), positive, min_size=1))
def test_the_teacher_itself_has_a_q_of_one(scores):
    assert math.isclose(quality(scores, scores, tuple(scores)).q, 1.0)


@given(st.dictionaries(st.text(min_size=1), st.tuples(positive, positive), min_size=1), st.floats(0.1, 10))
def test_the_scale_of_a_benchmark_makes_no_difference(pairs, factor):
    student, teacher = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
    scaled = quality(
        {n: s * factor for n, s in student.items()}, {n: s * factor for n, s in teacher.items()}, tuple(pairs)
    )
    assert math.isclose(scaled.q, quality(student, teacher, tuple(pairs)).q)


def test_each_benchmark_weighs_the_same():
    found = quality({"a": 50, "b": 1.0}, {"a": 100, "b": 1.0}, ("a", "b"))
    assert found.q == 0.75
    assert found.retention == {"a": 0.5, "b": 1.0}


def test_a_score_outside_the_suite_does_not_count():
    assert quality({"a": 1, "x": 9}, {"a": 2, "x": 1}, ("a",)).q == 0.5


def test_an_incomplete_suite_has_no_q_and_says_what_is_missing():
    found = quality({"a": 1.0, "b": None}, {"a": 2.0, "b": 1.0}, ("a", "b", "c"))
    assert found.q is None
    assert found.missing == ("b (student)", "c (student)", "c (teacher)")
    assert found.retention == {"a": 0.5}


def test_a_student_that_scores_nothing_is_measured():
    assert quality({"a": 0.0}, {"a": 1.0}, ("a",)).q == 0.0


@pytest.mark.parametrize("score", [0, -1.0, math.nan, math.inf])
def test_a_teacher_score_that_nothing_can_be_a_share_of_is_refused(score):
    with pytest.raises(QualityError, match="the teacher's a is"):
        quality({"a": 1.0}, {"a": score}, ("a",))


def test_an_empty_suite_is_refused():
    with pytest.raises(QualityError, match="names no benchmark"):
        quality({}, {}, ())
