"""Runs: the list, the page that follows a run while it goes, and the button that stops it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from frontend.charts import PowerCurve, power_curve
from frontend.filters import RunFilter
from frontend.study_charts import as_json
from frontend.views.paging import page_of
from registry.models import Membership, Stage
from registry.selectors import runs, studies
from registry.selectors.runs import RunDetail
from registry.services import accounts
from registry.services import runs as services
from registry.services.errors import ServiceError

LIVE, RECORDS = "live", "records"


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """All runs, filtered."""
    shown = RunFilter(request.GET, queryset=runs.visible(request.user), studies=studies.visible(request.user))
    page = page_of(request, shown.qs)
    context = {"form": shown.form, "rows": runs.rows(page.rows, request.user), "page": page}
    return render(request, "runs/list.html", context, status=400 if shown.form.errors else 200)


@require_safe
def detail(request: HttpRequest, key: UUID) -> HttpResponse:
    """A run. `?part=live` is what htmx asks for every two seconds, `?part=records` what it asks for after a record."""
    found = runs.detail(key, request.user)
    if found is None:
        raise Http404
    context = {"detail": found, "run": found.run, "may_cancel": _may_cancel(request, found)}
    part = request.GET.get("part")
    if part == LIVE:
        response = render(request, "runs/_live.html", context)
        if request.GET.get("seen") != str(found.record_count):
            response["HX-Trigger"] = "records-changed"
        return response
    template = "runs/_records.html" if part == RECORDS else "runs/detail.html"
    return render(request, template, context | {"curves": curves(found)})


@require_POST
@login_required
def cancel(request: HttpRequest, key: UUID) -> HttpResponse:
    """Stop a run; what it burnt stays in the books."""
    found = runs.visible(request.user).filter(pk=key).first()
    if found is None or not request.user.is_authenticated:
        raise Http404
    try:
        services.cancel(actor=request.user, run=found)
        messages.success(request, _("The run is cancelled. What it burnt stays in the books."))
    except ServiceError as error:
        messages.error(request, str(error))
    return redirect("run", key)


def curves(found: RunDetail) -> list[dict[str, Any]]:
    """The power curves that the run's records carry: a title and a figure each."""
    shown = []
    for stage in found.stages:
        lines = [line for record in stage.records for line in _lines(record)]
        if lines:
            title = _("Power while %(stage)s ran") % {"stage": stage.kind.replace("_", " ")}
            figure = as_json(power_curve(lines))
            shown.append({"kind": stage.kind, "figure": figure, "figure_id": f"figure-{stage.kind}", "title": title})
    return shown


def _lines(record: Stage) -> list[PowerCurve]:
    curve = record.extra.get("power_curve")
    points = [pair for pair in curve if _is_sample(pair)] if isinstance(curve, list) else []
    if len(points) < 2:
        return []
    times, watts = ([float(pair[i]) for pair in points] for i in (0, 1))
    name = record.name or record.kind.replace("_", " ")
    # The worker thins a long curve, so its own spacing says what a gap is.
    period_s = max(record.sample_period_s or 0.0, 1.5 * (times[-1] - times[0]) / (len(times) - 1))
    return [PowerCurve(label=f"{name}, {record.status}", times_s=times, power_w=watts, period_s=period_s)]


def _is_sample(pair: Any) -> bool:
    """Uploads may carry anything under that name."""
    numbers = isinstance(pair, list) and len(pair) == 2
    return numbers and all(isinstance(n, int | float) and not isinstance(n, bool) for n in pair)


def _may_cancel(request: HttpRequest, found: RunDetail) -> bool:
    user = request.user
    if not found.is_open or not user.is_authenticated:
        return False
    return accounts.has_role(user, found.run.project, Membership.Role.SUBMITTER)
