"""Reuse before regenerate: may a teacher artifact that exists answer this request?

Pure: a request and candidates in, one decision out. The services apply it inside one transaction under
a lock on the family.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

USE, CUT, WAIT, MAKE = "use", "cut", "wait", "make"


@dataclass(frozen=True, kw_only=True)
class ArtifactRequest:
    """What determines an artifact. `identity` is what must agree, `capture` what may be cut down to size."""

    kind: str
    # Must be equal: teacher id, revision, weights digest; tokenizer and chat-template digests; dataset id and
    # revision; precision; engine; decoding settings and seed; what happens to over-long rows.
    identity: Mapping[str, Any]
    # May be covered: k, temperatures, encoding, max_new_tokens, max_length.
    capture: Mapping[str, Any] = field(default_factory=dict)
    # One digest per row used (prompt, and for a logit cache the answer it is forced through).
    row_digests: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An artifact that exists or is being made, as the decision sees it."""

    artifact_id: str
    name: str
    request: ArtifactRequest
    status: str  # ready | making
    production_energy_j: float | None = None


@dataclass(frozen=True, kw_only=True)
class NearMiss:
    """An artifact that would have served but for `differences` (dotted field → its value there)."""

    artifact_id: str
    name: str
    differences: Mapping[str, Any]
    would_save_j: float | None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about one request, and why. `artifact_id` is set for use, cut and wait."""

    action: str
    reason: str
    artifact_id: str | None = None
    near_misses: tuple[NearMiss, ...] = ()
