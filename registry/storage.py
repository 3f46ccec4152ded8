"""Where artifacts lie: any fsspec URL, under opaque keys.

The only module that reads or writes artifact files. A key is made from what lies under it, never from a name a user
gave: the same files again lie there once, whoever stores them, and an upload that broke off goes on where it stopped.

    ab/abcdef…/rows.jsonl       each file comes whole: verified under a name of its own, then renamed
    ab/abcdef…/.complete        the manifest, written last; what has none is nothing yet, and no row names its key
"""

import hashlib
import json
import mimetypes
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import fsspec
from django.conf import settings
from django.utils.http import content_disposition_header

from registry import formats

_KEY = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_COMPLETE = ".complete"
_PART = ".part"
_CHUNK = 1 << 20
# Stores that show an object once it is whole; a file system shows every byte as it comes.
_WHOLE_OBJECTS = {"s3", "s3a", "gs", "gcs", "abfs", "az"}
_MEDIA_TYPES = {".safetensors": "application/vnd.safetensors", ".parquet": "application/vnd.apache.parquet"}
_MEDIA_TYPES |= {".jsonl": "application/jsonl", ".json": "application/json", ".model": "application/octet-stream"}


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


@dataclass(frozen=True, kw_only=True)
class Held:
    """What lies under one key: how many bytes, when the newest of it came, and what no upload finished."""

    key: str
    bytes: int
    newest: datetime
    complete: bool
    parts: tuple[str, ...]


def describe(folder: Path) -> list[StoredFile]:
    """The files of a folder, read once each. Raises `StorageError` for a name or format that may not be kept."""
    files = [_describe(path) for path in sorted(folder.iterdir()) if _check(path)]
    if not files:
        raise StorageError(f"the stage left no file in {folder.name}")
    return files


def key_of(files: list[StoredFile]) -> str:
    """The key that these files lie under."""
    return digest_of(files)[:32]


def is_file_name(name: str) -> bool:
    """Whether a file may be called so."""
    return _FILE.fullmatch(name) is not None


def put(folder: Path, files: list[StoredFile], key: str = "") -> str:
    """Copy the files of `folder`, as `describe` read them, and verify each; the key they lie under.

    `key`: another one than that of their content.

    What an earlier try left there intact is not sent again; what was damaged since is replaced. Nothing is complete
    before all of it is there. Raises `StorageError` where a copy differs from its file.
    """
    key = key or key_of(files)
    fs, root = _open(key)
    fs.makedirs(root, exist_ok=True)
    for file in files:
        _send(fs, folder / file.name, f"{root}/{file.name}", file)
    _write(fs, f"{root}/{_COMPLETE}", json.dumps([file.to_dict() for file in files]).encode())
    return key


def staged(key: str, name: str, sha256: str) -> StoredFile | None:
    """The one file that was put whole under `key`, if it was."""
    fs, path = _place(key, name)
    if not fs.exists(f"{path.rpartition('/')[0]}/{_COMPLETE}") or not fs.exists(path):
        return None
    return StoredFile(name=name, sha256=sha256, bytes=fs.size(path), media_type=_media_type(name))


def assemble(files: Mapping[StoredFile, str]) -> str:
    """Copy files that lie under keys of their own together; the key they lie under then. Raises `StorageError`."""
    key = key_of(list(files))
    fs, root = _open(key)
    fs.makedirs(root, exist_ok=True)
    for file, source in files.items():
        _copy(fs, _place(source, file.name)[1], f"{root}/{file.name}", file)
    _write(fs, f"{root}/{_COMPLETE}", json.dumps([file.to_dict() for file in files]).encode())
    return key


def is_complete(key: str, files: list[StoredFile]) -> bool:
    """Whether all of them still lie there, going by their sizes."""
    fs, root = _open(key)
    there = fs.exists(f"{root}/{_COMPLETE}")
    return there and all(fs.exists(f"{root}/{f.name}") and fs.size(f"{root}/{f.name}") == f.bytes for f in files)


