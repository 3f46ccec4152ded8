"""Who sees which rows, and where a write goes. A token bound to a project knows that project alone."""

import uuid
from functools import cached_property
from typing import Any

from django.http import Http404
from rest_framework.request import Request

from registry.models import ApiToken, Membership, Project, Run, Study, User
from registry.selectors import callers
from registry.services import accounts
from registry.services.errors import Invalid

WRITING_ROLES = [Membership.Role.SUBMITTER, Membership.Role.MAINTAINER, Membership.Role.ADMIN]


def bound_project(request: Request) -> uuid.UUID | None:
    """The project that the request's token is for; `None` for a session or an unbound token."""
    return request.auth.project_id if isinstance(request.auth, ApiToken) else None


def visible(request: Request, model: Any) -> Any:
    """The rows of `model` that the request may see: every lookup by key goes through here."""
    rows = model.objects.visible_to(request.user)
    bound = bound_project(request)
    if bound is None:
        return rows
    return rows.filter(pk=bound) if model is Project else rows.filter(project=bound)


def sees(request: Request | None, project: uuid.UUID, *, public: bool) -> bool:
    """Whether the request may see what is in that project; nobody in particular sees public ones."""
    bound = bound_project(request) if request is not None else None
    if bound is not None or request is None:
        return bound == project if bound is not None else public
    user = request.user
    return public or (user.is_authenticated and (user.is_superuser or project in user.member_project_ids()))


def get(request: Request, model: Any, **lookup: Any) -> Any:
    """The one visible row of that key. Raises `Http404`, whether it is not there or not to be seen."""
    row = visible(request, model).filter(**lookup).first()
    if row is None:
        raise Http404
    return row


def actor(request: Request) -> User:
    """The person behind a write; the permission class has made sure there is one."""
    if not isinstance(request.user, User):
        raise TypeError(f"{request.user!r} is no user of this installation")
    return request.user


def writable(request: Request) -> list[Project]:
    """Projects the request may write to, by slug."""
    rows = visible(request, Project)
    if not actor(request).is_superuser:
        mine = {"memberships__user": request.user, "memberships__role__in": WRITING_ROLES}
        rows = rows.filter(**mine)
    return list(rows.order_by("slug"))


class Desk:
    """Where the writes of one request go: `project` or `study` as the body names it, its run's, or the only one.

    Remembers what it found, so that a list of ten thousand items asks once.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self._found: dict[tuple[Any, ...], Project] = {}

    @cached_property
    def _writable(self) -> list[Project]:
        return writable(self.request)

    def target(self, body: dict[str, Any]) -> Project:
        """The project to write to; takes both names out of `body`.

        Raises `Invalid`, or `NotAllowed` for a project that may only be read.
        """
        named = body.pop("project", None), body.pop("study", None)
        by_run = not any(named) and len(self._writable) != 1
        place = (*named, body.get("run_id") if by_run else None)
        if not all(part is None or isinstance(part, str) for part in place):
            return self._find(*place)  # refused there, with the field's name
        if place not in self._found:
            self._found[place] = self._find(*place)
        return self._found[place]

    def _find(self, project: Any, study: Any, run: Any) -> Project:
        found = _named(self.request, project, study)
        if found is None:
            return _default(self._writable, None if len(self._writable) == 1 else _project_of_run(self.request, run))
        accounts.require_role(actor(self.request), found, Membership.Role.SUBMITTER)
        return found


def context(request: Request, body: dict[str, Any]) -> Project:
    """The project a question is asked from: named as for a write, or the only one of the caller's."""
    project = _named(request, body.pop("project", None), body.pop("study", None))
    if project is not None:
        return project
    return _default(list(visible(request, Project).filter(memberships__user=request.user).order_by("slug")), None)


def run_of(request: Request, name: str, project: Project) -> Run:
    """The run of `project` with that key or external name. Raises `Invalid`."""
    run = visible(request, Run).filter(project=project).by_name(name).first()
    if run is None:
        raise Invalid({"run_id": f"{name!r} is no run of the project {project.slug}; upload the run first"})
    return run  # type: ignore[no-any-return]  # `visible` is as generic as its model


def _named(request: Request, project: Any, study: Any) -> Project | None:
    named = _by_slug(request, Project, "project", project)
    of_study = _by_slug(request, Study, "study", study)
    if of_study is None:
        return named  # type: ignore[no-any-return]
    if named is not None and named != of_study.project:
        raise Invalid({"project": f"the study {study!r} belongs to {of_study.project.slug!r}, not to {project!r}"})
    return of_study.project  # type: ignore[no-any-return]


def _by_slug(request: Request, model: Any, field: str, slug: Any) -> Any:
    if slug is None:
        return None
    if not isinstance(slug, str):
        raise Invalid({field: f"{slug!r} is not a text"})
    if model is Project and isinstance(request.user, User):
        row = callers.project(slug, request.user, bound_project(request))
    else:
        row = visible(request, model).filter(slug=slug).first()
    if row is None:
        raise Invalid({field: f"{slug!r} is no {field} that you can see"})
    return row


def _project_of_run(request: Request, name: Any) -> set[uuid.UUID]:
    if not isinstance(name, str):
        return set()
    return set(visible(request, Run).by_name(name).values_list("project_id", flat=True))


def _default(candidates: list[Project], of_run: set[uuid.UUID] | None) -> Project:
    """The only candidate, or the only one that holds the run that was named."""
    holding = [project for project in candidates if of_run and project.pk in of_run]
    for group in (holding, candidates):
        if len(group) == 1:
            return group[0]
    if not candidates:
        raise Invalid({"project": "you are a member of no project that this could belong to; ask an admin of one"})
    names = ", ".join(project.slug for project in candidates)
    raise Invalid({"project": f'name one of your projects, as "project" or by a "study" of it: {names}'})
