"""The power chart of a run, for the stretch that the reader looks at."""

from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from frontend import power
from registry.selectors import runs, traces
from registry.selectors.runs import RunDetail

DEFAULT_WIDTH_PX = 900
TITLE = _("Power of each device while the stages ran. CPU and RAM are means since the sample before.")
POINTS_PER_PX = 2
FARTHEST_S = 1e9  # 30 years: no run is longer, and dates end somewhere


class StretchForm(forms.Form):
    """Seconds since the run's first record began, and how wide the chart is."""

    to = forms.FloatField(required=False, min_value=-FARTHEST_S, max_value=FARTHEST_S)
    width = forms.IntegerField(required=False, min_value=100, max_value=10_000)

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data)
        # No name that Python lets a class give.
        self.fields["from"] = forms.FloatField(required=False, min_value=-FARTHEST_S, max_value=FARTHEST_S)

    def clean(self) -> dict[str, Any]:
        """A stretch that ends before it begins is none."""
        start_s, end_s = self.cleaned_data.get("from"), self.cleaned_data.get("to")
        if start_s is not None and end_s is not None and end_s <= start_s:
            self.add_error("to", f"{end_s} is not after 'from', {start_s}")
        return self.cleaned_data


@require_safe
def chart(request: HttpRequest, key: UUID) -> HttpResponse:
    """The figure as JSON; `?from=&to=` is the stretch, thinned anew for `?width=` pixels."""
    found = runs.detail(key, request.user)
    if found is None:
        raise Http404
    form = StretchForm(request.GET)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    return HttpResponse(figure_of(found, form), content_type="application/json")


def figure_of(found: RunDetail, form: StretchForm) -> str:
    """The figure of that stretch as JSON text. Raises `Http404` where the run has no trace."""
    asked = form.cleaned_data
    width_px = asked["width"] or DEFAULT_WIDTH_PX
    points = min(traces.POINTS, POINTS_PER_PX * width_px)
    read = traces.of_run(found, start_s=asked["from"], end_s=asked["to"], points=points)
    if read is None:
        raise Http404
    return power.chart(read, width_px=width_px)
