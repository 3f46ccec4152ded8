"""Runs side by side over REST."""

from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.serializers.outlook import ComparisonSerializer
from registry.models import Run
from registry.selectors import comparison
from registry.services.errors import Invalid


class ComparisonView(Endpoint):
    """Runs side by side."""

    queryset = Run.objects.none()
    serializer_class = ComparisonSerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(
        operation_id="compare_runs",
        parameters=[
            OpenApiParameter("run", str, many=True, required=True, description="Key of a run; up to twenty of them."),
            OpenApiParameter("all", bool, default=False, description="Everything, not only what differs."),
        ],
        responses=ComparisonSerializer,
    )
    def get(self, request: Request) -> Response:
        """Results, stages, scores, settings and environment of up to twenty runs; energies in joules."""
        keys = [str(key) for key in request.query_params.getlist("run")]
        whole = request.query_params.get("all", "false")
        if not keys:
            raise Invalid({"run": "name at least one run: ?run=<key>&run=<key>"})
        if whole not in ("true", "false"):
            raise Invalid({"all": f"{str(whole)[:40]!r} must be true or false"})
        try:
            seen = [key for key in keys if access.visible(request, Run).filter(pk=_key(key)).exists()]
            found = comparison.compare(seen, request.user)
        except ValueError as error:
            raise Invalid({"run": str(error)}) from error
        rows = found.rows if whole == "true" else found.differing
        return Response(
            {
                "runs": [detail.run.pk for detail in found.runs],
                "missing": [key[:80] for key in dict.fromkeys(keys) if key not in seen],
                "rows": [
                    {"group": row.group, "name": row.name, "values": list(row.values), "differs": row.differs}
                    for row in rows
                ],
            }
        )


def _key(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
