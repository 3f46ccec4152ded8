"""How the positions of a logit cache are laid out: four encodings of token ids, logits and log Z.

Per position, at k = 100 and three temperatures:

| encoding | ids | logits | in all, at 49,152 tokens / at 100,352 |
|---|---|---|---|
| `u8`   | 16 bits, and what is above them packed | 8 bits, affine per row | 316 / 329 bytes at a fixed stride |
| `u8z`  | by frequency, differences, zstd | as `u8` | 185 measured / about 197 bytes; the same content as `u8` |
| `fp16` | as `u8` | fp16 | 412 / 425 bytes |
| `fp32` | as `u8` | fp32 | 612 / 625 bytes |

Logits are kept relative to the row's largest, since no softmax can see the difference and fp16 is coarse far from
zero. Rounded logits do not add up to the mass of the exact ones: with 8 bits the tail would be off by a tenth of
itself and often negative. So log Z is kept for the logits *as stored*: the mass of the top k is exact at each T.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from registry.accounting.spec import ENCODINGS

FRAME = 512  # positions compressed together: what a reader of one position has to unpack
ZSTD_LEVEL = 9
STEPS = 255  # of the 8-bit form, between a row's largest logit and its smallest

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Kept:
    """At N positions: ids [N, k] by falling logit, logits [N, k] less the largest, log Z(T) less largest/T [N, T]."""

    ids: Tensor
    values: Tensor
    log_z: Tensor

    def top(self, k: int) -> "Kept":
        """The likeliest `k` alone."""
        return Kept(self.ids[:, :k], self.values[:, :k], self.log_z)


def join(pieces: Sequence[Kept]) -> Kept:
    """One behind the other."""
    ids, values, log_z = (torch.cat([getattr(piece, n) for piece in pieces]) for n in ("ids", "values", "log_z"))
    return Kept(ids, values, log_z)


def rounded(kept: Kept, encoding: str, temperatures: Sequence[float]) -> Kept:
    """What is left of `kept` once stored: logits rounded, log Z moved so that the mass of the top k stays as it was."""
    if encoding == "fp32":
        return kept
    values = kept.values.half().float() if encoding == "fp16" else -_codes(kept.values) * _step(kept.values)[:, None]
    moved = [(values / t).logsumexp(1) - (kept.values / t).logsumexp(1) for t in temperatures]
    return Kept(kept.ids, values, kept.log_z + torch.stack(moved, dim=1))


def coarser(asked: str, held: str) -> bool:
    """Whether `asked` keeps less than `held`."""
    return ENCODINGS[asked] < ENCODINGS[held]


def encode(kept: Kept, encoding: str, temperatures: Sequence[float], vocabulary: int) -> dict[str, Tensor]:
    """Named tensors for one shard."""
    exact = rounded(kept, encoding, temperatures)
    tensors = {"log_z": exact.log_z.float()}
    if encoding in ("fp16", "fp32"):
        tensors["values"] = exact.values.to(torch.float16 if encoding == "fp16" else torch.float32)
        return tensors | _encode_ids(kept.ids, vocabulary)
    tensors["step"] = _step(kept.values)
    codes = _codes(kept.values).to(torch.uint8)
    if encoding == "u8":
        return tensors | {"values": codes} | _encode_ids(kept.ids, vocabulary)
    return tensors | _compress(kept.ids.numpy(), codes.numpy())


def decode(tensors: dict[str, Tensor], start: int, end: int, encoding: str, k: int) -> Kept:
    """Positions `start`…`end` - 1 of a shard of which each position keeps `k` logits."""
    log_z = tensors["log_z"][start:end]
    if encoding in ("fp16", "fp32"):
        return Kept(_decode_ids(tensors, start, end), tensors["values"][start:end].float(), log_z)
    if encoding == "u8":
        ids, codes = _decode_ids(tensors, start, end), tensors["values"][start:end].float()
    else:
        ids, codes = _decompress(tensors, start, end, k)
    return Kept(ids, -codes * tensors["step"][start:end, None], log_z)


def _step(values: Tensor) -> Tensor:
    """[N]: the range of each row in 255 steps."""
    return (-values[:, -1] / STEPS).contiguous()


def _codes(values: Tensor) -> Tensor:
    """[N, k] in 0…255: steps below the largest; the first is 0, the last 255."""
    return (-values / _step(values).clamp(min=1e-30)[:, None]).round().clamp(max=STEPS)


def _encode_ids(ids: Tensor, vocabulary: int) -> dict[str, Tensor]:
    """The low 16 bits as they are; those above, if the vocabulary has any, packed eight to a byte."""
    array = ids.numpy()
    tensors = {"ids": torch.from_numpy((array & 0xFFFF).astype(np.uint16))}
    above = max((vocabulary - 1).bit_length() - 16, 0)
    if above:
        bits = (array[:, :, None] >> (16 + np.arange(above))) & 1
        tensors["ids_above"] = torch.from_numpy(np.packbits(bits.reshape(len(array), -1).astype(np.uint8), axis=1))
    return tensors


def _decode_ids(tensors: dict[str, Tensor], start: int, end: int) -> Tensor:
    low = tensors["ids"][start:end].long()
    if "ids_above" not in tensors:
        return low
    count, k = low.shape
    packed = tensors["ids_above"][start:end].numpy()
    above = packed.shape[1] * 8 // k
    bits = np.unpackbits(packed, axis=1)[:, : k * above].reshape(count, k, above).astype(np.int64)
    return low + torch.from_numpy((bits << (16 + np.arange(above))).sum(2))


def _compress(ids: npt.NDArray[Any], codes: Bytes) -> dict[str, Tensor]:
    """Each row sorted by how frequent its tokens are in the shard, so that neighbours differ little; zstd by frame."""
    tokens, counts = np.unique(ids, return_counts=True)
    order = tokens[np.argsort(-counts, kind="stable")]  # place → token
    places = np.empty(int(tokens[-1]) + 1, dtype=np.int64)
    places[order] = np.arange(len(order))
    ranks = places[ids]
    by_rank = np.argsort(ranks, axis=1)
    steps = np.diff(np.take_along_axis(ranks, by_rank, 1), axis=1, prepend=0)
    sorted_codes = np.take_along_axis(codes, by_rank, 1)
    planes = 2 if len(order) <= 1 << 16 else 3
    codec, frames = pa.Codec("zstd", compression_level=ZSTD_LEVEL), []
    for start in range(0, len(ids), FRAME):
        part = steps[start : start + FRAME]
        layers = [((part >> (8 * plane)) & 0xFF).astype(np.uint8) for plane in range(planes)]
        # Each on its own: bytes of one kind are told apart by statistics that the other kinds would blur.
        frames += [
            codec.compress(layer.tobytes(), asbytes=True) for layer in (*layers, sorted_codes[start : start + FRAME])
        ]
    return {
        "frames": torch.frombuffer(bytearray(b"".join(frames)), dtype=torch.uint8),
        "frame_offsets": torch.tensor([0, *map(len, frames)]).cumsum(0),
        "order": torch.from_numpy(order.astype(np.int32)),
    }


def _decompress(tensors: dict[str, Tensor], start: int, end: int, k: int) -> tuple[Tensor, Tensor]:
    count = tensors["log_z"].shape[0]
    order = tensors["order"].numpy()
    first, last = start // FRAME, (end - 1) // FRAME
    pieces = [
        _frame(_Frame(tensors, number, min(FRAME, count - number * FRAME), k)) for number in range(first, last + 1)
    ]
    ranks = np.concatenate([piece[0] for piece in pieces])[start - first * FRAME : end - first * FRAME]
    codes = np.concatenate([piece[1] for piece in pieces])[start - first * FRAME : end - first * FRAME]
    falling = np.argsort(codes, axis=1, kind="stable")
    ids = order[np.take_along_axis(ranks, falling, 1)].astype(np.int64)
    return torch.from_numpy(ids), torch.from_numpy(np.take_along_axis(codes, falling, 1)).float()


class _Frame:
    """A frame of one shard, as a key of the cache of unpacked frames."""

    def __init__(self, tensors: dict[str, Tensor], number: int, positions: int, k: int) -> None:
        self.tensors, self.number, self.positions, self.k = tensors, number, positions, k

    def __hash__(self) -> int:
        return hash((id(self.tensors), self.number))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frame) and self.tensors is other.tensors and self.number == other.number


@lru_cache(maxsize=8)
def _frame(frame: _Frame) -> tuple[npt.NDArray[Any], Bytes]:
    """Places in the shard's order of tokens [F, k], rising, and the codes [F, k] beside them."""
    planes = 2 if len(frame.tensors["order"]) <= 1 << 16 else 3
    first = frame.number * (planes + 1)
    ends = frame.tensors["frame_offsets"][first : first + planes + 2].tolist()
    codec, size = pa.Codec("zstd"), frame.positions * frame.k
    packed = [frame.tensors["frames"][begin:end].numpy().tobytes() for begin, end in itertools.pairwise(ends)]
    raw = b"".join(codec.decompress(layer, decompressed_size=size, asbytes=True) for layer in packed)
    bytes_ = np.frombuffer(raw, dtype=np.uint8).reshape(planes + 1, frame.positions, frame.k)
    steps = sum(bytes_[plane].astype(np.int64) << (8 * plane) for plane in range(planes))
    return np.cumsum(steps, axis=1), bytes_[planes]
