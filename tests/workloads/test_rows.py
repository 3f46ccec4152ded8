"""Digests and splits: what is held out is held out by fact and by wording."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.spec import DatasetSpec
from registry.workloads import tour
from registry.workloads.rows import Row, TooFewRows, Turn, prompt_digest, row_digest, split

SPEC = DatasetSpec(id="d", train_rows=60, validation_rows=10, evaluation_rows=20)
WORDED = [
    Row(f"{wording} {fact}", f"a{fact}", f"k{fact}") for fact in range(60) for wording in ("what", "which", "who")
]
PLAIN = [Row(f"q{n}", f"a{n}") for n in range(100)]


@given(seed=st.integers(0, 10_000))
def test_no_row_is_in_two_parts(seed):
    parts = split(WORDED, replace(SPEC, split_seed=seed))
    prompts = [row.prompt for part in (parts.train, parts.validation, parts.evaluation) for row in part]
    assert len(prompts) == len(set(prompts)) == 90


@given(seed=st.integers(0, 10_000))
def test_half_the_evaluation_asks_facts_that_no_wording_was_trained_on(seed):
    parts = split(WORDED, replace(SPEC, split_seed=seed))
    touched = {row.key for row in (*parts.train, *parts.validation)}
    unseen, reworded = parts.evaluation[:10], parts.evaluation[10:]
    assert not touched & {row.key for row in unseen}
    assert len({row.key for row in unseen}) == 10
    all_trained = split(WORDED, replace(SPEC, split_seed=seed, train_rows=90)).train
    assert {row.key for row in reworded} <= {row.key for row in all_trained}


def test_rows_without_keys_are_all_held_out_alike():
    parts = split(PLAIN, replace(SPEC, train_rows=70))
    assert [len(parts.train), len(parts.validation), len(parts.evaluation)] == [70, 10, 20]
    assert len({row.prompt for part in (parts.train, parts.validation, parts.evaluation) for row in part}) == 100


def test_a_smaller_training_set_is_a_prefix_of_a_larger_one():
    small, large = split(WORDED, replace(SPEC, train_rows=20)), split(WORDED, SPEC)
    assert large.train[:20] == small.train
    assert large.evaluation == small.evaluation
    assert large.validation == small.validation


@given(more=st.integers(0, 60), repeated=st.integers(0, 9))
def test_a_longer_draw_only_adds_training_rows(more, repeated):
    draw = [*PLAIN[:40], *PLAIN[:repeated], *PLAIN[40:]]
    spec = replace(SPEC, train_rows=10)
    small = split(draw[: 40 + repeated], spec, drawn=True)
    large = split(draw[: 40 + repeated + more], replace(spec, train_rows=10 + more), drawn=True)
    assert (large.evaluation, large.validation) == (small.evaluation, small.validation)
    assert large.train[:10] == small.train
    prompts = [row.prompt for part in (large.train, large.validation, large.evaluation) for row in part]
    assert len(prompts) == len(set(prompts)) == 40 + more


def test_a_seed_repeats_its_split_and_another_gives_another():
    assert split(WORDED, SPEC) == split(WORDED, SPEC)
    assert split(WORDED, SPEC) != split(WORDED, replace(SPEC, split_seed=1))


def test_doubled_rows_count_once():
    parts = split(PLAIN * 2, replace(SPEC, train_rows=70))
    assert len({row.prompt for row in parts.train}) == 70


def test_more_rows_than_there_are_are_refused_with_how_many_there_are():
    with pytest.raises(TooFewRows, match=r"d has 100 rows and cannot give 71 train rows \(there are 70\)"):
        split(PLAIN, replace(SPEC, train_rows=71))


def test_a_row_digest_is_of_prompt_and_answer_and_a_prompt_digest_of_the_prompt():
    row = Row("q", "a", "k", ("a", "b"), "a")
    assert row_digest(row) == row_digest(Row("q", "a"))
    assert row_digest(row) != row_digest(Row("q", "b"))
    assert prompt_digest(row) == prompt_digest(Row("q", "b"))
    assert prompt_digest(row) != prompt_digest(Row("Q", "a"))
    assert row_digest(row) == "2aa897653f0419fff72e9b2805b12bb2b5462ffc03b252ee5ab8d9948f143f76"


def test_rows_survive_json():
    for row in (Row("q", "a"), Row("q", "an a.", "k", ("a", "b"), "a")):
        assert Row.from_dict(row.to_dict()) == row


def test_every_question_of_the_tour_has_four_answers_one_of_them_right():
    for row in tour.rows():
        assert len(set(row.choices)) == 4
        assert row.short in row.choices
        assert row.candidates()[row.choices.index(row.short)] == row.answer
        assert len(set(row.candidates())) == 4
        assert row.opening()
        assert row.opening() in row.answer


def test_the_tour_asks_no_question_twice_and_each_fact_in_three_wordings():
    rows = tour.rows()
    assert len({row.prompt for row in rows}) == len(rows)
    assert len(rows) > 1800
    by_fact: dict[tuple[str, str], int] = {}
    for row in rows:
        by_fact[row.key, row.answer] = by_fact.get((row.key, row.answer), 0) + 1
    assert set(by_fact.values()) == {3}


def test_the_right_answer_stands_in_every_place_about_as_often():
    rows = tour.rows()[::3]
    places = [row.choices.index(row.short) for row in rows]
    assert all(0.18 < places.count(place) / len(rows) < 0.32 for place in range(4))


def test_what_was_said_before_is_part_of_what_is_asked():
    first = Row("And now?", "Cold.", before=(Turn("user", "Hot?"), Turn("assistant", "Hot.")))
    other = replace(first, before=(Turn("user", "Hot?"), Turn("assistant", "No.")))
    assert prompt_digest(first) != prompt_digest(other)
    assert row_digest(first) != row_digest(replace(first, before=()))
    assert Row.from_dict(first.to_dict()) == first
    assert prompt_digest(Row("q", "a")) == "34ed3dbb5ff8058f25598464ce21696f3e7914270c45cc41f6972e4fa64564a5"  # as ever
