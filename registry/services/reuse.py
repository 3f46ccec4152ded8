"""Reuse before regenerate, applied: candidates out of the registry, the decision by `accounting.reuse`."""

import zlib
from collections.abc import Iterable

from django.db import connection
from django.db.models import Q

from registry.accounting import reuse
from registry.accounting.fingerprint import family
from registry.accounting.reuse import ArtifactRequest, Candidate, Decision
from registry.models import Artifact, Project, User
from registry.services import licences

_LOCK_SPACE = 0x5A6E  # keeps these locks apart from anybody else's advisory locks


def lock(request: ArtifactRequest) -> None:
    """Hold the request's family until the transaction ends: nobody else decides about it meanwhile."""
    key = zlib.crc32(family(request).encode()) - 2**31
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, key])


def lock_all(requests: Iterable[ArtifactRequest]) -> None:
    """Lock several families, always in the same order, so that two submissions never wait for each other."""
    for request in sorted(requests, key=family):
        lock(request)


def decide(*, request: ArtifactRequest, project: Project, user: User | None, for_worker: bool = False) -> Decision:
    """Use, cut, wait or make, for a request out of `project`. Changes nothing.

    `for_worker`: leave out what was registered without its files, since a worker could not read it.
    """
    return reuse.decide(request, candidates(request, project, user, for_worker=for_worker))


def candidates(
    request: ArtifactRequest, project: Project, user: User | None, *, for_worker: bool = False
) -> list[Candidate]:
    """Artifacts of the kind that are ready or being made: the project's own, and shareable ones `user` may see."""
    rows = Artifact.objects.filter(kind=request.kind, status__in=[Artifact.Status.READY, Artifact.Status.MAKING])
    if for_worker:
        rows = rows.exclude(status=Artifact.Status.READY, storage_key="")
    seen = rows.filter(project=project) if user is None else rows.filter(_reach(project, user))
    return [
        Candidate(
            artifact_id=str(row.pk),
            name=row.name,
            request=ArtifactRequest(
                kind=row.kind, identity=row.identity, capture=row.capture, row_digests=tuple(row.row_digests)
            ),
            status=row.status,
            production_energy_j=row.production_energy_j,
        )
        for row in seen.select_related("rows").order_by("-id")
        if row.project_id == project.pk or licences.allows_sharing(row.licence)
    ]


def _reach(project: Project, user: User) -> Q:
    return Q(project=project) | Q(pk__in=Artifact.objects.visible_to(user).values("pk"))
