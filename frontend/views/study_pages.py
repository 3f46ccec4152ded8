"""A study's further pages: what settings and workloads do, and what the measurements advise."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from frontend import study_charts
from frontend.charts_study import cost_unit, quality_title, sensitivity_chart
from frontend.forms_analysis import AnalysisForm
from frontend.views.studies import form_of, study_of
from registry.accounting.advice import Wish
from registry.accounting.assumptions import LARGEST_N
from registry.accounting.axes import TITLES
from registry.models import Study
from registry.selectors import outlook, sensitivity, studies
from registry.selectors.measures import TooManyRuns


class WishForm(forms.Form):
    """What the reader needs of a student."""

    size = forms.MultipleChoiceField(label=_("Sizes"), required=False, widget=forms.CheckboxSelectMultiple)
    other = forms.CharField(label=_("Another size"), max_length=80, required=False)
    q_floor = forms.FloatField(label=_("Q at least"), min_value=0, max_value=10, required=False)
    budget = forms.FloatField(label=_("Budget, kWh a student"), min_value=0, max_value=10**12, required=False)
    students = forms.IntegerField(
        label=_("Students per artifact"), min_value=1, max_value=LARGEST_N, required=False, initial=1
    )
    tokens = forms.FloatField(label=_("Tokens each will serve"), min_value=0, max_value=10**18, required=False)

    def __init__(self, *args: Any, sizes: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["size"].choices = [(size, size) for size in sizes]  # type: ignore[attr-defined]  # a choice field
        for name in ("q_floor", "budget", "tokens"):
            self.fields[name].widget.attrs["step"] = "any"

    @property
    def wish(self) -> Wish:
        """The wish; what was left empty asks for nothing."""
        given = self.cleaned_data
        sizes = [*given["size"], *([given["other"]] if given["other"] else [])]
        return Wish(
            sizes=tuple(dict.fromkeys(sizes)),
            q_floor=given["q_floor"],
            budget_kwh=given["budget"],
            students=given["students"] or 1,
            tokens=given["tokens"] or 0.0,
        )


@require_safe
def settings(request: HttpRequest, slug: str) -> HttpResponse:
    """Cost and quality against every setting that varies, and each workload beside their mean."""
    study = study_of(request, slug)
    form, seen = seen_of(request, study)
    context: dict[str, Any] = {"study": study, "form": form, "view": seen}
    if seen is not None:
        context |= {"asked": form.assumptions} | settings_of(seen)
    return _answer(request, "settings", context, ok=seen is not None)


def settings_of(seen: outlook.StudyOutlook) -> dict[str, Any]:
    """What the fragment of settings and workloads shows."""
    unit, scale = cost_unit(seen.seen)
    title = TITLES[seen.seen.axes.cost]
    found = sensitivity.of_settings(seen)
    names, rows = sensitivity.of_workloads(seen)
    figures = [study_charts.as_json(sensitivity_chart(one, cost_title=title, unit=unit, scale=scale)) for one in found]
    return {
        "found": [
            (f"setting-{place}", f"figure-setting-{place}", one, figures[place]) for place, one in enumerate(found)
        ],
        "workloads": names,
        "rows": rows if len(names) > 1 else (),
        "cost_title": title,
        "cost_unit": unit,
        "cost_scale": scale,
        "quality_title": quality_title(seen.seen),
    }


@require_safe
def advice(request: HttpRequest, slug: str) -> HttpResponse:
    """Which pipeline and size to choose, with the arithmetic shown."""
    context = advice_of(request, study_of(request, slug))
    return _answer(request, "advice", context, ok="advice" in context)


def advice_of(request: HttpRequest, study: Study) -> dict[str, Any]:
    """Controls, wishes and, where both can be, the advice."""
    form, seen = seen_of(request, study)
    sizes = list(dict.fromkeys(run.figures.student for run in seen.runs)) if seen else []
    given = request.GET.copy()
    given.setdefault("students", "1")
    wishes = WishForm(given, sizes=sizes)
    context: dict[str, Any] = {"study": study, "form": form, "wishes": wishes}
    if wishes.is_valid() and seen is not None:
        context["advice"] = sensitivity.advice(seen, study, wishes.wish)
    return context


def _answer(request: HttpRequest, page: str, context: dict[str, Any], *, ok: bool) -> HttpResponse:
    """The page, or its fragment alone for htmx."""
    fragment = bool(getattr(request, "htmx", None)) and not request.htmx.boosted  # type: ignore[attr-defined]
    template = f"studies/_{page}.html" if fragment else f"studies/{page}.html"
    response = render(request, template, context, status=200 if ok else 400)
    response["Vary"] = "HX-Request"
    return response


def seen_of(request: HttpRequest, study: Study) -> tuple[AnalysisForm, outlook.StudyOutlook | None]:
    """The controls and the study under them; `None` where they cannot be."""
    figures = studies.figures(study, request.user)
    form = form_of(request, study, figures)
    if not form.is_valid():
        return form, None
    try:
        return form, outlook.of_study(study, figures, form.assumptions["assumed"])
    except TooManyRuns as error:
        form.add_error("cost", str(error))
        return form, None
