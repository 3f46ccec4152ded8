"""Checkpoints of a training: weights, optimiser and progress at an optimiser-step boundary, the last and the best."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from workers.storage import read_json, whole_file, whole_folder, write_json

WEIGHTS, OPTIMIZER, PROGRESS = "model.safetensors", "optimizer.pt", "progress.json"


@dataclass(frozen=True)
class Checkpoints:
    """A folder of `step-00000032` folders; each appears whole, in one rename."""

    folder: Path

    def save(self, language_model: Any, optimizer: Any, progress: dict[str, Any], keep: int) -> None:
        """Write the checkpoint of `progress["step"]`, then drop all but it and the one of step `keep`."""
        step = progress["step"]
        with whole_folder(self._of(step)) as temporary:
            with whole_file(temporary / WEIGHTS) as path:
                save_model(language_model, str(path))
            with whole_file(temporary / OPTIMIZER) as path:
                torch.save(optimizer.state_dict(), path)
            write_json(temporary / PROGRESS, progress)
        for old in self._all():
            if old not in (self._of(step), self._of(keep)):
                shutil.rmtree(old)

    def restore(self, language_model: Any, optimizer: Any) -> dict[str, Any] | None:
        """Load the last checkpoint into model and optimiser and return its progress; `None` if there is none."""
        checkpoints = self._all()
        if not checkpoints:
            return None
        load_model(language_model, str(checkpoints[-1] / WEIGHTS), device=str(language_model.device))
        optimizer.load_state_dict(torch.load(checkpoints[-1] / OPTIMIZER, weights_only=True))
        return dict(read_json(checkpoints[-1] / PROGRESS))

    def load_weights(self, language_model: Any, step: int) -> None:
        """Load the weights of one step's checkpoint."""
        load_model(language_model, str(self._of(step) / WEIGHTS), device=str(language_model.device))

    def _of(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))
