"""What is said of a record later: that it is hardly true, that somebody accepts it all the same, that it is taken back.

A doubted record stays in the books and keeps its run off the frontier until a maintainer accepts it with a reason.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from registry.accounting.plausibility import Doubt, doubts
from registry.models import Artifact, Membership, Stage, StageReview, User
from registry.services import accounts, audit, bulk, summaries
from registry.services.errors import Conflict, Invalid
from stagemeter.records import StageRecord

MOST_REASON = 2000
Verdict = StageReview.Verdict
# Others that had the device for more than a second of the same time; of each the newest few, which is enough to say so.
_OVERLAPS = """
SELECT mine.stage_id, other.stage_id, mine.uuid
FROM registry_gpuuse mine CROSS JOIN LATERAL (
    SELECT stage_id FROM registry_gpuuse
    WHERE uuid = mine.uuid AND stage_id <> mine.stage_id
      AND ended_at > mine.started_at + interval '1 second' AND started_at < mine.ended_at - interval '1 second'
    ORDER BY ended_at LIMIT 20
) other
WHERE mine.stage_id = ANY(%s::uuid[])
"""
# Locked in one order, and before the look-up, so that of two records that come at once the second sees the first.
_USE = """
WITH use AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json)
    AS use (stage_id uuid, uuid text, started_at timestamptz, ended_at timestamptz)
), locked AS MATERIALIZED (
    SELECT count(pg_advisory_xact_lock(key)) FROM
    (SELECT DISTINCT hashtextextended('gpu ' || uuid, 0) AS key FROM use ORDER BY key) keys
)
INSERT INTO registry_gpuuse (stage_id, uuid, started_at, ended_at) SELECT use.* FROM use, locked RETURNING id
"""


@transaction.atomic
def review(*, stage: Stage, verdict: str, reason: str, actor: User) -> StageReview:
    """Say something of a record. Needs a maintainer. Raises `Invalid`, `Conflict` and `NotAllowed`."""
    accounts.require_role(actor, stage.project, Membership.Role.MAINTAINER)
    reason = reason.strip()
    if not reason or len(reason) > MOST_REASON or "\x00" in reason:
        raise Invalid({"reason": f"say why, in at most {MOST_REASON:,} characters"})
    Stage.objects.select_for_update(no_key=True).get(pk=stage.pk)
    standing = state(stage.reviews.order_by("id"))
    if standing == Verdict.WITHDRAWN:
        raise Conflict("This record was withdrawn; nothing more is said of it.", record_id=stage.record_id)
    if verdict == Verdict.ACCEPTED and standing != Verdict.FLAGGED:
        raise Conflict("Nobody doubts this record, so there is nothing to accept.", record_id=stage.record_id)
    row = StageReview.objects.create(stage=stage, verdict=verdict, reason=reason, actor=actor, code="by_hand")
    audit.record(actor=actor, project=stage.project, action=f"stage {verdict}", subject=stage, reason=reason)
    _rebuild([stage])
    return row


def state(reviews: Iterable[StageReview]) -> str | None:
    """The verdict that stands, of reviews in order: a withdrawal for good, otherwise the last one."""
    verdicts = [found.verdict for found in reviews]
    if Verdict.WITHDRAWN in verdicts:
        return Verdict.WITHDRAWN
    return verdicts[-1] if verdicts else None


def doubt(stages: Sequence[Stage], found: dict[Any, list[Doubt]]) -> None:
    """Doubt records, for reasons by key; one that is doubted for the same already is left as it is."""
    known = set(StageReview.objects.filter(stage__in=found, verdict=Verdict.FLAGGED).values_list("stage_id", "code"))
    rows = [
        StageReview(stage_id=key, verdict=Verdict.FLAGGED, code=one.code, reason=one.message)
        for key, several in found.items()
        for one in several
        if (key, one.code) not in known
    ]
    StageReview.objects.bulk_create(rows)
    doubted = {row.stage_id for row in rows}
    for stage in stages:
        if stage.pk in doubted:
            codes = sorted({row.code for row in rows if row.stage_id == stage.pk})
            audit.record(actor=None, project=stage.project, action="stage flagged", subject=stage, codes=codes)
    _rebuild([stage for stage in stages if stage.pk in doubted])


def check(records: Sequence[tuple[str, StageRecord]]) -> bool:
    """Look at records that were just booked, under their keys, and doubt what is hardly true: whether anything is."""
    now = timezone.now()
    found = {key: list(several) for key, record in records if (several := doubts(record, now))}
    for key, other in _overlaps(records):
        found.setdefault(key, []).append(other)
    if found:
        doubt(list(Stage.objects.filter(pk__in=found).select_related("project")), _by_key(found))
    return bool(found)


def _by_key(found: dict[str, list[Doubt]]) -> dict[Any, list[Doubt]]:
    """One doubt of each code."""
    field = Stage._meta.pk
    return {field.to_python(key): list({one.code: one for one in several}.values()) for key, several in found.items()}


def _overlaps(records: Sequence[tuple[str, StageRecord]]) -> Iterable[tuple[str, Doubt]]:
    uses = [use for key, record in records for use in _uses(key, record)]
    if not uses:
        return
    bulk.run(_USE, [json.dumps(uses)])
    for mine, other, uuid in bulk.run(_OVERLAPS, [list({use["stage_id"] for use in uses})]):
        message = f"Another record has the GPU {uuid} at the same time, so its energy is counted twice."
        yield str(mine), Doubt("gpu_overlap", message)
        yield str(other), Doubt("gpu_overlap", message)


def _uses(key: str, record: StageRecord) -> Iterable[dict[str, str]]:
    """The devices that a root record had to itself. Parts lie within their wholes; simulated devices are no devices."""
    if record.parent_id or record.simulated or record.role == "prerun" or record.gpu_energy_j is None:
        return
    span = {"started_at": record.started_at.isoformat(), "ended_at": record.ended_at.isoformat()}
    for uuid in {device.get("uuid") for device in record.devices}:
        if isinstance(uuid, str) and 0 < len(uuid) <= 100:
            yield {"stage_id": key, "uuid": uuid, **span}


def _rebuild(stages: Sequence[Stage]) -> None:
    # Read anew: somebody may have claimed one as evidence since it was read.
    claimed = Stage.objects.filter(pk__in=[stage.pk for stage in stages]).order_by().values("artifact")
    for artifact in Artifact.objects.filter(pk__in=claimed).order_by("pk"):
        summaries.refresh_production(artifact)
    summaries.changed(*{stage.run_id for stage in stages if stage.run_id})
