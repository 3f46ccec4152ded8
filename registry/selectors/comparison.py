"""Runs side by side: results, stages, scores, settings and environment, and the power of each stage."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from registry.accounting.canonical import flatten
from registry.models import Stage
from registry.selectors import runs, traces
from registry.selectors.figures import Reader
from registry.selectors.runs import RunDetail
from registry.selectors.traces import TraceLine
from registry.tracefile import TraceError

MOST = 20
RESULT, STAGES, SCORES, SETTINGS, ENVIRONMENT = "result", "stages", "scores", "settings", "environment"
ENERGY, QUALITY, SECONDS, TEXT = "energy", "quality", "seconds", "text"
POINTS = 400  # of each line


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fact of every run, in their order; `None` where a run has none. `kind` says how to show it."""

    group: str
    name: str
    kind: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs disagree."""
        return len({repr(value) for value in self.values}) > 1


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """One stage's power in one run: seconds since the stage began."""

    run: RunDetail
    stage: Stage
    lines: tuple[TraceLine, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Up to twenty runs. `missing` are keys that are not there, or not to be seen."""

    runs: tuple[RunDetail, ...]
    rows: tuple[Row, ...]
    missing: tuple[str, ...]

    @property
    def differing(self) -> tuple[Row, ...]:
        """Only what the runs disagree in."""
        return tuple(row for row in self.rows if row.differs)


def compare(keys: Sequence[str], user: Reader) -> Comparison:
    """The runs of those keys, each once, in their order. Raises `ValueError` above `MOST`."""
    wanted = list(dict.fromkeys(keys))
    if len(wanted) > MOST:
        raise ValueError(f"{len(wanted)} runs: up to {MOST} can be compared; leave some out")
    read = {key: _detail(key, user) for key in wanted}
    found = tuple(detail for detail in read.values() if detail is not None)
    rows = (*_results(found), *_stages(found), *_scores(found), *_settings(found), *_environments(found))
    return Comparison(runs=found, rows=rows, missing=tuple(key for key, detail in read.items() if detail is None))


def _detail(key: str, user: Reader) -> RunDetail | None:
    try:
        return runs.detail(UUID(key), user)
    except ValueError:
        return None


def _row(group: str, name: str, kind: str, read: Callable[[RunDetail], Any], found: Iterable[RunDetail]) -> Row:
    return Row(group=group, name=name, kind=kind, values=tuple(read(detail) for detail in found))


def _results(found: tuple[RunDetail, ...]) -> list[Row]:
    def took(detail: RunDetail) -> float | None:
        summary = getattr(detail.run, "summary", None)
        return summary.duration_s if summary else None

    return [
        _row(RESULT, "energy, full scope", ENERGY, lambda d: d.charged.energy_j, found),
        _row(RESULT, "Q", QUALITY, lambda d: d.figures.q, found),
        _row(RESULT, "duration of its stages", SECONDS, took, found),
        _row(RESULT, "status", TEXT, lambda d: d.run.status, found),
        _row(RESULT, "study", TEXT, lambda d: d.run.study.slug, found),
        _row(RESULT, "workload", TEXT, lambda d: d.run.workload, found),
        _row(RESULT, "seed", TEXT, lambda d: d.run.seed, found),
        _row(RESULT, "hardware", TEXT, lambda d: d.run.hardware_class, found),
    ]


def _stages(found: tuple[RunDetail, ...]) -> list[Row]:
    by_run = [{stage.kind: stage for stage in detail.stages} for detail in found]
    kinds = dict.fromkeys(kind for stages in by_run for kind in stages)
    rows = []
    for kind in kinds:
        here = [stages.get(kind) for stages in by_run]
        facts: dict[tuple[str, str], list[Any]] = {
            ("energy", ENERGY): [stage.energy_j if stage else None for stage in here],
            ("duration", SECONDS): [stage.duration_s if stage else None for stage in here],
            ("J/token", QUALITY): [stage.rate.joules_per_token if stage else None for stage in here],
        }
        rows += [Row(group=STAGES, name=f"{kind}: {n}", kind=k, values=tuple(v)) for (n, k), v in facts.items()]
    return rows


def _scores(found: tuple[RunDetail, ...]) -> list[Row]:
    by_run = [{s.benchmark: s.score.value for s in detail.scores if s.score is not None} for detail in found]
    return _by_name(SCORES, by_run, QUALITY)


def _settings(found: tuple[RunDetail, ...]) -> list[Row]:
    return _by_name(SETTINGS, [flatten(detail.run.spec) if detail.run.spec else {} for detail in found], TEXT)


def _environments(found: tuple[RunDetail, ...]) -> list[Row]:
    return _by_name(ENVIRONMENT, [flatten(detail.run.environment or {}) for detail in found], TEXT)


def _by_name(group: str, facts: list[Mapping[str, Any]] | list[dict[str, Any]], kind: str) -> list[Row]:
    names = dict.fromkeys(name for known in facts for name in known)
    return [Row(group=group, name=name, kind=kind, values=tuple(known.get(name) for known in facts)) for name in names]


def power(found: Comparison) -> dict[str, tuple[Overlay, ...]]:
    """By stage kind, the power of every run that has a trace of it; a trace that cannot be read is left out."""
    overlays: dict[str, list[Overlay]] = {}
    for detail in found.runs:
        for record in traces.records_of(detail):
            lines = _lines(record)
            if lines:
                overlays.setdefault(record.kind, []).append(Overlay(run=detail, stage=record, lines=lines))
    return {kind: tuple(each) for kind, each in overlays.items()}


def _lines(record: Stage) -> tuple[TraceLine, ...]:
    trace = traces.trace_of(record)
    if trace is None or record.duration_s is None:
        return ()
    try:
        return traces.read(trace, start_s=0.0, end_s=record.duration_s, points=POINTS)
    except TraceError:
        return ()
