"""Runs for lists and for a run's own page."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet

from registry.accounting.figures import FULL, Charge, RunFigures, charge
from registry.accounting.floor import Efficiency, efficiency
from registry.accounting.rates import Rate, elapsed_s, stage_rate
from registry.accounting.spec import RunSpec, SpecError
from registry.accounting.stages import KD
from registry.accounting.tail import tail_warning
from registry.models import Artifact, ArtifactUse, Attempt, EvaluationScore, Job, Run, Stage, StageReview, Study
from registry.selectors.artifacts import tail_mass_of
from registry.selectors.figures import Reader, figures_of, standing_records
from stagemeter.records import ROLE_OF_KIND

COMPONENTS = ("gpu", "cpu", "ram", "reported")
TOKEN_KINDS = ("prompt", "generated", "trained", "evaluated", "padding")
_ORDER = {kind: place for place, kind in enumerate(ROLE_OF_KIND)}
OPEN = (Run.Status.QUEUED, Run.Status.RUNNING)


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in a list, with what it is charged in scope `full`."""

    run: Run
    figures: RunFigures
    charged: Charge


@dataclass(frozen=True, kw_only=True)
class StageView:
    """One stage of a run: planned (`job`), tried (`attempts`), measured (`records`).

    `energy_j` and `components` are sums over the standing records; `None` with a hole, which `missing` names. A stage
    whose artifact came from elsewhere has no record, and costs this run that artifact's production energy.
    """

    kind: str
    role: str
    status: str
    job: Job | None
    attempts: tuple[Attempt, ...]
    records: tuple[Stage, ...]
    energy_j: float | None
    components: dict[str, float | None]
    missing: tuple[str, ...]
    duration_s: float | None
    rate: Rate
    tokens: dict[str, int]

    @property
    def efficiency(self) -> Efficiency:
        """Operations a second, and the GPUs' energy over that of an ideal run of the same work."""
        return efficiency(
            [record.extra.get("work") for record in self.records],
            energy_j=_sum([record.gpu_energy_j for record in self.records]),
            duration_s=self.duration_s,
            gpus=tuple(str(device.get("name")) for device in self.records[-1].devices) if self.records else (),
        )

    @property
    def reused(self) -> bool:
        """Whether nothing was made because something that existed served."""
        return self.job is not None and self.job.status == Job.Status.REUSED


@dataclass(frozen=True, kw_only=True)
class ScoreView:
    """One benchmark: the student's score, the teacher's, and the share kept. `None` where a score is missing."""

    benchmark: str
    score: EvaluationScore | None
    teacher: EvaluationScore | None
    retention: float | None


@dataclass(frozen=True, kw_only=True)
class RunDetail:
    """Everything a run's page shows."""

    run: Run
    figures: RunFigures
    charged: Charge
    stages: tuple[StageView, ...]
    uses: tuple[ArtifactUse, ...]
    scores: tuple[ScoreView, ...]

    @property
    def warning(self) -> str:
        """A sentence where the teacher's mass beyond the top k was, or is likely to be, too much."""
        if self.run.pipeline != KD or not self.run.spec:
            return ""
        try:
            spec = RunSpec.from_dict(self.run.spec)
        except SpecError:  # uploaded, or of an earlier release
            return ""
        trained = next((stage.job for stage in self.stages if stage.kind == "student_training" and stage.job), None)
        measured = trained.artifact.meta.get("tail_mass") if trained and trained.artifact else None
        caches = (use.artifact for use in self.uses if use.artifact.kind == Artifact.Kind.LOGIT_CACHE)
        return tail_warning(spec, measured if isinstance(measured, float) else tail_mass_of(next(caches, None), spec))

    @property
    def is_open(self) -> bool:
        """Whether something may still change by itself."""
        return self.run.status in OPEN

    @property
    def record_count(self) -> int:
        """Records booked so far."""
        return sum(len(stage.records) for stage in self.stages)


def visible(user: Reader) -> QuerySet[Run]:
    """Runs `user` may see, newest first, with study and summary; without the heavy columns a list never shows."""
    runs: QuerySet[Run] = Run.objects.visible_to(user)
    return runs.select_related("study", "summary", "submitted_by").defer("spec", "environment", "words").order_by("-id")


