"""Grids: what they stand for, and in which order their artifacts are decided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.plan import Identities, artifact_request
from registry.accounting.presets import SWEEPS, paper, paper_ablation, tour
from registry.accounting.reuse import Candidate, covers, decide
from registry.accounting.spec import SpecError
from registry.accounting.sweeps import MOST_RUNS, expand, largest_first, nominal_rows
from tests.accounting.test_reuse import cache_requests, synthetic_requests


def grid(pipeline="kd", **changes):
    values = tour(20, "kd").to_dict() | {"pipeline": pipeline}
    for name, value in changes.items():
        part, _, leaf = name.partition("__")
        values[part] = {**values[part], leaf: value} if leaf else value
    return values


def test_a_spec_without_lists_stands_for_itself():
    sweep = expand([tour(20, "kd").to_dict()])
    assert (sweep.specs, sweep.varied, sweep.left_out) == ((tour(20, "kd"),), (), 0)


def test_every_combination_is_a_run_and_the_last_setting_changes_fastest():
    sweep = expand([grid(distillation__temperature=[1, 2.0], seed=[0, 1, 2])])
    assert [(s.distillation.temperature, s.seed) for s in sweep.specs] == [
        (t, seed) for t in (1.0, 2.0) for seed in (0, 1, 2)
    ]
    assert sweep.varied == ("distillation.temperature", "seed")
    assert sweep.values(sweep.specs[4]) == {"distillation.temperature": 2.0, "seed": 1}


def test_a_setting_that_is_a_list_takes_a_list_of_lists():
    assert len(expand([grid(evaluation__suite=["choice", "exact_match"])]).specs) == 1
    sweep = expand([grid(distillation__temperatures=[[1, 2], [1, 2, 4]])])
    assert [s.distillation.temperatures for s in sweep.specs] == [(1.0, 2.0), (1.0, 2.0, 4.0)]


def test_runs_that_differ_in_what_their_pipeline_never_reads_are_one():
    sweep = expand([grid(pipeline=["sft", "kd"], distillation__temperature=[1, 2, 4])])
    assert [s.pipeline for s in sweep.specs] == ["sft", "kd", "kd", "kd"]
    assert sweep.left_out == 2
    assert sweep.values(sweep.specs[0]) == {"pipeline": "sft"}


def test_several_grids_are_one_sweep_and_say_the_same_only_once():
    sweep = expand([grid(seed=[0, 1]), grid(seed=[1, 2])])
    assert [s.seed for s in sweep.specs] == [0, 1, 2]


@pytest.mark.parametrize(
    ("grids", "field"),
    [
        ([], "grids"),
        ([5], "grids"),
        ([grid(seed=[])], "seed"),
        ([grid(seed=[0, "one"])], "seed"),
        ([grid(distillation__temperature=[1, 3])], "distillation.temperature"),
        ([grid(colour=["red", "blue"])], "colour"),
        ([grid(dataset="here")], "dataset"),
        ([grid(seed=[[1, 2]])], "seed"),
        ([grid(), grid(seed=["x"])], "grids.1.seed"),
        ([grid(seed=list(range(MOST_RUNS + 1)))], "grids"),
        ([grid(seed=list(range(10**4)), training__max_steps=list(range(1, 10**4)))], "grids"),
    ],
)
def test_bad_grids_are_refused_by_field(grids, field):
    with pytest.raises(SpecError) as refusal:
        expand(grids)
    assert list(refusal.value.problems) == [field]


@given(st.lists(cache_requests | synthetic_requests, max_size=6))
def test_nothing_comes_before_what_covers_it(requests):
    order = largest_first(dict(enumerate(requests)))
    assert sorted(order) == list(range(len(requests)))
    for earlier, later in ((a, b) for n, a in enumerate(order) for b in order[n + 1 :]):
        assert covers(requests[later], requests[earlier]) or not covers(requests[earlier], requests[later])


def made(specs, identities):
    """How many artifacts are made when the runs are decided one after the other, largest first."""
    requests = {}
    for place, spec in enumerate(specs):
        kind = "logit_cache" if spec.pipeline == "kd" else "synthetic_dataset"
        requests[place] = artifact_request(kind, spec, identities(spec))
    begun = []
    for place in largest_first(requests):
        if decide(requests[place], begun).action == "make":
            begun.append(Candidate(artifact_id=str(place), name="it", request=requests[place], status="making"))
    return [candidate.request for candidate in begun]


def unread(spec):
    rows = nominal_rows(spec.dataset)
    return Identities(
        teacher_digest="t",
        tokenizer_digest="k",
        template_digest="c",
        student_digest="s",
        row_digests=rows,
        prompt_digests=rows,
    )


@pytest.mark.parametrize("size", ["1B", "7B", "13B"])
def test_the_papers_ablation_is_15_runs_that_need_one_cache_and_one_generation(size):
    sweep = expand(paper_ablation(size))
    assert [spec.pipeline for spec in sweep.specs] == ["kd"] * 9 + ["synthetic_sft"] * 6
    requests = made(sweep.specs, unread)
    assert sorted(request.kind for request in requests) == ["logit_cache", "synthetic_dataset"]
    cache, generation = sorted(requests, key=lambda request: request.kind)
    assert cache.capture["temperatures"] == (1.0, 2.0, 4.0)
    assert (generation.capture["max_new_tokens"], len(generation.row_digests)) == (1024, 7000)


def test_every_sweep_on_offer_can_be_expanded():
    assert {len(expand(grids()).specs) for grids in SWEEPS.values()} == {15}


def test_rows_nobody_has_read_are_told_apart_by_their_place():
    small, large = (nominal_rows(expand([grid(dataset__train_rows=n)]).specs[0].dataset) for n in (3, 5))
    assert large[:3] == small
    held_out_more = expand([grid(dataset__evaluation_rows=1)]).specs[0].dataset
    assert not set(small) & set(nominal_rows(held_out_more))
    assert len(set(nominal_rows(paper("1B", "kd").dataset))) == 7000
