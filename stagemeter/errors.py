"""Every error this package raises.

StagemeterError
├── RecordError       a record that cannot be true; `problems` names each field
├── MeterError        a meter used wrongly, or a sensor that must be there is not
├── SpoolError        the disk would not take a record
└── ClientError       the server refused, or could not be reached
    ├── Refused       4xx: `problems` as the server named them
    ├── Unreachable   the network or the server failed; try again later
    └── StillMaking   somebody is making the artifact, for longer than was to be waited
"""

from collections.abc import Mapping


class StagemeterError(Exception):
    """The root: catch this to catch everything raised on purpose."""


class RecordError(StagemeterError):
    """A record that cannot be true. `problems` maps each bad field to a sentence."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(f"{name}: {text}" for name, text in self.problems.items()))


class MeterError(StagemeterError):
    """A meter used wrongly, or a sensor that must be there is not."""


class SpoolError(StagemeterError):
    """The disk would not take a record."""


class ClientError(StagemeterError):
    """The server refused, or could not be reached."""


class Refused(ClientError):
    """The server answered 4xx. `status` is the HTTP status, `problems` what it named."""

    def __init__(self, status: int, problems: object) -> None:
        self.status = status
        self.problems = problems
        super().__init__(f"the server answered {status}: {problems}")


class Unreachable(ClientError):
    """The network or the server failed; nothing is lost, try again later."""


class StillMaking(ClientError):
    """Somebody is making the artifact, for longer than was to be waited."""