def put_one(path: Path) -> tuple[str, StoredFile]:
    """Copy one file under a key made from its content, so that the same file again lies there once; key and file.

    Raises `StorageError` whatever keeps the storage from taking it.
    """
    key = _sha256(path)[:32]
    try:
        fs, root = _open(key)
        _check(path)
        file = _describe(path)
        fs.makedirs(root, exist_ok=True)
        _send(fs, path, f"{root}/{path.name}", file)
    except Exception as error:  # every kind of storage has errors of its own
        raise StorageError(f"{path.name} could not be stored: {error}") from error
    return key, file


def fetch(key: str, manifest: list[dict[str, Any]], folder: Path) -> Path:
    """Bring the files of `manifest` into `folder` and verify each. Raises `StorageError` on any difference.

    A file that is there already, with the right content, is not fetched again; one that broke off goes on.
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


def read(key: str, name: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes of one stored file from `start` up to `stop`, in chunks. Raises `StorageError` if it is not there."""
    with opened(key, name) as content:
        content.seek(start)
        left = None if stop is None else stop - start
        while chunk := content.read(_CHUNK if left is None else min(_CHUNK, left)):
            left = None if left is None else left - len(chunk)
            yield chunk


def opened(key: str, name: str) -> IO[bytes]:
    """One stored file, open for reading from any place in it. Raises `StorageError` if it is not there."""
    fs, path = _place(key, name)
    try:
        content: IO[bytes] = fs.open(path, "rb")
    except FileNotFoundError as error:
        raise StorageError(f"{name} is not in the storage any more") from error
    return content


def signed_url(key: str, name: str, *, seconds: int) -> str | None:
    """An address of the store's own that serves this file, and no other, for a while; `None` where it has none.

    The browser is told to save it, as it is by downloads through the web process.
    """
    fs, path = _place(key, name)
    told = {
        "ResponseContentDisposition": content_disposition_header(True, name),
        "ResponseContentType": "application/octet-stream",
    }
    try:
        return str(fs.sign(path, expiration=seconds, **told))
    except NotImplementedError:
        return None


def held() -> Iterator[Held]:
    """Everything that lies in the storage, key by key."""
    fs, root = fsspec.core.url_to_fs(settings.ARTIFACT_URL)
    keys: dict[str, list[dict[str, Any]]] = {}
    for path, entry in fs.find(root, detail=True).items():
        *_, key, name = path.split("/")
        if _KEY.fullmatch(key):
            keys.setdefault(key, []).append({**entry, "name": name})
    for key, entries in sorted(keys.items()):
        yield Held(
            key=key,
            bytes=sum(entry["size"] for entry in entries),
            newest=max(_moment(entry) for entry in entries),
            complete=any(entry["name"] == _COMPLETE for entry in entries),
            parts=tuple(entry["name"] for entry in entries if entry["name"].endswith(_PART)),
        )


def remove(key: str) -> None:
    """Take everything under `key` away, its manifest first."""
    fs, root = _open(key)
    if fs.exists(f"{root}/{_COMPLETE}"):
        fs.rm_file(f"{root}/{_COMPLETE}")
    if fs.exists(root):
        fs.rm(root, recursive=True)


def remove_part(key: str, name: str) -> None:
    """Take away what an upload left that never finished."""
    fs, root = _open(key)
    if name.endswith(_PART) and "/" not in name and fs.exists(f"{root}/{name}"):
        fs.rm_file(f"{root}/{name}")


def digest_of(files: list[StoredFile]) -> str:
    """One SHA-256 over names and contents: the artifact's content identity."""
    lines = "".join(f"{f.sha256}  {f.name}\n" for f in sorted(files, key=lambda f: f.name))
    return hashlib.sha256(lines.encode()).hexdigest()


