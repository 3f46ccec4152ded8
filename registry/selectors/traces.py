"""Power traces, thinned to what was asked for: of one record, and of a run with its stages one after the other."""

from dataclasses import dataclass
from datetime import datetime

from registry import storage
from registry.accounting.thinning import Thinned, thin
from registry.accounting.traced import Check
from registry.models import Stage, Trace
from registry.selectors.runs import RunDetail
from registry.tracefile import FILE_NAME, Line, TraceError, TraceReader

POINTS = 2000
MAX_POINTS = 10_000
FEWEST_POINTS = 50  # of a stage that is a sliver of its run
ALL_POINTS = 200_000  # of all lines together, however many there are


@dataclass(frozen=True, kw_only=True)
class TraceLine:
    """A line's figures, over the whole trace, and what is left of the stretch that was asked for."""

    line: Line
    drawn: Thinned


@dataclass(frozen=True, kw_only=True)
class StagePower:
    """One record's part of a run's chart. `start_s` is its begin, in seconds since the run's first record began."""

    stage: Stage
    start_s: float
    lines: tuple[TraceLine, ...]
    unreadable: bool = False

    @property
    def end_s(self) -> float:
        """The stage's end."""
        return self.start_s + self.stage.span_s


@dataclass(frozen=True, kw_only=True)
class RunPower:
    """The power of a run over its own time, which begins with its first record, from `start_s` to `end_s`.

    Stages without a trace are in it, and those outside of the stretch.
    """

    began_at: datetime
    start_s: float
    end_s: float
    stages: tuple[StagePower, ...]


def trace_of(stage: Stage) -> Trace | None:
    """The record's trace, if it has one."""
    return getattr(stage, "trace", None)


def lines_of(trace: Trace) -> tuple[Line, ...]:
    """Its lines in figures, without opening the file."""
    return tuple(Line.from_dict(line) for line in trace.lines)


def checks_of(trace: Trace) -> tuple[Check, ...]:
    """What its record claims beside it; empty for a worker's own."""
    return tuple(Check.from_dict(check) for check in trace.checks)


def read(trace: Trace, *, start_s: float, end_s: float, points: int = POINTS) -> tuple[TraceLine, ...]:
    """The lines from `start_s` to `end_s` of the stage's time, about `points` samples each.

    The samples beside the stage's own edges are kept. Raises `TraceError` if the file is gone or damaged.
    """
    lines = lines_of(trace)
    points = min(points, MAX_POINTS, ALL_POINTS // max(1, len(lines)))
    edges = [moment for moment in (0.0, trace.stage.span_s) if start_s <= moment <= end_s]
    try:
        with storage.opened(trace.storage_key, FILE_NAME) as stream:
            reader, stretch = TraceReader(stream), _Stretch(start_s, end_s, points, tuple(edges))
            return tuple(_line(reader, line, stretch) for line in lines)
    except (storage.StorageError, OSError) as error:
        raise TraceError(f"the trace cannot be read: {error}") from error


def of_run(
    found: RunDetail, *, start_s: float | None = None, end_s: float | None = None, points: int = POINTS
) -> RunPower | None:
    """The power of a run from `start_s` to `end_s` since its first record began; `None` while it has no trace.

    A line that goes through several stages has about `points` samples in all: each stage has its share by duration.
    """
    records = records_of(found)
    if not any(trace_of(record) for record in records):
        return None
    began_at = records[0].started_at
    placed = [(record, (record.started_at - began_at).total_seconds()) for record in records]
    start_s = 0.0 if start_s is None else start_s
    end_s = max(start + record.span_s for record, start in placed) if end_s is None else end_s
    per_s = points / max(end_s - start_s, 1e-6)
    stages = tuple(_stage(record, start, start_s, end_s, per_s) for record, start in placed)
    return RunPower(began_at=began_at, start_s=start_s, end_s=end_s, stages=stages)


def records_of(found: RunDetail) -> list[Stage]:
    """The run's records in order of time."""
    return sorted((record for stage in found.stages for record in stage.records), key=lambda record: record.started_at)


@dataclass(frozen=True)
class _Stretch:
    start_s: float
    end_s: float
    points: int
    edges: tuple[float, ...]


def _line(reader: TraceReader, line: Line, asked: _Stretch) -> TraceLine:
    shown_s = min(asked.end_s, line.last_s) - max(asked.start_s, line.first_s)
    # A gap narrower than one point cannot be seen.
    gap_s = max(line.gap_s, shown_s / asked.points)
    pieces = reader.samples(line.component, line.device, start_s=asked.start_s, end_s=asked.end_s)
    return TraceLine(line=line, drawn=thin(pieces, points=asked.points, gap_s=gap_s, moments=asked.edges))


def _stage(record: Stage, place_s: float, start_s: float, end_s: float, per_s: float) -> StagePower:
    """The record's own part of the stretch; no lines where the two don't meet."""
    low, high = max(start_s - place_s, 0.0), min(end_s - place_s, record.span_s)
    trace = trace_of(record)
    if trace is None or high < low:
        return StagePower(stage=record, start_s=place_s, lines=())
    points = max(FEWEST_POINTS, round(per_s * (high - low)))
    try:
        return StagePower(stage=record, start_s=place_s, lines=read(trace, start_s=low, end_s=high, points=points))
    except TraceError:
        return StagePower(stage=record, start_s=place_s, lines=(), unreadable=True)
