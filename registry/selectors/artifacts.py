"""Artifacts for lists and for an artifact's own page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from django.db.models import Q, QuerySet

from registry.accounting.breakeven import BREAKS_EVEN
from registry.accounting.spec import RunSpec
from registry.models import Artifact, ArtifactUse, AuditEvent, Run, Stage, Study
from registry.selectors import books, versions
from registry.selectors.figures import Reader, standing_records
from registry.selectors.studies import BreakEven

HISTORY_SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class ArtifactDetail:
    """Everything an artifact's page shows.

    `status_reason` says why it is corrupt, failed or withdrawn, `superseded_reason` why another is better. That other,
    and the one that was made again, are `None` where `user` may not see them. `history` is its part of the audit log.

    How often it was used and what that spared is said to whoever sees it, over all finished uses. Runs, their records,
    people and the log are named only to who may see their project: `inside` says so of the artifact's own; the other
    runs are counted in `hidden_uses`.
    """

    artifact: Artifact
    inside: bool
    made_by_run: Run | None
    uses: tuple[ArtifactUse, ...]
    hidden_uses: int
    finished_uses: int
    energy_per_use_j: float | None
    spared_j: float | None
    records: tuple[Stage, ...]
    same: tuple[Artifact, ...]
    status_reason: str
    superseded_by: Artifact | None
    superseded_reason: str
    made_again_of: Artifact | None
    history: tuple[AuditEvent, ...]
    attempts: tuple[books.Attempt, ...]
    per_use: tuple[books.UsePoint, ...]
    break_evens: tuple[tuple[Study, BreakEven], ...]
    lineage: books.Lineage
    versions: tuple[Artifact, ...]

    @property
    def rounded_by(self) -> str:
        """How the logits of a cache are rounded, `u8` or `fp16`; empty where they are whole, and for other kinds.

        A cut in k keeps the rounded logits and the log Z of the larger cache, where making it small rounds anew.
        """
        if self.artifact.kind != Artifact.Kind.LOGIT_CACHE:
            return ""
        encoding = self.artifact.capture.get("encoding", "u8")
        return {"fp32": "", "fp16": "fp16"}.get(encoding, "u8") if isinstance(encoding, str) else "u8"

    @property
    def bitwise(self) -> bool:
        """Whether a cut of it is known to be, bit by bit, what making it small gives."""
        return self.same_draw and not self.rounded_by

    @property
    def same_draw(self) -> bool:
        """Whether making it again is known to give the same to the last bit: float32 on a processor.

        In bfloat16, and on any GPU, what stands beside a row in its batch moves its sums.
        """
        environment = self.artifact.made_by_run.environment if self.artifact.made_by_run else {}
        on_processor = bool(environment) and not environment.get("gpus")
        return on_processor and self.artifact.identity.get("precision") == "fp32"

    @property
    def paid_back(self) -> bool:
        """Whether every break-even count that there is has been reached."""
        counts = [pair.result.count for _, pair in self.break_evens if pair.result.verdict == BREAKS_EVEN]
        return bool(counts) and all(count is not None and count <= self.finished_uses for count in counts)


def detail(key: UUID, user: Reader) -> ArtifactDetail | None:
    """The artifact's page, or `None` where it is not there or not for `user` to see."""
    artifacts: QuerySet[Artifact] = Artifact.objects.visible_to(user)
    artifact = artifacts.select_related("project", "made_by_run__project", "created_by", "rows").filter(pk=key).first()
    if artifact is None:
        return None
    inside = artifact.project.seen_by(user)
    every = _uses(artifact)
    uses = [use for use in every if use.run.project.seen_by(user)]
    finished = [use for use in every if use.run.status == Run.Status.FINISHED]
    energy_j = artifact.production_energy_j
    records = _records(artifact)
    history = _history(artifact)
    others = artifacts.in_bulk([key for key in (artifact.superseded_by_id, artifact.made_again_of_id) if key])
    maker, seen = artifact.made_by_run, {use.run_id for use in uses}
    return ArtifactDetail(
        artifact=artifact,
        inside=inside,
        made_by_run=maker if maker is not None and maker.project.seen_by(user) else None,
        uses=tuple(uses),
        hidden_uses=len(every) - len(uses),
        finished_uses=len(finished),
        energy_per_use_j=None if energy_j is None or not finished else energy_j / len(finished),
        spared_j=spared(energy_j, finished),
        records=tuple(record for record in records if record.project.seen_by(user)),
        attempts=tuple(one if _names(one.run, user) else replace(one, run=None) for one in books.attempts(records)),
        per_use=tuple(
            one if one.run and one.run.pk in seen else replace(one, run=None) for one in books.per_use(artifact, every)
        ),
        break_evens=books.break_evens(uses, user),
        lineage=books.lineage(artifact, uses, user),
        versions=versions.versions_of(artifact, user),
        same=_same(artifact, user),
        status_reason=_reason(history, f"artifact {artifact.status}"),
        superseded_by=others.get(artifact.superseded_by_id),
        superseded_reason=_reason(history, "artifact superseded"),
        made_again_of=others.get(artifact.made_again_of_id),
        history=history if inside else (),
    )


