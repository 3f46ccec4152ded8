"""What every table shares."""

import uuid
from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Q
from uuid6 import uuid7

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from registry.models.accounts import User


def new_key() -> uuid.UUID:
    """A UUIDv7: unique everywhere, and ordered by time, so that keyset cursors follow the clock."""
    return uuid.UUID(bytes=uuid7().bytes)


Row_co = TypeVar("Row_co", bound=models.Model, covariant=True)


class OwnedQuerySet(models.QuerySet[Row_co]):
    """Rows that belong to a project. `project_path` leads from the row to it."""

    project_path = "project"

    def visible_to(self, user: "User | AnonymousUser") -> Self:
        """Rows of public projects and of the projects `user` is a member of."""
        if user.is_authenticated and user.is_superuser:
            return self
        public = Q(**{f"{self.project_path}__public": True})
        if not user.is_authenticated:
            return self.filter(public)
        return self.filter(public | Q(**{f"{self.project_path}__in": user.member_project_ids()}))


class Owned(models.Model):
    """A row with a time-ordered key, a project and the moment it was written."""

    id = models.UUIDField(primary_key=True, default=new_key, editable=False)
    project = models.ForeignKey("registry.Project", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        abstract = True


class Words(models.Func):
    """The words of several text columns as a search vector: ids fall apart at slashes, dots and dashes."""

    template = "to_tsvector('simple', regexp_replace(%(expressions)s, '[[:punct:][:space:]]+', ' ', 'g'))"
    arg_joiner = " || ' ' || "
    output_field = SearchVectorField()


class AmongKeys(models.Lookup):
    """Whether a key is among these, which travel as one array: thousands of parameters take long to put together."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """`key = ANY(keys)`."""
        key, values = self.process_lhs(compiler, connection)
        return f"{key} = ANY(%s::uuid[])", [*values, list(self.rhs)]


class Origin(models.TextChoices):
    """Where a figure came from."""

    WORKER = "worker", "measured by a worker"
    UPLOAD = "upload", "uploaded"
    IMPORT = "import", "imported from a file"
    PUBLISHED = "published", "published in a paper"
