"""The books of one artifact: who used it, what each use has cost by now, what that saved, and its lineage.

Only finished runs are counted. The run that made it is the first of them, so what is saved is (uses − 1) times the
production; of a use that only cut it, what the cut would have cost on its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from registry.models import Artifact, ArtifactUse, Run, Stage, Study
from registry.selectors import studies
from registry.selectors.figures import Reader
from registry.selectors.studies import BreakEven

SHOWN = 12  # of each kind in the lineage; the list beside it says how many more there are


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at making an artifact: its number (`None` for what was uploaded), outcome and joules."""

    number: int | None
    status: str
    run: Run | None
    energy_j: float | None
    records: int


@dataclass(frozen=True, kw_only=True)
class UsePoint:
    """After `uses` finished runs each has cost `energy_j` joules of the production. `run`: the last, if seen."""

    uses: int
    run: Run | None
    energy_j: float


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What an artifact came from and what came of it. `more` counts uses beyond those that are named."""

    teacher: str
    dataset: str
    sources: tuple[Artifact, ...]
    runs: tuple[Run, ...]
    students: dict[object, Artifact]
    more: int


def attempts(records: Sequence[Stage]) -> tuple[Attempt, ...]:
    """The production energy by attempt, in the order in which they began; a total with a hole is `None`."""
    groups: dict[object, list[Stage]] = {}
    for record in records:
        groups.setdefault(record.attempt_id or record.pk, []).append(record)
    return tuple(_attempt(group) for group in groups.values())


def _attempt(group: list[Stage]) -> Attempt:
    energies = [record.energy_j for record in group]
    known = [energy_j for energy_j in energies if energy_j is not None]
    first = group[0]
    return Attempt(
        number=first.attempt.number if first.attempt else None,
        status=group[-1].status,
        run=first.run,
        energy_j=sum(known) if len(known) == len(energies) else None,
        records=len(group),
    )


def per_use(artifact: Artifact, uses: Sequence[ArtifactUse]) -> tuple[UsePoint, ...]:
    """How the energy per use falls with each finished run; empty while the production is not known."""
    if artifact.production_energy_j is None:
        return ()
    finished = [use for use in uses if use.run.status == Run.Status.FINISHED]
    finished.sort(key=lambda use: (use.run.finished_at or use.created_at, use.created_at))
    total_j = artifact.production_energy_j
    return tuple(UsePoint(uses=n, run=use.run, energy_j=total_j / n) for n, use in enumerate(finished, start=1))


def break_evens(uses: Sequence[ArtifactUse], user: Reader) -> tuple[tuple[Study, BreakEven], ...]:
    """N* against the baseline of each size, in each study where runs used it and a baseline was measured."""
    ours = {str(use.run_id) for use in uses}
    places = {use.run.study_id: use.run.study for use in uses}
    figures = studies.figures_by_study(places.values(), user)
    return tuple(
        (study, pair)
        for key, study in places.items()
        for pair in studies.break_evens(studies.frontier_of(study, figures.get(key, [])))
        if ours.intersection(pair.distilled.run_ids)
    )


def lineage(artifact: Artifact, uses: Sequence[ArtifactUse], user: Reader) -> Lineage:
    """Teacher and dataset, what it was made out of, and the runs that used it with the students they left."""
    runs = [use.run for use in uses]
    if artifact.kind == Artifact.Kind.STUDENT:
        runs = []
    shown = runs[:SHOWN]
    seen: QuerySet[Artifact] = Artifact.objects.visible_to(user)
    light = seen.defer("identity", "manifest", "meta")
    students = light.filter(kind=Artifact.Kind.STUDENT, made_by_run__in=shown, status=Artifact.Status.READY)
    sources = (
        light.filter(uses__run=artifact.made_by_run).exclude(pk=artifact.pk) if artifact.made_by_run else seen.none()
    )
    return Lineage(
        teacher=artifact.teacher,
        dataset=artifact.dataset,
        sources=tuple(sources.filter(_before(artifact)).order_by("id")[:SHOWN]),
        runs=tuple(shown),
        students={student.made_by_run_id: student for student in students},
        more=len(runs) - len(shown),
    )


def _before(artifact: Artifact) -> Q:
    """What can lie behind an artifact of that kind."""
    if artifact.kind == Artifact.Kind.STUDENT:
        return ~Q(kind=Artifact.Kind.STUDENT)
    if artifact.kind == Artifact.Kind.PREPARED_DATASET:
        return Q(pk__in=[])
    return Q(kind=Artifact.Kind.PREPARED_DATASET)