def rows(runs: Iterable[Run], user: Reader) -> list[RunRow]:
    """The runs of one page of a list, in two queries; their figures say nothing of tokens and flags."""
    read = list(runs)
    figures = figures_of(read, user, reuse=False, records=False)
    return [RunRow(run=run, figures=figures[run.pk], charged=charge(figures[run.pk], FULL)) for run in read]


def detail(key: UUID, user: Reader) -> RunDetail | None:
    """The run's page, or `None` where it is not there or not for `user` to see."""
    runs: QuerySet[Run] = Run.objects.visible_to(user)
    run = runs.select_related("study", "project", "summary", "submitted_by", "reference").filter(pk=key).first()
    if run is None:
        return None
    figures = figures_of([run], user)[run.pk]
    return RunDetail(
        run=run,
        figures=figures,
        charged=charge(figures, FULL),
        stages=_stages(run),
        uses=tuple(run.uses.select_related("artifact").defer("artifact__manifest")),
        scores=_scores(run, run.study),
    )


def _stages(run: Run) -> tuple[StageView, ...]:
    """In the order of the jobs; records of kinds that no job planned (uploads) follow in the order of time."""
    attempts = Prefetch("attempts", Attempt.objects.order_by("number"))
    jobs = list(run.jobs.select_related("artifact").prefetch_related(attempts))
    found = Stage.objects.filter(standing_records(), run=run).select_related("trace")
    records = sorted(found, key=lambda record: (record.started_at, _place(record.kind), record.pk))
    by_kind: dict[str, list[Stage]] = {}
    for record in records:
        by_kind.setdefault(record.kind, []).append(record)
    planned = [_view(job.kind, job.role, by_kind.pop(job.kind, []), job) for job in jobs]
    return (*planned, *(_view(kind, found[0].role, found) for kind, found in by_kind.items()))


def _place(kind: str) -> int:
    """Where a kind stands in the order in which stages run; unknown ones last."""
    return _ORDER.get(kind, len(_ORDER))


def _view(kind: str, role: str, records: list[Stage], job: Job | None = None) -> StageView:
    energy_j = _sum([record.energy_j for record in records])
    duration_s = elapsed_s((record.ran_as, record.duration_s) for record in records)
    tokens = _tokens(records)
    return StageView(
        kind=kind,
        role=role,
        status=job.status if job else records[-1].status,
        job=job,
        attempts=tuple(job.attempts.all()) if job else (),
        records=tuple(records),
        energy_j=energy_j,
        components=_components(records),
        missing=_missing(records),
        duration_s=duration_s,
        rate=stage_rate(
            kind,
            energy_j=energy_j,
            duration_s=duration_s,
            tokens=tokens,
            nominal=any(record.tokens_nominal for record in records),
        ),
        tokens=tokens,
    )


def _components(records: list[Stage]) -> dict[str, float | None]:
    """Joules by component, over the records that expect it; a component nobody expects is not there at all."""
    expected = [name for name in COMPONENTS if any(name in record.components for record in records)]
    return {
        name: _sum([getattr(record, f"{name}_energy_j") for record in records if name in record.components])
        for name in expected
    }


def _missing(records: list[Stage]) -> tuple[str, ...]:
    holes = [n for r in records for n in r.components if getattr(r, f"{n}_energy_j") is None]
    return tuple(dict.fromkeys(holes))


def _tokens(records: list[Stage]) -> dict[str, int]:
    counted = {name: [getattr(record, f"{name}_tokens") for record in records] for name in TOKEN_KINDS}
    return {name: sum(n for n in counts if n) for name, counts in counted.items() if any(counts)}


def _sum(energies: list[float | None]) -> float | None:
    known = [energy for energy in energies if energy is not None]
    return math.fsum(known) if known and len(known) == len(energies) else None


