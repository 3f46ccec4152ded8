"""What kind of file it is, by what stands in it: only formats that hold data and nothing that runs when it is read.

A suffix is a claim. A pickle named `.npz` or `.safetensors` runs code in whoever opens it, so the bytes are asked.
"""

import ast
import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

LARGEST_HEADER = 100 * 2**20  # of a safetensors file, as its own library has it
LARGEST_JSON = 64 * 2**20
LARGEST_MEMBER_HEADER = 2**16  # of one array in an .npz
_CHUNK = 2**20
_OWN_MAGIC = {".npz": b"PK\x03\x04", ".parquet": b"PAR1"}

# What other formats begin with, to say what was found instead.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"PK\x03\x04", "a zip archive, as torch.save writes them"),
    (b"\x89HDF", "an HDF5 file"),
    (b"GGUF", "a GGUF file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"#!", "a script"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PAR1", "a Parquet file"),
    (b"\x93NUMPY", "a NumPy array"),
)


class FormatError(ValueError):
    """A file that is not what its name says, or whose format may hold code."""


def check(path: Path) -> None:
    """Pass a file of one of the known formats that is what its suffix says. Raises `FormatError` with what it is."""
    reader = FORMATS.get(path.suffix)
    if reader is None:
        raise FormatError(f"{path.name!r} is in none of the formats kept here: {', '.join(FORMATS)}")
    problem = reader(path)
    if problem is not None:
        raise FormatError(f"{path.name!r} is no {path.suffix[1:]} file but {_found(path) or problem}")


def named(head: bytes) -> str | None:
    """What a file is whose first bytes are those of another format than text; `None` where none is known."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def _found(path: Path) -> str | None:
    """What it is by its first bytes, if that is anything else than it claims to be."""
    with path.open("rb") as content:
        head = content.read(16)
    others = (name for magic, name in _MAGIC if head.startswith(magic) and magic != _OWN_MAGIC.get(path.suffix))
    return next(others, None)


def _safetensors(path: Path) -> str | None:
    """Eight bytes of length, a JSON header of so many bytes, and tensors that fill the rest exactly."""
    size = path.stat().st_size
    with path.open("rb") as content:
        first = content.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(LARGEST_HEADER, size - 8):
            return "something without a header"
        try:
            header = json.loads(content.read(length))
        except (ValueError, RecursionError):
            return "something whose header is no JSON"
    return None if _tensors_fill(header, size - 8 - length) else "something whose tensors do not fit its size"


def _tensors_fill(header: Any, size: int) -> bool:
    if not isinstance(header, dict):
        return False
    ends = []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
        if not (isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(end, int) for end in offsets)):
            return False
        if not 0 <= offsets[0] <= offsets[1] <= size:
            return False
        ends.append(offsets[1])
    return max(ends, default=0) == size


def _parquet(path: Path) -> str | None:
    with path.open("rb") as content:
        head = content.read(4)
        content.seek(max(0, path.stat().st_size - 4))
        tail = content.read(4)
    return None if head == tail == b"PAR1" and path.stat().st_size >= 12 else "something without its marks"


def _npz(path: Path) -> str | None:
    """A zip of arrays, none of which holds Python objects: those are pickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            return next((problem for member in archive.infolist() if (problem := _member(archive, member))), None)
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError) as error:
        return f"something that is no zip archive ({error})"


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str | None:
    if not member.filename.endswith(".npy") or member.flag_bits & 1:
        return f"an archive with {member.filename[:80]!r} in it"
    with archive.open(member) as content:
        if content.read(6) != b"\x93NUMPY":
            return f"an archive whose {member.filename[:80]!r} is no array"
        major = content.read(2)[:1]
        width = 2 if major == b"\x01" else 4
        length = int.from_bytes(content.read(width), "little")
        if length > LARGEST_MEMBER_HEADER:
            return f"an archive whose {member.filename[:80]!r} has no readable header"
        described = _header(content.read(length))
    if described is None:
        return f"an archive whose {member.filename[:80]!r} has no readable header"
    return f"an archive with pickled objects in {member.filename[:80]!r}" if _holds_objects(described) else None


def _header(raw: bytes) -> Any:
    """The array's description, a literal; `None` for anything else."""
    try:
        header = ast.literal_eval(raw.decode("latin-1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return header.get("descr") if isinstance(header, dict) else None


def _holds_objects(described: Any) -> bool:
    """Whether a type, or one of its fields, is that of Python objects."""
    if isinstance(described, str):
        return "O" in described
    return any(_holds_objects(part) for part in described) if isinstance(described, list | tuple) else False


def _json(path: Path) -> str | None:
    if path.stat().st_size > LARGEST_JSON:
        return f"something above {LARGEST_JSON // 2**20} MiB; rows belong into a .jsonl file"
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return "something that is no JSON"
    return None


def _jsonl(path: Path) -> str | None:
    """One JSON value on every line."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                json.loads(line)
            except (ValueError, RecursionError):
                return f"something whose line {number} is no JSON"
    return None


def _text(path: Path) -> str | None:
    """UTF-8 without a null character."""
    for piece in _pieces(path):
        if "\x00" in piece:
            return "something with null characters in it"
    return None if _is_utf8(path) else "something that is no UTF-8 text"


def _pieces(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as content:
        while piece := content.read(_CHUNK):
            yield piece


def _is_utf8(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as content:
            while content.read(_CHUNK):
                pass
    except UnicodeDecodeError:
        return False
    return _found(path) is None


FORMATS: Mapping[str, Callable[[Path], str | None]] = {
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".jsonl": _jsonl,
    ".json": _json,
    ".npz": _npz,
    # Beside a student's weights: its tokenizer's merges and its chat template, which our own code never renders.
    ".txt": _text,
    ".jinja": _text,
}
