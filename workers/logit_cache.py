"""The logit cache: a teacher's top-k logits at label positions, and its partition function at every temperature.

One cache serves a whole sweep over T and α: logits are kept raw, and log Z(T) = log Σ_V exp(logit / T) over the whole
vocabulary stands beside them for each T, so the probability of the top k and the mass of the rest are exact.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from registry.workloads.rows import WorkloadError
from workers.data import TOKENS_PER_PASS, Example, by_length, collate, label_states
from workers.storage import read_json, whole_file, write_json

MANIFEST = "manifest.json"
ROWS_PER_SHARD = 256
VALUE_TYPES = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class TeacherLogits:
    """At N positions: token ids [N, k] by falling logit, raw logits [N, k], log Z [N] at one temperature."""

    ids: Tensor
    logits: Tensor
    log_z: Tensor

    def to(self, device: torch.device) -> "TeacherLogits":
        """The same on `device`."""
        return TeacherLogits(self.ids.to(device), self.logits.to(device), self.log_z.to(device))

    def slice(self, start: int, end: int) -> "TeacherLogits":
        """Positions `start`…`end` - 1."""
        return TeacherLogits(self.ids[start:end], self.logits[start:end], self.log_z[start:end])


@dataclass(frozen=True)
class Capture:
    """What is kept of each position."""

    k: int
    temperatures: tuple[float, ...]
    encoding: str = "fp16"


@torch.inference_mode()
def write(
    folder: Path,
    language_model: Any,
    examples: Sequence[Example],
    capture: Capture,
    *,
    batch_size: int,
    each_batch: Callable[[int, int, int], None],
    rows_per_shard: int = ROWS_PER_SHARD,
) -> dict[str, Any]:
    """Run the teacher over `examples` and keep its logits; return the manifest.

    A shard that is already complete is left as it is, so an interrupted run goes on where it stopped.
    `each_batch(prompt tokens, label positions, padding)` is called after each forward pass.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ordered = [example for batch in by_length(examples, batch_size, TOKENS_PER_PASS) for example in batch]
    shards = []
    for number, start in enumerate(range(0, len(ordered), rows_per_shard)):
        rows = ordered[start : start + rows_per_shard]
        path = folder / f"shard-{number:05d}.safetensors"
        if not _is_complete(path, rows, capture):
            _write_shard(path, _capture_rows(language_model, rows, capture, batch_size, each_batch), rows, capture)
        shards.append(_shard_entry(path, [row.digest for row in rows]))
    manifest = {
        "k": min(capture.k, language_model.config.vocab_size),
        "temperatures": list(capture.temperatures),
        "encoding": capture.encoding,
        "positions": sum(example.labels for example in examples),
        "shards": shards,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _capture_rows(
    language_model: Any,
    rows: Sequence[Example],
    capture: Capture,
    batch_size: int,
    each_batch: Callable[[int, int, int], None],
) -> dict[str, Tensor]:
    pieces = []
    for examples in by_length(rows, batch_size, TOKENS_PER_PASS):
        batch = collate(examples, language_model.device)
        logits = language_model.get_output_embeddings()(label_states(language_model, batch)).float()  # [N, V]
        pieces.append(keep(logits, capture))
        each_batch(batch.prompt_tokens, batch.labels, batch.padding)
    tensors = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    lengths = [example.labels for examples in by_length(rows, batch_size, TOKENS_PER_PASS) for example in examples]
    tensors["offsets"] = torch.tensor([0, *lengths]).cumsum(0)
    return tensors


def keep(logits: Tensor, capture: Capture) -> dict[str, Tensor]:
    """fp32 logits [N, V] → ids [N, k], logits relative to their maximum [N, k], maximum [N], log Z [N, T].

    Relative to the maximum, because fp16 is coarse far from zero: a raw logit of 30 would be off by 0.015.
    """
    vocabulary = logits.shape[1]
    values, ids = logits.topk(min(capture.k, vocabulary), dim=1)
    maximum = values[:, :1]
    log_z = torch.stack([(logits / temperature).logsumexp(1) for temperature in capture.temperatures], dim=1)
    small = vocabulary <= torch.iinfo(torch.uint16).max + 1
    return {
        "ids": ids.to(torch.uint16 if small else torch.int32).cpu(),
        "values": (values - maximum).to(VALUE_TYPES[capture.encoding]).cpu(),
        "maximum": maximum[:, 0].contiguous().cpu(),
        "log_z": log_z.cpu(),
    }


def _write_shard(path: Path, tensors: dict[str, Tensor], rows: Sequence[Example], capture: Capture) -> None:
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata=_identity([row.digest for row in rows], capture))


def _identity(digests: Sequence[str], capture: Capture) -> dict[str, str]:
    rows = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return {"rows": rows, "capture": json.dumps([capture.k, list(capture.temperatures), capture.encoding])}


