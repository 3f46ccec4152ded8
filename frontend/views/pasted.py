"""JSON that somebody pasted or dropped: read as strictly as the REST layer reads it."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException

from registry.api.parsers import loads


class Unreadable(ValueError):
    """A text that says nothing here; the message names the way out."""


def read(text: str) -> Any:
    """The value of a JSON text: no NaN, no key twice, no half characters. Raises `Unreadable`."""
    try:
        # Half a character, which only a form can hold, becomes bytes that are no UTF-8, and is refused there.
        return loads(text.encode(errors="surrogatepass"))
    except APIException as error:
        raise Unreadable(_("This cannot be read: %(error)s") % {"error": error.detail}) from error
