"""Nested records and the records that they are parts of, which may arrive in any order."""

from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet

from registry.models import Stage


def with_parents(stages: QuerySet[Stage]) -> QuerySet[Stage]:
    """The records, each knowing (`lacks_parent`) whether the one that it is a part of is not in its project's books."""
    parent = Stage.objects.filter(record_id=OuterRef("parent_id"), project=OuterRef("project"))
    lacks = ~Q(parent_id="") & ~Exists(parent)
    return stages.annotate(lacks_parent=ExpressionWrapper(lacks, output_field=BooleanField()))


def parent_missing(stage: Stage) -> bool:
    """Whether it is a part of a record that is not in its project's books; read from there if it is not known yet."""
    known: bool | None = getattr(stage, "lacks_parent", None)
    if known is not None or not stage.parent_id:
        return bool(known)
    return not Stage.objects.filter(record_id=stage.parent_id, project=stage.project_id).exists()
