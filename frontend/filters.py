"""Filters of the lists, with forms of their own."""

from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from frontend.views.paging import PAGE
from registry.accounting.stages import PIPELINES
from registry.models import Origin, Run, Study
from registry.selectors.words import MOST, runs_matching


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

    def __init__(self, *args: Any, studies: QuerySet[Study], whole: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.whole = whole  # not for one page alone
        self.filters["study"].queryset = studies

    def containing(self, rows: QuerySet[Any], _name: str, value: str) -> QuerySet[Any]:
        """Runs with words that begin as those of `value` in what names them."""
        below, page = ("", MOST) if self.whole else (self.data.get("before", ""), PAGE)
        return runs_matching(rows, value, below=below, page=page)
