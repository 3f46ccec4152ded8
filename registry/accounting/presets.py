"""Presets: functions that return a RunSpec. The paper's grid, and the tour that runs on a laptop."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from registry.accounting.spec import (
    DatasetSpec,
    DecodingSpec,
    DistillationSpec,
    EvaluationSpec,
    ModelSpec,
    RunSpec,
    TrainingSpec,
)
from registry.accounting.stages import KD, PIPELINES, TEACHER_REFERENCE

# ── The paper (arXiv:2605.13981, sections 3.2 and 5.1); its hyperparameters are the defaults of the spec ──

PAPER_TEACHER = ModelSpec(id="allenai/OLMo-2-0325-32B-SFT")
PAPER_STUDENTS = {
    "1B": ModelSpec(id="allenai/OLMo-2-0425-1B"),
    "7B": ModelSpec(id="allenai/OLMo-2-1124-7B"),
    "13B": ModelSpec(id="allenai/OLMo-2-1124-13B"),
}
# Its estimate of serving, from power during evaluation; it counts no evaluation tokens.
PAPER_STUDY = "arxiv-2605-13981"
PAPER_INFERENCE_J_PER_TOKEN = {"1B": 0.27, "7B": 0.68, "13B": 1.44}
PAPER_SUITE = ("alpaca_eval_2_lc", "ifeval", "gsm8k", "mmlu", "mt_bench_101")


PAPER_WORKLOADS = {
    "tulu": "allenai/tulu-3-sft-mixture",
    "math": "open-r1/OpenR1-Math-220k",
    "code": "open-r1/codeforces-cots",
}


def paper(size: str, pipeline: str, workload: str = "tulu") -> RunSpec:
    """One cell of the paper's grid; `size` is 1B, 7B or 13B, `workload` tulu, math or code."""
    return RunSpec(
        pipeline=pipeline,
        teacher=PAPER_TEACHER,
        student=PAPER_STUDENTS[size],
        dataset=DatasetSpec(id=PAPER_WORKLOADS[workload]),
        evaluation=EvaluationSpec(suite=PAPER_SUITE),
    )


def literal(spec: RunSpec) -> RunSpec:
    """The same run by the recipe of the paper's harness as it was released, beside the sound one of the defaults.

    Weights in bf16 and rounded to the nearest, rows padded to the longest there may be, activations computed anew, the
    truncated loss; and the learning rate scaled by the weights' size for kd alone.
    """
    training = replace(
        spec.training,
        weights="nearest",
        padding="max_length",
        gradient_checkpointing="on",
        optimizer="adafactor_scaled" if spec.pipeline == KD else "adafactor",
    )
    return replace(spec, training=training, distillation=replace(spec.distillation, tail="truncated"))


def _cell(size: str, workload: str, pipeline: str) -> RunSpec:
    return paper(size, pipeline, workload)


# What it varies for one student. Its harness bakes T into a cache, and generates for every length.
PAPER_TEMPERATURES = (1.0, 2.0, 4.0)
PAPER_WEIGHTS = (0.3, 0.5, 0.8)
PAPER_LENGTHS = (256, 512, 1024)
PAPER_ROWS = (7000, 3500)


def paper_ablation(size: str) -> list[dict[str, Any]]:
    """The paper's ablation for one student as two grids: 9 runs of kd over T and α, 6 of synthetic_sft.

    Its suite is what every worker can measure; the paper's own needs task files and a judge, and can be uploaded.
    """
    kd, synthetic = (paper(size, pipeline).to_dict() for pipeline in ("kd", "synthetic_sft"))
    for grid in (kd, synthetic):
        grid["evaluation"]["suite"] = ["token_accuracy"]
    kd["distillation"] |= {"temperature": list(PAPER_TEMPERATURES), "ce_weight": list(PAPER_WEIGHTS)}
    synthetic["decoding"]["max_new_tokens"] = list(PAPER_LENGTHS)
    synthetic["dataset"]["train_rows"] = list(PAPER_ROWS)
    return [kd, synthetic]


