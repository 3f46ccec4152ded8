from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.figures import ArtifactShare, RunFigures, ScopeError, burnt, charge

CACHE = ArtifactShare(artifact_id="c", name="the cache", production_energy_j=1100.0, used_share=0.25, reuse_count=4)
RUN = RunFigures(
    run_id="r",
    pipeline="kd",
    student="1B",
    configuration="kd 1B",
    own_energy_j={"student": 520.0, "evaluation": 33.0},
    prepared=ArtifactShare(artifact_id="p", name="the rows", production_energy_j=37.0, reuse_count=9),
    teacher_artifacts=(CACHE,),
    q=0.7,
)
energies = st.floats(0, 1e12)
shares = st.builds(
    ArtifactShare,
    artifact_id=st.sampled_from("abc"),
    production_energy_j=energies,
    used_share=st.floats(0, 1),
    reuse_count=st.integers(1, 1000),
)
runs = st.builds(
    RunFigures,
    run_id=st.just("r"),
    pipeline=st.just("kd"),
    student=st.just("1B"),
    configuration=st.just("c"),
    own_energy_j=st.dictionaries(st.sampled_from(["data", "student", "evaluation", "teacher"]), energies),
    prepared=shares,
    teacher_artifacts=st.lists(shares, max_size=3).map(tuple),
)


@given(runs, st.integers(1, 10**6))
def test_student_only_is_at_most_amortised_and_amortised_at_most_full(run, n):
    own, shared, full = (charge(run, scope, n).energy_j for scope in ("student_only", "amortised", "full"))
    assert own <= shared <= full


@given(runs)
def test_made_to_measure_lies_between_student_only_and_full(run):
    own, cut, full = (charge(run, scope).energy_j for scope in ("student_only", "made_to_measure", "full"))
    assert own <= cut <= full


@given(runs)
def test_what_was_really_used_lies_between_too(run):
    own, full = charge(run, "student_only").energy_j, charge(run, "full").energy_j
    assert own <= charge(run, "amortised", "reused").energy_j <= full


@given(runs)
def test_an_n_of_one_is_the_full_charge(run):
    assert charge(run, "amortised", 1) == charge(run, "full")


@given(runs, st.sampled_from(["full", "made_to_measure", "amortised", "student_only"]))
def test_the_roles_add_up_to_the_total(run, scope):
    charged = charge(run, scope, 3)
    assert sum(charged.by_role.values()) == pytest.approx(charged.energy_j)


@given(st.lists(runs, min_size=1, max_size=4))
def test_burnt_energy_counts_each_artifact_once(group):
    assert burnt([*group, *group[:1]]).energy_j is not None
    alone = replace(group[0], own_energy_j={})
    assert burnt([alone, alone]).energy_j == burnt([alone]).energy_j


@pytest.mark.parametrize(
    ("scope", "n", "teacher_j"),
    [("full", 1, 1100.0), ("made_to_measure", 1, 275.0), ("amortised", 10, 110.0), ("amortised", "reused", 275.0)],
)
def test_each_scope_charges_its_part_of_the_teacher_and_all_of_the_rest(scope, n, teacher_j):
    charged = charge(RUN, scope, n)
    assert charged.by_role == {"student": 520.0, "evaluation": 33.0, "data": 37.0, "teacher": teacher_j}
    assert charged.energy_j == 590.0 + teacher_j


def test_student_only_has_no_teacher():
    assert charge(RUN, "student_only").by_role == {"student": 520.0, "evaluation": 33.0, "data": 37.0}


def test_a_teacher_stage_without_an_artifact_counts_as_the_teachers_part():
    run = replace(RUN, own_energy_j={"teacher": 100.0, "student": 1.0}, prepared=None, teacher_artifacts=())
    assert charge(run, "full").energy_j == 101.0
    assert charge(run, "amortised", 4).energy_j == 26.0
    assert charge(run, "amortised", "reused").energy_j == 101.0
    assert charge(run, "student_only").energy_j == 1.0


def test_a_prerun_belongs_to_the_host():
    run = replace(RUN, own_energy_j=RUN.own_energy_j | {"prerun": 1000.0})
    assert charge(run, "full").energy_j == charge(RUN, "full").energy_j


def test_a_hole_makes_the_total_a_hole_and_is_named():
    run = replace(
        RUN, own_energy_j={"student": None, "evaluation": 33.0}, missing={"student": ("student_training: gpu",)}
    )
    charged = charge(run, "student_only")
    assert charged.energy_j is None
    assert charged.by_role == {"student": None, "evaluation": 33.0, "data": 37.0}
    assert charged.missing == ("student_training: gpu",)


def test_an_artifact_of_unknown_cost_is_a_hole_only_where_the_teacher_counts():
    run = replace(RUN, teacher_artifacts=(replace(CACHE, production_energy_j=None),))
    assert charge(run, "full").missing == ("production energy of the cache",)
    assert charge(run, "student_only").energy_j == 590.0


def test_an_unknown_share_is_a_hole_only_where_it_is_asked_for():
    run = replace(RUN, teacher_artifacts=(replace(CACHE, used_share=None),))
    assert charge(run, "made_to_measure").missing == ("share of the cache that was used",)
    assert charge(run, "full").energy_j == 1690.0


def test_a_run_without_stages_has_no_energy_rather_than_none_spent():
    charged = charge(replace(RUN, own_energy_j={}, prepared=None, teacher_artifacts=()), "full")
    assert (charged.energy_j, charged.missing) == (None, ("stages",))


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "often", None])
def test_an_n_that_counts_nobody_is_refused(n):
    with pytest.raises(ScopeError, match="whole number of students"):
        charge(RUN, "amortised", n)


def test_an_unknown_scope_is_refused_with_those_that_exist():
    with pytest.raises(ScopeError, match="there are full, made_to_measure, amortised, student_only"):
        charge(RUN, "partial")
