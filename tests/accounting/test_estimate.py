"""What a planned stage needs, against figures worked out by hand."""

from dataclasses import replace

import pytest

from registry.accounting.estimate import need
from registry.accounting.floor import PAPER_SHAPES, device_named, floor, forward_flops
from registry.accounting.presets import paper

TEACHER, STUDENT = PAPER_SHAPES["32B"], PAPER_SHAPES["1B"]


def of(kind, spec):
    return need(kind, spec, teacher=TEACHER, student=STUDENT)


def test_caching_reads_every_row_once():
    spec = paper("1B", "kd")
    found = of("logit_caching", spec)
    one = forward_flops(TEACHER, positions=1024, squared_lengths=1024.0**2, head_positions=1024)
    assert found.work.flops == pytest.approx(7000 * one)
    assert found.memory_bytes == pytest.approx(64.5e9, rel=0.1)  # 32 billion weights of two bytes, and little else


def test_generation_waits_for_memory_where_few_answers_share_the_weights():
    spec = paper("1B", "synthetic_sft")
    found = of("teacher_generation", spec)
    assert floor(found.work, device_named("H100")).bound == "memory"
    # 7000 answers of 512 tokens, 64 of them to one reading of the layers and the head in two bytes each
    weights = TEACHER.parameters + TEACHER.vocabulary * TEACHER.width
    assert found.work.bytes == pytest.approx(7000 * 512 * weights * 2 / 64)


@pytest.mark.parametrize(
    ("changes", "bytes_a_weight"),
    [({}, 10), ({"precision": "fp32"}, 8), ({"weights": "stochastic"}, 4), ({"optimizer": "adamw"}, 18)],
    ids=["bf16 over fp32", "fp32", "bf16 rounded at random", "AdamW"],
)
def test_training_holds_weights_gradients_and_what_the_optimiser_keeps(changes, bytes_a_weight):
    spec = paper("1B", "sft")
    spec = replace(spec, training=replace(spec.training, **changes))
    held = 34 * 4 * 1024 * STUDENT.width * STUDENT.layers * (2 if spec.training.precision == "fp32" else 1)
    weights = STUDENT.parameters + 2 * STUDENT.vocabulary * STUDENT.width
    assert of("student_training", spec).memory_bytes == pytest.approx(bytes_a_weight * weights + held)


def test_activations_computed_anew_take_less_memory_and_no_more_of_the_floor():
    spec = paper("1B", "sft")
    kept = of("student_training", spec)
    anew = of("student_training", replace(spec, training=replace(spec.training, gradient_checkpointing="on")))
    assert anew.memory_bytes < kept.memory_bytes
    assert anew.work == kept.work


def test_a_stage_without_a_formula_and_a_model_of_unknown_shape_need_nobody_knows_what():
    spec = paper("1B", "kd")
    assert of("preprocess", spec) is None
    assert need("logit_caching", spec, teacher=None, student=STUDENT) is None
    assert need("student_training", spec, teacher=TEACHER, student=None) is None
