"""What records add up to: a run's summary, an artifact's production energy, a run's Q.

Derived and rebuildable: the records are the truth, and `manage.py verify_ledger` compares.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from registry.accounting.quality import QualityError, quality
from registry.accounting.stages import OUTPUT_OF_STAGE, STAGES_OF_PIPELINE, role_of
from registry.models import Artifact, Origin, Run, RunSummary, Stage, StageReview

OWN_ROLES = ("data", "teacher", "student", "evaluation")
COMPONENTS = ("gpu", "cpu", "ram", "reported")
_OF_ORPHANS = ("role", "kind", "parent_id")  # the columns that name one


_later: ContextVar[dict[UUID, Run] | None] = ContextVar("later", default=None)


@contextmanager
def once() -> Iterator[None]:
    """Within, a run's sums are rebuilt once, at the end; otherwise a list of n of its records costs n rebuilds."""
    waiting: dict[UUID, Run] = {}
    token = _later.set(waiting)
    try:
        yield
    finally:
        _later.reset(token)
    for key in sorted(waiting):
        refresh(waiting[key])


def changed(run: Run) -> None:
    """Say that a run's records or scores have changed: its summary is rebuilt, now or at the end of `once`."""
    waiting = _later.get()
    if waiting is None:
        refresh(run)
    else:
        waiting[run.pk] = run


@transaction.atomic
def refresh(run: Run) -> RunSummary:
    """Rebuild a run's summary from its records and scores."""
    # Whoever else rebuilds it waits here, and then sees what this transaction wrote. No stronger lock: every record
    # of the run holds a share of its key.
    Run.objects.select_for_update(no_key=True).get(pk=run.pk)
    summary, _ = RunSummary.objects.update_or_create(run=run, defaults=rebuilt(run))
    summary.run = run  # so that `run.summary` is the new one
    if summary.simulated and _own_records(run).filter(simulated=True).exists():
        for artifact in Artifact.objects.filter(made_by_run=run, simulated=False).exclude(origin=Origin.WORKER):
            _mark(artifact, simulated=True)  # it states its energy, and that was metered by the same meter
    return summary


def rebuilt(run: Run) -> dict[str, Any]:
    """The columns of the summary as records and scores give them now."""
    return summarise(run) | _quality(run)


def refresh_kept(runs: QuerySet[Run]) -> None:
    """Rebuild the summaries that are there: an artifact of theirs came or went, so what they miss changed."""
    for run in runs.filter(summary__isnull=False).order_by("id"):
        refresh(run)


def refresh_quality(run: Run) -> None:
    """Rebuild Q of `run`, and of every run that is measured against it."""
    for dependent in [run, *Run.objects.filter(reference=run).order_by("id")]:
        changed(dependent)


@transaction.atomic
def refresh_production(artifact: Artifact) -> None:
    """Production energy: all energy of all attempts that made the artifact, in joules; `None` with a hole."""
    Artifact.objects.select_for_update(no_key=True).get(pk=artifact.pk)  # as in `refresh`
    artifact.production_energy_j, artifact.production_missing, simulated = production(artifact)
    artifact.save(update_fields=["production_energy_j", "production_missing"])
    _mark(artifact, simulated=simulated)


def production(artifact: Artifact) -> tuple[float | None, list[str], bool]:
    """The sum over the root records of everything that worked at making it, what it lacks, whether any is simulated."""
    standing = _standing(stages_behind(artifact))
    return _total(standing), _holes(standing), any(stage.simulated for stage in standing)


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


def summarise(run: Run) -> dict[str, Any]:
    """The columns of the summary, from the run's own root records: those that worked at no shared artifact."""
    stages = _standing(_own_records(run))
    missing = _missing_stages(run, stages)
    for role, hole in _orphans(run):
        missing.setdefault(role, []).append(hole)
    values: dict[str, Any] = {}
    for role in OWN_ROLES:
        ours = [stage for stage in stages if stage.role == role]
        values[f"{role}_energy_j"] = _total(ours)
        if holes := _holes(ours):
            missing.setdefault(role, []).extend(holes)
    for component in COMPONENTS:
        measured = [stage for stage in stages if component in stage.components]
        values[f"{component}_energy_j"] = _sum(getattr(stage, f"{component}_energy_j") for stage in measured)
    return {
        **values,
        "lost_energy_j": _total([stage for stage in stages if stage.status != "completed"]),
        "duration_s": math.fsum(stage.duration_s for stage in stages),
        "missing": missing,
        "simulated": any(stage.simulated for stage in stages) or _uses_simulated(run),
        "records": len(stages),
    }


