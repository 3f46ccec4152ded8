"""Teacher evaluation: the denominator of Q, measured by the same code over the same rows as every student."""

from pathlib import Path

from workers.models import load_model, load_tokenizer, resolve_precision
from workers.stages.contract import Report, StageConfig, StageOutput
from workers.stages.evaluation import scored


def run(config: StageConfig, workdir: Path, report: Report) -> StageOutput:  # noqa: ARG001 - leaves no files
    """Leaves scores and no files."""
    teacher = config.spec.teacher
    with report.part("model_loading"):
        language_model = load_model(teacher, resolve_precision(teacher.precision))
        tokenizer = load_tokenizer(teacher)
    return scored(config, language_model, tokenizer, report)
