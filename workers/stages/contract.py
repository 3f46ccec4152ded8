"""What a stage is given and what it gives back: `run(config, workdir, report) -> StageOutput`.

No Django and no Celery here: a stage can be run from a shell, a test or a notebook.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from registry.accounting.spec import RunSpec


class Preempted(Exception):
    """The worker was asked to stop. Raised out of `Report.progress`; a stage that can go on later keeps where it is."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What the run asks for, and where its inputs lie.

    `inputs` maps an artifact kind to a local folder, read-only. One may hold more than the run asked for: a stage reads
    the rows, the k, the temperature and the length that its spec names, and so cuts it down to size.
    """

    spec: RunSpec
    inputs: Mapping[str, Path] = field(default_factory=dict)


class Report(Protocol):
    """How a stage speaks while it runs."""

    def progress(self, *, done: int, total: int, note: str = "", figures: Mapping[str, float] | None = None) -> None:
        """Say how far it is; `figures` are live values such as loss. Cheap: call it once a step."""

    def tokens(
        self, *, prompt: int = 0, generated: int = 0, trained: int = 0, padding: int = 0, evaluated: int = 0
    ) -> None:
        """Add to the counts of tokens worked on."""

    def work(self, *, flops: float, moved_bytes: float | None = None, precision: str = "bf16") -> None:
        """Add to the operations done and the bytes moved, by the formulas of `registry.accounting.floor`."""

    def part(self, name: str) -> Any:
        """A context manager that times a part of the stage (model_loading, validation, checkpoint)."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One benchmark's value for the model evaluated, in 0…1, with its standard error over `n` rows."""

    benchmark: str
    metric: str
    value: float
    stderr: float | None
    n: int
    shots: int = 0
    harness_version: str = ""


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    """What a stage leaves: files in `folder` (made by it, under its workdir), and facts about them."""

    folder: Path | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)  # shown on the artifact's page, JSON types
    row_digests: tuple[str, ...] = ()  # of what the artifact holds, in order
    prompt_digests: tuple[str, ...] = ()  # of a prepared dataset: its training rows' prompts alone
    scores: tuple[Score, ...] = ()
