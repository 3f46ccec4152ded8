"""Joules per token and tokens per second of a stage, each with its denominator named."""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

# The tokens a stage is there for. Padding is never work.
DENOMINATOR_OF_KIND: dict[str, str] = {
    "preprocess": "prompt",
    "logit_caching": "evaluated",  # the positions captured
    "teacher_generation": "generated",
    "student_training": "trained",
    "evaluation": "evaluated",
    "teacher_evaluation": "evaluated",
}
# Where a stage is of another kind, or did not count those: the first of these that it did count.
FALLBACKS = ("generated", "trained", "evaluated", "prompt")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """`denominator` is the kind of token meant (empty if none was counted); `nominal`: a stated figure, not a count."""

    joules_per_token: float | None
    tokens_per_second: float | None
    denominator: str
    tokens: int | None
    nominal: bool = False


def elapsed_s(records: Iterable[tuple[Hashable, float | None]]) -> float | None:
    """Seconds that records took one after the other, of (what ran as one, seconds) each.

    Ranks of one attempt run at the same time, so the longest of them counts. `None` if there is none, or one does not
    state its duration.
    """
    longest: dict[Hashable, float] = {}
    for ran_as, seconds in records:
        if seconds is None:
            return None
        longest[ran_as] = max(seconds, longest.get(ran_as, 0.0))
    return math.fsum(longest.values()) if longest else None


def stage_rate(
    kind: str,
    *,
    energy_j: float | None,
    duration_s: float | None,
    tokens: Mapping[str, int | None],
    nominal: bool = False,
) -> Rate:
    """Rates of one stage over the tokens it is there for; `tokens` is by kind, such as `{"trained": 30_000_000}`."""
    denominator = next((name for name in (DENOMINATOR_OF_KIND.get(kind, ""), *FALLBACKS) if tokens.get(name)), "")
    count = tokens.get(denominator)
    if not count:
        return Rate(joules_per_token=None, tokens_per_second=None, denominator="", tokens=None)
    return Rate(
        joules_per_token=None if energy_j is None else energy_j / count,
        tokens_per_second=count / duration_s if duration_s else None,
        denominator=denominator,
        tokens=count,
        nominal=nominal,
    )
