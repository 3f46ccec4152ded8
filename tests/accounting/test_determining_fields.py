"""Each setting of a run against each artifact: what determines it changes its fingerprint, and nothing else does."""

import json
import unicodedata
from dataclasses import fields, is_dataclass, replace
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.accounting import plan, reuse
from registry.accounting.fingerprint import family, fingerprint
from registry.accounting.plan import Identities, artifact_request
from registry.accounting.presets import paper
from registry.accounting.reuse import ArtifactRequest
from registry.accounting.spec import RunSpec

KNOWN = Identities(
    teacher_digest="weights",
    tokenizer_digest="tokenizer",
    template_digest="template",
    student_digest="student",
    row_digests=("row1", "row2"),
    prompt_digests=("prompt1", "prompt2"),
)
# Another value for every setting of a spec. A setting that is missing here fails the first test.
OTHER = {
    "pipeline": "sft",
    "teacher.id": "acme/other",
    "teacher.revision": "v2",
    "teacher.precision": "fp32",
    "teacher.drop_layers": None,  # a teacher is taken whole
    "student.id": "acme/small",
    "student.revision": "v2",
    "student.precision": "fp32",
    "student.drop_layers": "1-2",
    "dataset.id": "acme/rows",
    "dataset.revision": "v2",
    "dataset.train_rows": 10,
    "dataset.validation_rows": 10,
    "dataset.evaluation_rows": 10,
    "dataset.split_seed": 9,
    "dataset.max_length": 512,
    "dataset.prompt_column": "text",
    "dataset.answer_column": "label",
    "dataset.configuration": "all",
    "training.optimizer": "adamw",
    "training.learning_rate": 1e-3,
    "training.schedule": "constant",
    "training.warmup_steps": 1,
    "training.batch_size": 2,
    "training.accumulation_steps": 2,
    "training.clip_norm": 0.5,
    "training.precision": "fp32",
    "training.weights": "nearest",
    "training.padding": "max_length",
    "training.gradient_checkpointing": "on",
    "training.max_steps": 10,
    "training.evaluate_every": 10,
    "training.early_stopping_delta": 0.1,
    "training.early_stopping_patience": 9,
    "distillation.k": 50,
    "distillation.temperatures": (1.0, 8.0),
    "distillation.temperature": 2.0,
    "distillation.ce_weight": 0.1,
    "distillation.encoding": "fp32",
    "distillation.tail": "truncated",
    "decoding.temperature": 1.0,
    "decoding.top_p": 0.8,
    "decoding.top_k": 40,
    "decoding.max_new_tokens": 256,
    "decoding.seed": 9,
    "evaluation.suite": ("choice",),
    "seed": 9,
}
TEACHERS = {"teacher.id", "teacher.revision", "teacher.precision", "dataset.max_length"}
DATASET = {name for name in OTHER if name.startswith("dataset.")}
DETERMINING = {
    "logit_cache": TEACHERS | {"distillation.k", "distillation.temperatures", "distillation.encoding"},
    "synthetic_dataset": TEACHERS | {name for name in OTHER if name.startswith("decoding.")},
    "prepared_dataset": DATASET,
}
# Digests that stand behind names: of what is read, by whom, rendered how.
DIGESTS = {
    "logit_cache": {"teacher_digest", "tokenizer_digest", "template_digest", "row_digests"},
    "synthetic_dataset": {"teacher_digest", "tokenizer_digest", "template_digest", "prompt_digests"},
    "prepared_dataset": {"tokenizer_digest", "template_digest"},
}
KINDS = tuple(DETERMINING)


def leaves(cls=RunSpec, prefix=""):
    for one in fields(cls):
        hint = get_type_hints(cls)[one.name]
        if is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{one.name}.")
        else:
            yield f"{prefix}{one.name}"


def with_value(spec, name, value):
    part, _, leaf = name.rpartition(".")
    return replace(spec, **{part: replace(getattr(spec, part), **{leaf: value})} if part else {leaf: value})


def test_every_setting_of_a_spec_is_tried():
    assert set(leaves()) == set(OTHER)


