"""Power traces that come from elsewhere: CSV (plain or gzip) and Parquet, read a piece at a time.

Two shapes are read, by the names of the columns. Unknown columns are passed over.

    long    component, device, power_w, counter_mj (the energy counter, if there is one), a row per reading
    wide    gpu_<n>_power_w or gpu_<uuid>_power_w, cpu_power_w, ram_power_w, a row per moment

Time is `time_us` or `time_s` since the stage began, or `timestamp`: seconds since 1970, or a date with its zone. What
lies outside of the stage (a log of the whole run) is left out. Everything is written anew as a trace of our own, so
that what is kept has one form; the file's own SHA-256 is kept beside it.
"""

import csv
import gzip
import hashlib
import io
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from registry import formats
from registry.accounting.traced import Claim, Integral, Traced, checks
from registry.models import Stage, Trace, User
from registry.parquetpages import check_pages
from registry.services import traces
from registry.services.errors import Invalid
from registry.tracefile import COMPONENTS, FILE_NAME, TraceError, TraceWriter
from registry.unpacking import GZIP, Capped, Oversized

MARGIN_S = 2.0  # a sample on either side of the stage's edges
MAX_READINGS = 10_000_000  # of all lines together
MAX_TEXT_BYTES = 2**29  # of a CSV once it is unpacked
MAX_PAGE_BYTES = 64 * 2**20  # of one page of a Parquet file once it is unpacked
_MAX_HEADER_BYTES = 2**16
_BLOCK_BYTES = 2**20
_BATCH = 65_536
_TIMES = ("time_us", "time_s", "timestamp")
_LONG = ("component", "device", "power_w", "counter_mj")
_WIDE = re.compile(r"(gpu|cpu|ram)(?:_([A-Za-z0-9-]{1,80}))?_power_w")
_NOT_READ = -1

Block = tuple[str, str, NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class Columns:
    """The columns that are read: of time one, and either those of the long shape or (component, device) by name."""

    time: str
    wide: Mapping[str, tuple[str, str]]

    @property
    def names(self) -> list[str]:
        """All that may be there."""
        return [self.time, *(self.wide or _LONG)]


def take(*, stage: Stage, content: IO[bytes], actor: User | None) -> tuple[Trace, bool]:
    """Put a trace from elsewhere beside its record; whether it is new. The same file again changes nothing.

    Raises `Invalid` for what is no trace of this record, `Conflict` where another one stands.
    """
    sha256 = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]  # an uploaded file is one
    standing = traces.standing(stage, sent_sha256=sha256)
    if standing is not None:
        return standing, False
    claim = traces.claim_of(stage)
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / FILE_NAME
        sums: dict[tuple[str, str], Integral] = {}
        try:
            with TraceWriter(path, about={"record_id": stage.record_id, "sent_sha256": sha256}) as writer:
                for component, device, times, watts, counters in _blocks(content, stage, claim):
                    writer.add_block(component, device, times, watts, counters)
                    line = sums.setdefault((component, device), Integral(claim.span_s))
                    line.add(times, watts, counters)
        except TraceError as error:
            raise Invalid({"trace": str(error)}) from error
        found = {name: result for name, integral in sums.items() if (result := integral.result()) is not None}
        _refuse_foreign(found, stage)
        trace = traces.keep(
            stage=stage, path=path, lines=writer.lines, actor=actor, sent_sha256=sha256, checks=checks(claim, found)
        )
    return trace, True


def _refuse_foreign(found: Mapping[tuple[str, str], Traced], stage: Stage) -> None:
    if not found:
        raise Invalid(
            {
                "trace": f"no two readings lie within the stage, {stage.started_at.isoformat()} to "
                f"{stage.ended_at.isoformat()}; are its times those of this stage, and in the right zone?"
            }
        )


