"""Runs with everything a study can be looked at by, read in a constant number of queries."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from registry.accounting.figures import RunFigures
from registry.accounting.floor import ATTAINABLE, attainable, efficiency, paper_floor
from registry.accounting.measures import RunMeasures, Score, Taken
from registry.accounting.presets import PAPER_INFERENCE_J_PER_TOKEN, PAPER_STUDY
from registry.accounting.stages import KD
from registry.models import EvaluationScore, Run, Stage, Study
from registry.selectors.figures import standing_records

MOST_RUNS = 5000
COMPONENTS = ("gpu", "cpu", "ram", "reported")
_BOUNDS = tuple(f"{name}_energy_{side}j" for name in COMPONENTS for side in ("", "lower_", "upper_"))


class TooManyRuns(ValueError):
    """A study too large to read every record of for one view."""


class _Record(NamedTuple):
    """A standing root record, as far as it is needed here."""

    run_id: UUID | None
    artifact_id: UUID | None
    attempt_id: UUID | None
    kind: str
    role: str
    status: str
    rank: int
    duration_s: float | None
    idle_power_w: float | None
    energy_j: float | None
    evaluated_tokens: int | None
    tokens_nominal: bool
    components: list[str]
    work: Any
    devices: list[dict[str, Any]]
    bounds: dict[str, float | None]


_COLUMNS = (
    "run_id",
    "artifact_id",
    "attempt_id",
    "kind",
    "role",
    "status",
    "rank",
    "duration_s",
    "idle_power_w",
    "energy_j",
    "evaluated_tokens",
    "tokens_nominal",
    "components",
    "extra__work",
    "devices",
)


@dataclass
class _Sums:
    """What the records of one role, or of one artifact, add up to."""

    seconds: float | None
    device_seconds: float | None
    lower_j: float | None
    upper_j: float | None
    bounded_j: float | None
    lost_j: float | None
    idle_j: float | None
    floor_j: float | None


_TAKEN = tuple(column.name for column in fields(_Sums))


def measures(study: Study, runs: Sequence[RunFigures], *, share: float | None = None) -> list[RunMeasures]:
    """Seconds, device-seconds, bounds, floors and scores of runs whose figures were read already, in their order.

    `share` of a device's peak is taken as attainable in the floors; else `floor.attainable`, by the student's size.
    Raises `TooManyRuns` above `MOST_RUNS`: their records would not be read within the time a page has.
    """
    if len(runs) > MOST_RUNS:
        raise TooManyRuns(
            f"{len(runs):,} runs: records and scores are read for up to {MOST_RUNS:,}; choose one class of hardware"
        )
    keys = [UUID(run.run_id) for run in runs]
    own = _by_run(_records(Stage.objects.filter(run__in=keys, artifact=None)))
    artifacts = {UUID(a.artifact_id) for run in runs for a in (*run.teacher_artifacts, *_prepared(run))}
    made = _by_artifact(_records(Stage.objects.filter(artifact__in=artifacts)), share or ATTAINABLE)
    scores = _scores(keys)
    return [_measures(study, run, own.get(UUID(run.run_id), []), made, scores, share=share) for run in runs]


def _prepared(run: RunFigures) -> tuple[Any, ...]:
    return (run.prepared,) if run.prepared is not None else ()


def _records(stages: QuerySet[Stage]) -> Iterable[_Record]:
    counted = stages.filter(standing_records()).exclude(role="prerun").order_by()
    for row in counted.values_list(*_COLUMNS, *_BOUNDS):
        plain, bounds = row[: len(_COLUMNS)], row[len(_COLUMNS) :]
        yield _Record._make((*plain, dict(zip(_BOUNDS, bounds, strict=True))))


def _by_run(records: Iterable[_Record]) -> dict[UUID, list[_Record]]:
    found: dict[UUID, list[_Record]] = {}
    for record in records:
        if record.run_id is not None:
            found.setdefault(record.run_id, []).append(record)
    return found


def _by_artifact(records: Iterable[_Record], share: float) -> dict[str, _Sums]:
    found: dict[UUID, list[_Record]] = {}
    for record in records:
        if record.artifact_id is not None:
            found.setdefault(record.artifact_id, []).append(record)
    return {str(key): _sums(of_artifact, share) for key, of_artifact in found.items()}


def _measures(
    study: Study,
    run: RunFigures,
    records: list[_Record],
    made: dict[str, _Sums],
    scores: "_Scores",
    *,
    share: float | None,
) -> RunMeasures:
    by_role: dict[str, list[_Record]] = {}
    for record in records:
        by_role.setdefault(record.role, []).append(record)
    own = {role: _sums(of_role, share or attainable(run.student)) for role, of_role in by_role.items()}
    used = {artifact.artifact_id: artifact for artifact in (*run.teacher_artifacts, *_prepared(run))}
    parts = {key: made.get(key) or _stated(artifact.production_energy_j) for key, artifact in used.items()}
    if study.slug == PAPER_STUDY:
        _papers_floors(run, own, parts, share)
    key = UUID(run.run_id)
    rate, stated = _inference(study, run, records)
    return RunMeasures(
        figures=run,
        **{name: _taken(name, own, parts) for name in _TAKEN},
        scores=scores.students.get(key, {}),
        teacher_scores=scores.teachers.get(key, {}),
        inference_j_per_token=rate,
        inference_stated=stated,
    )


def _papers_floors(run: RunFigures, own: dict[str, _Sums], made: dict[str, _Sums], share: float | None) -> None:
    """The published study counts no work: its floors are those of its nominal tokens on its stated device."""
    training, caching = (paper_floor(kind, run.student, share=share) for kind in ("student_training", "logit_caching"))
    if training is not None and "student" in own:
        own["student"] = replace(own["student"], floor_j=training.energy_j)
    if caching is not None and run.pipeline == KD:
        made.update({key: replace(sums, floor_j=caching.energy_j) for key, sums in made.items()})


def _stated(production_energy_j: float | None) -> _Sums:
    """An artifact that somebody registered without records: its energy is known, its time and bounds are not."""
    return _Sums(None, None, production_energy_j, production_energy_j, 0.0, 0.0, None, None)


def _taken(name: str, own: dict[str, _Sums], made: dict[str, _Sums]) -> Taken:
    return Taken(
        own={role: getattr(sums, name) for role, sums in own.items()},
        made={key: getattr(sums, name) for key, sums in made.items()},
    )


def _sums(records: list[_Record], share: float) -> _Sums:
    bounds = [_bounds(record) for record in records]
    lasted = [record.duration_s for record in records if record.duration_s is not None]
    timed = len(lasted) == len(records)
    return _Sums(
        seconds=_wall_s(records) if timed else None,
        device_seconds=math.fsum(s * max(len(r.devices), 1) for s, r in zip(lasted, records, strict=True))
        if timed
        else None,
        lower_j=_total([lower for lower, _, _ in bounds]),
        upper_j=_total([upper for _, upper, _ in bounds]),
        bounded_j=_total([bounded for _, _, bounded in bounds]),
        lost_j=math.fsum(record.energy_j or 0.0 for record in records if record.status != "completed"),
        idle_j=_total([_idle_j(record) for record in records]),
        floor_j=_total([_floor_j(record, share) for record in records if record.status == "completed"]),
    )


def _floor_j(record: _Record, share: float) -> float | None:
    """What an ideal run of the record's work would burn; `None` where no work was counted or no peak is known."""
    gpus = tuple(str(device.get("name")) for device in record.devices)
    found = efficiency([record.work], energy_j=None, duration_s=record.duration_s, gpus=gpus, share=share)
    return found.floor.energy_j if found.floor else None


