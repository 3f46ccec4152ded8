"""Sets of row digests: kept once, however many artifacts were made over the same rows."""

import hashlib
from collections.abc import Iterable

from registry.models import RowSet


def of(digests: Iterable[str]) -> RowSet | None:
    """The set of these digests, written if it is new; `None` for no rows at all."""
    rows = sorted(set(digests))
    if not rows:
        return None
    key = digest_of(rows)
    # Whoever else writes the same set at the same moment writes the same row.
    keys = [key_of(digest) for digest in rows]
    RowSet.objects.bulk_create([RowSet(sha256=key, count=len(rows), digests=rows, keys=keys)], ignore_conflicts=True)
    return RowSet.objects.defer("digests", "keys").get(pk=key)


def digest_of(digests: Iterable[str]) -> str:
    """SHA-256 over the sorted digests, a line each: equal sets, in whatever order they come, are equal here."""
    return hashlib.sha256("".join(f"{digest}\n" for digest in sorted(set(digests))).encode()).hexdigest()


def key_of(digest: str) -> int:
    """64 bits that stand for one digest in the index: sets that share them are then compared digest by digest."""
    return int.from_bytes(hashlib.sha256(digest.encode()).digest()[:8], signed=True)
