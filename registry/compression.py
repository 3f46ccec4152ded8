"""Pages, JSON and CSV compressed on the wire. Files keep their bytes: ranges and digests are those of the file."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

COMPRESSED = ("text/html", "text/csv", "text/plain", "application/json", "image/svg+xml")


class CompressionMiddleware(GZipMiddleware):
    """gzip for what is text, with Django's random padding against guessing secrets by length."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The response, compressed where it is text and the client takes it."""
        media = response.get("Content-Type", "").partition(";")[0].strip().lower()
        if media not in COMPRESSED or response.status_code == 206 or response.has_header("Content-Range"):
            return response
        return super().process_response(request, response)
