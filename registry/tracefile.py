"""Power traces as Parquet: the one format they are kept in, written and read a piece at a time.

One row is one reading of one device:

    time_us     int64    microseconds since the stage began
    component   string   gpu, cpu or ram
    device      string   a GPU's UUID; empty for the others
    power_w     float32  watts; null where only the counter was read
    counter_mj  int64    the device's energy counter in millijoules; null where there is none

What has one component and one device is a line. A row group holds rows of one line alone, in order of time, so that a
line, or a stretch of it, is read without the others, and neither side ever holds a whole trace in memory. The file's
metadata say under `stagemeter` which record it belongs to.

pyarrow is imported where it is used: a web process that shows no trace never loads it.
"""

import json
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

FILE_NAME = "trace.parquet"
FORMAT_VERSION = 1
COMPONENTS = ("gpu", "cpu", "ram")
ROWS_PER_GROUP = 65_536
MAX_LINES = 300
GAP_SPACINGS = 2.0  # of the usual distance between two samples: the line ends there
_NO_COUNTER = -1
_LONGEST_S = 1e9  # 30 years
_HIGHEST_W = 1e9

Samples = tuple[NDArray[np.float64], NDArray[np.float32]]


class TraceError(Exception):
    """Readings that are no trace, or a file that cannot be read as one."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line in figures. Seconds count from the stage's begin; watts are `None` where power was never read.

    `spacing_s` is the usual distance of two samples (the median), `mean_w` the mean over time by the trapezoid rule,
    without the stretches longer than two spacings, of which `longest_gap_s` is the longest.
    """

    component: str
    device: str
    samples: int
    first_s: float
    last_s: float
    spacing_s: float | None
    lowest_w: float | None
    mean_w: float | None
    highest_w: float | None
    longest_gap_s: float | None

    @property
    def gap_s(self) -> float:
        """Samples further apart than this have a gap between them."""
        return GAP_SPACINGS * self.spacing_s if self.spacing_s else math.inf

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what `to_dict` gave."""
        return cls(**data)


class TraceWriter:
    """Writes a trace to `path`; `lines` once it is closed. Without one reading it leaves a file without rows.

    Raises `TraceError` for readings that are none (out of order, out of range, of an unknown component), at the latest
    when it is closed.
    """

    def __init__(self, path: Path, *, about: Mapping[str, Any], rows_per_group: int = ROWS_PER_GROUP) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._rows = rows_per_group
        self._buffers: dict[tuple[str, str], _Buffer] = {}
        note = json.dumps({"version": FORMAT_VERSION, **about}, sort_keys=True)
        text = pa.dictionary(pa.int32(), pa.string())
        self._schema = pa.schema(
            [
                pa.field("time_us", pa.int64(), nullable=False),
                pa.field("component", text, nullable=False),
                pa.field("device", text, nullable=False),
                pa.field("power_w", pa.float32()),
                pa.field("counter_mj", pa.int64()),
            ],
            metadata={"stagemeter": note},
        )
        self._file = pq.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            use_dictionary=["component", "device"],
            # Steps of clock and counter are small and even, watts share their first bytes: a quarter of plain numbers.
            column_encoding={
                "time_us": "DELTA_BINARY_PACKED",
                "power_w": "BYTE_STREAM_SPLIT",
                "counter_mj": "DELTA_BINARY_PACKED",
            },
        )

    def add(self, component: str, device: str, time_s: float, power_w: float | None, counter_mj: int | None) -> None:
        """Add one reading, `time_s` after the stage began. Readings of one line come in order of time."""
        buffer = self._buffers.get((component, device)) or self._begin(component, device)
        try:
            buffer.counters.append(_NO_COUNTER if counter_mj is None else counter_mj)
            buffer.watts.append(math.nan if power_w is None else power_w)
            buffer.times.append(time_s)
        except (OverflowError, TypeError) as error:
            raise TraceError(f"({time_s!r}, {power_w!r}, {counter_mj!r}) is no reading: {error}") from error
        if len(buffer.times) >= self._rows:
            self._flush(buffer)

    def add_block(
        self,
        component: str,
        device: str,
        times_s: NDArray[np.float64],
        watts: NDArray[np.float64],
        counters_mj: NDArray[np.int64],
    ) -> None:
        """Add readings of one line at once; NaN watts and negative millijoules were not read."""
        buffer = self._buffers.get((component, device)) or self._begin(component, device)
        if (watts < 0).any() or (watts > _HIGHEST_W).any():
            raise TraceError(f"{component} {device}: its power is not between 0 and a gigawatt")
        buffer.times.frombytes(times_s.astype(np.float64).tobytes())
        buffer.watts.frombytes(watts.astype(np.float32).tobytes())
        buffer.counters.frombytes(np.maximum(counters_mj, _NO_COUNTER).astype(np.int64).tobytes())
        if len(buffer.times) >= self._rows:
            self._flush(buffer)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The figures of each line, in the order in which they began."""
        return tuple(buffer.totals.line(buffer.component, buffer.device) for buffer in self._buffers.values())

    def close(self) -> None:
        """Write what is left and end the file."""
        for buffer in self._buffers.values():
            self._flush(buffer)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._file.close()

    def _begin(self, component: str, device: str) -> "_Buffer":
        if component not in COMPONENTS:
            raise TraceError(f"{component!r} is none of the components {', '.join(COMPONENTS)}")
        if len(self._buffers) >= MAX_LINES:
            raise TraceError(f"more than {MAX_LINES} devices are no trace of one stage")
        return self._buffers.setdefault((component, device), _Buffer(component, device))

    def _flush(self, buffer: "_Buffer") -> None:
        import pyarrow as pa

        if not buffer.times:
            return
        times, watts, counters = buffer.drain()
        indices = pa.array(np.zeros(len(times), np.int32))
        columns = [
            pa.array(times),
            pa.DictionaryArray.from_arrays(indices, [buffer.component]),
            pa.DictionaryArray.from_arrays(indices, [buffer.device]),
            pa.array(watts, mask=np.isnan(watts)),
            pa.array(counters, mask=counters == _NO_COUNTER),
        ]
        self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=len(times))


