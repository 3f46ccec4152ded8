"""Who asks, and from which project: what every request over REST begins with, in one prepared statement each."""

import json
import uuid

from django.db import DEFAULT_DB_ALIAS, models

from registry.models import ApiToken, Project, User
from registry.selectors import prepared


def _columns(model: type[models.Model]) -> list[str]:
    return [field.column or field.attname for field in model._meta.concrete_fields]


def attributes(model: type[models.Model]) -> list[str]:
    """Names of the model's columns as `from_db` takes them, in the order of `listed`."""
    return [field.attname for field in model._meta.concrete_fields]


def listed(alias: str, model: type[models.Model]) -> str:
    """All columns of the table that stands as `alias` in a statement."""
    return ", ".join(f'{alias}."{column}"' for column in _columns(model))


# ruff: noqa: S608 (the statements are put together of the models' own column names)
TOKEN = f"""
    SELECT
        {listed("t", ApiToken)}, {listed("u", User)},
        ARRAY(SELECT m.project_id FROM registry_membership AS m WHERE m.user_id = u.id)
    FROM registry_apitoken AS t JOIN registry_user AS u ON u.id = t.user_id
    WHERE t.digest = %(digest)s
"""
PROJECT = f"""
    SELECT {listed("p", Project)}
    FROM registry_project AS p
    WHERE p.slug = %(slug)s
    AND (%(everything)s::boolean OR p.public OR p.id = ANY(%(mine)s::uuid[]))
    AND (%(bound)s::uuid IS NULL OR p.id = %(bound)s::uuid)
"""


def token(digest: str) -> ApiToken | None:
    """The token of that digest with its user, whose projects are read along; `None` if there is none."""
    for row in prepared.rows(TOKEN, {"digest": digest}):
        names = attributes(ApiToken)
        known = dict(zip(names, row, strict=False))
        known["scopes"] = json.loads(known["scopes"])
        found: ApiToken = ApiToken.from_db(DEFAULT_DB_ALIAS, names, list(known.values()))
        found.user = User.from_db(DEFAULT_DB_ALIAS, attributes(User), row[len(names) : -1])
        found.user.remember_projects(row[-1])
        return found
    return None


def project(slug: str, user: User, bound: uuid.UUID | None) -> Project | None:
    """The project of that slug, if `user` may see it, and if it is `bound` where a token is for one project alone."""
    mine = user.member_project_ids()
    values = {"slug": slug, "everything": user.is_superuser, "mine": mine, "bound": bound}
    return next(
        (Project.from_db(DEFAULT_DB_ALIAS, attributes(Project), row) for row in prepared.rows(PROJECT, values)), None
    )
