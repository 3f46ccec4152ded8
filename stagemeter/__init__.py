"""Meter the stages of a distillation pipeline.

from stagemeter import Meter

with Meter("student_training") as meter:
    ...
    meter.add_tokens(trained=4096)
print(meter.record.cpu_energy_j)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stagemeter.client import Client, Found, Lease
    from stagemeter.decorator import metered
    from stagemeter.errors import (
        ClientError,
        MeterError,
        RecordError,
        Refused,
        SpoolError,
        StagemeterError,
        StillMaking,
        Unreachable,
    )
    from stagemeter.meter import Meter, current
    from stagemeter.records import StageRecord, total_energy
    from stagemeter.session import Session
    from stagemeter.spool import keep_run

    __version__: str

__all__ = [
    "Client",
    "ClientError",
    "Found",
    "Lease",
    "Meter",
    "MeterError",
    "RecordError",
    "Refused",
    "Session",
    "SpoolError",
    "StageRecord",
    "StagemeterError",
    "StillMaking",
    "Unreachable",
    "current",
    "keep_run",
    "metered",
    "total_energy",
]

# Loaded on first use, so that importing the package costs next to nothing.
_HOME = {
    "Client": "client",
    "Found": "client",
    "Lease": "client",
    "Meter": "meter",
    "current": "meter",
    "keep_run": "spool",
    "metered": "decorator",
    "Session": "session",
    "StageRecord": "records",
    "total_energy": "records",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in __all__:
        raise AttributeError(f"module 'stagemeter' has no attribute {name!r}")
    return getattr(import_module(f"stagemeter.{_HOME.get(name, 'errors')}"), name)


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("stagemeter")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0+checkout"
