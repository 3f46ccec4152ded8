"""Whatever the OpenAPI file allows, and much that it forbids: never a fault, never an answer of another shape."""

import json

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)


@schemathesis.serializer("application/x-ndjson")
def _ndjson(context, value):
    """One line for each item."""
    return b"\n".join(json.dumps(item).encode() for item in (value if isinstance(value, list) else [value]))


SCHEMA = schemathesis.openapi.from_wsgi("/api/schema/", get_wsgi_application(), headers={"Accept": "application/json"})
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def token(owner, study, token_for):
    """Of the project's admin, so that as little as possible ends at the door."""
    # The test's transaction must outlive the requests, as Django's own test client sees to.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield token_for(owner)["HTTP_AUTHORIZATION"]
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@SCHEMA.parametrize()
@settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_anything(case, token):
    headers = {"Authorization": token, "Accept-Encoding": "identity"}  # the in-process transport decodes nothing
    case.call_and_validate(headers=headers, checks=CHECKS)
