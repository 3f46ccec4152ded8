"""Meter a `transformers.Trainer`: `Trainer(…, callbacks=[StagemeterCallback()])`.

The stage is the training from its first step's preparation to its end, validation and checkpoints inside. Tokens are
counted where the trainer counts them: `TrainingArguments(include_num_input_tokens_seen="non_padding")`.
"""

import time
from typing import Any

from transformers import TrainerCallback

from stagemeter.integrations.held import HeldMeter
from stagemeter.records import StageRecord


class StagemeterCallback(TrainerCallback):
    """Meters each training as a stage of `kind`; `options` are those of `Meter`. Safe under torchrun: one a rank."""

    def __init__(self, kind: str = "student_training", **options: Any) -> None:
        self._held = HeldMeter(kind, **options)
        self._tokens = 0
        self._validating_since: float | None = None

    @property
    def record(self) -> StageRecord | None:
        """What the last training cost; `None` before its end."""
        return self._held.record

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Begin the stage. A training that resumes has seen its earlier tokens in another stage."""
        self._tokens = int(getattr(state, "num_input_tokens_seen", 0) or 0)
        self._held.open()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Count what the trainer has counted since: over all ranks, so rank 0 alone keeps it."""
        seen = int(getattr(state, "num_input_tokens_seen", 0) or 0)
        if self._held.meter is not None and state.is_world_process_zero and seen > self._tokens:
            self._held.meter.add_tokens(trained=seen - self._tokens)
        self._tokens = seen

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Validation has begun."""
        if self._validating_since is None:
            self._validating_since = time.monotonic()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Time what validation took, from its first step on."""
        since, self._validating_since = self._validating_since, None
        if self._held.meter is not None and since is not None:
            self._held.meter.add_part("validation", time.monotonic() - since)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """End the stage."""
        self._held.close()
