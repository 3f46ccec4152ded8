"""Deny by default: a view that does not say what a method needs refuses it."""

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from registry.models import ApiToken

if TYPE_CHECKING:  # it imports this module itself
    from rest_framework.views import APIView


class ReadPublicWriteMember(BasePermission):
    """Anybody reads what is public; any other method needs a login and one of the scopes its view names.

    Which rows, and what a member's role allows, the querysets and the services decide.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Whether the request may go on to the view."""
        if request.method in SAFE_METHODS:
            return self._in_scope(request, ("read",))
        if not hasattr(view, str(request.method).lower()):
            return True  # to be answered with 405
        wanted = getattr(view, "scopes", {}).get(request.method, ())
        return bool(wanted) and request.user.is_authenticated and self._in_scope(request, wanted)

    def _in_scope(self, request: Request, wanted: tuple[str, ...]) -> bool:
        if not isinstance(request.auth, ApiToken):
            return True
        if any(scope in request.auth.scopes for scope in wanted):
            return True
        self.message = (
            f"This needs a token with the scope {' or '.join(wanted)}; this one has {', '.join(request.auth.scopes)}."
        )
        return False
