"""The logit cache: a teacher's top-k logits at label positions, and its partition function at every temperature.

One cache serves a whole sweep over T and α: logits are kept raw, and log Z(T) = log Σ_V exp(logit / T) over the whole
vocabulary stands beside them for each T, so the mass of the top k and that of the rest are exact.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from registry.accounting.spec import DistillationSpec
from registry.workloads.rows import WorkloadError
from workers.data import TOKENS_PER_PASS, Batch, Example, by_length, collate, label_states
from workers.logit_codec import Kept, coarser, decode, encode, join, rounded
from workers.storage import read_json, whole_file, write_json

MANIFEST = "manifest.json"
FORMAT = 2
ROWS_PER_SHARD = 256
FIRST_POWER = 4.0  # the temperature from which powers are squared down
HEAD_CHUNK = 512  # positions whose logits over the whole vocabulary live at once


@dataclass(frozen=True)
class TeacherLogits:
    """At N positions: ids [N, k] by falling logit, logits [N, k], log Z [N] at one T; both less the row's largest."""

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
    encoding: str = DistillationSpec.encoding


@torch.inference_mode()
def write(
    folder: Path,
    language_model: Any,
    examples: Sequence[Example],
    capture: Capture,
    *,
    batch_size: int,
    each_batch: Callable[[Batch], None],
    rows_per_shard: int = ROWS_PER_SHARD,
) -> dict[str, Any]:
    """Run the teacher over `examples` and keep its logits; return the manifest.

    A shard that is already complete is left as it is, so an interrupted run goes on where it stopped.
    `each_batch` is called after each forward pass.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ordered = [example for batch in by_length(examples, batch_size, TOKENS_PER_PASS) for example in batch]
    vocabulary = language_model.config.vocab_size
    head = language_model.get_output_embeddings().weight.float()  # [V, d]
    shards = []
    for number, start in enumerate(range(0, len(ordered), rows_per_shard)):
        rows = ordered[start : start + rows_per_shard]
        path = folder / f"shard-{number:05d}.safetensors"
        if not _is_complete(path, rows, capture):
            kept, tail = _capture_rows(
                language_model, head, rows, capture, batch_size=batch_size, each_batch=each_batch
            )
            tensors = encode(kept, capture.encoding, capture.temperatures, vocabulary)
            tensors["offsets"] = torch.tensor([0, *_lengths(rows, batch_size)]).cumsum(0)
            _write_shard(path, tensors, rows, capture, tail)
        shards.append(_shard_entry(path, [row.digest for row in rows]))
    positions = sum(example.labels for example in examples)
    manifest = {
        "format": FORMAT,
        "k": min(capture.k, vocabulary),
        "temperatures": list(capture.temperatures),
        "encoding": capture.encoding,
        "vocabulary": vocabulary,
        "positions": positions,
        # By temperature: the mean mass of the teacher beyond its top k.
        "tail_mass": {
            f"{temperature:g}": sum(shard["tail"][place] for shard in shards) / positions
            for place, temperature in enumerate(capture.temperatures)
        },
        "bytes_per_position": sum(shard["bytes"] for shard in shards) / positions,
        "shards": shards,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _capture_rows(
    language_model: Any,
    head: Tensor,
    rows: Sequence[Example],
    capture: Capture,
    *,
    batch_size: int,
    each_batch: Callable[[Batch], None],
) -> tuple[Kept, list[float]]:
    """What the teacher thinks at the rows' label positions, and its mass beyond the top k, summed, by temperature."""
    pieces = []
    tail = torch.zeros(len(capture.temperatures), dtype=torch.float64)
    for examples in by_length(rows, batch_size, TOKENS_PER_PASS):
        batch = collate(examples, language_model.device)
        states = label_states(language_model, batch)
        for start in range(0, batch.labels, HEAD_CHUNK):
            with exact_products(states.dtype):
                logits = torch.nn.functional.linear(states[start : start + HEAD_CHUNK].float(), head)  # [chunk, V]
            kept = keep(logits, capture)
            tail += _tail_mass(kept, capture.temperatures).double().sum(0)
            pieces.append(kept)
        each_batch(batch)
    return join(pieces), tail.tolist()


def _lengths(rows: Sequence[Example], batch_size: int) -> list[int]:
    return [example.labels for examples in by_length(rows, batch_size, TOKENS_PER_PASS) for example in examples]


