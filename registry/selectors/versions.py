"""Artifacts by the names people write down: project/handle@version, or @alias."""

from django.db.models import QuerySet

from registry.models import Artifact, ArtifactAlias
from registry.selectors.figures import Reader

LATEST = "latest"


def resolve(*, project: str, handle: str, reference: str, user: Reader) -> Artifact | None:
    """The artifact that `handle@reference` means in a project, as far as `user` may see it; else `None`.

    A version means itself whatever became of it, `latest` the newest that is ready (a superseded one only where nothing
    else is), anything else an alias.
    """
    named = _visible(user).filter(project__slug=project, handle=handle, version__isnull=False)
    if reference == LATEST:
        ready = named.filter(status=Artifact.Status.READY).order_by("-version")
        return ready.filter(superseded_by=None).first() or ready.first()
    number = reference.removeprefix("v")
    if number.isascii() and number.isdecimal():
        return named.filter(version=int(number)).first() if len(number) < 10 else None
    aliases = ArtifactAlias.objects.filter(project__slug=project, handle=handle, alias=reference)
    return named.filter(pk__in=aliases.values("artifact_id")).first()


def versions_of(artifact: Artifact, user: Reader) -> tuple[Artifact, ...]:
    """All versions of its handle, newest first, with their aliases."""
    if not artifact.handle:
        return ()
    named = _visible(user).filter(project=artifact.project, handle=artifact.handle, version__isnull=False)
    return tuple(named.defer("manifest", "identity", "meta").prefetch_related("aliases").order_by("-version")[:50])


def _visible(user: Reader) -> QuerySet[Artifact]:
    rows: QuerySet[Artifact] = Artifact.objects.visible_to(user)
    return rows.select_related("project")
