"""Webhooks of a project, for its admins: registered, changed, tried; and the messages that went to them."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.filters import DeliveryFilter, WebhookFilter
from registry.api.idempotency import once
from registry.api.serializers.webhooks import (
    DeliverySerializer,
    WebhookChange,
    WebhookPayload,
    WebhookSerializer,
    WebhookWithSecret,
)
from registry.models import Webhook, WebhookDelivery
from registry.services import webhooks

EXAMPLE = {
    "project": "my-lab",
    "url": "https://hooks.example.org/stagemeter",
    "events": ["run.finished", "run.failed", "artifact.ready"],
    "note": "The lab's channel.",
}


class _Webhooks(Endpoint):
    """What all of these share."""

    queryset = Webhook.objects.none()
    scopes = {"POST": ("manage",), "PATCH": ("manage",), "DELETE": ("manage",)}


class WebhooksView(_Webhooks):
    """Webhooks."""

    serializer_class = WebhookSerializer
    filterset_class = WebhookFilter

    @extend_schema(operation_id="list_webhooks", responses=WebhookSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Webhooks of the projects you are an admin of, newest first."""
        return self.listed(access.visible(request, Webhook).select_related("project"))

    @extend_schema(
        operation_id="create_webhook",
        filters=False,
        request=WebhookPayload,
        responses={201: WebhookWithSecret},
        examples=[OpenApiExample("Tell a channel", value=EXAMPLE, request_only=True)],
    )
    @once
    def post(self, request: Request) -> Response:
        """Register an address to be told of events. Needs an admin. The answer alone holds the secret that signs.

        The address must be public https, at port 443 or 8443, unless this installation permits its network.
        """
        form = WebhookPayload(data=request.data)
        form.is_valid(raise_exception=True)
        values = dict(form.validated_data)
        project = access.Desk(request).target(values)
        site = request.build_absolute_uri("/")
        hook, secret = webhooks.create(actor=access.actor(request), project=project, site=site, **values)
        return _with_secret(hook, secret, status=201)


class WebhookView(_Webhooks):
    """One webhook."""

    serializer_class = WebhookSerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_webhook", responses=WebhookSerializer)
    def get(self, request: Request, id: UUID) -> Response:
        """The webhook, without its secret."""
        return Response(WebhookSerializer(access.get(request, Webhook, pk=id)).data)

    @extend_schema(operation_id="change_webhook", request=WebhookChange, responses=WebhookSerializer)
    def patch(self, request: Request, id: UUID) -> Response:
        """Another address or note, other events, enabled or not. What waits while it is disabled is sent later."""
        hook = access.get(request, Webhook, pk=id)
        form = WebhookChange(data=request.data)
        form.is_valid(raise_exception=True)
        changed = webhooks.change(actor=access.actor(request), webhook=hook, **form.validated_data)
        return Response(WebhookSerializer(changed).data)

    @extend_schema(operation_id="drop_webhook", request=None, responses={204: None})
    def delete(self, request: Request, id: UUID) -> Response:
        """Drop it, with the list of its messages."""
        webhooks.drop(actor=access.actor(request), webhook=access.get(request, Webhook, pk=id))
        return Response(status=204)


class WebhookSecretView(_Webhooks):
    """The secret of a webhook."""

    serializer_class = WebhookWithSecret
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="renew_webhook_secret", request=None, responses={200: WebhookWithSecret})
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """A new secret, shown in this answer alone. The old one signs nothing from now on."""
        hook = access.get(request, Webhook, pk=id)
        return _with_secret(hook, webhooks.renew_secret(actor=access.actor(request), webhook=hook))


class WebhookPingView(_Webhooks):
    """A test message."""

    serializer_class = DeliverySerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="ping_webhook", request=None, responses={202: DeliverySerializer})
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Send a test message; what becomes of it stands among the deliveries. 409 for a disabled webhook."""
        row = webhooks.ping(actor=access.actor(request), webhook=access.get(request, Webhook, pk=id))
        return Response(DeliverySerializer(row).data, status=202)


class DeliveriesView(_Webhooks):
    """Messages."""

    queryset = WebhookDelivery.objects.none()  # type: ignore[assignment]  # another model's
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilter

    @extend_schema(operation_id="list_webhook_deliveries", responses=DeliverySerializer(many=True))
    def get(self, request: Request) -> Response:
        """Messages to webhooks of yours, newest first, with what became of each. Kept for thirty days."""
        return self.listed(access.visible(request, WebhookDelivery))


class RedeliverView(_Webhooks):
    """One message again."""

    serializer_class = DeliverySerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="redeliver_webhook", request=None, responses={202: DeliverySerializer})
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Send a message once more, under its old `webhook-id`. 409 while it is on its way for the first time."""
        row = access.get(request, WebhookDelivery, pk=id)
        sent = webhooks.redeliver(actor=access.actor(request), delivery=row)
        return Response(DeliverySerializer(sent).data, status=202)


class Shown(Response):
    """An answer that holds a secret; `kept` is what a repetition of the request is answered with."""

    kept: dict[str, Any]


def _with_secret(hook: Webhook, secret: str, status: int = 200) -> Response:
    shown = dict(WebhookSerializer(hook).data)
    response = Shown({**shown, "secret": secret}, status=status)
    response.kept = {**shown, "secret": None}
    return response
