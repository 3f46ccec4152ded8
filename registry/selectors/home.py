"""What the first page says: energy metered, energy not spent, who is at work."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Count, F, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Greatest

from registry.models import Artifact, ArtifactUse, Job, Origin, Project, Run, Stage, Study
from registry.selectors import runs, studies
from registry.selectors.figures import Reader, standing_records

STUDIES_SHOWN, RUNS_SHOWN = 6, 8


@dataclass(frozen=True, kw_only=True)
class Metered:
    """Joules of all standing records that somebody measured; `without_total` of them lack a component.

    `simulated` counts the records that are not in here because their meter was simulated.
    """

    energy_j: float | None
    records: int
    without_total: int
    simulated: int


@dataclass(frozen=True, kw_only=True)
class Spared:
    """Joules that reuse did not burn, over `uses` uses; of `unknown` of them nobody knows what they spared."""

    energy_j: float | None
    uses: int
    unknown: int


@dataclass(frozen=True, kw_only=True)
class StudyCard:
    """A study with its small frontier."""

    study: Study
    view: studies.StudyFrontier


@dataclass(frozen=True, kw_only=True)
class Home:
    """Everything the first page shows."""

    metered: Metered
    spared: Spared
    cards: tuple[StudyCard, ...]
    latest: tuple[runs.RunRow, ...]
    at_work: tuple[Job, ...]
    queued: dict[str, int]


def home(user: Reader) -> Home:
    """The first page, as `user` may see it, in a constant number of queries."""
    return Home(
        metered=metered(user),
        spared=spared(user),
        cards=tuple(cards(studies.visible(user)[:STUDIES_SHOWN], user)),
        latest=tuple(runs.rows(runs.visible(user)[:RUNS_SHOWN], user)),
        at_work=tuple(at_work(user)),
        queued=queued(user),
    )


def metered(user: Reader) -> Metered:
    """Energy of what was measured here or uploaded; neither what a paper published nor what was simulated."""
    records = Stage.objects.visible_to(user).filter(standing_records()).exclude(origin=Origin.PUBLISHED)
    measured = Q(simulated=False)
    sums = records.aggregate(
        total_j=Sum("energy_j", filter=measured),
        records=Count("pk", filter=measured),
        known=Count("energy_j", filter=measured),
        simulated=Count("pk", filter=~measured),
    )
    return Metered(
        energy_j=sums["total_j"],
        records=sums["records"],
        without_total=sums["records"] - sums["known"],
        simulated=sums["simulated"],
    )


def spared(user: Reader) -> Spared:
    """What `artifacts.spared` says of every artifact, added up by the database; simulated energy apart.

    `uses` counts those of finished runs but one for each artifact, which paid for it.
    """
    share = Case(When(how=ArtifactUse.How.CUT, then=F("used_share")), default=Value(1.0))
    of_each: QuerySet[ArtifactUse, Any] = (
        ArtifactUse.objects.filter(artifact__in=Artifact.objects.visible_to(user).order_by().values("pk"))
        .filter(run__status=Run.Status.FINISHED)
        .exclude(artifact__origin=Origin.PUBLISHED)
        .exclude(artifact__simulated=True)
        .order_by()
        .values("artifact")
        .annotate(
            again=Count("pk") - 1,
            unmeasured=Count("pk", filter=Q(how=ArtifactUse.How.CUT, used_share=None)),
            production_j=F("artifact__production_energy_j"),
            spared_j=F("artifact__production_energy_j") * Greatest(Sum(share) - 1.0, 0.0),
        )
    )
    unknown = Case(When(production_j=None, then=F("again")), default=F("unmeasured"))
    sums = of_each.aggregate(energy_j=Sum("spared_j"), uses=Sum("again"), unknown=Sum(unknown))
    return Spared(energy_j=sums["energy_j"], uses=sums["uses"] or 0, unknown=sums["unknown"] or 0)


def cards(shown: Iterable[Study], user: Reader) -> list[StudyCard]:
    """Studies with their frontiers in scope `full`, all read together."""
    read = list(shown)
    figures = studies.figures_by_study(read, user)
    return [StudyCard(study=study, view=studies.frontier_of(study, figures.get(study.pk, []))) for study in read]


def at_work(user: Reader) -> QuerySet[Job]:
    """Jobs that a worker holds right now, longest first."""
    jobs: QuerySet[Job] = Job.objects.visible_to(user).filter(status=Job.Status.RUNNING)
    return jobs.select_related("run__study", "run__submitted_by").order_by("started_at")


def queued(user: Reader) -> dict[str, int]:
    """How many jobs are ready for a worker, and how many wait for something."""
    jobs = Job.objects.visible_to(user).filter(status__in=[Job.Status.READY, Job.Status.WAITING])
    return dict(jobs.order_by().values("status").annotate(jobs=Count("pk")).values_list("status", "jobs"))


def writable_projects(user: Reader) -> QuerySet[Project]:
    """Projects `user` may submit to."""
    if not user.is_authenticated:
        return Project.objects.none()
    if user.is_superuser:
        return Project.objects.all()
    roles = ["submitter", "maintainer", "admin"]
    return Project.objects.filter(memberships__user=user, memberships__role__in=roles).distinct()
