"""A meter that is opened and closed by callbacks. One that nobody closes is closed as failed when the process ends."""

import atexit
from typing import Any

from stagemeter.meter import Meter
from stagemeter.records import StageRecord


class HeldMeter:
    """Opens a `Meter` of `kind` with `options` at `open`, and closes it at `close`; either may come twice."""

    def __init__(self, kind: str, **options: Any) -> None:
        self._kind, self._options = kind, options
        self.meter: Meter | None = None
        self.record: StageRecord | None = None

    def open(self) -> None:
        """Begin the stage, unless it has begun."""
        if self.meter is None:
            self.meter = Meter(self._kind, **self._options)
            self.meter.__enter__()
            atexit.register(self._abandon)

    def close(self) -> None:
        """End the stage; its record is in `record` and in the spool."""
        meter, self.meter = self.meter, None
        if meter is not None:
            atexit.unregister(self._abandon)
            meter.__exit__(None, None, None)
            self.record = meter.record

    def _abandon(self) -> None:
        meter, self.meter = self.meter, None
        if meter is not None:
            error = RuntimeError("the process ended before the training did")
            meter.__exit__(type(error), error, None)
