"""What is text travels compressed, what is a file doesn't."""

import gzip

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from registry.compression import CompressionMiddleware

ASKED = RequestFactory().get("/", HTTP_ACCEPT_ENCODING="gzip")
TEXT = b"the same words again and again. " * 200


def answered(content_type, status=200, **headers):
    made = HttpResponse(TEXT, content_type=content_type, status=status, headers=headers)
    return CompressionMiddleware(lambda _: made)(ASKED)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json", "text/csv"])
def test_text_is_compressed_and_comes_back_whole(kind):
    response = answered(kind)
    assert response["Content-Encoding"] == "gzip" and len(response.content) < 1000
    assert gzip.decompress(response.content) == TEXT


@pytest.mark.parametrize(
    ("kind", "status", "headers"),
    [
        ("application/octet-stream", 200, {}),
        ("application/json", 206, {}),
        ("text/csv", 200, {"Content-Range": "bytes 0-1/2"}),
    ],
)
def test_files_and_parts_keep_their_bytes(kind, status, headers):
    response = answered(kind, status, **headers)
    assert "Content-Encoding" not in response and response.content == TEXT
