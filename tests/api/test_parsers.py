"""Bodies that are no good JSON."""

import json

import pytest
from django.test import Client

from registry.models import Stage
from tests.api.conftest import wire

BAD_BODIES = {
    "nothing JSON": b"{",
    "NaN": b'{"value": NaN}',
    "infinity": b'{"value": -Infinity}',
    "a number beyond a float": b'{"value": 1e999}',
    "a number of ten thousand digits": b'{"value": ' + b"9" * 10_000 + b"}",
    "a number beyond 64 bits": b'{"value": 9223372036854775808}',
    "a key twice": b'{"kind": "a", "kind": "b"}',
    "a key twice, inside": b'[{"extra": {"a": 1, "a": 2}}]',
    "a null character": b'{"kind": "a\\u0000"}',
    "a null character in a key": b'{"a\\u0000": 1}',
    "half a surrogate pair": b'{"kind": "\\ud800"}',
    "no UTF-8": b'{"kind": "\xff"}',
    "nested 65 deep": b"[" * 65 + b"]" * 65,
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "a control character": b'{"kind": "a\x01"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
}


@pytest.mark.parametrize("name", BAD_BODIES)
@pytest.mark.parametrize("path", ["stage-records/", "runs/", "artifacts/lookup/"])
def test_a_body_that_is_no_good_json_is_refused_and_changes_nothing(api, name, path):
    response = api.post(path, BAD_BODIES[name])
    assert response.status_code == 400, response.content
    assert response.json()["error"]["code"] == "parse_error"
    assert not Stage.objects.exists()


@pytest.mark.parametrize("body", [b"", b"null", b"3", b'"text"', b"true", b"[]", b"{}", b"[[]]", b"[null]"])
@pytest.mark.parametrize("path", ["stage-records/", "scores/", "artifacts/", "runs/", "runs/plan/", "runs/upload/"])
def test_a_body_of_another_shape_breaks_nothing(api, path, body):
    response = api.post(path, body)
    assert response.status_code in (200, 400)
    if response.status_code == 200:  # a list has a result for each item
        assert all(result["status"] == "refused" for result in response.json()["results"])


def test_six_characters_that_look_like_a_null_character_are_only_text(api):
    response = api.post("stage-records/", wire(name="\\u0000é"))
    assert response.status_code in (201, 400)  # never a fault; whether it is taken, the record decides


def test_a_body_beyond_the_cap_is_refused_with_413(api, settings):
    settings.MAX_BODY_BYTES = 1000
    response = api.post("stage-records/", wire(extra={"note": "x" * 1000}))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert "registered as several artifacts" in response.json()["error"]["message"]
    assert not Stage.objects.exists()


def test_a_list_beyond_the_cap_is_refused_with_413(api, settings):
    settings.MAX_LIST_ITEMS = 2
    response = api.post("stage-records/", [wire(), wire(), wire()])
    assert (response.status_code, Stage.objects.count()) == (413, 0)


def test_a_body_that_is_declared_as_something_else_is_refused_with_415(api):
    response = Client().post(
        "/api/v1/stage-records/", json.dumps(wire()), content_type="application/x-www-form-urlencoded", **api.headers
    )
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
