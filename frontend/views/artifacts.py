"""Artifacts: the list, and the page of one."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from frontend.filters import ArtifactFilter
from frontend.views.paging import page_of
from registry.selectors import artifacts


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """All artifacts, filtered."""
    shown = ArtifactFilter(request.GET, queryset=artifacts.visible(request.user))
    context = {"form": shown.form, "page": page_of(request, shown.qs)}
    return render(request, "artifacts/list.html", context, status=400 if shown.form.errors else 200)


@require_safe
def detail(request: HttpRequest, key: UUID) -> HttpResponse:
    """What an artifact is, what lies there, what it cost, and who used it."""
    found = artifacts.detail(key, request.user)
    if found is None:
        raise Http404
    return render(request, "artifacts/detail.html", {"detail": found, "artifact": found.artifact})
