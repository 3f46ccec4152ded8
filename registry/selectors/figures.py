"""Runs as the frontier sees them: summaries and artifact uses, read in a constant number of queries."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, F, Q

from registry.accounting.figures import ArtifactShare, RunFigures
from registry.accounting.stages import TEACHER_ARTIFACTS
from registry.models import Artifact, ArtifactUse, Run, RunSummary, Stage, StageReview, Study, User
from registry.models.base import AmongKeys

OWN_ROLES = ("data", "teacher", "student", "evaluation")
Reader = User | AnonymousUser
# What figures are made of: the spec and the environment of very many runs would be most of what is read.
COLUMNS = (
    *("id", "study", "pipeline", "status", "student", "student_size", "teacher", "configuration", "hardware_class"),
    *("workload", "seed", "origin", "simulated", "summary__quality", "summary__missing", "summary__simulated"),
    *(f"summary__{role}_energy_j" for role in OWN_ROLES),
)


def figures(study: Study, user: Reader) -> list[RunFigures]:
    """The study's runs as the frontier sees them, oldest first. The teacher's own reference runs are left out."""
    return figures_by_study([study], user).get(study.pk, [])


def figures_by_study(studies: Iterable[Study], user: Reader) -> dict[UUID, list[RunFigures]]:
    """`figures` of several studies at once, by study key, in the same number of queries."""
    runs: list[Run] = list(
        Run.objects.visible_to(user)
        .filter(study__in=list(studies))
        .students()
        .select_related("summary")
        .only(*COLUMNS)
        .order_by("id")
    )
    of_run = figures_of(runs, user)
    found: dict[UUID, list[RunFigures]] = {}
    for run in runs:
        found.setdefault(run.study_id, []).append(of_run[run.pk])
    return found


def figures_of(
    runs: Iterable[Run], user: Reader, *, reuse: bool = True, records: bool = True
) -> dict[UUID, RunFigures]:
    """Figures of runs that were read already (with `summary`), by key, in four queries.

    Without `reuse` nobody counts how often an artifact was used, which only N "as reused" needs. Without `records`
    nobody looks at them for tokens and flags, which a list of runs does not show.
    """
    read = list(runs)
    keys = [run.pk for run in read]
    uses = _uses(keys, user, reuse=reuse)
    tokens, flagged = _tokens(keys if records else []), _flagged(keys if records else [])
    return {run.pk: _figures(run, uses.get(run.pk, []), tokens.get(run.pk), flagged=run.pk in flagged) for run in read}


def _figures(run: Run, uses: list[tuple[str, ArtifactShare, bool]], tokens: Any, *, flagged: bool) -> RunFigures:
    summary: RunSummary | None = getattr(run, "summary", None)
    missing = {role: tuple(holes) for role, holes in (summary.missing if summary else {}).items()}
    teacher_artifacts = tuple(share for kind, share, _ in uses if kind in TEACHER_ARTIFACTS)
    prepared = next((share for kind, share, _ in uses if kind == Artifact.Kind.PREPARED_DATASET), None)
    return RunFigures(
        run_id=str(run.pk),
        pipeline=run.pipeline,
        student=run.student_size or run.student,
        teacher=run.teacher,
        configuration=run.configuration,
        hardware=run.hardware_class,
        workload=run.workload,
        seed=run.seed,
        own_energy_j=_own(summary, missing),
        missing=missing,
        prepared=prepared,
        teacher_artifacts=teacher_artifacts,
        q=summary.quality if summary else None,
        tokens=tokens[0] if tokens else None,
        tokens_nominal=bool(tokens and tokens[1]),
        complete=run.status == Run.Status.FINISHED and not missing,  # whether Q is known, the frontier sees itself
        origin=run.origin,
        simulated=run.simulated or bool(summary and summary.simulated) or any(simulated for _, _, simulated in uses),
        flagged=flagged,
    )


def _own(summary: RunSummary | None, missing: Mapping[str, tuple[str, ...]]) -> dict[str, float | None]:
    """Energy by role in joules. A role with a hole is `None`, whatever the rest of it came to."""
    if summary is None:
        return {}
    energies = {role: getattr(summary, f"{role}_energy_j") for role in OWN_ROLES}
    return {
        role: None if role in missing else energy
        for role, energy in energies.items()
        if energy is not None or role in missing
    }


def _uses(runs: list[UUID], user: Reader, *, reuse: bool) -> dict[UUID, list[tuple[str, ArtifactShare, bool]]]:
    """By run: kind, share and whether simulated, of every artifact it used but its own student."""
    uses = list(
        ArtifactUse.objects.filter(AmongKeys(F("run_id"), runs))
        .exclude(artifact__kind=Artifact.Kind.STUDENT)
        .select_related("artifact__project")
        .only(
            "run_id",
            "how",
            "used_share",
            "artifact__kind",
            "artifact__name",
            "artifact__production_energy_j",
            "artifact__simulated",
            "artifact__project__public",
        )
    )
    counts = reuse_counts({use.artifact_id for use in uses}) if reuse else {}
    mine = set(user.member_project_ids()) if isinstance(user, User) else set()
    found: dict[UUID, list[tuple[str, ArtifactShare, bool]]] = {}
    for use in uses:
        artifact = use.artifact
        named = artifact.project.public or artifact.project_id in mine or user.is_superuser
        share = ArtifactShare(
            artifact_id=str(artifact.pk),
            production_energy_j=artifact.production_energy_j,
            used_share=use.used_share if use.how == ArtifactUse.How.CUT else 1.0,
            reuse_count=counts.get(artifact.pk, 0),
            name=artifact.name if named else "",
        )
        found.setdefault(use.run_id, []).append((artifact.kind, share, artifact.simulated))
    return found


def reuse_counts(artifacts: Iterable[UUID]) -> dict[UUID, int]:
    """Distinct finished runs that used each artifact, its maker among them."""
    finished = ArtifactUse.objects.filter(artifact__in=list(artifacts), run__status=Run.Status.FINISHED)
    counted = finished.order_by().values("artifact").annotate(runs=Count("run", distinct=True))
    return dict(counted.values_list("artifact", "runs"))


def standing_records() -> Q:
    """Stages that count: roots that nobody has withdrawn."""
    withdrawn = StageReview.objects.filter(verdict=StageReview.Verdict.WITHDRAWN).values("stage_id")
    return Q(parent_id="") & ~Q(pk__in=withdrawn)


def _tokens(runs: list[UUID]) -> dict[UUID, tuple[int, bool]]:
    """Trained tokens of each run, and whether they are a stated round figure."""
    of_them = Stage.objects.filter(AmongKeys(F("run_id"), runs)) if runs else Stage.objects.none()
    trained = of_them.filter(
        standing_records(), kind="student_training", status="completed", trained_tokens__isnull=False
    )
    found: dict[UUID, tuple[int, bool]] = {}
    for run, count, nominal in trained.values_list("run_id", "trained_tokens", "tokens_nominal"):
        before = found.get(run, (0, False))
        found[run] = (before[0] + (count or 0), before[1] or nominal)
    return found


def _flagged(runs: list[UUID]) -> set[UUID]:
    """Runs with a record that carries a flag nobody has accepted."""
    accepted = StageReview.objects.filter(verdict=StageReview.Verdict.ACCEPTED).values("stage_id")
    doubtful = ~Q(flags=[]) | Q(reviews__verdict=StageReview.Verdict.FLAGGED)
    of_them = Stage.objects.filter(AmongKeys(F("run_id"), runs)) if runs else Stage.objects.none()
    stages = of_them.filter(standing_records(), doubtful).exclude(pk__in=accepted)
    return set(stages.order_by().values_list("run_id", flat=True))
