"""A study under other assumptions: teacher, student and evaluation energy times a factor each, in the address."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from frontend import study_charts
from frontend.charts import energy_unit, frontier_chart
from frontend.forms import SCOPES
from frontend.views.studies import study_of
from registry.accounting.figures import FULL, REUSED
from registry.accounting.transfer import LARGEST, SMALLEST, Factors
from registry.models import Study
from registry.selectors import studies
from registry.selectors.transfer import transfer

FACTORS = ("teacher", "student", "evaluation")


def _factor(label: Any, text: Any) -> forms.FloatField:
    attrs = {"step": "any", "inputmode": "decimal"}
    return forms.FloatField(
        label=label,
        help_text=text,
        min_value=SMALLEST,
        max_value=LARGEST,
        required=False,
        widget=forms.NumberInput(attrs=attrs),
    )


class TransferForm(forms.Form):
    """The factors, and the scope the frontier is read under."""

    teacher = _factor(_("Teacher ×"), _("another teacher, engine or power cap"))
    student = _factor(_("Student ×"), _("training it on other hardware"))
    evaluation = _factor(_("Evaluation ×"), "")
    scope = forms.ChoiceField(label=_("Scope"), choices=SCOPES, required=False)
    n = forms.IntegerField(label=_("N students"), min_value=1, max_value=10**9, required=False)
    reused = forms.BooleanField(label=_("N as really reused"), required=False)

    @property
    def factors(self) -> Factors:
        """What was asked for; 1 where nothing was."""
        return Factors(**{name: self.cleaned_data.get(name) or 1.0 for name in FACTORS})

    @property
    def asked(self) -> dict[str, Any]:
        """Scope and N."""
        given = self.cleaned_data
        return {"scope": given.get("scope") or FULL, "n": REUSED if given.get("reused") else given.get("n") or 1}


@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Frontier and N* before and after; the fragment alone for htmx."""
    study = study_of(request, slug)
    form = form_of(request)
    context: dict[str, Any] = {"study": study, "form": form}
    if form.is_valid():
        context |= view_of(request, study, form)
    fragment = bool(getattr(request, "htmx", None)) and not request.htmx.boosted  # type: ignore[attr-defined]
    template = "studies/_transfer.html" if fragment else "studies/transfer.html"
    response = render(request, template, context, status=200 if form.is_valid() else 400)
    response["Vary"] = "HX-Request"
    return response


def form_of(request: HttpRequest) -> TransferForm:
    """The factors of the address, 1 where it has none."""
    return TransferForm({**dict.fromkeys(FACTORS, 1), "scope": FULL, "n": 1} | request.GET.dict())


def view_of(request: HttpRequest, study: Study, form: TransferForm) -> dict[str, Any]:
    """What the fragment needs: the figure, and rows in the order of the new energies."""
    found = transfer(study, studies.figures(study, request.user), form.factors, **form.asked)
    drawn = [p for p in found.after.placements if p.point.energy_j is not None and p.point.q is not None]
    energies = [energy for point in found.points for energy in (point.before_j, point.after_j)]
    return {
        "found": found,
        "rows": sorted(found.points, key=lambda point: (point.after_j is None, point.after_j or 0.0)),
        "unit": energy_unit(energies)[0],
        "figure": study_charts.as_json(frontier_chart(drawn, energy_title="Energy under these factors"))
        if drawn
        else None,
        "title": _("Calculated, not measured: the same runs with each stage's energy times its factor"),
    }
