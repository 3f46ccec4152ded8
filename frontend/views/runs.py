"""Runs: the list, the page that follows a run while it goes, and the button that stops it."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from frontend import power
from frontend.filters import RunFilter
from frontend.forms import ReviewForm
from frontend.views.paging import page_of
from registry.models import Membership, Run, Stage, Study
from registry.selectors import runs
from registry.selectors.runs import RunDetail
from registry.services import accounts, reviews
from registry.services import runs as services
from registry.services.errors import ServiceError

LIVE, RECORDS = "live", "records"


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """All runs, filtered."""
    shown = RunFilter(request.GET, queryset=runs.visible(request.user), studies=Study.objects.visible_to(request.user))
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
    context |= {
        "power": power.rows(found),
        "stretches": power.stretches(found),
        "claims": power.claims(found),
        "judged": runs.judged(found.run),
    }
    return render(request, template, context | {"may_review": _is_maintainer(request, found.run)})


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


@require_POST
@login_required
def review(request: HttpRequest, key: UUID) -> HttpResponse:
    """Say something of a record of a run: accept it, doubt it, take it back."""
    stage = Stage.objects.visible_to(request.user).filter(pk=key).exclude(run=None).select_related("run").first()
    form = ReviewForm(request.POST)
    if stage is None or not request.user.is_authenticated:
        raise Http404
    if not form.is_valid():
        messages.error(request, _("Say what you think of the record, and why."))
    else:
        try:
            reviews.review(stage=stage, actor=request.user, **form.cleaned_data)
            messages.success(request, _("It stands beside the record, and in the audit log."))
        except ServiceError as error:
            messages.error(request, str(error))
    return redirect("run", stage.run_id)


def _is_maintainer(request: HttpRequest, run: Run) -> bool:
    user = request.user
    return user.is_authenticated and accounts.has_role(user, run.project, Membership.Role.MAINTAINER)


def _may_cancel(request: HttpRequest, found: RunDetail) -> bool:
    user = request.user
    if not found.is_open or not user.is_authenticated:
        return False
    return accounts.has_role(user, found.run.project, Membership.Role.SUBMITTER)
