"""What records add up to: a run's summary, an artifact's production energy, a run's Q.

Derived and rebuildable: the records are the truth, and `manage.py verify_ledger` compares.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from registry.accounting.quality import Mark, QualityError, quality
from registry.accounting.rates import elapsed_s
from registry.accounting.stages import OUTPUT_OF_STAGE, STAGES_OF_PIPELINE, role_of
from registry.models import Artifact, ArtifactUse, EvaluationScore, Origin, Run, RunSummary, Stage, StageReview

OWN_ROLES = ("data", "teacher", "student", "evaluation")
COMPONENTS = ("gpu", "cpu", "ram", "reported")
_COLUMNS = [field.name for field in RunSummary._meta.concrete_fields if field.name != "run"]  # what a rebuild sets


@dataclass
class _Waiting:
    """Runs whose sums, and runs whose Q and that of those measured against them, are rebuilt at the end of `once`."""

    changed: set[UUID] = field(default_factory=set)
    quality: set[UUID] = field(default_factory=set)


_later: ContextVar[_Waiting | None] = ContextVar("later", default=None)


@contextmanager
def once() -> Iterator[None]:
    """Within, a run's sums are rebuilt once, at the end; otherwise a list of n of its records costs n rebuilds.

    One that stands inside another leaves the rebuilding to it. To be used inside a transaction.
    """
    if _later.get() is not None:
        yield
        return
    waiting = _Waiting()
    token = _later.set(waiting)
    try:
        yield
    finally:
        _later.reset(token)
    refresh_all(waiting.changed | _measured_against(waiting.quality))


def changed(*runs: UUID | str) -> None:
    """Say that these runs' records have changed: their summaries are rebuilt, now or at the end of `once`."""
    keys = {UUID(str(run)) for run in runs}
    waiting = _later.get()
    if waiting is None:
        refresh_all(keys)
    else:
        waiting.changed |= keys


def first(
    run: Run, records: Sequence[dict[str, Any]], scores: Sequence[dict[str, Any]], teacher: list[Mark] | None
) -> RunSummary:
    """The summary, unsaved, of a run just made that nobody else has seen, of all that is booked for it.

    Records and scores are columns as JSON types, `teacher` the scores of its reference. It uses and made no artifact.
    """
    judged = [record | {"withdrawn": False, "doubt": ""} for record in records]  # a doubt rebuilds it
    columns = _sums(run, judged, []) | _quality(
        run, [Mark(*(row[name] for name in Mark._fields)) for row in scores], teacher
    )
    return RunSummary(run_id=run.pk, updated_at=timezone.now(), **columns)


def refresh_quality(*runs: UUID) -> None:
    """Say that these runs' scores have changed: rebuild their Q, and that of every run measured against them."""
    waiting = _later.get()
    if waiting is None:
        refresh_all(_measured_against(set(runs)))
    else:
        waiting.quality |= set(runs)


def _measured_against(runs: set[UUID]) -> set[UUID]:
    """The runs themselves and those that have one of them as their reference."""
    return runs and runs | set(Run.objects.filter(reference__in=runs).values_list("pk", flat=True))


def refresh(run: Run) -> RunSummary:
    """Rebuild a run's summary from its records and scores."""
    summary = refresh_all([run.pk])[run.pk]
    run.summary = summary
    return summary


@transaction.atomic(savepoint=False)
def refresh_all(keys: Collection[UUID]) -> dict[UUID, RunSummary]:
    """Rebuild the summaries of many runs in a handful of queries."""
    if not keys:
        return {}
    # Whoever else rebuilds one waits here, and then sees what this transaction wrote. No stronger lock: every record
    # of a run holds a share of its key. In order, so that two that rebuild the same runs do not deadlock.
    runs = list(
        Run.objects.filter(pk__in=keys)
        .select_related("study")
        .defer("spec", "environment")
        .order_by("pk")
        .select_for_update(of=("self",), no_key=True)
    )
    now = timezone.now()
    rebuilt = {key: RunSummary(run_id=key, updated_at=now, **columns) for key, columns in summarise(runs).items()}
    RunSummary.objects.bulk_create(
        rebuilt.values(), update_conflicts=True, unique_fields=["run"], update_fields=_COLUMNS
    )
    for key in [key for key, summary in rebuilt.items() if summary.simulated]:
        _mark_made_by(key)
    return rebuilt


