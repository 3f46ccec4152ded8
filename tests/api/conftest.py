"""A caller of the REST layer, as somebody or as nobody."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

# One for all: every new one reads the static files anew. It is given no cookies.
_CLIENT = Client()


@dataclass
class Caller:
    """Calls below /api/v1/ with JSON bodies and, perhaps, a token."""

    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **query: Any) -> Any:
        return _CLIENT.get(_address(path), query, **self.headers)

    def post(self, path: str, body: Any = None, content_type: str = "application/json", **headers: str) -> Any:
        raw = body if isinstance(body, bytes) else json.dumps(body)
        return _CLIENT.post(_address(path), raw, content_type=content_type, **self.headers, **headers)

    def patch(self, path: str, body: Any) -> Any:
        return _CLIENT.patch(_address(path), json.dumps(body), content_type="application/json", **self.headers)

    def delete(self, path: str) -> Any:
        return _CLIENT.delete(_address(path), **self.headers)


def _address(path: str) -> str:
    return path if path.startswith(("/", "http")) else f"/api/v1/{path}"


@pytest.fixture
def anonymous() -> Caller:
    """Nobody in particular."""
    return Caller()


@pytest.fixture
def call_as(token_for):
    """`call_as(user, **token_options)` → a caller with a token of that user."""

    def caller(user: Any, **options: Any) -> Caller:
        return Caller(token_for(user, **options))

    return caller


@pytest.fixture
def api(member, call_as) -> Caller:
    """The member of the project, with a token that may do everything."""
    return call_as(member)


@pytest.fixture
def outsider(stranger, call_as) -> Caller:
    """Somebody with an account and no part in the project."""
    return call_as(stranger)


def wire(**changes: Any) -> dict[str, Any]:
    """A stage record as JSON."""
    from tests.conftest import make_record

    return make_record().to_dict() | changes
