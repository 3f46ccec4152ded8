"""What an artifact request must be: what could be compared with nothing is named with the way out."""

import pytest

from registry.accounting.requests import problems
from registry.accounting.reuse import ArtifactRequest

TEACHER = {"teacher": {"id": "org/t"}}


def of(kind="logit_cache", identity=TEACHER, capture=None, rows=("a",)) -> dict[str, str]:
    return problems(ArtifactRequest(kind=kind, identity=identity, capture=capture or {}, row_digests=tuple(rows)))


def test_what_can_be_compared_has_no_problems():
    assert of(capture={"k": 100, "temperatures": [1, 2.5], "encoding": "u8", "max_length": 1024}) == {}
    assert of(identity={**TEACHER, "precision": "fp8", "ours": {"any": [1]}}) == {}
    assert of("synthetic_dataset", {**TEACHER, "decoding": {"temperature": 0, "repetition": 1.1}}) == {}
    assert of("prepared_dataset", {"dataset": {"id": "org/d"}}, rows=()) == {}


@pytest.mark.parametrize(
    ("kind", "identity", "capture", "name"),
    [
        ("logit_cache", {}, {}, "identity.teacher.id"),
        ("logit_cache", {"teacher": "org/t"}, {}, "identity.teacher.id"),
        ("logit_cache", {"teacher": {"id": 5}}, {}, "identity.teacher.id"),
        ("logit_cache", {"teacher": {"id": "x" * 300}}, {}, "identity.teacher.id"),
        ("logit_cache", {"teacher": {"id": "x\x00"}}, {}, "identity.teacher.id"),
        ("logit_cache", {**TEACHER, "precision": 7}, {}, "identity.precision"),
        ("logit_cache", {**TEACHER, "engine": [1]}, {}, "identity.engine"),
        ("logit_cache", TEACHER, {"k": "abc"}, "capture.k"),
        ("logit_cache", TEACHER, {"k": 100.5}, "capture.k"),
        ("logit_cache", TEACHER, {"k": True}, "capture.k"),
        ("logit_cache", TEACHER, {"temperatures": [-1]}, "capture.temperatures"),
        ("logit_cache", TEACHER, {"temperatures": [float("inf")]}, "capture.temperatures"),
        ("logit_cache", TEACHER, {"encoding": "float7"}, "capture.encoding"),
        ("logit_cache", TEACHER, {"encoding": ["u8"]}, "capture.encoding"),
        ("logit_cache", TEACHER, {"colour": 1}, "capture.colour"),
        ("synthetic_dataset", {**TEACHER, "decoding": {"temperature": "hot"}}, {}, "identity.decoding.temperature"),
        ("synthetic_dataset", {**TEACHER, "decoding": {"max_new_tokens": 9}}, {}, "identity.decoding.max_new_tokens"),
        ("prepared_dataset", {"dataset": {"id": [1]}}, {}, "identity.dataset.id"),
    ],
)
def test_what_cannot_is_named_by_field(kind, identity, capture, name):
    assert list(of(kind, identity, capture)) == [name]


def test_a_teacher_artifact_is_told_by_its_rows():
    assert "send the digest of each" in of(rows=())["row_digests"]
    assert "'' must be" in of(rows=("a", ""))["row_digests"]