def _is_complete(path: Path, rows: Sequence[Example], capture: Capture) -> bool:
    if not path.is_file():
        return False
    with safe_open(path, "pt") as shard:
        return bool(shard.metadata() == _identity([row.digest for row in rows], capture))


def _shard_entry(path: Path, digests: list[str]) -> dict[str, Any]:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {"file": path.name, "sha256": digest, "bytes": path.stat().st_size, "row_digests": digests}


@dataclass(frozen=True)
class LogitCache:
    """A cache on disk, read row by row in any order."""

    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the cache holds."""
        return dict(read_json(self.folder / MANIFEST))

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        return {
            digest: (number, place)
            for number, shard in enumerate(self.manifest["shards"])
            for place, digest in enumerate(shard["row_digests"])
        }

    @cached_property
    def _shards(self) -> list[Any]:
        return [safe_open(self.folder / shard["file"], "pt").__enter__() for shard in self.manifest["shards"]]

    @cached_property
    def _offsets(self) -> list[list[int]]:
        return [shard.get_tensor("offsets").tolist() for shard in self._shards]

    def digests(self) -> Iterator[str]:
        """The rows held, by digest."""
        return iter(self._places)

    def check(self, *, k: int, temperature: float) -> None:
        """Refuse what the cache cannot serve, with a sentence that says what it can."""
        held = self.manifest["temperatures"]
        if temperature not in held:
            raise WorkloadError(f"the logit cache holds the temperatures {held}, not {temperature}; use one of those")
        if k > self.manifest["k"]:
            raise WorkloadError(f"the logit cache holds the top {self.manifest['k']} logits, not {k}; ask for fewer")

    def read(self, digests: Sequence[str], *, k: int, temperature: float, encoding: str = "fp32") -> TeacherLogits:
        """The logits at the label positions of the rows, one row behind the other: N positions, k ≤ k held.

        A cache that keeps them finer than `encoding` is rounded to it, as a cache of its own would be.
        """
        self.check(k=min(k, self.manifest["k"]), temperature=temperature)
        pieces = [self.raw(digest) for digest in digests]
        column = self.manifest["temperatures"].index(temperature)
        maximum = torch.cat([piece["maximum"] for piece in pieces])
        # Each to fp32 before they are joined: autocast on a processor refuses to join fp16.
        values = torch.cat([piece["values"][:, :k].to(VALUE_TYPES[encoding]).float() for piece in pieces])
        return TeacherLogits(
            torch.cat([piece["ids"][:, :k].long() for piece in pieces]),
            values + maximum[:, None],
            torch.cat([piece["log_z"][:, column] for piece in pieces]),
        )

    def raw(self, digest: str) -> dict[str, Tensor]:
        """The tensors of one row as stored. Raises `WorkloadError` for a row that is not held."""
        if digest not in self._places:
            raise WorkloadError(f"the logit cache holds no row {digest[:12]}…; it was made for other rows")
        number, place = self._places[digest]
        start, end = self._offsets[number][place : place + 2]
        shard = self._shards[number]
        return {name: shard.get_slice(name)[start:end] for name in ("ids", "values", "maximum", "log_z")}


def cut(
    source: Path,
    folder: Path,
    row_digests: Sequence[str],
    capture: Capture,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> dict[str, Any]:
    """Write the part of a cache that a smaller request asks for: fewer rows, a smaller k, fewer temperatures."""
    cache = LogitCache(source)
    for temperature in capture.temperatures:
        cache.check(k=capture.k, temperature=temperature)
    columns = [cache.manifest["temperatures"].index(temperature) for temperature in capture.temperatures]
    folder.mkdir(parents=True, exist_ok=True)
    shards, positions = [], 0
    for number, start in enumerate(range(0, len(row_digests), rows_per_shard)):
        digests = list(row_digests[start : start + rows_per_shard])
        pieces = [cache.raw(digest) for digest in digests]
        lengths = [piece["ids"].shape[0] for piece in pieces]
        tensors = {
            "ids": torch.cat([piece["ids"][:, : capture.k] for piece in pieces]),
            "values": torch.cat([piece["values"][:, : capture.k] for piece in pieces]).to(
                VALUE_TYPES[capture.encoding]
            ),
            "maximum": torch.cat([piece["maximum"] for piece in pieces]),
            "log_z": torch.cat([piece["log_z"][:, columns] for piece in pieces]),
            "offsets": torch.tensor([0, *lengths]).cumsum(0),
        }
        positions += sum(lengths)
        path = folder / f"shard-{number:05d}.safetensors"
        with whole_file(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
        shards.append(_shard_entry(path, digests))
    manifest = {
        "k": capture.k,
        "temperatures": list(capture.temperatures),
        "encoding": capture.encoding,
        "positions": positions,
        "shards": shards,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest
