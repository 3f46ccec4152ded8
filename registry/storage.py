"""Where artifacts lie: any fsspec URL, under opaque keys.

The only module that reads or writes artifact files. Keys are made here; no name a user gave is part of a path.
"""

import hashlib
import mimetypes
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from django.conf import settings

_KEY = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MEDIA_TYPES = {".safetensors": "application/vnd.safetensors", ".parquet": "application/vnd.apache.parquet"}
_MEDIA_TYPES |= {".jsonl": "application/jsonl", ".json": "application/json", ".model": "application/octet-stream"}
# Formats that hold data and nothing that runs when it is read.
_SUFFIXES = {".safetensors", ".parquet", ".jsonl", ".json", ".npz", ".txt", ".jinja"}


class StorageError(Exception):
    """A file that may not be stored, or that is not what the manifest says."""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of an artifact: its name in the folder, SHA-256, size in bytes and media type."""

    name: str
    sha256: str
    bytes: int
    media_type: str

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {"name": self.name, "sha256": self.sha256, "bytes": self.bytes, "media_type": self.media_type}


def new_key() -> str:
    """An opaque key for one artifact's folder."""
    return secrets.token_hex(16)


def put(key: str, folder: Path) -> list[StoredFile]:
    """Copy every file of `folder` under `key`. Raises `StorageError` for a name or format that may not be kept."""
    fs, root = _open(key)
    stored = []
    for path in sorted(folder.iterdir()):
        _check(path)
        fs.makedirs(root, exist_ok=True)
        fs.put_file(str(path), f"{root}/{path.name}")
        stored.append(_describe(path))
    if not stored:
        raise StorageError(f"the stage left no file in {folder.name}")
    return stored


def fetch(key: str, manifest: list[dict[str, Any]], folder: Path) -> Path:
    """Bring the files of `manifest` into `folder` and verify each. Raises `StorageError` on any difference.

    A file that is there already, with the right content, is not fetched again.
    """
    fs, root = _open(key)
    folder.mkdir(parents=True, exist_ok=True)
    for entry in manifest:
        if not _FILE.fullmatch(entry["name"]):
            raise StorageError(f"{entry['name']!r} is no file name an artifact can have")
        target = folder / entry["name"]
        if not (target.exists() and _sha256(target) == entry["sha256"]):
            _fetch_file(fs, f"{root}/{entry['name']}", target, entry["sha256"])
    return folder


def read(key: str, name: str) -> Iterator[bytes]:
    """The bytes of one stored file, in chunks. Raises `StorageError` if it is not there."""
    if not _FILE.fullmatch(name):
        raise StorageError(f"{name!r} is no file name an artifact can have")
    fs, root = _open(key)
    if not fs.exists(f"{root}/{name}"):
        raise StorageError(f"{name} is not in the storage any more")
    with fs.open(f"{root}/{name}", "rb") as content:
        while chunk := content.read(1 << 20):
            yield chunk


def digest_of(files: list[StoredFile]) -> str:
    """One SHA-256 over names and contents: the artifact's content identity."""
    lines = "".join(f"{f.sha256}  {f.name}\n" for f in sorted(files, key=lambda f: f.name))
    return hashlib.sha256(lines.encode()).hexdigest()


def _open(key: str) -> tuple[Any, str]:
    if not _KEY.fullmatch(key):
        raise StorageError(f"{key!r} is no storage key")
    fs, root = fsspec.core.url_to_fs(settings.ARTIFACT_URL)
    return fs, f"{root.rstrip('/')}/{key[:2]}/{key}"


def _check(path: Path) -> None:
    if not path.is_file() or path.is_symlink() or not _FILE.fullmatch(path.name):
        raise StorageError(f"{path.name!r} is no plain file with a plain name")
    if path.suffix not in _SUFFIXES:
        raise StorageError(f"{path.name!r} is in none of the formats kept here: {', '.join(sorted(_SUFFIXES))}")


def _describe(path: Path) -> StoredFile:
    media_type = _MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return StoredFile(name=path.name, sha256=_sha256(path), bytes=path.stat().st_size, media_type=media_type)


def _fetch_file(fs: Any, source: str, target: Path, sha256: str) -> None:
    fresh = target.with_name(target.name + ".part")
    try:
        fs.get_file(source, str(fresh))
    except FileNotFoundError as error:
        raise StorageError(f"{target.name} is not in the storage any more") from error
    found = _sha256(fresh)
    if found != sha256:
        fresh.unlink()
        raise StorageError(f"{target.name} has the SHA-256 {found}, its manifest says {sha256}")
    fresh.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
