"""What people call an artifact: handle@version, aliases of a version, and what has become of it."""

import re
import zlib

from django.db import connection, transaction
from django.db.models import Max
from django.utils.text import slugify

from registry.models import Artifact, ArtifactAlias, Membership, User
from registry.services import accounts, audit
from registry.services.errors import Conflict, Invalid

LATEST = "latest"
_LOCK_SPACE = 0x5A6F  # apart from the locks on families
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,59}")
_VERSION_LIKE = re.compile(r"v?\d+")


def handle_of(name: str, kind: str) -> str:
    """The part of a display name that can stand in an address: "OLMo-2 32B, top 100" → "olmo-2-32b-top-100"."""
    return slugify(name)[:120].strip("-_") or kind.replace("_", "-")


def give(artifact: Artifact) -> None:
    """Give an artifact that becomes ready the next version of its handle. Saves nothing but these two.

    Numbers count up and are never given twice, whatever becomes of the artifact. Inside a transaction.
    """
    artifact.handle = handle_of(artifact.name, artifact.kind)
    key = zlib.crc32(f"{artifact.project_id}/{artifact.handle}".encode()) - 2**31
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, key])
    same = Artifact.objects.filter(project=artifact.project, handle=artifact.handle)
    artifact.version = (same.aggregate(last=Max("version"))["last"] or 0) + 1
    artifact.save(update_fields=["handle", "version"])


@transaction.atomic
def set_alias(*, artifact: Artifact, alias: str, actor: User) -> ArtifactAlias:
    """Let `alias` mean this version from now on. Raises `Invalid`, `NotAllowed`, `Conflict`."""
    accounts.require_role(actor, artifact.project, Membership.Role.MAINTAINER)
    if alias == LATEST:
        raise Invalid({"alias": "'latest' always means the newest version that is ready; choose another word"})
    if _VERSION_LIKE.fullmatch(alias) or not _ALIAS.fullmatch(alias):
        raise Invalid(
            {"alias": f"{alias[:80]!r} must begin with a letter, hold a-z, 0-9, - and _, and not look like a version"}
        )
    if artifact.version is None or artifact.status != Artifact.Status.READY:
        raise Conflict(f"{artifact.name} is {artifact.get_status_display()}; only a version that is ready has aliases.")
    same = ArtifactAlias.objects.filter(project=artifact.project, handle=artifact.handle, alias=alias)
    before = same.exclude(artifact=artifact).select_related("artifact").first()
    row, _ = ArtifactAlias.objects.update_or_create(
        project=artifact.project, handle=artifact.handle, alias=alias, defaults={"artifact": artifact}
    )
    audit.record(actor=actor, project=artifact.project, action="alias set", subject=artifact, alias=alias)
    if before is not None:
        moved = {"alias": alias, "to": str(artifact.pk)}
        audit.record(actor=actor, project=artifact.project, action="alias moved", subject=before.artifact, **moved)
    return row


@transaction.atomic
def drop_alias(*, artifact: Artifact, alias: str, actor: User) -> None:
    """Take an alias away. Raises `Invalid` where this version has none of that name."""
    accounts.require_role(actor, artifact.project, Membership.Role.MAINTAINER)
    deleted, _ = artifact.aliases.filter(alias=alias).delete()
    if not deleted:
        raise Invalid({"alias": f"{alias[:80]!r} is no alias of {artifact.handle}@{artifact.version}"})
    audit.record(actor=actor, project=artifact.project, action="alias dropped", subject=artifact, alias=alias)


@transaction.atomic
def supersede(*, artifact: Artifact, by: Artifact, actor: User, reason: str) -> None:
    """Name a better artifact. The old one stays, and is offered only where nothing else serves.

    Raises `Invalid`, `NotAllowed`, `Conflict`.
    """
    accounts.require_role(actor, artifact.project, Membership.Role.MAINTAINER)
    if not reason.strip():
        raise Invalid({"reason": "say why the other one is better; whoever looks for this one will read that"})
    if by.pk == artifact.pk or by.kind != artifact.kind or by.project_id != artifact.project_id:
        raise Invalid({"by": f"name another {artifact.get_kind_display()} of the project {artifact.project.slug}"})
    for one in (artifact, by):
        if one.status != Artifact.Status.READY:
            raise Conflict(f"{one.name} is {one.get_status_display()}; only what is ready supersedes or is superseded.")
    if by.superseded_by_id is not None:
        raise Conflict(
            f"{by.name} is superseded itself; name the one that superseded it.", artifact=by.superseded_by_id
        )
    artifact.superseded_by = by
    artifact.save(update_fields=["superseded_by"])
    audit.record(
        actor=actor,
        project=artifact.project,
        action="artifact superseded",
        subject=artifact,
        reason=reason,
        by=str(by.pk),
    )
