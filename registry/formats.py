"""What kind of file it is, by what stands in it: only formats that hold data and nothing that runs when it is read.

A suffix is a claim. A pickle named `.npz` or `.safetensors` runs code in whoever opens it, so the bytes are asked.
"""

import ast
import json
import math
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

LARGEST_HEADER = 100 * 2**20  # of a safetensors file, as its own library has it
LARGEST_JSON = 64 * 2**20
MOST_DIMENSIONS = 64  # of a tensor, as NumPy has it
LARGEST_MEMBER_HEADER = 2**16  # of one array in an .npz
_CHUNK = 2**20
# Bits of one element of each type that safetensors knows.
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
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


def kind_of_text(path: Path) -> str:
    """`.jsonl` or `.json` for a UTF-8 text that is one of them, by its content. Raises `FormatError` for another.

    A single line that holds an object is a row; one that holds an array is a document.
    """
    if not _is_utf8(path):
        raise FormatError(f"it is {_found(path) or 'no UTF-8 text'}; JSON or JSONL is kept, or either in gzip")
    with path.open("rb") as content:
        first, more = content.read(1), len(content.readline()) and content.read(1)
    if not first:
        raise FormatError("it is empty")
    problem = _jsonl(path)
    if problem is None and (more or first != b"["):
        return ".jsonl"
    if _json(path) is None:
        return ".json"
    raise FormatError(f"it is neither JSON nor JSONL but {problem}")


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
    """Whether each tensor has the bytes of its type and shape, one behind the other, from first byte to last."""
    if not isinstance(header, dict):
        return False
    spans = [_span(tensor) for name, tensor in header.items() if name != "__metadata__"]
    end = 0
    for span in sorted(span for span in spans if span is not None):
        if span[0] != end:
            return False
        end = span[1]
    return None not in spans and end == size


def _span(tensor: Any) -> tuple[int, int] | None:
    """Where a tensor begins and ends; `None` if it isn't described whole, or takes other bytes than it says."""
    if not isinstance(tensor, dict):
        return None
    offsets, shape, dtype = tensor.get("data_offsets"), tensor.get("shape"), tensor.get("dtype")
    bits = _BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None or not (_whole_numbers(offsets, most=2) and _whole_numbers(shape, most=MOST_DIMENSIONS)):
        return None
    begin, end = offsets if len(offsets) == 2 else (0, -1)
    return (begin, end) if math.prod(shape) * bits == 8 * (end - begin) else None


def _whole_numbers(value: Any, *, most: int) -> TypeGuard[list[int]]:
    few = isinstance(value, list) and len(value) <= most
    return few and all(type(one) is int and 0 <= one < 2**63 for one in value)


def _parquet(path: Path) -> str | None:
    """Its marks at both ends, and between them a footer that can be read and columns that lie in the file."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    size = path.stat().st_size
    with path.open("rb") as content:
        head = content.read(4)
        content.seek(max(0, size - 8))
        tail = content.read(8)
    if not (head == tail[4:] == b"PAR1" and size >= 12):
        return "something without its marks"
    footer = int.from_bytes(tail[:4], "little")
    if footer > min(LARGEST_HEADER, size - 12):
        return "something whose footer cannot be read"
    try:
        groups = read_metadata(path)
        columns = [
            groups.row_group(n).column(c) for n in range(groups.num_row_groups) for c in range(groups.num_columns)
        ]
    except (ArrowException, OSError, ValueError):
        return "something whose footer cannot be read"
    inside = all(one.data_page_offset >= 4 and 0 <= one.total_compressed_size <= size - 12 - footer for one in columns)
    return None if inside else "something whose columns lie outside of it"


def _npz(path: Path) -> str | None:
    """A zip of arrays, none of which holds Python objects: those are pickled.

    A zip is found from its end, so anything may stand before it: a pickle or a script that runs by its first bytes.
    """
    with path.open("rb") as content:
        if content.read(4) != _OWN_MAGIC[".npz"]:
            return "something that doesn't begin as a zip archive of arrays"
    try:
        with zipfile.ZipFile(path) as archive:
            if min((member.header_offset for member in archive.infolist()), default=1) != 0:
                return "an archive with something before its first array"
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
    with path.open("rb") as content:
        for number, line in enumerate(iter(lambda: content.readline(LARGEST_JSON + 1), b""), start=1):
            if len(line) > LARGEST_JSON:
                return f"something whose line {number} is above {LARGEST_JSON // 2**20} MiB"
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
