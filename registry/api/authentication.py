"""Tokens: knox's, hashed at rest, with scopes, perhaps for one project only."""

import re
from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication as KnoxAuthentication
from knox.crypto import hash_token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from registry.models import ApiToken, User
from registry.selectors import callers
from registry.services import accounts

_TOKEN = re.compile(rb"[0-9a-f]{64}")
REFUSAL = "This token is unknown or has expired; `manage.py issue_token USER` prints a new one."


class TokenAuthentication(KnoxAuthentication):  # type: ignore[misc]  # knox has no types
    """`Authorization: Token …`. Whatever is not a token is refused with 401, however it is spelt."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """User and token, or `None` where no token was sent. Raises `AuthenticationFailed`."""
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header.isascii():
            raise AuthenticationFailed(REFUSAL)
        scheme, _, token = header.partition(" ")
        found: tuple[User, ApiToken] | None
        if scheme.lower() == "bearer":  # what foreign clients call it, MLflow's among them
            found = self.authenticate_credentials(token.strip().encode())
        else:
            found = super().authenticate(request)
        if found is not None:
            accounts.touch_token(found[1], timezone.now())
        return found

    def authenticate_credentials(self, token: bytes) -> tuple[User, ApiToken]:
        """The token's user. Raises `AuthenticationFailed`."""
        if not _TOKEN.fullmatch(token):
            raise AuthenticationFailed(REFUSAL)
        # Knox's own way looks through, and clears, all tokens of the user each time.
        found = callers.token(hash_token(token.decode()))
        if found is None or not found.user.is_active or (found.expiry and found.expiry <= timezone.now()):
            raise AuthenticationFailed(REFUSAL)
        return found.user, found


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI file names it."""

    target_class = "registry.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """An API key in the Authorization header, because OpenAPI knows no `Token` scheme."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token ` and the token that `manage.py issue_token USER` prints.",
        }
