"""One module per stage kind, found by name and imported when it runs."""

import importlib
from collections.abc import Callable
from pathlib import Path

from workers.stages.contract import Report, StageConfig, StageOutput

STAGES: dict[str, str] = {
    "preprocess": "workers.stages.preprocess:run",
    "logit_caching": "workers.stages.logit_caching:run",
    "teacher_generation": "workers.stages.teacher_generation:run",
    "student_training": "workers.stages.student_training:run",
    "evaluation": "workers.stages.evaluation:run",
    "teacher_evaluation": "workers.stages.teacher_evaluation:run",
}


def stage(kind: str) -> Callable[[StageConfig, Path, Report], StageOutput]:
    """The function that runs a stage of `kind`. Raises `KeyError` for a kind that no worker runs."""
    module, _, name = STAGES[kind].partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
