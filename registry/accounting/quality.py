"""Q: how much of the teacher's quality a student kept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class QualityError(ValueError):
    """Scores that Q cannot be formed from."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Q and the retention per benchmark. `q` is `None` while a score of the suite is missing; `missing` lists them."""

    q: float | None
    retention: Mapping[str, float]
    missing: tuple[str, ...] = ()


class Mark(NamedTuple):
    """A score, and how it was taken."""

    benchmark: str
    metric: str
    shots: int
    judge: str
    value: float

    def taken_as(self, other: "Mark") -> bool:
        """Whether the two may be compared: another metric, number of shots or judge is another score.

        A metric nobody stated may be any.
        """
        same_metric = self.metric == other.metric or not self.metric or not other.metric
        return same_metric and (self.shots, self.judge) == (other.shots, other.judge)


def quality(student: Mapping[str, float | None], teacher: Mapping[str, float | None], suite: Sequence[str]) -> Quality:
    """Q_i = (1/B) Σ_b s_{i,b} / s_{teacher,b} over the B benchmarks of the suite (equation 3 of the paper).

    Scores are by benchmark, student and teacher on the same scale. Raises `QualityError` for an empty suite and for a
    teacher score that is zero, negative or not finite: nothing can be a share of that.
    """
    if not suite:
        raise QualityError("the suite names no benchmark, so there is nothing to average")
    retention: dict[str, float] = {}
    missing: list[str] = []
    for benchmark in suite:
        ours, theirs = student.get(benchmark), teacher.get(benchmark)
        missing += [f"{benchmark} ({who})" for who, s in (("student", ours), ("teacher", theirs)) if s is None]
        if ours is not None and theirs is not None:
            retention[benchmark] = ours / _divisor(benchmark, theirs)
    whole = len(retention) == len(suite)
    return Quality(
        q=math.fsum(retention.values()) / len(suite) if whole else None, retention=retention, missing=tuple(missing)
    )


def _divisor(benchmark: str, score: float) -> float:
    if not (math.isfinite(score) and score > 0):
        raise QualityError(
            f"the teacher's {benchmark} is {score!r}; Q needs a score above zero: leave {benchmark} out of the suite "
            "or evaluate the teacher again"
        )
    return score