def _idle_j(record: _Record) -> float | None:
    """What its host would have drawn at rest; `None` where that, or how long it took, is not stated."""
    if record.idle_power_w is None or record.duration_s is None:
        return None
    return record.idle_power_w * record.duration_s


def _wall_s(records: list[_Record]) -> float:
    """Ranks of one attempt run side by side, attempts and stages one after the other. All state their duration."""
    by_attempt: dict[tuple[UUID | None, str], dict[int, float]] = {}
    for record in records:
        ranks = by_attempt.setdefault((record.attempt_id, record.kind), {})
        ranks[record.rank] = ranks.get(record.rank, 0.0) + (record.duration_s or 0.0)
    return math.fsum(max(ranks.values()) for ranks in by_attempt.values())


def _bounds(record: _Record) -> tuple[float | None, float | None, float | None]:
    """At least, at most, and for how much of the energy bounds are stated, in joules."""
    lower, upper, bounded = 0.0, 0.0, 0.0
    for name in record.components:
        energy, low, high = (record.bounds.get(f"{name}_energy_{side}j") for side in ("", "lower_", "upper_"))
        if energy is None:
            return None, None, None
        known = low is not None and high is not None
        lower, upper = lower + (energy if low is None else low), upper + (energy if high is None else high)
        bounded += energy if known else 0.0
    return lower, upper, bounded


def _total(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known and len(known) == len(values) else None


def _inference(study: Study, run: RunFigures, records: list[_Record]) -> tuple[float | None, bool]:
    """Joules per token of the run's evaluations, and whether that is a stated estimate instead."""
    counted = [
        record
        for record in records
        if record.kind == "evaluation" and record.status == "completed" and record.energy_j is not None
    ]
    tokens = sum(record.evaluated_tokens or 0 for record in counted)
    if tokens and all(record.evaluated_tokens and not record.tokens_nominal for record in counted):
        return math.fsum(record.energy_j or 0.0 for record in counted) / tokens, False
    if study.slug == PAPER_STUDY:
        return PAPER_INFERENCE_J_PER_TOKEN.get(run.student), True
    return None, False


@dataclass
class _Scores:
    """By run: its own scores, and those of the teacher it is measured against."""

    students: dict[UUID, dict[str, Score]]
    teachers: dict[UUID, dict[str, Score]]


def _scores(keys: list[UUID]) -> _Scores:
    """The newest score of each benchmark, of those that were taken as the teacher's newest; as Q reads them."""
    reference_of: dict[UUID, UUID | None] = dict(Run.objects.filter(pk__in=keys).values_list("pk", "reference_id"))
    teachers = {key for key in reference_of.values() if key is not None}
    newest: dict[UUID, dict[str, EvaluationScore]] = {}
    of_students: dict[UUID, list[EvaluationScore]] = {}
    wanted = EvaluationScore.objects.filter(run__in={*keys, *teachers}).order_by("id")
    for score in wanted.only("run_id", "benchmark", "metric", "shots", "judge", "value", "stderr"):
        newest.setdefault(score.run_id, {})[score.benchmark] = score
        of_students.setdefault(score.run_id, []).append(score)
    found = _Scores({}, {})
    for key, reference in reference_of.items():
        likes = newest.get(reference, {}) if reference is not None else {}
        fitting = {
            score.benchmark: _score(score)
            for score in of_students.get(key, [])
            if score.benchmark not in likes or score.taken_as(likes[score.benchmark])
        }
        found.students[key] = fitting
        found.teachers[key] = {name: _score(score) for name, score in likes.items()}
    return found


def _score(score: EvaluationScore) -> Score:
    return Score(value=score.value, stderr=score.stderr)
