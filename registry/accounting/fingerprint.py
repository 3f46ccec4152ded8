"""SHA-256 over the RFC 8785 canonical JSON of everything that determines an artifact."""

import hashlib
from typing import Any

import rfc8785

from registry.accounting.reuse import ArtifactRequest, normalised

# Part of what is hashed: a change of meaning gets a new number, so old fingerprints never collide with new ones.
FINGERPRINT_VERSION = 1


def fingerprint(request: ArtifactRequest) -> str:
    """64 hex digits over kind, identity, capture and the set of rows. Equal requests, however spelt, are equal here.

    Raises `CanonicalError` where a value cannot be carried by JSON.
    """
    normal = normalised(request)
    return _sha256(
        {
            "version": FINGERPRINT_VERSION,
            "kind": normal.kind,
            "identity": dict(normal.identity),
            "capture": dict(normal.capture),
            "row_digests": list(normal.row_digests),
        }
    )


def family(request: ArtifactRequest) -> str:
    """64 hex digits over kind and identity alone: whatever can cover a request lies in its family."""
    normal = normalised(request)
    return _sha256({"version": FINGERPRINT_VERSION, "kind": normal.kind, "identity": dict(normal.identity)})


def _sha256(document: dict[str, Any]) -> str:
    return hashlib.sha256(rfc8785.dumps(document)).hexdigest()
