import json
import unicodedata
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.canonical import CanonicalError, canonical, flatten
from registry.accounting.fingerprint import family, fingerprint
from registry.accounting.reuse import ArtifactRequest
from registry.accounting.spec import DatasetSpec
from tests.accounting.factories import cache_request, synthetic_request

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15)
json_values = st.recursive(
    st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=8,
)
identities = st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), json_values, max_size=4)


def request(identity, **rest):
    return ArtifactRequest(kind="prepared_dataset", identity=identity, **rest)


@given(identities)
def test_the_order_of_keys_makes_no_difference(identity):
    assert fingerprint(request(identity)) == fingerprint(request(dict(reversed(identity.items()))))


@given(identities)
def test_lists_and_tuples_are_the_same(identity):
    tupled = {key: tuple(value) if isinstance(value, list) else value for key, value in identity.items()}
    assert fingerprint(request(identity)) == fingerprint(request(tupled))


@given(identities)
def test_a_trip_through_json_changes_nothing(identity):
    assert fingerprint(request(identity)) == fingerprint(request(json.loads(json.dumps(identity))))


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_float_equals_the_integer(number):
    assert fingerprint(request({"k": number})) == fingerprint(request({"k": float(number)}))


@given(texts)
def test_unicode_is_normalised(text):
    decomposed = unicodedata.normalize("NFD", text)
    assert fingerprint(request({"name": text})) == fingerprint(request({"name": decomposed}))


@given(identities, identities)
def test_different_identities_have_different_fingerprints(one, other):
    same = canonical(one) == canonical(other) and json.dumps(canonical(one), sort_keys=True) == json.dumps(
        canonical(other), sort_keys=True
    )
    assert (fingerprint(request(one)) == fingerprint(request(other))) == same


def test_true_is_not_one():
    assert fingerprint(request({"flag": True})) != fingerprint(request({"flag": 1}))


def test_the_value_is_a_fixed_point_that_no_release_may_move():
    assert fingerprint(cache_request()) == "2e55ea2441725c6d7cece1f26664b55e2b70365219ef540429bee020456875c8"
    assert fingerprint(synthetic_request()) == "99c519a4a8e060a4e714ef6dc6ad8e6084a3841f3dbfc7c541c8437641ee6ee7"


def test_what_is_left_out_means_its_default():
    short = ArtifactRequest(
        kind="logit_cache",
        identity={
            "teacher": {"id": "acme/teacher-32b", "digest": "aa"},
            "tokenizer_digest": "bb",
            "template_digest": "cc",
        },
        capture={"temperatures": None},
        row_digests=("r1", "r2", "r3"),
    )
    assert fingerprint(short) == fingerprint(cache_request())


def test_rows_and_temperatures_are_sets():
    shuffled = cache_request(rows=("r3", "r1", "r2", "r1"), temperatures=[4, 1.0, 2])
    assert fingerprint(shuffled) == fingerprint(cache_request())


@pytest.mark.parametrize(
    "other",
    [
        cache_request(k=50),
        cache_request(temperatures=(1.0,)),
        cache_request(encoding="fp32"),
        cache_request(max_length=512),
        cache_request(rows=("r1", "r2")),
    ],
    ids=["k", "temperatures", "encoding", "max_length", "rows"],
)
def test_capture_and_rows_change_the_fingerprint_but_not_the_family(other):
    assert fingerprint(other) != fingerprint(cache_request())
    assert family(other) == family(cache_request())


@pytest.mark.parametrize("decoding", [{"seed": 1}, {"temperature": 1.0}, {"top_p": 0.8}, {"top_k": 40}])
def test_other_decoding_settings_are_another_family(decoding):
    assert family(synthetic_request(decoding=decoding)) != family(synthetic_request())


def test_greedy_decoding_has_no_seed():
    greedy = {"temperature": 0, "seed": 0}
    assert fingerprint(synthetic_request(decoding=greedy)) == fingerprint(
        synthetic_request(decoding=greedy | {"seed": 7, "top_p": 0.5})
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "not a finite number"),
        (float("inf"), "not a finite number"),
        (2**53, "beyond"),
        ("\ud800", "surrogate"),
        (b"bytes", "not a text, number, list or object"),
        ({1: 2}, "is not a text"),
        ({"é": 1, "e\u0301": 2}, "two keys"),
    ],
)
def test_what_json_cannot_carry_is_refused_by_name(value, words):
    with pytest.raises(CanonicalError, match=words) as refusal:
        fingerprint(request({"field": value}))
    assert "identity.field" in str(refusal.value)


def test_temperatures_that_are_no_numbers_are_refused():
    with pytest.raises(CanonicalError, match="temperatures"):
        fingerprint(cache_request(temperatures=["hot"]))


def test_nested_objects_are_flattened_to_dotted_names():
    assert flatten({"teacher": {"id": "a", "more": {"b": 1}}, "k": 2, "empty": {}}) == {
        "teacher.id": "a",
        "teacher.more.b": 1,
        "k": 2,
        "empty": {},
    }


def test_a_prepared_dataset_is_the_same_with_its_defaults_spelt_out():
    short = ArtifactRequest(kind="prepared_dataset", identity={"dataset": {"id": "org/d"}})
    whole = {**asdict(DatasetSpec(id="org/d")), "train_rows": 7000}
    assert fingerprint(short) == fingerprint(replace(short, identity={"dataset": whole, "turns": "all"}))
    other = replace(short, identity={"dataset": {"id": "org/d", "prompt_column": "text"}})
    assert fingerprint(other) != fingerprint(short)
