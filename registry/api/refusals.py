"""What the REST layer itself refuses with, beside the services' errors.

Apart from `errors`, because the parser needs them while the framework is still being imported.
"""

from typing import Any

from rest_framework.exceptions import APIException


class TooLarge(APIException):
    """A body or a list beyond its cap."""

    status_code = 413
    default_code = "too_large"


class KeyReused(APIException):
    """An Idempotency-Key that already stands for another request."""

    status_code = 422
    default_code = "idempotency_key_reused"


class Refused(APIException):
    """A list sent with `?atomic=1` of which some could not be booked. `results` names them."""

    default_code = "refused"

    def __init__(self, message: str, status: int, results: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.status_code = status
        self.results = results