def _scores(run: Run, study: Study) -> tuple[ScoreView, ...]:
    """The study's suite in its order, then any other benchmark that was scored."""
    wanted = Q(run=run) | Q(run=run.reference_id) if run.reference_id else Q(run=run)
    newest: dict[tuple[UUID, str], EvaluationScore] = {
        (score.run_id, score.benchmark): score
        for score in EvaluationScore.objects.filter(wanted).select_related("file").order_by("id")
    }
    own = [benchmark for run_id, benchmark in newest if run_id == run.pk]
    return tuple(
        _score(benchmark, newest.get((run.pk, benchmark)), _of_teacher(newest, run, benchmark))
        for benchmark in dict.fromkeys([*study.suite, *own])
    )


def _of_teacher(newest: dict[tuple[UUID, str], EvaluationScore], run: Run, name: str) -> EvaluationScore | None:
    return newest.get((run.reference_id, name)) if run.reference_id else None


def _score(benchmark: str, score: EvaluationScore | None, teacher: EvaluationScore | None) -> ScoreView:
    kept = score.value / teacher.value if score and teacher and teacher.value > 0 else None
    return ScoreView(benchmark=benchmark, score=score, teacher=teacher, retention=kept)


@dataclass(frozen=True, kw_only=True)
class StageRate:
    """One stage kind of one configuration: means over the `n` times it ran, and what a token of it took."""

    pipeline: str
    student: str
    kind: str
    n: int
    energy_j: float | None
    duration_s: float | None
    rate: Rate


def stage_rates(shown: Iterable[RunFigures], *, simulated: bool = False) -> tuple[StageRate, ...]:
    """J/token and tokens/s by pipeline, student and stage kind, over these runs' completed standing records.

    Of the records that were measured, or of the simulated ones.
    """
    of_shown = Stage.objects.filter(standing_records(), run__in=[run.run_id for run in shown])
    read = (
        of_shown.filter(status="completed", simulated=simulated)
        .select_related("run")
        .only(
            "kind",
            "role",
            "energy_j",
            "duration_s",
            "record_id",
            "attempt_id",
            "world_size",
            "tokens_nominal",
            "components",
            *(f"{name}_tokens" for name in TOKEN_KINDS),
            "run__pipeline",
            "run__student",
            "run__student_size",
        )
    )
    ordered = sorted(read.order_by("id"), key=lambda r: (*_rate_key(r)[:2], _place(r.kind), r.kind))
    return tuple(_rate(key, list(group)) for key, group in groupby(ordered, key=_rate_key))


def _rate_key(record: Stage) -> tuple[str, str, str]:
    run = record.run
    return (run.pipeline, run.student_size or run.student, record.kind) if run else ("", "", record.kind)


def _rate(key: tuple[str, str, str], records: list[Stage]) -> StageRate:
    pipeline, student, kind = key
    view, n = _view(kind, records[0].role, records), len({record.ran_as for record in records})
    return StageRate(
        pipeline=pipeline,
        student=student,
        kind=kind,
        n=n,
        energy_j=None if view.energy_j is None else view.energy_j / n,
        duration_s=None if view.duration_s is None else view.duration_s / n,
        rate=view.rate,
    )


@dataclass(frozen=True)
class Judged:
    """A record of which something was said: all of it, oldest first, and the verdict that stands."""

    stage: Stage
    reviews: tuple[StageReview, ...]

    @property
    def doubted(self) -> bool:
        """Whether it waits for somebody to accept it or take it back."""
        return self.reviews[-1].verdict == StageReview.Verdict.FLAGGED and not self.withdrawn

    @property
    def withdrawn(self) -> bool:
        """Whether it was taken back, for good."""
        return any(review.verdict == StageReview.Verdict.WITHDRAWN for review in self.reviews)


def judged(run: Run) -> tuple[Judged, ...]:
    """The run's records of which something was said."""
    found: dict[UUID, list[StageReview]] = {}
    reviews = StageReview.objects.filter(stage__run=run).select_related("stage", "actor").order_by("id")
    for review in reviews:
        found.setdefault(review.stage_id, []).append(review)
    return tuple(Judged(stage=several[0].stage, reviews=tuple(several)) for several in found.values())
