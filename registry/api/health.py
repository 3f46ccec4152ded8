"""Is everything there? For load balancers and people, without a login."""

from typing import Any

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from kombu.exceptions import OperationalError
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.api.schema import EndpointSchema
from registry.celery import app
from registry.models import Job

_WORKERS = "health:workers"
ANSWER_S = 0.5  # how long a worker may take to say that it is there
REMEMBERED_S = 5  # so that asking often costs nothing


class HealthSerializer(serializers.Serializer[Any]):
    """Each part's state: `ok`, or what is wrong."""

    status = serializers.ChoiceField(["ok", "degraded", "down"], help_text="degraded: it answers, but no worker does.")
    database = serializers.CharField()
    broker = serializers.CharField()
    workers = serializers.IntegerField(allow_null=True, help_text="How many there are; null while a part is away.")


class HealthView(APIView):
    """Database, broker and workers."""

    schema = EndpointSchema()
    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    @extend_schema(operation_id="health", tags=["health"], responses={200: HealthSerializer, 503: HealthSerializer})
    def get(self, request: Request) -> Response:
        """200 while database and broker answer, else 503. Without a worker it is 200 and `degraded`."""
        database, broker = _database(), _broker()
        workers = _workers() if database == broker == "ok" else None
        up = database == broker == "ok"
        status = ("ok" if workers else "degraded") if up else "down"
        parts = {"status": status, "database": database, "broker": broker, "workers": workers}
        return Response(parts, status=200 if up else 503, headers={"Cache-Control": "no-store"})


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "does not answer"  # why, the log says; it may name hosts and people
    return "ok"


def _broker() -> str:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as client:
            client.ping()
    except redis.RedisError:
        return "does not answer"
    return "ok"


def _workers() -> int | None:
    """Workers at a job or answering a ping, as of the last few seconds; `None` if they can't be asked."""
    remembered: int | None = cache.get(_WORKERS)
    if remembered is not None:
        return remembered
    try:
        answers = app.control.ping(timeout=ANSWER_S) or []
    except (OperationalError, redis.RedisError):
        return None
    # A worker of one process answers no ping while it is at a job, but its lease lives.
    busy = Job.objects.filter(status=Job.Status.RUNNING, lease_expires_at__gt=timezone.now())
    workers = max(len(answers), busy.values("worker").distinct().count())
    cache.set(_WORKERS, workers, REMEMBERED_S)
    return workers
