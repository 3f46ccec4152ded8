"""What a service refuses with. The REST layer maps each to a status, the pages to a form error.

ServiceError
├── Invalid      400: `problems` maps each field to a sentence
├── NotAllowed   403
├── Missing      404
└── Conflict     409: `detail` may hold the artifact or record in the way
"""

from collections.abc import Mapping
from typing import Any


class ServiceError(Exception):
    """A refusal that changed nothing."""


class Invalid(ServiceError):
    """Input that can't be taken. `problems` maps each field to a sentence."""

    def __init__(self, problems: Mapping[str, Any]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(f"{field}: {text}" for field, text in self.problems.items()))


class NotAllowed(ServiceError):
    """The actor's role does not reach."""


class Missing(ServiceError):
    """What was named is not there, or not for this actor to see."""


class Conflict(ServiceError):
    """Something that exists stands in the way. `detail` names it."""

    def __init__(self, message: str, **detail: Any) -> None:
        self.message = message
        self.detail = detail
        super().__init__(message)
