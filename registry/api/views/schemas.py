"""The run document as a JSON Schema of its own, for whoever writes one without asking this server."""

from functools import lru_cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.endpoint import Endpoint
from registry.models import Run
from registry.services.uploads import SCHEMA_VERSION

ROOT, COMPONENTS, DEFS = "RunDocumentRequest", "#/components/schemas/", "#/$defs/"


class RunSchemaView(Endpoint):
    """The shape of a run document."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_run_schema", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        """JSON Schema (2020-12) of what `POST runs/upload/` takes, in the newest version of its shape."""
        return Response(run_schema())


@lru_cache(maxsize=1)
def run_schema() -> dict[str, Any]:
    """The schema, out of the same serializers as the OpenAPI file."""
    schemas = SchemaGenerator().get_schema(request=None, public=True)["components"]["schemas"]  # type: ignore[no-untyped-call]
    needed, waiting = {}, [ROOT]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = _local(schemas[name], waiting)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A run measured elsewhere, version {SCHEMA_VERSION}",
        **needed.pop(ROOT),
        "$defs": needed,
    }


def _local(schema: Any, found: list[str]) -> Any:
    """The schema with its references turned to its own definitions; their names are added to `found`."""
    if isinstance(schema, dict):
        turned = {key: _local(value, found) for key, value in schema.items()}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = reference.removeprefix(COMPONENTS)
            found.append(name)
            turned["$ref"] = DEFS + name
        return turned
    return [_local(item, found) for item in schema] if isinstance(schema, list) else schema
