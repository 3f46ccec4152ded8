"""What every operation of the OpenAPI file has: the one error shape, and `Idempotency-Key` on every POST."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiParameter

from registry.api.idempotency import HEADER

# No serializer: its key `fields` would hide a serializer's own attribute.
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "fields"],
            "additionalProperties": True,
            "description": "Beside these three, whatever stands in the way: an artifact, a record_id, results.",
            "properties": {
                "code": {"type": "string", "description": "For programs: invalid, conflict, not_found, …"},
                "message": {"type": "string", "description": "One sentence for people."},
                "fields": {
                    "type": "object",
                    "description": "Dotted field → what is wrong with it.",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
            },
            "example": {
                "code": "invalid",
                "message": "cpu_energy_j: -1.0 is negative; leave the field out if it was not measured",
                "fields": {"cpu_energy_j": ["-1.0 is negative; leave the field out if it was not measured"]},
            },
        }
    },
}
_ALWAYS = {"400": "Something about the request cannot be taken.", "401": "The token is unknown or has expired."}
_ALWAYS |= {"403": "The token's scope or your role does not reach.", "406": "Answers are JSON."}
_ALWAYS |= {"429": "More requests than your rate allows; `Retry-After` says when to go on."}
_ALWAYS |= {"503": "The database does not answer; nothing was kept, and `Retry-After` says when to ask again."}
_BODY = {"413": "The body or the list is beyond its cap.", "415": "Bodies are JSON."}
_POST = {"404": "Something it names is not there, or not for you to see."}
_POST |= {"409": "Something that exists stands in the way; it is named.", "422": "The key stood for another request."}


class EndpointSchema(AutoSchema):
    """Adds to each operation what all of them share."""

    def get_override_parameters(self) -> list[Any]:
        """The `Idempotency-Key` header of a POST."""
        if self.method != "POST":
            return []
        return [
            OpenApiParameter(
                HEADER,
                str,
                OpenApiParameter.HEADER,
                description="Of your choosing. The same request again under it gets the same answer, for a day.",
            )
        ]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for status, description in self._refusals().items():
            bodies.setdefault(status, self._refusal(description))
        if self.method == "GET" and getattr(self.view, "serves_rows", False):
            bodies["304"] = {"description": "`If-None-Match` names the answer's ETag: nothing has changed."}
        return dict(sorted(bodies.items()))

    def _refusals(self) -> dict[str, str]:
        refusals = dict(_ALWAYS)
        if self.method == "POST":
            refusals |= _BODY | _POST
        if "{" in self.path:
            refusals["404"] = "There is nothing here that you can see."
        return refusals

    def _refusal(self, description: str) -> dict[str, Any]:
        component = ResolvedComponent(  # type: ignore[no-untyped-call]
            name="Error", type=ResolvedComponent.SCHEMA, schema=ERROR, object="Error"
        )
        self.registry.register_on_missing(component)
        return {"description": description, "content": {"application/json": {"schema": component.ref}}}
