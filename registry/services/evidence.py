"""The records behind an artifact's production energy, where it was made elsewhere and its stages were uploaded.

A record is claimed once, by one artifact: from then on its energy is charged through that artifact and no longer by
the run that it was booked under, just as the record of a worker that made an artifact.
"""

import math
from collections.abc import Sequence

from django.db.models import Prefetch

from registry.accounting.stages import TEACHER_ARTIFACTS
from registry.models import Artifact, ArtifactUse, Project, Run, Stage, StageReview
from registry.services import reviews, summaries
from registry.services.errors import Conflict, Invalid

MOST_EVIDENCE = 1000


def claimable(*, project: Project, kind: str, record_ids: Sequence[str]) -> list[Stage]:
    """The records, locked until the transaction ends. Raises `Invalid`, or `Conflict` naming who claimed one before.

    Roots of `project` with a whole energy that nobody doubts, of work that can have made an artifact of that `kind`.
    """
    wanted = list(dict.fromkeys(record_ids))
    if len(wanted) > MOST_EVIDENCE or not all(isinstance(one, str) and _is_name(one) for one in wanted):
        raise Invalid({"evidence": f"name at most {MOST_EVIDENCE} records by their record_id"})
    roots = Stage.objects.filter(project=project, record_id__in=wanted, parent_id="", energy_j__isnull=False)
    # A review of one takes the same lock, so either it is seen here, or it sees the artifact.
    locked = roots.select_for_update(of=("self",), no_key=True).select_related("artifact").order_by("pk")
    said = Prefetch("reviews", StageReview.objects.order_by("id"))
    found = {stage.record_id: stage for stage in locked.prefetch_related(said)}
    if absent := [one for one in wanted if one not in found]:
        lacking = ", ".join(absent[:5])
        raise Invalid({"evidence": f"{lacking}: no record of this project with a whole energy; upload it first"})
    for stage in found.values():
        _check(stage, kind)
    return [found[one] for one in wanted]


def agreed_energy_j(stages: Sequence[Stage], stated_j: float | None) -> float:
    """What the records add up to, in joules. Raises `Invalid` where something else is stated."""
    total_j = math.fsum(stage.energy_j for stage in stages if stage.energy_j is not None)
    if stated_j is not None and not math.isclose(stated_j, total_j, rel_tol=1e-6):
        stated = f"{stated_j:g} J is stated and its records add up to {total_j:g} J"
        raise Invalid({"production_energy_j": f"{stated}; leave it out, or name the records it comes from"})
    return total_j


def claim(*, artifact: Artifact, stages: Sequence[Stage]) -> None:
    """Tie records that `claimable` gave to the artifact, and charge it to the runs that it was made under."""
    Stage.objects.filter(pk__in=[stage.pk for stage in stages]).update(artifact=artifact)
    named = [artifact.made_by_run_id, *(stage.run_id for stage in stages)]
    makers = {key for key in named if key is not None}
    made = [ArtifactUse(artifact=artifact, run_id=key, how=ArtifactUse.How.MADE) for key in sorted(makers, key=str)]
    ArtifactUse.objects.bulk_create(made)
    if stages:
        summaries.refresh_production(artifact)
    summaries.refresh_kept(Run.objects.filter(pk__in=makers))


def _is_name(record_id: str) -> bool:
    return len(record_id) <= 200 and "\x00" not in record_id


def _check(stage: Stage, kind: str) -> None:
    roles = ("teacher", "data") if kind in TEACHER_ARTIFACTS else ("data",)
    if stage.role not in roles:
        made = f"only records of the {' or '.join(roles)} part can have made a {Artifact.Kind(kind).label}"
        raise Invalid({"evidence": f"{stage.record_id}: a {stage.kind} record; {made}"})
    if standing := reviews.state(stage.reviews.all()):
        if standing == StageReview.Verdict.WITHDRAWN:
            raise Invalid({"evidence": f"{stage.record_id} was withdrawn; name the record that took its place"})
        if standing == StageReview.Verdict.FLAGGED:
            raise Invalid({"evidence": f"{stage.record_id} is doubted; a maintainer has to accept it before"})
    if stage.artifact is not None:
        taken = f"The record {stage.record_id} is evidence of {stage.artifact.name} ({stage.artifact_id}) already"
        raise Conflict(
            f"{taken}, and its energy is charged through one artifact alone.", artifact=str(stage.artifact_id)
        )