# ── The tour: SmolLM2-135M-Instruct (30 layers) teaches two students cut out of itself ──
# Everything that may be tuned stands in these five values.

# The teacher's precision is part of what its artifacts are, so it is stated; students take what the host is fast at.
TOUR_MODEL = ModelSpec(id="smollm2-135m-instruct", precision="fp32")
TOUR_DATASET = DatasetSpec(id="tour-facts", train_rows=480, validation_rows=48, evaluation_rows=160, max_length=128)
TOUR_TRAINING = TrainingSpec(
    learning_rate=1e-3,
    warmup_steps=4,
    batch_size=8,
    accumulation_steps=2,
    precision="auto",
    max_steps=30,
    evaluate_every=10,
)
TOUR_DISTILLATION = DistillationSpec(k=100)
TOUR_DECODING = DecodingSpec(temperature=0.7, top_p=0.9, max_new_tokens=16)

TOUR_STUDENTS = {
    20: ModelSpec(id=TOUR_MODEL.id, precision="auto", drop_layers="10-19"),
    12: ModelSpec(id=TOUR_MODEL.id, precision="auto", drop_layers="8-25"),
}


def tour(student_layers: int, pipeline: str) -> RunSpec:
    """One run of the tour; `student_layers` is 20 or 12."""
    return _tour(TOUR_STUDENTS[student_layers], pipeline)


def tour_teacher() -> RunSpec:
    """The tour's teacher on its own suite: the denominator of Q."""
    return _tour(TOUR_MODEL, TEACHER_REFERENCE)


def tour_runs() -> tuple[RunSpec, ...]:
    """The whole tour in the order it is queued: the teacher, then every pipeline for either student."""
    return (tour_teacher(), *(tour(layers, pipeline) for layers in TOUR_STUDENTS for pipeline in PIPELINES))


def _tour(student: ModelSpec, pipeline: str) -> RunSpec:
    return RunSpec(
        pipeline=pipeline,
        teacher=TOUR_MODEL,
        student=student,
        dataset=TOUR_DATASET,
        training=TOUR_TRAINING,
        distillation=TOUR_DISTILLATION,
        decoding=TOUR_DECODING,
    )


# Sweeps that the form offers: name → grids.
SWEEPS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    f"paper-ablation-{size.lower()}": partial(paper_ablation, size) for size in PAPER_STUDENTS
}

# What the form offers: name → function of the pipeline.
PRESETS: dict[str, Callable[[str], RunSpec]] = {
    **{f"paper-{size.lower()}": partial(_cell, size, "tulu") for size in PAPER_STUDENTS},
    **{
        f"paper-{size.lower()}-{workload}": partial(_cell, size, workload)
        for size in PAPER_STUDENTS
        for workload in ("math", "code")
    },
    "tour": lambda pipeline: tour(20, pipeline),
    "tour-small": lambda pipeline: tour(12, pipeline),
}


def _literal_cell(size: str, pipeline: str, workload: str) -> RunSpec:
    return literal(paper(size, pipeline, workload))


def _named() -> dict[str, Callable[[], RunSpec]]:
    """`paper-kd-7b-math` and the like; with `-literal` behind it by the recipe of the paper's harness."""
    named: dict[str, Callable[[], RunSpec]] = {}
    for pipeline in PIPELINES:
        for size in PAPER_STUDENTS:
            for workload in PAPER_WORKLOADS:
                name = f"paper-{pipeline}-{size.lower()}-{workload}"
                named[name] = partial(paper, size, pipeline, workload)
                named[f"{name}-literal"] = partial(_literal_cell, size, pipeline, workload)
        named[f"tour-{pipeline}"] = partial(tour, 20, pipeline)
        named[f"tour-small-{pipeline}"] = partial(tour, 12, pipeline)
    return named


# Whole runs by name, for scripts.
NAMED = _named()
