from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.fingerprint import family, fingerprint
from registry.accounting.reuse import ArtifactRequest, covers, decide, near_misses
from tests.accounting.factories import cache_request, candidate, synthetic_request

rows = st.sets(st.sampled_from(["r1", "r2", "r3", "r4"]), min_size=1).map(tuple)
cache_requests = st.builds(
    cache_request,
    k=st.sampled_from([1, 50, 100]),
    temperatures=st.sets(st.sampled_from([1.0, 2.0, 4.0]), min_size=1).map(tuple),
    encoding=st.sampled_from(["fp16", "fp32"]),
    max_length=st.sampled_from([512, 1024]),
    rows=rows,
)
synthetic_requests = st.builds(
    synthetic_request,
    max_new_tokens=st.sampled_from([256, 512, 1024]),
    max_length=st.sampled_from([512, 1024]),
    decoding=st.fixed_dictionaries({"seed": st.integers(0, 1)}),
    rows=rows,
)
requests = cache_requests | synthetic_requests


@given(requests)
def test_everything_covers_itself(request):
    assert covers(request, request) == ()


@given(requests, requests, requests)
def test_covering_is_transitive(one, two, three):
    if not covers(one, two) and not covers(two, three):
        assert covers(one, three) == ()


@given(requests, requests)
def test_two_that_cover_each_other_are_the_same_artifact(one, other):
    if not covers(one, other) and not covers(other, one):
        assert fingerprint(one) == fingerprint(other)


@given(requests, requests)
def test_what_covers_lies_in_the_family(have, want):
    if not covers(have, want):
        assert family(have) == family(want)


@given(requests, st.lists(st.tuples(requests, st.sampled_from(["ready", "making"])), max_size=5))
def test_nothing_is_made_while_something_answers(request, held):
    candidates = [candidate(r, artifact_id=str(n), status=s) for n, (r, s) in enumerate(held)]
    decision = decide(request, candidates)
    answering = {c.artifact_id: c.status for c in candidates if not covers(c.request, request)}
    if decision.action == "make":
        assert not answering
    else:
        assert answering[decision.artifact_id] == ("making" if decision.action == "wait" else "ready")


@given(requests, st.permutations(range(4)), st.lists(requests, min_size=4, max_size=4))
def test_the_order_of_the_candidates_makes_no_difference(request, order, held):
    candidates = [candidate(r, artifact_id=str(n)) for n, r in enumerate(held)]
    chosen, again = decide(request, candidates), decide(request, [candidates[n] for n in order])
    assert chosen.action == again.action
    if chosen.artifact_id is not None:
        assert fingerprint(held[int(chosen.artifact_id)]) == fingerprint(held[int(again.artifact_id)])


@pytest.mark.parametrize(
    ("have", "reason"),
    [
        (cache_request(k=50), "Its k is 50, below the 100 asked for."),
        (cache_request(temperatures=(1.0, 2.0)), "It holds the temperatures 1, 2, not 4."),
        (cache_request(encoding="bf8"), "Its encoding is bf8, not fp16."),
        (cache_request(max_length=512), "Its max_length is 512, below the 1024 asked for."),
        (cache_request(rows=("r1", "r9")), "It lacks 2 of the 3 rows asked for."),
        (cache_request(identity={"precision": "fp32"}), "Its precision is fp32, not bf16."),
        (synthetic_request(), "It is a synthetic_dataset, not a logit_cache."),
    ],
)
def test_why_a_cache_does_not_cover_is_said_in_a_sentence(have, reason):
    assert covers(have, cache_request()) == (reason,)


def test_a_wider_cache_covers_every_smaller_request():
    wide = cache_request(k=200, temperatures=(1, 2, 4, 8), rows=("r1", "r2", "r3", "r4"))
    assert covers(wide, cache_request()) == ()


def test_a_longer_dataset_over_more_prompts_covers_a_shorter_one_over_fewer():
    wide = synthetic_request(max_new_tokens=1024, rows=("r1", "r2", "r3", "r4"))
    assert covers(wide, synthetic_request(max_new_tokens=256, rows=("r2",))) == ()
    assert covers(synthetic_request(max_new_tokens=256), synthetic_request()) == (
        "Its max_new_tokens is 256, below the 512 asked for.",
    )


def test_a_prepared_dataset_only_answers_what_equals_it():
    small, large = (
        ArtifactRequest(kind="prepared_dataset", identity={"dataset": {"id": "d", "train_rows": n}}) for n in (10, 20)
    )
    assert covers(small, small) == ()
    assert covers(large, small) == ("Its dataset.train_rows is 20, not 10.",)


