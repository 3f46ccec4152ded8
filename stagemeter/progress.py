"""A line that says how far long work has come, on a terminal's standard error and nowhere else."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

EVERY_S = 0.1
WIDTH = 24


class Progress:
    """`with Progress("uploading", 500) as bar: bar.add(20)`. Silent where standard error is no terminal."""

    def __init__(self, what: str, total: int | None, *, unit: str = "", stream: TextIO | None = None) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._done, self._last = 0, 0.0

    def add(self, amount: int) -> None:
        """Count `amount` more as done."""
        self._done += amount
        now = time.monotonic()
        if self._shown and now - self._last >= EVERY_S:
            self._last = now
            self._draw()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._last:
            self._draw()
            self._stream.write("\n")

    def _draw(self) -> None:
        if not self._total:
            text = f"{self._what}: {self._done:,} {self._unit}"
        else:
            share = min(self._done / self._total, 1.0)
            bar = ("#" * round(share * WIDTH)).ljust(WIDTH, "-")
            text = f"{self._what} [{bar}] {share:4.0%} of {self._total:,} {self._unit}"
        self._stream.write(f"\r\x1b[K{text.rstrip()}")
        self._stream.flush()
