"""Leases on making an artifact outside of the workers: ask, and be told to use, to wait, or to make it.

Under the family's lock, so that of any number who ask at once, one makes. Runs of the project wait too. A lease runs
out: a maker that dies keeps nobody waiting for longer than it runs.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from registry.accounting.canonical import CanonicalError
from registry.accounting.fingerprint import family, fingerprint
from registry.accounting.reuse import MAKE, WAIT, ArtifactRequest
from registry.models import ArtifactLease, Membership, Project, User
from registry.services import accounts, audit, reuse, rowsets
from registry.services.errors import Conflict, Invalid

SHORTEST_S, LONGEST_S = 10, 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to do. `artifact_id`: what to use, cut or wait for. `lease_id` and `expires_at` with make: the lease."""

    action: str  # use | cut | wait | make
    reason: str
    artifact_id: str | None = None
    lease_id: uuid.UUID | None = None
    expires_at: datetime | None = None


@transaction.atomic
def lease(
    *,
    actor: User,
    project: Project,
    request: ArtifactRequest,
    seconds: int,
    renewed: uuid.UUID | None = None,
    elsewhere: bool = True,
) -> Answer:
    """Lease the making of what answers `request`, for `seconds`; with `renewed`, go on holding that lease.

    `elsewhere`: artifacts of other projects that `actor` may use are looked at too.

    Raises `Invalid`, `NotAllowed`, and `Conflict` for a lease that has ended, expired, or is another request's.
    """
    accounts.require_role(actor, project, Membership.Role.SUBMITTER)
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise Invalid({"seconds": f"{seconds} is not from {SHORTEST_S} to {LONGEST_S}"})
    try:
        reuse.lock(request)
        mark = fingerprint(request)
    except CanonicalError as error:
        raise Invalid({"request": str(error)}) from error
    now = timezone.now()
    until = now + timedelta(seconds=seconds)
    if renewed is not None:
        held = ArtifactLease.objects.select_for_update().filter(pk=renewed, project=project, holder=actor).first()
        if held is None or held.fingerprint != mark:
            raise Conflict("There is no such lease of yours on this request.")
        return _renew(held, now, until)
    decision = reuse.decide(request=request, project=project, user=actor if elsewhere else None)
    if decision.action != MAKE:
        return Answer(action=decision.action, reason=decision.reason, artifact_id=decision.artifact_id)
    standing = reuse.standing_lease(request, project)
    if standing is not None:
        reason = f"{standing.holder} is making it, and holds it until {standing.expires_at:%H:%M:%S} UTC."
        return Answer(action=WAIT, reason=reason, expires_at=standing.expires_at)
    made = ArtifactLease.objects.create(
        project=project,
        kind=request.kind,
        fingerprint=mark,
        family=family(request),
        identity=dict(request.identity),
        capture=dict(request.capture),
        rows=rowsets.of(request.row_digests),
        holder=actor,
        expires_at=until,
    )
    audit.record(actor=actor, project=project, action="artifact leased", subject=made, kind=request.kind)
    return Answer(action=MAKE, reason=decision.reason, lease_id=made.pk, expires_at=until)


def release(*, actor: User, held: ArtifactLease) -> None:
    """Give a lease back: whoever waits may make it. Raises `Conflict` for somebody else's."""
    if held.holder_id != actor.pk:
        raise Conflict("This lease is somebody else's.")
    ArtifactLease.objects.filter(pk=held.pk, ended_at=None).update(ended_at=timezone.now())


def _renew(held: ArtifactLease, now: datetime, until: datetime) -> Answer:
    if held.ended_at is not None or held.expires_at <= now:
        raise Conflict("This lease is over; ask for another one, and see whether somebody has made it meanwhile.")
    held.expires_at = until
    held.save(update_fields=["expires_at"])
    return Answer(action=MAKE, reason="It is still yours to make.", lease_id=held.pk, expires_at=until)