def _mark_made_by(run: UUID) -> None:
    """An artifact that a run brought with simulated records states its energy by the same meter."""
    if Stage.objects.filter(run=run, artifact=None, simulated=True).exists():
        stated = Artifact.objects.filter(made_by_run=run, simulated=False, evidence=[])
        for artifact in stated.exclude(origin=Origin.WORKER):
            _mark(artifact, simulated=True)


def rebuilt(run: Run) -> dict[str, Any]:
    """The columns of the summary as records and scores give them now."""
    return summarise([run])[run.pk]


def refresh_kept(runs: QuerySet[Run]) -> None:
    """Rebuild the summaries that are there: an artifact of theirs came or went, so what they miss changed."""
    refresh_all(set(runs.filter(summary__isnull=False).order_by().values_list("pk", flat=True)))


@transaction.atomic
def refresh_production(artifact: Artifact) -> None:
    """Production energy: all energy of all attempts that made the artifact, in joules; `None` with a hole."""
    Artifact.objects.select_for_update(no_key=True).get(pk=artifact.pk)  # as in `refresh`
    artifact.production_energy_j, artifact.production_missing, simulated = production(artifact)
    artifact.save(update_fields=["production_energy_j", "production_missing"])
    _mark(artifact, simulated=simulated)


def production(artifact: Artifact) -> tuple[float | None, list[str], bool]:
    """The sum over the root records of everything that worked at making it, what it lacks, whether any is simulated.

    Of a worker's attempts those that were not withdrawn; records that were named as evidence stand for it together.
    """
    records = _judged(_roots(stages_behind(artifact)))
    standing = [stage for stage in records if not stage["withdrawn"]]
    lost = _lost_evidence(artifact, records, standing)
    energy_j = None if lost or any(stage["doubt"] for stage in standing) else _total(standing)
    return energy_j, lost + _holes(standing), any(stage["simulated"] for stage in standing)


def _lost_evidence(artifact: Artifact, records: list[dict[str, Any]], standing: list[dict[str, Any]]) -> list[str]:
    """What the energy rested on and rests on no more."""
    if not artifact.evidence:
        return ["every record of its making was withdrawn"] if records and not standing else []
    known, valid = ({stage["record_id"] for stage in stages} for stages in (records, standing))
    return [
        f"{one}: {'withdrawn' if one in known else 'no record of its making'}"
        for one in artifact.evidence
        if one not in valid
    ]


def _mark(artifact: Artifact, *, simulated: bool) -> None:
    """Say whether the artifact's energy was simulated. The runs that use it follow once this is committed."""
    if artifact.simulated == simulated:
        return
    artifact.simulated = simulated
    artifact.save(update_fields=["simulated"])
    transaction.on_commit(lambda: refresh_kept(Run.objects.filter(uses__artifact=artifact)))


def stages_behind(artifact: Artifact) -> QuerySet[Stage]:
    """Every record of work at making the artifact; none where somebody registered it with a stated figure."""
    if artifact.kind == Artifact.Kind.STUDENT:
        # A student belongs to its run: its training is charged to the run itself, not through the artifact.
        return Stage.objects.filter(attempt__job__makes=artifact)
    return Stage.objects.filter(artifact=artifact)


def _roots(stages: QuerySet[Stage]) -> QuerySet[Stage]:
    """Records that are no part of another."""
    return stages.filter(parent_id="").exclude(role="prerun").order_by("id")


def summarise(runs: Sequence[Run]) -> dict[UUID, dict[str, Any]]:
    """The columns of each run's summary, from records, artifacts used and scores, in a constant number of queries."""
    keys = [run.pk for run in runs]
    stages, uses = _stages_of(keys), _uses_of(keys)
    scores = _scores_of({*keys, *(run.reference_id for run in runs if run.reference_id)})
    return {
        run.pk: _sums(run, stages.get(run.pk, []), uses.get(run.pk, []))
        | _quality(run, scores.get(run.pk, []), scores.get(run.reference_id, []) if run.reference_id else None)
        for run in runs
    }


