"""The bytes of an import: one file, or the members of an archive, which is never unpacked onto a disk.

An archive is read once, front to back. Its names are only names: nothing is opened or made under them, and one that
would lead out of a folder is refused all the same, as are links and devices, encrypted members, more members or bytes
than any measurement has, and what grows a hundredfold and more when it is decompressed.
"""

import bz2
import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, cast

from registry.importers.findings import ImportRefused

MAX_MEMBERS = 20_000
MAX_MEMBER_BYTES = 64 * 2**20  # of a file that is read: a power log of days
MAX_TOTAL_BYTES = 2 * 2**30
MAX_RATIO = 100  # of all bytes that come out to the archive's own
FREE_BYTES = 16 * 2**20  # below this no ratio is looked at: empty logs shrink well
MAX_HEADER_BYTES = 2**20  # of what a tar file says about one member
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file: its path inside of what was uploaded, its content and the SHA-256 of that."""

    path: str
    content: bytes
    sha256: str


class Source:
    """An upload, open for reading and seekable."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self.name = PurePosixPath(name.replace("\\", "/")).name[:200] or "file"
        self.bytes, self.sha256 = self._weigh()

    @property
    def facts(self) -> dict[str, Any]:
        """Name, size in bytes and SHA-256."""
        return {"name": self.name, "bytes": self.bytes, "sha256": self.sha256}

    @property
    def is_archive(self) -> bool:
        """Whether it is a zip or a tar file, by its first bytes."""
        return self._kind() != ""

    def members(self, wanted: tuple[str, ...]) -> Iterator[Member]:
        """The archive's files whose names end in one of `wanted`, in its order. Raises `ImportRefused`."""
        self._stream.seek(0)
        try:
            yield from self._zipped(wanted) if self._kind() == "zip" else self._tarred(wanted)
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise ImportRefused(f"{self.name} is no archive that can be read: {error}") from error

    def content(self) -> bytes:
        """The whole file. Raises `ImportRefused` for one too large to be looked at in one piece."""
        if self.bytes > MAX_MEMBER_BYTES:
            raise ImportRefused(f"{self.name} has {self.bytes:,} bytes; at most {MAX_MEMBER_BYTES:,} are read")
        self._stream.seek(0)
        return self._stream.read()

    def _weigh(self) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        self._stream.seek(0)
        while chunk := self._stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return size, digest.hexdigest()

    def _kind(self) -> str:
        self._stream.seek(0)
        head = self._stream.read(512)
        self._stream.seek(0)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return "zip"
        if head.startswith(b"\x1f\x8b"):
            return "gzip"
        if head.startswith(b"BZh"):
            return "bzip2"
        return "tar" if head[257:262] == b"ustar" else ""

    def _zipped(self, wanted: tuple[str, ...]) -> Iterator[Member]:
        budget = _Budget(self.bytes)
        with zipfile.ZipFile(self._stream) as archive:
            infos = archive.infolist()
            _few(len(infos))
            for info in infos:
                mode = info.external_attr >> 16
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise ImportRefused(f"{_shown(info.filename)} is a link or a device; an archive may hold files")
                if info.flag_bits & 1:
                    raise ImportRefused(f"{_shown(info.filename)} is encrypted")
                path = _checked(info.filename)
                if info.is_dir() or not path.endswith(wanted):
                    continue
                with archive.open(info) as stream:
                    yield _member(path, stream, budget)

    def _tarred(self, wanted: tuple[str, ...]) -> Iterator[Member]:
        budget = _Budget(self.bytes)
        budget.header_bytes = MAX_HEADER_BYTES  # opening reads the first one
        with tarfile.open(fileobj=_Tap(self._plain(), budget), mode="r|", bufsize=20 * 512) as archive:
            seen = 0
            while True:
                budget.header_bytes = MAX_HEADER_BYTES
                info = archive.next()
                budget.header_bytes = None
                if info is None:
                    return
                seen += 1
                _few(seen)
                if not (info.isreg() or info.isdir()):
                    raise ImportRefused(f"{_shown(info.name)} is a link or a device; an archive may hold files")
                path = _checked(info.name)
                stream = archive.extractfile(info)
                if stream is None:
                    continue
                if path.endswith(wanted):
                    yield _member(path, stream, None)
                else:  # passed over here, so that what `next` reads are headers and nothing else
                    while stream.read(_CHUNK):
                        pass
                archive.members = []  # type: ignore[attr-defined]  # it would remember every one

    def _plain(self) -> IO[bytes]:
        kind = self._kind()
        if kind == "gzip":
            return cast(IO[bytes], gzip.GzipFile(fileobj=self._stream))
        return bz2.BZ2File(self._stream) if kind == "bzip2" else self._stream


class _Budget:
    """How many bytes may still come out of an archive of `size` bytes."""

    def __init__(self, size: int) -> None:
        self._left = min(MAX_TOTAL_BYTES, max(FREE_BYTES, MAX_RATIO * size))
        self.header_bytes: int | None = None

    def spend(self, amount: int) -> None:
        """Count bytes that came out. Raises `ImportRefused` once there are too many."""
        self._left -= amount
        if self.header_bytes is not None:
            self.header_bytes -= amount
        if self._left < 0 or (self.header_bytes is not None and self.header_bytes < 0):
            raise ImportRefused(
                f"the archive unpacks to more than {MAX_RATIO} times its size, or to more than "
                f"{MAX_TOTAL_BYTES // 2**30} GiB; send the files that hold measurements alone"
            )


class _Tap(io.RawIOBase):
    """Lets bytes through and counts them."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._inner, self._budget = stream, budget

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self._budget.spend(len(data))
        return data


def _member(path: str, stream: IO[bytes], budget: _Budget | None) -> Member:
    digest, parts, size = hashlib.sha256(), [], 0
    while chunk := stream.read(_CHUNK):
        size += len(chunk)
        if budget is not None:
            budget.spend(len(chunk))
        if size > MAX_MEMBER_BYTES:
            raise ImportRefused(f"{_shown(path)} has more than {MAX_MEMBER_BYTES:,} bytes")
        digest.update(chunk)
        parts.append(chunk)
    return Member(path=path, content=b"".join(parts), sha256=digest.hexdigest())


def _few(members: int) -> None:
    if members > MAX_MEMBERS:
        raise ImportRefused(f"the archive holds more than {MAX_MEMBERS:,} files")


def _checked(name: str) -> str:
    """The name, if it stays inside of its archive."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or "\x00" in name or ":" in parts[0]:
        raise ImportRefused(f"{_shown(name)} leads out of the archive")
    return "/".join(part for part in parts if part not in ("", "."))


def _shown(name: str) -> str:
    return repr(name[:120])