@pytest.mark.parametrize("kind", plan.DETERMINING)
def test_the_settings_that_forms_ask_for_are_those_and_the_choice_of_rows(kind):
    assert set(plan.DETERMINING[kind]) == DETERMINING[kind] | DATASET


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name, value in OTHER.items() if value is not None])
def test_a_setting_changes_the_fingerprint_if_and_only_if_it_determines_the_artifact(kind, name):
    spec = paper("1B", "kd")
    changed = with_value(spec, name, OTHER[name])
    same = fingerprint(artifact_request(kind, spec, KNOWN)) == fingerprint(artifact_request(kind, changed, KNOWN))
    assert same != (name in DETERMINING[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [one.name for one in fields(Identities)])
def test_a_digest_changes_the_fingerprint_if_and_only_if_it_determines_the_artifact(kind, name):
    spec = paper("1B", "kd")
    value = ("other",) if name.endswith("_digests") else "other"
    before, after = (fingerprint(artifact_request(kind, spec, i)) for i in (KNOWN, replace(KNOWN, **{name: value})))
    assert (before == after) != (name in DIGESTS[kind])


@pytest.mark.parametrize("kind", ["logit_cache", "synthetic_dataset"])
def test_the_family_leaves_out_what_can_be_cut_and_keeps_everything_else(kind):
    cut = {"distillation.k", "distillation.temperatures", "distillation.encoding", "dataset.max_length"}
    cut |= {"decoding.max_new_tokens"}
    spec = paper("1B", "kd")
    for name in DETERMINING[kind]:
        other = artifact_request(kind, with_value(spec, name, OTHER[name]), KNOWN)
        assert (family(other) == family(artifact_request(kind, spec, KNOWN))) == (name in cut), name
    other_rows = replace(KNOWN, row_digests=("row9",), prompt_digests=("prompt9",))
    assert family(artifact_request(kind, spec, other_rows)) == family(artifact_request(kind, spec, KNOWN))


def as_json(request: ArtifactRequest) -> str:
    return json.dumps(
        {
            "kind": request.kind,
            "identity": request.identity,
            "capture": request.capture,
            "row_digests": request.row_digests,
        },
        ensure_ascii=False,
    )


def requests(text=None):
    specs = st.sampled_from([paper("1B", "kd"), with_value(paper("7B", "kd"), "distillation.temperatures", (1.0, 0.1))])
    kinds = st.sampled_from(["logit_cache", "synthetic_dataset"])
    return st.builds(
        lambda kind, spec, name: artifact_request(kind, spec, replace(KNOWN, teacher_digest=name)),
        kinds,
        specs,
        st.just("weights") if text is None else text,
    )


def shuffled(value, draw):
    """The same JSON with its keys in another order, at every depth."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return value


def spelt(value, draw):
    """The same JSON text with each whole number as 1, 1.0 or 1e0."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{spelt(item, draw)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(spelt(item, draw) for item in value) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        whole = value == int(value)
        forms = [repr(float(value)), f"{value:.6e}", *([str(int(value)), f"{int(value)}e0"] if whole else [])]
        return draw(st.sampled_from(forms))
    return json.dumps(value)


@given(requests(), st.data())
def test_no_order_of_keys_and_no_spelling_of_numbers_changes_a_fingerprint(request, data):
    document = shuffled(json.loads(as_json(request)), data.draw)
    assert fingerprint(ArtifactRequest(**json.loads(spelt(document, data.draw)))) == fingerprint(request)


@given(requests(st.text(st.characters(exclude_categories=["Cs"]), max_size=12)))
def test_no_unicode_form_of_the_document_changes_a_fingerprint(request):
    for form in ("NFC", "NFD"):
        document = json.loads(unicodedata.normalize(form, as_json(request)))
        assert fingerprint(ArtifactRequest(**document)) == fingerprint(request)


def defaults_of(values, defaults):
    """Paths to what stands in `values` just as the defaults would fill it in."""
    for key, default in defaults.items():
        if isinstance(default, dict):
            yield from ((key, *path) for path in defaults_of(values.get(key, {}), default))
        elif values.get(key) == default or values.get(key) == (list(default) if isinstance(default, tuple) else None):
            yield (key,)


def without(values, path):
    head, *rest = path
    if not rest:
        return {key: value for key, value in values.items() if key != head}
    return {**values, head: without(values[head], rest)}


@given(requests(), st.data())
def test_what_the_defaults_fill_in_may_be_left_out(request, data):
    document = json.loads(as_json(request))
    for part, table in (("identity", reuse._IDENTITY_DEFAULTS), ("capture", reuse._CAPTURE_DEFAULTS)):
        known = sorted(defaults_of(document[part], table[request.kind]))
        for path in data.draw(st.lists(st.sampled_from(known), unique=True)) if known else []:
            document[part] = without(document[part], path)
    assert fingerprint(ArtifactRequest(**document)) == fingerprint(request)
