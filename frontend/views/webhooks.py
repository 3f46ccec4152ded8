"""Webhooks: those of the projects one is an admin of, each with its messages and what became of them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from frontend.forms_webhooks import WebhookChangeForm, WebhookForm
from registry.models import Membership, Project, User, Webhook, WebhookDelivery
from registry.services import webhooks
from registry.services.errors import Invalid, ServiceError

SHOWN = 50


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def listing(request: HttpRequest) -> HttpResponse:
    """All of one's webhooks, and the form for another one. The answer to the form alone shows the secret."""
    hooks = Webhook.objects.visible_to(request.user).select_related("project")
    projects = _administered(request)
    form = WebhookForm(request.POST or None, projects=projects)
    secret = ""
    if request.method == "POST" and form.is_valid():
        try:
            made, secret = webhooks.create(
                actor=_user(request), site=request.build_absolute_uri("/"), **form.cleaned_data
            )
        except Invalid as error:
            form.refuse(error)
        except ServiceError as error:
            form.add_error(None, str(error))
        else:
            return _shown(request, made, secret)
    context = {"hooks": hooks, "form": form, "projects": projects}
    return render(request, "webhooks/list.html", context, status=400 if form.errors else 200)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def detail(request: HttpRequest, key: UUID) -> HttpResponse:
    """One webhook: what it is told, and the messages of the last thirty days."""
    hook = _found(request, key)
    if request.method != "POST":
        return _shown(request, hook)
    form = WebhookChangeForm(request.POST)
    if form.is_valid():
        try:
            webhooks.change(actor=_user(request), webhook=hook, **form.cleaned_data)
        except Invalid as error:
            form.refuse(error)
        else:
            messages.success(request, _("It is changed, and the change is in the audit log."))
            return redirect("webhook", hook.pk)
    return _shown(request, hook, form=form)


@require_POST
@login_required
def ping(request: HttpRequest, key: UUID) -> HttpResponse:
    """Send a test message."""
    hook = _found(request, key)
    said = _("A test is on its way; what becomes of it stands below.")
    return _done(request, hook, said, lambda actor: webhooks.ping(actor=actor, webhook=hook))


@require_POST
@login_required
def enable(request: HttpRequest, key: UUID) -> HttpResponse:
    """Tell it nothing any more, or tell it again."""
    hook = _found(request, key)
    wanted = request.POST.get("enabled") == "1"
    said = _("It is enabled; what waited is sent now.") if wanted else _("It is disabled.")
    return _done(request, hook, said, lambda actor: webhooks.change(actor=actor, webhook=hook, enabled=wanted))


@never_cache
@require_POST
@login_required
def renew(request: HttpRequest, key: UUID) -> HttpResponse:
    """A new secret, which this answer alone shows."""
    hook = _found(request, key)
    return _shown(request, hook, webhooks.renew_secret(actor=_user(request), webhook=hook))


@require_POST
@login_required
def drop(request: HttpRequest, key: UUID) -> HttpResponse:
    """Gone, with the list of its messages."""
    webhooks.drop(actor=_user(request), webhook=_found(request, key))
    messages.success(request, _("The webhook is dropped."))
    return redirect("webhooks")


@require_POST
@login_required
def redeliver(request: HttpRequest, key: UUID) -> HttpResponse:
    """Send one message once more."""
    row = get_object_or_404(WebhookDelivery.objects.visible_to(request.user).select_related("webhook"), pk=key)
    said = _("The message is on its way again, under its old id.")
    return _done(request, row.webhook, said, lambda actor: webhooks.redeliver(actor=actor, delivery=row))


def _shown(
    request: HttpRequest, hook: Webhook, secret: str = "", form: WebhookChangeForm | None = None
) -> HttpResponse:
    page = Paginator(hook.deliveries.all(), SHOWN).get_page(request.GET.get("page"))
    known = {"url": hook.url, "note": hook.note, "events": hook.events}
    context = {
        "hook": hook,
        "secret": secret,
        "form": form or WebhookChangeForm(initial=known),
        "page": page,
    }
    return render(request, "webhooks/detail.html", context, status=400 if form is not None else 200)


def _done(request: HttpRequest, hook: Webhook, said: str, work: Callable[[User], Any]) -> HttpResponse:
    try:
        work(_user(request))
        messages.success(request, said)
    except ServiceError as error:
        messages.error(request, str(error))
    return redirect("webhook", hook.pk)


def _found(request: HttpRequest, key: UUID) -> Webhook:
    return get_object_or_404(Webhook.objects.visible_to(request.user).select_related("project"), pk=key)


def _administered(request: HttpRequest) -> Any:
    if request.user.is_superuser:
        return Project.objects.all()
    admin = {"memberships__user": request.user, "memberships__role": Membership.Role.ADMIN}
    return Project.objects.filter(**admin)


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101 (every view here wants a login)
    return request.user
