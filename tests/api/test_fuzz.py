"""Whatever the OpenAPI file allows, and much that it forbids: never a fault, never an answer of another shape."""

import itertools
import json
from collections import defaultdict

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation.meta import CoverageScenario
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from registry.api.authentication import TokenAuthentication


@schemathesis.serializer("application/x-ndjson")
def _ndjson(context, value):
    """One line for each item."""
    return b"\n".join(json.dumps(item).encode() for item in (value if isinstance(value, list) else [value]))


SCHEMA = schemathesis.openapi.from_wsgi("/api/schema/", get_wsgi_application(), headers={"Accept": "application/json"})
LABELS = [operation.ok().label for operation in SCHEMA.get_all_operations()]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SETTINGS = settings(
    max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
WRONG_TYPES_ONE_IN = 3  # of half a dozen for each field, and others for the next field
_places = defaultdict(itertools.count)


@SCHEMA.hook
def filter_case(context, case):
    """Whether to send it: half of all requests would be a value of a wrong type in an otherwise valid document."""
    data = case.meta.phase.data if case.meta else None
    if getattr(data, "scenario", None) != CoverageScenario.INCORRECT_TYPE:
        return True
    place = next(_places[context.operation.label])
    return (place + place // WRONG_TYPES_ONE_IN) % WRONG_TYPES_ONE_IN == 0


@pytest.fixture
def token(owner, study, token_for, monkeypatch):
    """Of the project's admin, so that as little as possible ends at the door, and looked up once."""
    # The test's transaction must outlive the requests, as Django's own test client sees to.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    header = token_for(owner)["HTTP_AUTHORIZATION"]
    secret = header.partition(" ")[2].encode()
    look_up = TokenAuthentication.authenticate_credentials
    known = look_up(TokenAuthentication(), secret)
    monkeypatch.setattr(
        TokenAuthentication,
        "authenticate_credentials",
        lambda self, given: known if given == secret else look_up(self, given),
    )
    yield header
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def send(case, token):
    headers = {"Authorization": token, "Accept-Encoding": "identity"}  # the in-process transport decodes nothing
    case.call_and_validate(headers=headers, checks=CHECKS)


@pytest.mark.parametrize("label", LABELS)
def test_no_request_breaks_anything(label, token):
    # Made up here and not while tests are collected, which takes long, and which every process does.
    (made,) = get_all_tests(schema=SCHEMA.include(name=label), test_func=send, settings=SETTINGS, given_kwargs=None)
    _, send_all = made.ok()
    send_all(token=token)
