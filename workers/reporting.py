"""How a running stage speaks: tokens and parts to the meter, progress and a sign of life to the database."""

import signal
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.db import DatabaseError, connection

from registry.services import jobs
from registry.services.jobs import Ticket
from stagemeter import Meter
from workers.stages.contract import Preempted

CURVE_POINTS = 200  # of the live power curve; a longer one is thinned by half


class JobLost(Exception):
    """The job was cancelled, or its lease ran out and somebody else has it."""


stopping = threading.Event()  # set once this process was asked to stop


def stop_on_sigterm() -> None:
    """Have SIGTERM end a stage at its next progress, with its place kept, instead of killing it on the spot."""
    if threading.current_thread() is threading.main_thread():  # elsewhere Python sets no handlers
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())


class Heartbeat:
    """Extends the lease from a thread while the stage runs, and shows its progress and live figures."""

    def __init__(self, ticket: Ticket, meter: Meter) -> None:
        self._ticket, self._meter = ticket, meter
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.lost = False
        self._curve: list[list[float]] = []
        self.progress: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _beat(self) -> None:
        every_s = min(2.0, settings.LEASE_SECONDS / 4)
        try:
            while not self._stop.wait(every_s):
                self._say()
        finally:
            connection.close()

    def _say(self) -> None:
        try:
            self.lost = not jobs.heartbeat(ticket=self._ticket, progress=self.progress | self._figures())
        except DatabaseError:
            # The lease goes on for a while without us; the next beat opens a new connection.
            connection.close()

    def _figures(self) -> dict[str, Any]:
        live = self._meter.live()
        watts = [w for w in (live.gpu_power_w, live.cpu_power_w, live.ram_power_w) if w is not None]
        power_w = sum(watts) if watts else None
        if power_w is not None:
            self._curve.append([round(live.duration_s, 1), round(power_w, 1)])
        if len(self._curve) > CURVE_POINTS:
            self._curve = self._curve[::2]
        return {
            "duration_s": live.duration_s,
            "energy_j": live.energy_j,
            "power_w": power_w,
            "curve": self._curve,
            "tokens": dict(live.tokens),
        }


class MeterReport:
    """The `Report` that a stage is given. Raises `JobLost` out of the stage once the job is somebody else's."""

    def __init__(self, meter: Meter, heartbeat: Heartbeat) -> None:
        self._meter, self._heartbeat = meter, heartbeat

    def progress(self, *, done: int, total: int, note: str = "", figures: Mapping[str, float] | None = None) -> None:
        """Shown with the next heartbeat."""
        if self._heartbeat.lost:
            raise JobLost
        if stopping.is_set():
            raise Preempted
        self._heartbeat.progress = {"done": done, "total": total, "note": note, "figures": dict(figures or {})}

    def tokens(
        self, *, prompt: int = 0, generated: int = 0, trained: int = 0, padding: int = 0, evaluated: int = 0
    ) -> None:
        """Counted in the record."""
        self._meter.add_tokens(
            prompt=prompt, generated=generated, trained=trained, padding=padding, evaluated=evaluated
        )

    def work(self, *, flops: float, moved_bytes: float | None = None, precision: str = "bf16") -> None:
        """Counted in the record."""
        self._meter.add_work(flops=flops, moved_bytes=moved_bytes, precision=precision)

    def part(self, name: str) -> AbstractContextManager[None]:
        """Timed in the record."""
        return self._meter.part(name)
