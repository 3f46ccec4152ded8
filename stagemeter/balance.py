"""The books of a run: what its log says of the whole, of its root stages, and of the time that no stage covered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagemeter.assemble import Measured, measure, remarks
from stagemeter.energy import Flags, Window
from stagemeter.nesting import Span
from stagemeter.sensors import flag

Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Share:
    """One component of a run, in joules: `total_j` by the run's log, `stages_j` by its root stages, and the rest.

    total = stages - overlap + untracked. `overlap_j` is what more than one root stage says, and 0 where none overlap.
    """

    total_j: float | None
    stages_j: float | None
    untracked_j: float | None
    overlap_j: float | None = 0.0


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The shares by component, and remarks: why one is not known, among them."""

    shares: dict[str, Share]
    flags: Flags

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"components": {name: vars(share) for name, share in self.shares.items()}, "flags": self.flags}


def balance(folder: Path, whole: Pair, stages: Sequence[Span], *, period_s: float) -> Balance:
    """What the log in `folder` says of the run from `whole[0]` to `whole[1]`, of its root stages and of the rest.

    Times are monotonic seconds; a stage without an end goes on to the run's. Total, stages and rest are integrated each
    for itself, so that their agreement is a check.
    """
    inside = [(max(s.start, whole[0]), min(whole[1] if s.end is None else s.end, whole[1])) for s in stages]
    inside = [(a, b) for a, b in inside if b > a]
    covered = _merged(inside)
    edges = [whole[0], *(t for span in covered for t in span), whole[1]]
    rest = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]
    twice = _overlaps(inside)
    total, by_stages, between, overlap = (
        [measure(folder, Window(start=a, end=b, period_s=period_s)) for a, b in windows]
        for windows in ([whole], inside, rest, twice)
    )
    components = ("gpu", "cpu", "ram") if any(part.log.gpu_expected for part in total) else ("cpu", "ram")
    shares = {
        name: Share(
            total_j=_sum(total, name),
            stages_j=_sum(by_stages, name),
            untracked_j=_sum(between, name),
            overlap_j=_sum(overlap, name),
        )
        for name in components
    }
    return Balance(
        shares=shares, flags=[*(remark for part in total for remark in remarks(part)), *_open(stages), *_said(twice)]
    )


def _open(stages: Sequence[Span]) -> Flags:
    count = sum(stage.end is None for stage in stages)
    if not count:
        return []
    return [flag("stages_open", f"{count} root stages had no end when the run ended; they are counted up to then")]


def _said(twice: Sequence[Pair]) -> Flags:
    if not twice:
        return []
    seconds = sum(b - a for a, b in twice)
    text = (
        f"root stages ran at the same time for {seconds:.1f} s: each one's record holds what all of them drew then, so "
        "their sum is larger than the run by overlap_j"
    )
    return [flag("overlapping_stages", text)]


def _merged(spans: Sequence[Pair]) -> list[Pair]:
    merged: list[Pair] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _overlaps(spans: Sequence[Pair]) -> list[Pair]:
    """What lies in spans more than once, as often as that: sum of the spans = their union + these."""
    found: list[Pair] = []
    reached = -float("inf")
    for start, end in sorted(spans):
        if min(end, reached) > start:
            found.append((start, min(end, reached)))
        reached = max(reached, end)
    return found


def _sum(parts: Sequence[Measured], component: str) -> float | None:
    values = [getattr(part, component).value_j for part in parts]
    return sum(values) if all(value is not None for value in values) else None
