"""The prepared dataset: rows as JSONL for people, token ids as tensors for models, one of each per split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from registry.workloads.rows import Row, Splits
from workers.data import Chat, Example, encode
from workers.storage import read_json, whole_file, write_json

PARTS = ("train", "validation", "evaluation")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset on disk."""

    folder: Path

    def rows(self, part: str) -> list[Row]:
        """The rows of one split, in order."""
        with (self.folder / f"{part}.jsonl").open(encoding="utf-8") as lines:
            return [Row.from_dict(json.loads(line)) for line in lines]

    def examples(self, part: str) -> list[Example]:
        """The token ids of one split, in the order of its rows."""
        tensors = load_file(self.folder / f"{part}.safetensors")
        digests = self.manifest()["digests"][part]
        if not digests:
            return []
        pieces = np.split(tensors["ids"], tensors["offsets"][1:-1])
        spans = np.split(tensors["spans"], tensors["span_offsets"][1:-1])
        return [
            Example(tuple(piece.tolist()), tuple((start, end) for start, end in places.tolist()), digest)
            for piece, places, digest in zip(pieces, spans, digests, strict=True)
        ]

    def manifest(self) -> dict[str, Any]:
        """What was prepared, and how many rows were left out."""
        return dict(read_json(self.folder / MANIFEST))


def prepare(folder: Path, chat: Chat, splits: Splits, max_length: int) -> dict[str, Any]:
    """Write the splits into `folder`; return the manifest. Rows above `max_length` tokens are counted, not cut."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {"max_length": max_length, "rows": {}, "too_long": {}, "tokens": {}, "digests": {}}
    for part in PARTS:
        rows: Sequence[Row] = getattr(splits, part)
        kept, examples = encode(chat, rows, max_length)
        _write_rows(folder / f"{part}.jsonl", kept)
        _write_examples(folder / f"{part}.safetensors", examples)
        manifest["rows"][part] = len(kept)
        manifest["too_long"][part] = len(rows) - len(kept)
        manifest["tokens"][part] = sum(len(example.ids) for example in examples)
        manifest["digests"][part] = [example.digest for example in examples]
    write_json(folder / MANIFEST, manifest)
    return manifest


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row.to_dict(), ensure_ascii=False) + "\n" for row in rows)


def _write_examples(path: Path, examples: Sequence[Example]) -> None:
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "ids": np.array([token for example in examples for token in example.ids], dtype=np.int32),
        "offsets": np.cumsum([0, *(len(example.ids) for example in examples)], dtype=np.int64),
        "spans": np.array([span for example in examples for span in example.spans], dtype=np.int32).reshape(-1, 2),
        "span_offsets": np.cumsum([0, *(len(example.spans) for example in examples)], dtype=np.int64),
    }
    with whole_file(path) as temporary:
        save_file(tensors, temporary)