@contextmanager
def exact_products(dtype: torch.dtype) -> Iterator[None]:
    """Inside, fp32 products of numbers that came as bf16 go through the units for bf16: exact, and summed in fp32.

    The head's own bf16 would round each logit to 8 bits, which costs more than storing it in 8: KL 4e-4 against 1.5e-5.
    """
    before = torch.get_float32_matmul_precision()
    if dtype == torch.bfloat16:
        torch.set_float32_matmul_precision("high" if torch.cuda.is_available() else "medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def keep(logits: Tensor, capture: Capture) -> Kept:
    """fp32 logits [N, V], which are overwritten → what is kept of them."""
    values, ids = logits.topk(min(capture.k, logits.shape[1]), dim=1)
    log_z = log_partition(logits.sub_(values[:, :1]), capture.temperatures)
    return Kept(ids.to(torch.int32).cpu(), (values - values[:, :1]).cpu(), log_z.cpu())


def log_partition(logits: Tensor, temperatures: Sequence[float]) -> Tensor:
    """log Σ_V exp(logit / T) [N, T] of logits [N, V] whose largest is 0.

    Powers at half a temperature are the squares of those at the whole: one exponential serves 4, 2 and 1. Below 4 a
    temperature comes down from its first doubling from 4 on, so it is the same number whatever stands beside it.
    """
    found: dict[float, Tensor] = {}
    for root, chain in sorted(_by_root(temperatures).items()):
        powers = (logits / root).exp_()
        temperature = root
        while True:
            if temperature in chain:
                found[temperature] = powers.sum(1).log()
            if temperature <= min(chain):
                break
            powers.mul_(powers)
            temperature /= 2
    return torch.stack([found[temperature] for temperature in temperatures], dim=1)


def _by_root(temperatures: Sequence[float]) -> dict[float, list[float]]:
    """Temperatures by the first of T, 2T, 4T… that is at least 4."""
    chains: dict[float, list[float]] = {}
    for temperature in temperatures:
        root = temperature
        while root < FIRST_POWER:
            root *= 2
        chains.setdefault(root, []).append(temperature)
    return chains


def _tail_mass(kept: Kept, temperatures: Sequence[float]) -> Tensor:
    """1 − Σ_k p [N, T]."""
    masses = [(kept.values / t - kept.log_z[:, place, None]).exp().sum(1) for place, t in enumerate(temperatures)]
    return (1 - torch.stack(masses, dim=1)).clamp(min=0)


def _write_shard(
    path: Path, tensors: dict[str, Tensor], rows: Sequence[Example], capture: Capture, tail: list[float]
) -> None:
    identity = _identity([row.digest for row in rows], capture)
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata=identity | {"tail": json.dumps(tail)})


def _identity(digests: Sequence[str], capture: Capture) -> dict[str, str]:
    rows = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return {"rows": rows, "capture": json.dumps([FORMAT, capture.k, list(capture.temperatures), capture.encoding])}


def _is_complete(path: Path, rows: Sequence[Example], capture: Capture) -> bool:
    return path.is_file() and _identity([row.digest for row in rows], capture).items() <= _metadata(path).items()


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as shard:
        return dict(shard.metadata())


def _shard_entry(path: Path, digests: list[str]) -> dict[str, Any]:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "file": path.name,
        "sha256": digest,
        "bytes": path.stat().st_size,
        "tail": json.loads(_metadata(path)["tail"]),
        "row_digests": digests,
    }


@dataclass(frozen=True)
class LogitCache:
    """A cache on disk, read row by row in any order."""

    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the cache holds. Raises `WorkloadError` for one that is written in another way."""
        manifest = dict(read_json(self.folder / MANIFEST))
        if manifest.get("format") != FORMAT:
            found = manifest.get("format", 1)
            raise WorkloadError(
                f"the logit cache is of format {found}, not {FORMAT}; withdraw it and have it made again"
            )
        return manifest

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        return {
            digest: (number, place)
            for number, shard in enumerate(self.manifest["shards"])
            for place, digest in enumerate(shard["row_digests"])
        }

    @cached_property
    def _shards(self) -> list[dict[str, Tensor]]:
        """Each shard's tensors, mapped into memory: the pages that are read are loaded, and nothing is copied."""
        return [_mapped(self.folder / shard["file"]) for shard in self.manifest["shards"]]

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
        held, temperatures = self.manifest["encoding"], self.manifest["temperatures"]
        self.check(k=min(k, self.manifest["k"]), temperature=temperature)
        kept = join([self.row(digest).top(k) for digest in digests])
        if coarser(encoding, held):
            kept = rounded(kept, encoding, temperatures)
        return TeacherLogits(kept.ids, kept.values, kept.log_z[:, temperatures.index(temperature)])

    def row(self, digest: str) -> Kept:
        """All that is held of one row. Raises `WorkloadError` for a row that is not held."""
        if digest not in self._places:
            raise WorkloadError(f"the logit cache holds no row {digest[:12]}…; it was made for other rows")
        number, place = self._places[digest]
        shard = self._shards[number]
        start, end = shard["offsets"][place : place + 2].tolist()
        return decode(shard, start, end, self.manifest["encoding"], self.manifest["k"])


def _mapped(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as shard:
        return {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118 - no mapping
