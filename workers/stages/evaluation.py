"""Evaluation: the student on the study's suite, over rows that neither training nor validation has seen."""

from pathlib import Path
from typing import Any

from workers.data import Chat
from workers.harness import evaluate_suite
from workers.models import load_student, load_tokenizer, resolve_precision
from workers.prepared import Prepared
from workers.stages.contract import Report, StageConfig, StageOutput


def run(config: StageConfig, workdir: Path, report: Report) -> StageOutput:  # noqa: ARG001 - leaves no files
    """Leaves scores and no files."""
    spec = config.spec
    with report.part("model_loading"):
        student = load_student(config.inputs["student"], resolve_precision(spec.student.precision))
        tokenizer = load_tokenizer(spec.student)
    return scored(config, student, tokenizer, report)


def scored(config: StageConfig, language_model: Any, tokenizer: Any, report: Report) -> StageOutput:
    """The suite's scores for one model."""
    rows = Prepared(config.inputs["prepared_dataset"]).rows("evaluation")
    scores = evaluate_suite(language_model, Chat(tokenizer), rows, config.spec, report)
    meta = {score.benchmark: {"value": score.value, "stderr": score.stderr, "n": score.n} for score in scores}
    return StageOutput(meta=meta, scores=tuple(scores))