def spared(energy_j: float | None, uses: Sequence[ArtifactUse]) -> float | None:
    """Joules that its finished `uses` did not burn: (uses − 1) × production, never less than nothing.

    A use that only cut it counts for what the cut would have cost on its own. One production was burnt all the same,
    also where no run that used it has made it.
    """
    if energy_j is None:
        return None
    shares = [use.used_share if use.how == ArtifactUse.How.CUT else 1.0 for use in uses]
    known = [share for share in shares if share is not None]
    return energy_j * max(0.0, sum(known) - 1.0) if len(known) == len(shares) else None


def _names(run: Run | None, user: Reader) -> bool:
    return run is not None and run.project.seen_by(user)


def _uses(artifact: Artifact) -> list[ArtifactUse]:
    return list(
        artifact.uses.select_related("run__study", "run__project")
        .defer("run__spec", "run__environment")
        .order_by("created_at")
    )


def _records(artifact: Artifact) -> tuple[Stage, ...]:
    """The records of every attempt at making it; a student's are those of its training."""
    made = Q(artifact=artifact)
    if artifact.kind == Artifact.Kind.STUDENT:
        made = Q(attempt__job__makes=artifact)
    records = Stage.objects.filter(standing_records(), made).select_related("project", "run__project", "attempt")
    return tuple(records.defer("extra", "run__spec", "run__environment").order_by("started_at", "id"))


def _same(artifact: Artifact, user: Reader) -> tuple[Artifact, ...]:
    """Others of the same fingerprint: made again for a reason, or elsewhere."""
    others: QuerySet[Artifact] = Artifact.objects.visible_to(user)
    found = others.filter(fingerprint=artifact.fingerprint).exclude(pk=artifact.pk)
    return tuple(found.defer("manifest", "identity"))


def _history(artifact: Artifact) -> tuple[AuditEvent, ...]:
    """What the audit log says of it, newest first."""
    events = AuditEvent.objects.filter(subject_type="artifact", subject_id=str(artifact.pk))
    return tuple(events.select_related("actor").order_by("-id")[:HISTORY_SHOWN])


def _reason(history: tuple[AuditEvent, ...], action: str) -> str:
    """Why that was done the last time; empty where it was not."""
    return next((str(event.detail.get("reason", "")) for event in history if event.action == action), "")


def tail_mass_of(artifact: Artifact | None, spec: RunSpec) -> float | None:
    """The teacher's mean mass beyond the top k that a logit cache states for the run's T.

    `None` where it states none, or states it for another k: a smaller one leaves more.
    """
    if artifact is None or artifact.meta.get("k") != spec.distillation.k:
        return None
    masses = artifact.meta.get("tail_mass")
    mass = masses.get(f"{spec.distillation.temperature:g}") if isinstance(masses, dict) else None
    return float(mass) if isinstance(mass, int | float) and 0 <= mass <= 1 else None