def _sums(run: Run, records: list[dict[str, Any]], uses: list[dict[str, Any]]) -> dict[str, Any]:
    """What the run's own root records add up to: those that worked at no shared artifact."""
    own = [record for record in records if record["artifact_id"] is None]
    counted = [record for record in own if not record["withdrawn"] and record["role"] != "prerun"]
    stages = [record for record in counted if not record["parent_id"]]
    missing = _missing_stages(run, stages + _charged_elsewhere(records, uses), uses)
    for role, hole in _orphans(counted, records):
        missing.setdefault(role, []).append(hole)
    values: dict[str, Any] = {}
    for role in OWN_ROLES:
        ours = [stage for stage in stages if stage["role"] == role]
        values[f"{role}_energy_j"] = _total(ours)
        if holes := _holes(ours):
            missing.setdefault(role, []).extend(holes)
    for component in COMPONENTS:
        measured = [stage for stage in stages if component in stage["components"]]
        values[f"{component}_energy_j"] = _sum(stage[f"{component}_energy_j"] for stage in measured)
    return {
        **values,
        "lost_energy_j": _total([stage for stage in stages if stage["status"] != "completed"]),
        "duration_s": elapsed_s((_ran_as(stage), stage["duration_s"]) for stage in stages),
        "missing": missing,
        "simulated": any(stage["simulated"] for stage in stages) or any(use["simulated"] for use in uses),
        "records": len(stages),
    }


_OF_STAGES = (
    *("run_id", "record_id", "parent_id", "artifact_id", "role", "kind", "status", "simulated", "components"),
    *("id", "attempt_id", "world_size", "duration_s", "energy_j"),
    *(f"{component}_energy_j" for component in COMPONENTS),
)


def _ran_as(stage: dict[str, Any]) -> tuple[Any, ...]:
    """As `Stage.ran_as`."""
    return (stage["attempt_id"], stage["kind"]) if stage["world_size"] > 1 else (stage["record_id"],)