def _open(key: str) -> tuple[Any, str]:
    if not _KEY.fullmatch(key):
        raise StorageError(f"{key!r} is no storage key")
    fs, root = fsspec.core.url_to_fs(settings.ARTIFACT_URL)
    # Other processes write too: what was listed a moment ago is no answer.
    fs.invalidate_cache()
    return fs, f"{root.rstrip('/')}/{key[:2]}/{key}"


def _place(key: str, name: str) -> tuple[Any, str]:
    if not _FILE.fullmatch(name):
        raise StorageError(f"{name!r} is no file name an artifact can have")
    fs, root = _open(key)
    return fs, f"{root}/{name}"


def _check(path: Path) -> bool:
    if not path.is_file() or path.is_symlink() or not _FILE.fullmatch(path.name):
        raise StorageError(f"{path.name!r} is no plain file with a plain name")
    try:
        formats.check(path)
    except formats.FormatError as error:
        raise StorageError(str(error)) from error
    return True


def _describe(path: Path) -> StoredFile:
    return StoredFile(
        name=path.name, sha256=_sha256(path), bytes=path.stat().st_size, media_type=_media_type(path.name)
    )


def _media_type(name: str) -> str:
    return _MEDIA_TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _send(fs: Any, path: Path, target: str, file: StoredFile) -> None:
    """One file to `target`, read back and verified before it stands there."""
    _arrive(fs, target, file, lambda arriving: fs.put_file(str(path), arriving))


def _copy(fs: Any, source: str, target: str, file: StoredFile) -> None:
    """One file from elsewhere in the storage."""
    _arrive(fs, target, file, lambda arriving: fs.cp_file(source, arriving))


def _arrive(fs: Any, target: str, file: StoredFile, bring: Callable[[str], None]) -> None:
    if fs.exists(target) and fs.size(target) == file.bytes and _stored_sha256(fs, target) == file.sha256:
        return
    arriving = target if _shows_whole(fs) else f"{target}.{secrets.token_hex(4)}{_PART}"
    bring(arriving)
    found = _stored_sha256(fs, arriving)
    if found != file.sha256:
        fs.rm_file(arriving)
        raise StorageError(f"{file.name} arrived with the SHA-256 {found} and left with {file.sha256}; send it again")
    if arriving != target:
        fs.mv(arriving, target)


def _write(fs: Any, target: str, content: bytes) -> None:
    arriving = target if _shows_whole(fs) else f"{target}.{secrets.token_hex(4)}{_PART}"
    fs.pipe_file(arriving, content)
    if arriving != target:
        fs.mv(arriving, target)


def _shows_whole(fs: Any) -> bool:
    protocols = [fs.protocol] if isinstance(fs.protocol, str) else fs.protocol
    return not _WHOLE_OBJECTS.isdisjoint(protocols)


def _fetch_file(fs: Any, source: str, target: Path, sha256: str) -> None:
    fresh = target.with_name(target.name + _PART)
    went_on = fresh.exists()
    try:
        with fs.open(source, "rb") as content, fresh.open("ab") as copy:
            content.seek(copy.tell())
            shutil.copyfileobj(content, copy, _CHUNK)
    except FileNotFoundError as error:
        raise StorageError(f"{target.name} is not in the storage any more") from error
    found = _sha256(fresh)
    if found == sha256:
        fresh.replace(target)
        return
    fresh.unlink()
    if not went_on:
        raise StorageError(f"{target.name} has the SHA-256 {found}, its manifest says {sha256}")
    _fetch_file(fs, source, target, sha256)  # what was there was the beginning of something else


def _moment(entry: dict[str, Any]) -> datetime:
    """When a stored file was written, by whatever name its store gives that."""
    moment = next(
        (entry[name] for name in ("LastModified", "mtime", "last_modified", "updated") if name in entry), None
    )
    if isinstance(moment, datetime):
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return datetime.fromtimestamp(float(moment), UTC) if moment is not None else datetime.now(UTC)


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _stored_sha256(fs: Any, path: str) -> str:
    with fs.open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
