"""Meter what runs under Accelerate: `Accelerator(log_with=StagemeterTracker())`.

The stage begins with `accelerator.init_trackers(…)` and ends with `accelerator.end_training()`. Of what is logged, the
numbers named `prompt_tokens`, `generated_tokens`, `trained_tokens`, `padding_tokens` and `evaluated_tokens` are added
to the counts, each being what this process worked on since it last logged.
"""

from collections.abc import Mapping
from typing import Any

from accelerate.tracking import GeneralTracker

from stagemeter.integrations.held import HeldMeter
from stagemeter.records import TOKEN_KINDS, StageRecord


class StagemeterTracker(GeneralTracker):
    """Meters one stage of `kind` in every process; `options` are those of `Meter`."""

    name = "stagemeter"
    requires_logging_directory = False
    main_process_only = False  # every rank meters its own GPU

    def __init__(self, kind: str = "student_training", **options: Any) -> None:
        super().__init__()
        self._held = HeldMeter(kind, **options)

    @property
    def tracker(self) -> HeldMeter:
        """What holds the meter."""
        return self._held

    @property
    def record(self) -> StageRecord | None:
        """What the stage cost; `None` before its end."""
        return self._held.record

    def start(self) -> None:
        """Begin the stage."""
        self._held.open()

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:  # noqa: ARG002 - the run's, not the stage's
        """Begin the stage, where the framework has no `start`."""
        self._held.open()

    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Add the token counts among the values."""
        counts = {kind: int(values[f"{kind}_tokens"]) for kind in TOKEN_KINDS if f"{kind}_tokens" in values}
        if self._held.meter is not None and counts:
            self._held.meter.add_tokens(**counts)

    def finish(self) -> None:
        """End the stage."""
        self._held.close()
