"""Projects and studies."""

import re

from django.db import transaction

from registry.models import Membership, Origin, Project, Study, User
from registry.services import accounts, audit
from registry.services.errors import Invalid

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,78}[a-z0-9]")


@transaction.atomic
def ensure_project(*, slug: str, name: str, public: bool, admin: User | None = None) -> Project:
    """The project of that slug, made if need be; `admin` becomes a member."""
    project, _ = Project.objects.get_or_create(slug=slug, defaults={"name": name, "public": public})
    if admin is not None:
        Membership.objects.get_or_create(project=project, user=admin, defaults={"role": Membership.Role.ADMIN})
    return project


@transaction.atomic
def create_study(
    *,
    actor: User | None,
    project: Project,
    slug: str,
    name: str,
    suite: list[str],
    description: str = "",
    average_workloads: bool = False,
    origin: str = Origin.WORKER,
    citation: str = "",
) -> Study:
    """A new study. Raises `Invalid` for a slug that is taken or no slug, or an empty suite."""
    accounts.require_role(actor, project, Membership.Role.SUBMITTER)
    problems = {}
    if not _SLUG.fullmatch(slug):
        problems["slug"] = f"{slug!r} must be 2 to 80 lower-case letters, digits and hyphens"
    elif Study.objects.filter(slug=slug).exists():
        problems["slug"] = f"{slug!r} is taken; choose another"
    if not suite or len(set(suite)) < len(suite):
        problems["suite"] = f"{suite!r} must name at least one benchmark, each once"
    if problems:
        raise Invalid(problems)
    study = Study.objects.create(
        project=project,
        slug=slug,
        name=name,
        description=description,
        suite=suite,
        average_workloads=average_workloads,
        origin=origin,
        citation=citation,
        created_by=actor,
    )
    audit.record(actor=actor, project=project, action="study created", subject=study)
    return study
