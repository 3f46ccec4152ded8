from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.presets import paper
from registry.accounting.spec import RunSpec, SpecError, layer_block

PLAIN = paper("1B", "kd").to_dict()
FIELDS = [(section, name) for section, inner in PLAIN.items() if isinstance(inner, dict) for name in inner]
anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)


def problems(changes):
    """What is said about the paper's spec with dotted fields changed."""
    data = {key: dict(value) if isinstance(value, dict) else value for key, value in PLAIN.items()}
    for name, value in changes.items():
        section, _, field = name.rpartition(".")
        (data[section] if section else data)[field] = value
    with pytest.raises(SpecError) as refusal:
        RunSpec.from_dict(data)
    return refusal.value.problems


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("pipeline", "magic", "one of sft, kd, synthetic_sft"),
        ("seed", -1, "0 or more"),
        ("seed", True, "not a whole number"),
        ("seed", 2**60, "not a whole number"),
        ("teacher.id", "", "a model id"),
        ("teacher.drop_layers", "1-2", "the teacher is taken whole"),
        ("student.drop_layers", "19-10", 'a block such as "10-19"'),
        ("dataset.train_rows", 0, "between 1 and 100,000,000"),
        ("dataset.id", "x" * 201, "at most 200 characters"),
        ("dataset.id", "a\x00b", "text"),
        ("training.learning_rate", float("nan"), "not a finite number"),
        ("training.learning_rate", "fast", "not a finite number"),
        ("training.max_stepz", 1, "unknown field"),
        ("distillation.temperatures", 1.0, "not a list"),
        ("distillation.temperatures", [], "list of temperatures"),
        ("distillation.temperatures", ["hot"], "not a finite number"),
        ("distillation.temperature", 3.0, "add it to distillation.temperatures"),
        ("decoding", "greedy", "not an object"),
        ("evaluation.suite", ["a", "a"], "each named once"),
    ],
)
def test_a_bad_value_is_named_with_the_way_out(name, value, words):
    found = problems({name: value})
    assert list(found) == [name]
    assert words in found[name]


def test_every_bad_field_is_named_at_once():
    assert set(problems({"seed": "x", "training.batch_size": 1.5, "extra": 1})) == {
        "seed",
        "training.batch_size",
        "extra",
    }


def test_what_has_no_default_is_required():
    with pytest.raises(SpecError) as refusal:
        RunSpec.from_dict({"pipeline": "sft", "teacher": {}})
    assert set(refusal.value.problems) == {"teacher.id", "student", "dataset"}


def test_a_spec_that_is_no_object_is_refused():
    with pytest.raises(SpecError, match="not an object"):
        RunSpec.from_dict([1])


@given(st.sampled_from(FIELDS), anything)
def test_whatever_stands_in_a_field_is_read_or_refused_by_name(field, value):
    section, name = field
    data = PLAIN | {section: PLAIN[section] | {name: value}}
    try:
        spec = RunSpec.from_dict(data)
    except SpecError as refusal:
        assert any(problem.startswith(section) for problem in refusal.problems)
    else:
        assert RunSpec.from_dict(spec.to_dict()) == spec


def test_a_spec_built_in_code_is_checked_too():
    with pytest.raises(SpecError, match=r"training\.learning_rate"):
        replace(paper("1B", "sft"), training=replace(paper("1B", "sft").training, learning_rate=0.0))


@pytest.mark.parametrize(
    ("text", "block"), [("", None), ("10-19", (10, 19)), ("3-3", (3, 3)), ("9-3", False), ("a-b", False), ("7", False)]
)
def test_a_block_of_layers(text, block):
    assert layer_block(text) == block