def test_rows_that_are_dropped_for_their_length_are_a_part_of_those_that_a_greater_length_keeps():
    for request in (cache_request, synthetic_request):
        assert covers(request(max_length=2048), request()) == ()
        assert covers(request(max_length=512), request()) == ("Its max_length is 512, below the 1024 asked for.",)


def test_rows_that_are_cut_to_their_length_are_others_at_every_length():
    truncating = {"overlong_rows": "truncate"}
    have, want = (cache_request(max_length=n, identity=truncating) for n in (2048, 1024))
    assert covers(have, want) == ("Its max_length is 2048, not 1024.",)


def test_fine_logits_round_to_coarse_ones_and_never_back():
    fine, coarse = cache_request(encoding="fp32"), cache_request(encoding="fp16")
    assert covers(fine, coarse) == ()
    assert covers(coarse, fine) == ("Its encoding is fp16, not fp32.",)


def test_a_run_at_one_temperature_needs_that_one_whatever_it_would_keep_itself():
    want = replace(cache_request(temperatures=(1, 2, 4)), needed={"temperatures": (2.0,)})
    assert covers(cache_request(temperatures=(1, 2)), want) == ()
    assert covers(cache_request(temperatures=(1, 4)), want) == ("It holds the temperatures 1, 4, not 2.",)
    assert fingerprint(want) == fingerprint(cache_request())
    assert decide(want, [candidate(cache_request())]).action == "use"
    assert decide(want, [candidate(cache_request(temperatures=(1, 2)))]).action == "cut"


def test_the_rows_that_came_out_of_preparing_are_no_part_of_the_request():
    want = ArtifactRequest(kind="prepared_dataset", identity={"dataset": {"id": "d"}})
    made = ArtifactRequest(kind="prepared_dataset", identity={"dataset": {"id": "d"}}, row_digests=("r1", "r2"))
    assert fingerprint(made) == fingerprint(want)
    assert decide(want, [candidate(made)]).action == "use"


def test_a_request_that_names_no_rows_is_covered_by_nothing():
    assert covers(cache_request(), cache_request(rows=())) == (
        "The request names no rows, so nothing can be said to hold them.",
    )


def test_an_exact_artifact_is_used_before_a_covering_one():
    decision = decide(
        cache_request(),
        [candidate(cache_request(k=200), artifact_id="wide"), candidate(cache_request(), artifact_id="exact")],
    )
    assert (decision.action, decision.artifact_id) == ("use", "exact")
    assert decision.reason == "artifact exact is exactly what this run needs."


def test_the_smallest_covering_artifact_is_cut():
    decision = decide(
        cache_request(),
        [
            candidate(cache_request(k=200, rows=("r1", "r2", "r3", "r4")), artifact_id="large"),
            candidate(cache_request(k=200), artifact_id="small"),
        ],
    )
    assert (decision.action, decision.artifact_id) == ("cut", "small")
    assert decision.reason == (
        "What this run needs is cut out of artifact small, which has k 200 where 100 is asked for."
    )


def test_a_covering_artifact_that_is_ready_is_cut_rather_than_an_exact_one_waited_for():
    decision = decide(
        cache_request(),
        [
            candidate(cache_request(), artifact_id="soon", status="making"),
            candidate(cache_request(k=200), artifact_id="now"),
        ],
    )
    assert (decision.action, decision.artifact_id) == ("cut", "now")


def test_an_artifact_being_made_is_waited_for():
    decision = decide(cache_request(), [candidate(cache_request(k=200), status="making")])
    assert (decision.action, decision.artifact_id) == ("wait", "a1")


def test_a_withdrawn_artifact_answers_nothing():
    decision = decide(cache_request(), [candidate(cache_request(), status="withdrawn")])
    assert (decision.action, decision.near_misses) == ("make", ())


def test_regenerating_names_what_would_have_served():
    decision = decide(cache_request(), [candidate(cache_request())], allow_regenerate=True)
    assert decision.action == "make"
    assert "artifact a1 is exactly what this run needs" in decision.reason


def test_near_misses_say_what_differs_there_and_what_it_would_save():
    held = candidate(synthetic_request(decoding={"seed": 7}), energy_j=38_160_000.0)
    miss = decide(synthetic_request(), [held]).near_misses[0]
    assert miss.differences == {"decoding.seed": 7}
    assert miss.would_save_j == 38_160_000.0


