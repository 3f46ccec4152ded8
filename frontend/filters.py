"""Filters of the lists, with forms of their own."""

from typing import Any

import django_filters as filters
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from registry.accounting.stages import PIPELINES
from registry.models import Origin, Run, Study


class RunFilter(filters.FilterSet):  # type: ignore[misc]  # the package has no types
    """Of the runs' list."""

    q = filters.CharFilter(label=_("Search"), method="containing")
    study = filters.ModelChoiceFilter(
        label=_("Study"), queryset=Study.objects.none(), to_field_name="slug", empty_label=_("any")
    )
    pipeline = filters.ChoiceFilter(
        label=_("Pipeline"),
        choices=[(name, name) for name in (*PIPELINES, "teacher_reference")],
        empty_label=_("any"),
    )
    status = filters.ChoiceFilter(label=_("Status"), choices=Run.Status.choices, empty_label=_("any"))
    origin = filters.ChoiceFilter(label=_("Origin"), choices=Origin.choices, empty_label=_("any"))

    class Meta:
        model = Run
        fields: list[str] = []

    def __init__(self, *args: Any, studies: QuerySet[Study], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters["study"].queryset = studies

    def containing(self, rows: QuerySet[Any], _name: str, value: str) -> QuerySet[Any]:
        """Runs with `value` somewhere in what names them."""
        return rows.filter(_anywhere(value, "student", "student_size", "teacher", "workload", "external_id"))


def _anywhere(value: str, *columns: str) -> Q:
    wanted = Q()
    for column in columns:
        wanted |= Q(**{f"{column}__icontains": value})
    return wanted