class _Buffer:
    """Rows of one line that are not written yet, as compact arrays, and the figures of those that are."""

    def __init__(self, component: str, device: str) -> None:
        self.component, self.device = component, device
        self.totals = _Totals()
        self._latest_s = -_LONGEST_S
        self._clear()

    def _clear(self) -> None:
        self.times, self.watts, self.counters = array("d"), array("f"), array("q")

    def drain(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """The rows, which are then no longer here. Raises `TraceError` for readings that cannot be."""
        times = np.frombuffer(self.times, np.float64)
        watts, counters = np.frombuffer(self.watts, np.float32), np.frombuffer(self.counters, np.int64)
        self._check(times, watts, counters)
        self.totals.add(times, watts)
        self._latest_s = float(times[-1])
        self._clear()
        return np.round(times * 1e6).astype(np.int64), watts, counters

    def _check(self, times: NDArray[np.float64], watts: NDArray[np.float32], counters: NDArray[np.int64]) -> None:
        before = np.concatenate([[self._latest_s], times[:-1]])
        faults = {
            "its time is not within 30 years of the stage": ~(np.abs(times) < _LONGEST_S),
            "the reading before it was taken later": times < before,
            "its power is not between 0 and a gigawatt": ~(np.isnan(watts) | ((watts >= 0) & (watts <= _HIGHEST_W))),
            "its counter is negative": counters < _NO_COUNTER,
        }
        for fault, places in faults.items():
            if places.any():
                place = int(places.argmax())
                reading = f"{times[place]} s, {watts[place]} W, {counters[place]} mJ"
                raise TraceError(f"{self.component} {self.device}: {reading} is no reading: {fault}")


class _Totals:
    """Figures of a line, gathered block by block."""

    def __init__(self) -> None:
        self.samples = 0
        self._first = self._last = math.nan
        self._last_w = math.nan
        self._spacing: float | None = None
        self._lowest, self._highest = math.inf, -math.inf
        self._joules = self._covered_s = self._longest_gap = 0.0

    def add(self, times: NDArray[np.float64], watts: NDArray[np.float32]) -> None:
        """Take in one block, which goes on where the one before it ended."""
        read = ~np.isnan(watts)
        times, power = times[read], watts[read].astype(np.float64)
        if not len(times):
            return
        if self.samples:
            times, power = np.insert(times, 0, self._last), np.insert(power, 0, self._last_w)
        else:
            self._first = float(times[0])
        self._integrate(np.diff(times), (power[1:] + power[:-1]) / 2)
        self.samples += int(read.sum())
        self._last, self._last_w = float(times[-1]), float(power[-1])
        self._lowest = min(self._lowest, float(power.min()))
        self._highest = max(self._highest, float(power.max()))

    def _integrate(self, steps: NDArray[np.float64], power: NDArray[np.float64]) -> None:
        if not len(steps):
            return
        if self._spacing is None:
            self._spacing = round(float(np.median(steps)), 6)
        backed = steps <= GAP_SPACINGS * self._spacing
        self._joules += float(np.dot(steps[backed], power[backed]))
        self._covered_s += float(steps[backed].sum())
        self._longest_gap = max(self._longest_gap, float(steps.max()))

    def line(self, component: str, device: str) -> Line:
        """The figures so far."""
        read = self.samples > 0
        return Line(
            component=component,
            device=device,
            samples=self.samples,
            first_s=self._first if read else 0.0,
            last_s=self._last if read else 0.0,
            spacing_s=self._spacing,
            lowest_w=self._lowest if read else None,
            mean_w=(self._joules / self._covered_s if self._covered_s else self._last_w) if read else None,
            highest_w=self._highest if read else None,
            longest_gap_s=self._longest_gap if self.samples > 1 else None,
        )


class TraceReader:
    """Reads a trace that `TraceWriter` wrote, from an open file. Raises `TraceError` for anything else."""

    def __init__(self, stream: IO[bytes]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(stream, pre_buffer=False)
            self._groups = self._index()
        except (pa.ArrowException, OSError, AttributeError, KeyError, TypeError) as error:
            raise TraceError(f"the trace cannot be read: {error}") from error

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """Component and device of each line."""
        return tuple(self._groups)

    def samples(self, component: str, device: str, *, start_s: float, end_s: float) -> Iterator[Samples]:
        """Seconds and watts of a line from `start_s` to `end_s`, in pieces, in order of time.

        The sample before the stretch and the one after it are part of it, so that a line drawn through them reaches
        both ends.
        """
        import pyarrow as pa

        groups = self._groups.get((component, device), [])
        for group in _around(groups, start_s, end_s):
            try:
                rows = self._file.read_row_group(group, columns=["time_us", "power_w"], use_threads=False).drop_null()
                # By way of dlpack, because pyarrow's own conversion loads pandas, where that is installed.
                times = np.asarray(np.from_dlpack(rows["time_us"].combine_chunks()), np.float64) / 1e6
                watts = np.asarray(np.from_dlpack(rows["power_w"].combine_chunks()), np.float32)
            except (pa.ArrowException, OSError) as error:
                raise TraceError(f"the trace cannot be read: {error}") from error
            first = max(0, int(np.searchsorted(times, start_s)) - 1)
            last = int(np.searchsorted(times, end_s, side="right")) + 1
            if len(times[first:last]):
                yield times[first:last], watts[first:last]

    def _index(self) -> dict[tuple[str, str], list["_Group"]]:
        """The row groups of each line, with their first and last second, from the statistics in the file's footer."""
        metadata = self._file.metadata
        place = {metadata.schema.column(i).name: i for i in range(metadata.num_columns)}
        found: dict[tuple[str, str], list[_Group]] = {}
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            time, component, device = (
                group.column(place[name]).statistics for name in ("time_us", "component", "device")
            )
            found.setdefault((component.min, device.min), []).append((number, time.min / 1e6, time.max / 1e6))
        return found


_Group = tuple[int, float, float]


def _around(groups: list[_Group], start_s: float, end_s: float) -> list[int]:
    """The row groups that meet the stretch, and a neighbour where one holds the sample before or after it."""
    low = next((place for place, (_, _, last) in enumerate(groups) if last >= start_s), len(groups))
    high = max((place for place, (_, first, _) in enumerate(groups) if first <= end_s), default=-1)
    if low == len(groups) or groups[low][1] >= start_s:
        low -= 1
    if high == -1 or groups[high][2] <= end_s:
        high += 1
    return [number for number, _, _ in groups[max(0, low) : high + 1]]
