"""What comes out of a compressed file, counted as it comes: a small archive may hold more than any disk does."""

import gzip
from typing import IO

GZIP = b"\x1f\x8b"


class Oversized(ValueError):
    """A file that takes more room than may be given, or whose parts cannot be walked."""


class Capped:
    """A stream of at most `most` bytes; reading beyond raises `Oversized`."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, most: int) -> None:
        self._stream, self._most, self._left = stream, most, most

    def read(self, size: int) -> bytes:
        """The next bytes, as of a file."""
        return self._counted(self._stream.read(size))

    def readline(self, size: int) -> bytes:
        """The next line, as of a file."""
        return self._counted(self._stream.readline(size))

    def _counted(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise Oversized(f"it unpacks to more than {self._most:,} bytes")
        return piece
