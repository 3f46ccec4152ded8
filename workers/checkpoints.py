"""Checkpoints of a training: weights, optimiser and progress at an optimiser-step boundary, the last and the best."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor

from workers.storage import read_json, whole_file, whole_folder, write_json

WEIGHTS, OPTIMIZER, SETTINGS, PROGRESS = "model.safetensors", "optimizer.safetensors", "optimizer.json", "progress.json"


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
                tensors, rest = _split(optimizer.state_dict())
                save_file(tensors, path)
            write_json(temporary / SETTINGS, rest)
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
        tensors = load_file(checkpoints[-1] / OPTIMIZER, device=str(language_model.device))
        state = _join(tensors, read_json(checkpoints[-1] / SETTINGS))
        optimizer.load_state_dict(state)
        weights = [one for group in optimizer.param_groups for one in group["params"]]
        for place, values in state["state"].items():
            optimizer.state[weights[place]].update(values)  # as kept: torch casts it to the weights' type
        return dict(read_json(checkpoints[-1] / PROGRESS))

    def load_weights(self, language_model: Any, step: int) -> None:
        """Load the weights of one step's checkpoint."""
        load_model(language_model, str(self._of(step) / WEIGHTS), device=str(language_model.device))

    def _of(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _split(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as tensors by "parameter.name" and everything else as JSON types: nothing is pickled."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for place, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{place}.{name}"] = value.contiguous()
            else:
                plain.setdefault(str(place), {})[name] = value
    return tensors, {"plain": plain, "param_groups": state["param_groups"]}


def _join(tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    """What `_split` took apart."""
    state: dict[int, dict[str, Any]] = {int(place): dict(values) for place, values in rest["plain"].items()}
    for key, value in tensors.items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = value
    return {"state": state, "param_groups": rest["param_groups"]}