def _own_records(run: Run) -> QuerySet[Stage]:
    return Stage.objects.filter(run=run, artifact=None)


def _uses_simulated(run: Run) -> bool:
    """Whether it is charged energy that was simulated when an artifact was made, by whomever."""
    return run.uses.filter(artifact__simulated=True).exclude(artifact__kind=Artifact.Kind.STUDENT).exists()


def _standing(stages: QuerySet[Stage]) -> list[Stage]:
    """Root records that nobody has withdrawn."""
    return list(_counted(stages).filter(parent_id="").order_by("id"))


def _counted(stages: QuerySet[Stage]) -> QuerySet[Stage]:
    withdrawn = StageReview.objects.filter(verdict=StageReview.Verdict.WITHDRAWN).values("stage_id")
    return stages.exclude(pk__in=withdrawn).exclude(role="prerun")


def _orphans(run: Run) -> list[tuple[str, str]]:
    """Role and hole of each nested record that leads to no root of the run: its energy is in no sum."""
    nested = list(_counted(run.stages.filter(artifact=None)).exclude(parent_id="").order_by("id").only(*_OF_ORPHANS))
    if not nested:
        return []
    parents = dict(run.stages.values_list("record_id", "parent_id"))
    return [
        (part.role, f"{part.kind}: the record {part.parent_id} that it is a part of")
        for part in nested
        if not _leads_to_a_root(part.parent_id, parents)
    ]


def _leads_to_a_root(record_id: str, parents: dict[str, str]) -> bool:
    seen = set()
    while record_id in parents and record_id not in seen:
        if not parents[record_id]:
            return True
        seen.add(record_id)
        record_id = parents[record_id]
    return False  # not here (yet), or a ring


def _total(stages: list[Stage]) -> float | None:
    return _sum(stage.energy_j for stage in stages)


def _sum(energies: Iterable[float | None]) -> float | None:
    """`None` for nothing at all, and as soon as one is `None`: a total with a hole is not a total."""
    known = list(energies)
    present = [energy for energy in known if energy is not None]
    return math.fsum(present) if present and len(present) == len(known) else None


def _holes(stages: list[Stage]) -> list[str]:
    return [
        f"{stage.kind}: {component}"
        for stage in stages
        for component in stage.components
        if getattr(stage, f"{component}_energy_j") is None
    ]


def _missing_stages(run: Run, stages: list[Stage]) -> dict[str, list[str]]:
    """By role, the stages of the pipeline that have neither a completed record nor an artifact to stand for them."""
    recorded = {stage.kind for stage in stages if stage.status == "completed"}
    # Withdrawn or found corrupt since, it was made and used all the same, and stays in the books.
    unmade = [Artifact.Status.MAKING, Artifact.Status.FAILED]
    used = set(run.uses.exclude(artifact__status__in=unmade).values_list("artifact__kind", flat=True))
    missing: dict[str, list[str]] = {}
    for kind in STAGES_OF_PIPELINE.get(run.pipeline, ("student_training",)):
        if kind not in recorded and OUTPUT_OF_STAGE[kind] not in used - {Artifact.Kind.STUDENT}:
            missing.setdefault(role_of(kind), []).append(f"{kind}: no record")
    return missing


def _quality(run: Run) -> dict[str, Any]:
    """Q and what it lacks. A run without a teacher's reference has none, and says so."""
    if run.reference is None:
        suite = run.study.suite
        return {"quality": None, "missing_scores": [f"{benchmark} (teacher)" for benchmark in suite]}
    try:
        result = quality(_scores(run, like=run.reference), _scores(run.reference), run.study.suite)
    except QualityError as error:
        return {"quality": None, "missing_scores": [str(error)]}
    return {"quality": result.q, "missing_scores": list(result.missing)}


def _scores(run: Run, like: Run | None = None) -> dict[str, float]:
    """The newest value of each benchmark; with `like`, of those taken in the same way as that run's newest."""
    wanted = {} if like is None else {score.benchmark: score for score in like.scores.order_by("id")}
    return {
        score.benchmark: score.value
        for score in run.scores.order_by("id")
        if score.benchmark not in wanted or score.taken_as(wanted[score.benchmark])
    }