def _blocks(content: IO[bytes], stage: Stage, claim: Claim) -> Iterator[Block]:
    """The readings of the stage, line by line within each piece. Raises `TraceError`."""
    import pyarrow as pa

    total = 0
    try:
        for columns, batch in _batches(content, claim):
            total += batch.num_rows * max(1, len(columns.wide))
            if total > MAX_READINGS:
                raise TraceError(f"more than {MAX_READINGS:,} readings are no trace of one stage; send fewer a second")
            times = _seconds(batch, columns.time, stage)
            inside = (times >= -MARGIN_S) & (times <= claim.span_s + MARGIN_S) | np.isnan(times)
            for component, device, where, watts, counters in _lines(batch, columns):
                kept = inside & where
                if kept.any():
                    yield component, device, times[kept], watts[kept], counters[kept]
    except (pa.ArrowException, OSError, EOFError, zlib.error, Oversized, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"the file cannot be read: {str(error)[:200]}") from error


def _batches(content: IO[bytes], claim: Claim) -> Iterator[tuple[Columns, Any]]:
    """Columns and record batches of whatever the file is, by its first bytes."""
    content.seek(0)
    head = content.read(16)
    content.seek(0)
    if head.startswith(b"PAR1"):
        yield from _parquet(content, claim)
    elif head.startswith(GZIP):
        with gzip.open(content) as text:
            yield from _csv(Capped(text, MAX_TEXT_BYTES), claim)
    elif (what := formats.named(head)) is not None or b"\x00" in head:
        raise TraceError(f"the file is {what or 'no text'}; send CSV, CSV in gzip, or Parquet")
    else:
        yield from _csv(Capped(content, MAX_TEXT_BYTES), claim)


def _parquet(content: IO[bytes], claim: Claim) -> Iterator[tuple[Columns, Any]]:
    import pyarrow.parquet as pq

    check_pages(content, MAX_PAGE_BYTES)
    content.seek(0)
    file = pq.ParquetFile(content, pre_buffer=False)
    if file.metadata.num_rows > MAX_READINGS:
        raise TraceError(f"more than {MAX_READINGS:,} readings are no trace of one stage; send fewer a second")
    columns = _columns(file.schema_arrow.names, claim)
    present = [name for name in columns.names if name in file.schema_arrow.names]
    for batch in file.iter_batches(batch_size=_BATCH, columns=present, use_threads=False):
        yield columns, batch


def _csv(text: Capped, claim: Claim) -> Iterator[tuple[Columns, Any]]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    first = text.readline(_MAX_HEADER_BYTES)
    names = next(csv.reader([first.decode("utf-8-sig")]), [])
    columns = _columns([name.strip() for name in names], claim)
    peeked = text.readline(_MAX_HEADER_BYTES)
    kinds: dict[str, Any] = dict.fromkeys(columns.wide or ("power_w",), pa.float64())
    if not columns.wide:
        kinds |= {"component": pa.string(), "device": pa.string(), "counter_mj": pa.int64()}
    kinds[columns.time] = _kind_of_time(peeked, [name.strip() for name in names], columns.time)
    reader = arrow_csv.open_csv(
        io.BufferedReader(_Joined(peeked, text), _BLOCK_BYTES),
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=_BLOCK_BYTES, column_names=[name.strip() for name in names]
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=kinds, include_columns=[name for name in columns.names if name in kinds and name in names]
        ),
    )
    for batch in reader:
        yield columns, batch


def _kind_of_time(line: bytes, names: list[str], time: str) -> Any:
    """What the first row has for a time: a number, or a date with its zone."""
    import pyarrow as pa

    row = next(csv.reader([line.decode()]), [])
    value = row[names.index(time)] if len(row) > names.index(time) else ""
    try:
        float(value)
    except ValueError:
        return pa.timestamp("us", tz="UTC") if time == "timestamp" else pa.float64()
    return pa.float64()


def _columns(names: list[str], claim: Claim) -> Columns:
    """Which columns say what. Raises `TraceError` naming what is missing."""
    time = next((name for name in _TIMES if name in names), None)
    if time is None:
        raise TraceError(f"it has no column of time: one of {', '.join(_TIMES)} is needed beside {_quoted(names)}")
    if "component" in names and "power_w" in names:
        return Columns(time, {})
    wide = {name: (found[1], _device(found, claim)) for name in names if (found := _WIDE.fullmatch(name))}
    if not wide:
        raise TraceError(
            f"it has no column of power: component and power_w, or gpu_0_power_w, cpu_power_w or ram_power_w; "
            f"there are {_quoted(names)}"
        )
    if len(set(wide.values())) < len(wide) or len(set(names)) < len(names):
        raise TraceError(f"two of its columns are the same line: {_quoted(names)}")
    return Columns(time, wide)