def _stages_of(runs: Collection[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """The runs' records, oldest first, each with whether somebody has withdrawn it, and the doubt that stands."""
    rows = _judged(Stage.objects.filter(run__in=runs).order_by("id"))
    return _grouped(rows, "run_id")


def _judged(stages: QuerySet[Stage]) -> list[dict[str, Any]]:
    """Records with what was said of them: `withdrawn`, and under `doubt` the code of a doubt nobody has resolved."""
    verdict = StageReview.Verdict
    said: dict[UUID, list[tuple[str, str]]] = {}
    reviews = StageReview.objects.filter(stage__in=stages.order_by()).order_by("id")
    for key, *review in reviews.values_list("stage_id", "verdict", "code"):
        said.setdefault(key, []).append((review[0], review[1]))
    rows = list(stages.values(*_OF_STAGES))
    for row in rows:
        verdicts = said.get(row["id"], [])
        row["withdrawn"] = any(found == verdict.WITHDRAWN for found, _ in verdicts)
        row["doubt"] = (verdicts[-1][1] or "flagged") if verdicts and verdicts[-1][0] == verdict.FLAGGED else ""
    return rows


_OF_USES = ("run_id", "artifact_id", "artifact__kind", "artifact__status")


def _uses_of(runs: Collection[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """Kind and status of the artifacts that the runs used, and whether each charges them simulated energy."""
    uses = ArtifactUse.objects.filter(run__in=runs).order_by()
    charged = {"simulated": Q(artifact__simulated=True) & ~Q(artifact__kind=Artifact.Kind.STUDENT)}
    return _grouped(uses.annotate(**charged).values(*_OF_USES, *charged), "run_id")


def _scores_of(runs: Collection[UUID]) -> dict[UUID, list[Mark]]:
    """The runs' scores, oldest first."""
    found: dict[UUID, list[Mark]] = {}
    if not runs:
        return found
    rows = EvaluationScore.objects.filter(run__in=runs).order_by("id")
    for run, *values in rows.values_list("run_id", *Mark._fields):
        found.setdefault(run, []).append(Mark(*values))
    return found


def _grouped(rows: Iterable[dict[str, Any]], name: str) -> dict[UUID, list[dict[str, Any]]]:
    found: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[name], []).append(row)
    return found


def _orphans(counted: list[dict[str, Any]], records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Role and hole of each nested record that leads to no root of the run: its energy is in no sum."""
    parents = {record["record_id"]: record["parent_id"] for record in records}
    return [
        (part["role"], f"{part['kind']}: the record {part['parent_id']} that it is a part of")
        for part in counted
        if part["parent_id"] and not _leads_to_a_root(part["parent_id"], parents)
    ]


def _leads_to_a_root(record_id: str, parents: dict[str, str]) -> bool:
    seen = set()
    while record_id in parents and record_id not in seen:
        if not parents[record_id]:
            return True
        seen.add(record_id)
        record_id = parents[record_id]
    return False  # not here (yet), or a ring


def _total(stages: list[dict[str, Any]]) -> float | None:
    return _sum(stage["energy_j"] for stage in stages)


def _sum(energies: Iterable[float | None]) -> float | None:
    """`None` for nothing at all, and as soon as one is `None`: a total with a hole is not a total."""
    known = list(energies)
    present = [energy for energy in known if energy is not None]
    return math.fsum(present) if present and len(present) == len(known) else None


def _holes(stages: list[dict[str, Any]]) -> list[str]:
    """Components without a figure, and records that are hardly true and that nobody has accepted."""
    unmeasured = [
        f"{stage['kind']}: {component}"
        for stage in stages
        for component in stage["components"]
        if stage[f"{component}_energy_j"] is None
    ]
    return unmeasured + [f"{stage['kind']}: doubtful ({stage['doubt']})" for stage in stages if stage["doubt"]]


# Withdrawn or found corrupt since, an artifact was made and used all the same, and stays in the books.
_UNMADE = (Artifact.Status.MAKING, Artifact.Status.FAILED)


def _charged_elsewhere(records: list[dict[str, Any]], uses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records of the run that an artifact it used has claimed: recorded, and charged through that."""
    made = {use["artifact_id"] for use in uses if use["artifact__status"] not in _UNMADE}
    return [stage for stage in records if stage["artifact_id"] in made and not stage["withdrawn"]]


def _missing_stages(run: Run, stages: list[dict[str, Any]], uses: list[dict[str, Any]]) -> dict[str, list[str]]:
    """By role, the stages of the pipeline that have neither a completed record nor an artifact to stand for them."""
    recorded = {stage["kind"] for stage in stages if stage["status"] == "completed"}
    used = {use["artifact__kind"] for use in uses if use["artifact__status"] not in _UNMADE}
    missing: dict[str, list[str]] = {}
    for kind in STAGES_OF_PIPELINE.get(run.pipeline, ("student_training",)):
        if kind not in recorded and OUTPUT_OF_STAGE[kind] not in used - {Artifact.Kind.STUDENT}:
            missing.setdefault(role_of(kind), []).append(f"{kind}: no record")
    return missing


def _quality(run: Run, ours: list[Mark], teachers: list[Mark] | None) -> dict[str, Any]:
    """Q and what it lacks. A run without a teacher's reference has none (`teachers` is `None`), and says so."""
    if teachers is None:
        return {"quality": None, "missing_scores": [f"{benchmark} (teacher)" for benchmark in run.study.suite]}
    # The newest of each benchmark stands; of ours, those taken in the same way as the teacher's newest.
    wanted = {score.benchmark: score for score in teachers}
    like = {
        score.benchmark: score.value
        for score in ours
        if score.benchmark not in wanted or score.taken_as(wanted[score.benchmark])
    }
    try:
        result = quality(like, {name: score.value for name, score in wanted.items()}, run.study.suite)
    except QualityError as error:
        return {"quality": None, "missing_scores": [str(error)]}
    return {"quality": result.q, "missing_scores": list(result.missing)}