def test_a_surplus_that_could_be_cut_is_no_difference():
    held = candidate(cache_request(k=200, encoding="bf8"))
    assert near_misses(cache_request(), [held])[0].differences == {"encoding": "bf8"}


def test_near_misses_say_what_was_asked_for_beside_what_is_there():
    miss = near_misses(cache_request(), [candidate(cache_request(k=50, temperatures=(1.0,)))])[0]
    assert miss.differences == {"k": 50, "temperatures": [1]}
    assert miss.asked == {"k": 100, "temperatures": [1, 2, 4]}


def test_adapting_saves_what_as_many_rows_took_there():
    half = candidate(synthetic_request(decoding={"seed": 7}, rows=("r1", "r2", "r3", "r4", "r5", "r6")), energy_j=600.0)
    assert near_misses(synthetic_request(), [half])[0].would_save_j == pytest.approx(300.0)
    unknown = candidate(synthetic_request(decoding={"seed": 7}), energy_j=None)
    assert near_misses(synthetic_request(), [unknown])[0].would_save_j is None


def test_another_temperature_is_refused_with_those_held_and_a_capture_of_both_is_offered():
    held = candidate(cache_request(temperatures=(1, 2, 4, 8), k=200))
    decision = decide(cache_request(temperatures=(1, 2, 3, 4)), [held])
    assert decision.action == "make"
    assert decision.near_misses[0].differences == {"temperatures": [1, 2, 4, 8]}
    assert decision.offer.capture == {"temperatures": [1, 2, 3, 4, 8], "k": 200}
    assert decision.offer.reason == (
        "With the temperatures 1, 2, 3, 4, 8 and k 200 the new one would also hold all that artifact a1 holds."
    )
    assert not covers(cache_request(**decision.offer.capture), held.request)


@given(cache_requests, st.lists(cache_requests, max_size=4))
def test_what_is_offered_holds_the_request_and_the_artifact_it_was_offered_for(request, held):
    candidates = [candidate(r, artifact_id=str(n)) for n, r in enumerate(held)]
    offer = decide(request, candidates).offer
    if offer is not None:
        wider = replace(request, capture={**request.capture, **offer.capture})
        assert covers(wider, request) == ()
        assert covers(wider, held[int(offer.artifact_id)]) == ()
        assert covers(held[int(offer.artifact_id)], request) != ()


def test_nothing_wider_is_offered_where_other_rows_are_asked_for():
    held = candidate(cache_request(temperatures=(1, 8), rows=("r1", "r9")))
    assert decide(cache_request(), [held]).offer is None


def test_of_several_contents_the_newest_intact_one_is_offered():
    older, newer = (candidate(cache_request(), artifact_id=key) for key in ("0192", "0193"))
    assert decide(cache_request(), [older, newer]).artifact_id == "0193"
    broken = replace(newer, status="corrupt")
    assert decide(cache_request(), [broken, older]).artifact_id == "0192"


def test_a_measured_artifact_is_offered_before_a_simulated_one():
    exact = replace(candidate(cache_request(), artifact_id="exact"), simulated=True)
    wider = candidate(cache_request(k=100), artifact_id="wider")
    assert decide(cache_request(), [exact, wider]).artifact_id == "wider"
    assert decide(cache_request(), [exact, replace(wider, superseded=True)]).artifact_id == "exact"


def test_a_superseded_artifact_is_offered_only_where_nothing_else_serves():
    exact = replace(candidate(cache_request(), artifact_id="exact"), superseded=True)
    wide = candidate(cache_request(k=200), artifact_id="wide")
    assert decide(cache_request(), [exact, wide]).artifact_id == "wide"
    assert decide(cache_request(), [exact]).artifact_id == "exact"


def test_missing_rows_are_told_as_a_count():
    held = candidate(cache_request(rows=("r1", "r2")))
    assert near_misses(cache_request(), [held])[0].differences == {"rows": "2 of the 3 asked for"}


def test_near_misses_share_the_teacher_and_at_least_a_row():
    strangers = [
        candidate(cache_request(identity={"teacher": {"id": "other"}}, k=1)),
        candidate(cache_request(rows=("r8", "r9"))),
        candidate(synthetic_request()),
    ]
    assert near_misses(cache_request(), strangers) == ()


def test_at_most_five_near_misses_are_shown_fewest_differences_first():
    held = [candidate(cache_request(k=k, encoding="bf8"), artifact_id=f"far{k}") for k in range(1, 6)]
    near = candidate(cache_request(k=50), artifact_id="near")
    shown = near_misses(cache_request(), [*held, near])
    assert shown[0].artifact_id == "near"
    assert len(shown) == 5