def _device(found: re.Match[str], claim: Claim) -> str:
    """The UUID behind a column: named, or the n-th that the record counts."""
    if found[1] != "gpu":
        return ""
    devices, named = list(claim.devices), found[2] or ""
    if not named:
        return devices[0] if len(devices) == 1 else ""
    if named.isascii() and named.isdecimal() and len(named) < 4 and int(named) < len(devices):
        return devices[int(named)]
    return named


def _lines(batch: Any, columns: Columns) -> Iterator[tuple[str, str, Any, NDArray[np.float64], NDArray[np.int64]]]:
    """Component, device, which rows are theirs, and the watts and counters of all rows."""
    none = np.full(batch.num_rows, _NOT_READ, np.int64)
    if columns.wide:
        for name, (component, device) in columns.wide.items():
            watts = _numbers(batch.column(name), np.nan)
            yield component, device, ~np.isnan(watts), watts, none
        return
    names = set(batch.schema.names)
    watts = _numbers(batch.column("power_w"), np.nan)
    counters = _counted(_numbers(batch.column("counter_mj"), _NOT_READ)) if "counter_mj" in names else none
    for (component, device), where in _by_line(batch, "device" in names):
        yield component, device, where, watts, counters


def _by_line(batch: Any, has_device: bool) -> Iterator[tuple[tuple[str, str], Any]]:
    components, which = _words(batch.column("component"))
    devices, whose = _words(batch.column("device")) if has_device else ([""], np.zeros(batch.num_rows, np.int32))
    codes = which.astype(np.int64) * max(1, len(devices)) + whose
    for code in np.unique(codes):
        component, device = components[code // max(1, len(devices))], devices[code % max(1, len(devices))]
        if component not in COMPONENTS:
            raise TraceError(f"{component[:40]!r} is none of the components {', '.join(COMPONENTS)}")
        if len(device) > 100 or not device.isprintable():
            raise TraceError(f"{device[:40]!a} is no name of a device")
        yield (component, device), codes == code


def _words(column: Any) -> tuple[list[str], NDArray[np.int32]]:
    """The different texts of a column, and which of them each row has; null is an empty one."""
    import pyarrow as pa

    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type)):
        raise TraceError(f"a column of names holds {column.type}, not text")
    column = column.cast(pa.string()).fill_null("").dictionary_encode()
    return column.dictionary.to_pylist(), np.asarray(np.from_dlpack(column.indices), np.int32)


def _numbers(column: Any, missing: float) -> NDArray[np.float64]:
    import pyarrow as pa

    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise TraceError(f"a column of figures holds {column.type}, not numbers")
    # By way of dlpack, because pyarrow's own conversion loads pandas, where that is installed.
    filled = column.cast(pa.float64(), safe=False).fill_null(missing)
    return np.asarray(np.from_dlpack(filled), np.float64)


def _counted(values: NDArray[np.float64]) -> NDArray[np.int64]:
    known = np.isfinite(values) & (values >= 0) & (values < 2**53)
    return np.where(known, values, _NOT_READ).astype(np.int64)


def _seconds(batch: Any, name: str, stage: Stage) -> NDArray[np.float64]:
    """Seconds since the stage began; NaN where a row has no time. Raises `TraceError` for dates without a zone."""
    import pyarrow as pa

    column = batch.column(name)
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            raise TraceError("its dates have no zone, so it is not known when they were; write them with one")
        began = round(stage.started_at.timestamp() * 1e6)
        micros = column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
        return (_numbers(micros, np.nan) - began) / 1e6
    times = _numbers(column, np.nan).astype(np.float64)
    if name == "timestamp":
        return times - stage.started_at.timestamp()
    return times / 1e6 if name == "time_us" else times


def _quoted(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"


class _Joined(io.RawIOBase):
    """What was read to see the first row, and then the rest."""

    def __init__(self, first: bytes, rest: Capped) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._first[: len(buffer)] if self._first else self._rest.read(len(buffer))
        self._first = self._first[len(piece) :] if self._first else b""
        buffer[: len(piece)] = piece
        return len(piece)
