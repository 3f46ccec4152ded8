"""What a planned stage needs before anything has run: operations, bytes, memory, and the floor of time and energy.

Rows are not read for a plan, so each is taken to be as long as the spec lets it be and each answer as long as it may
be: the work is the most that can come, and its floor the least that so much work can cost.

Memory, N parameters in all, b rows of length s at a time, L layers of width d:

    weights and gradients        fp32: 4 N + 4 N, and 2 N for the copy that bf16 products read; bf16: 2 N + 2 N
    optimiser                    AdamW: two numbers a weight; Adafactor: their rows and columns, next to nothing
    activations                  34·s·b·d·L bytes in bf16 (Korthikanti et al. 2022, eq. 2, attention not kept);
                                 2·s·b·d·L and one layer's 34·s·b·d where they are computed anew
    keys and values              2·L·a bytes in two bytes each, a position held: an upper bound for grouped queries
"""

from dataclasses import dataclass

from registry.accounting.floor import ModelShape, Work, decoding_work, forward_flops, training_flops
from registry.accounting.spec import RunSpec

BYTES = {"bf16": 2, "auto": 2, "fp32": 4}
ACTIVATION_BYTES = 34  # a position, a layer, a number of its width
# Rows that logits are cached for, and answers decoded, at a time.
CACHING_ROWS, DECODING_ROWS = 32, 64


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a stage needs at most: its work, and bytes of device memory at a time."""

    work: Work
    memory_bytes: float
    precision: str


def need(kind: str, spec: RunSpec, *, teacher: ModelShape | None, student: ModelShape | None) -> Need | None:
    """What the stage `kind` of `spec` needs; `None` for a stage without a formula or a model of unknown shape."""
    if kind == "logit_caching" and teacher is not None:
        return _caching(spec, teacher)
    if kind == "teacher_generation" and teacher is not None:
        return _generation(spec, teacher)
    if kind == "student_training" and student is not None:
        return _training(spec, student)
    return None


def parameters(model: ModelShape) -> int:
    """All of them: the layers', and the embedding and the head, counted apart as where they are not shared."""
    return model.parameters + 2 * model.vocabulary * model.width


def _caching(spec: RunSpec, teacher: ModelShape) -> Need:
    rows, length = spec.dataset.train_rows, spec.dataset.max_length
    flops = forward_flops(
        teacher, positions=rows * length, squared_lengths=rows * float(length) ** 2, head_positions=rows * length
    )
    size = BYTES[spec.teacher.precision]
    # Activations of a layer at a time: nothing is kept for a backward pass.
    memory = parameters(teacher) * size + ACTIVATION_BYTES * CACHING_ROWS * length * teacher.width
    return Need(work=Work(flops=flops), memory_bytes=memory, precision=spec.teacher.precision)


def _generation(spec: RunSpec, teacher: ModelShape) -> Need:
    rows, answer = spec.dataset.train_rows, spec.decoding.max_new_tokens
    prompt = max(1, spec.dataset.max_length - answer)
    size = BYTES[spec.teacher.precision]
    batch = min(rows, DECODING_ROWS)
    one = decoding_work(teacher, prompt=prompt, answer=answer, batch=batch, bytes_per_weight=size)
    kept = 2 * teacher.layers * teacher.attention_width * size * batch * (prompt + answer)
    moved = None if one.bytes is None else rows * one.bytes
    return Need(
        work=Work(flops=rows * one.flops, bytes=moved),
        memory_bytes=parameters(teacher) * size + kept,
        precision=spec.teacher.precision,
    )


def _training(spec: RunSpec, student: ModelShape) -> Need:
    training, length = spec.training, spec.dataset.max_length
    rows = training.max_steps * training.batch_size * training.accumulation_steps
    flops = training_flops(
        student, positions=rows * length, squared_lengths=rows * float(length) ** 2, head_positions=rows * length
    )
    half = training.precision != "fp32"
    size = 2 if training.weights != "fp32" else 4
    weights = 2 * size + (2 if half and size == 4 else 0) + (2 * size if training.optimizer == "adamw" else 0)
    held = training.batch_size * length * student.width * (1 if half else 2)
    layers = ACTIVATION_BYTES * student.layers
    if training.gradient_checkpointing == "on":
        layers = 2 * student.layers + ACTIVATION_BYTES
    return Need(
        work=Work(flops=flops),
        memory_bytes=parameters(student) * weights + held * layers,
        precision="bf16" if half else "fp32",
    )
