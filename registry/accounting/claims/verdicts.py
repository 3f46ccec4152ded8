"""What a claim comes to when its own tables are asked: the words, and the shape of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

HOLDS = "holds"
CONDITIONAL = "conditional"  # holds with a condition, which `because` names
UNSUPPORTED = "unsupported"  # does not follow from the tables
VERDICTS = (HOLDS, CONDITIONAL, UNSUPPORTED)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One computed number beside a claim; `value` is `None` where it is a word. `stated` is what the paper prints."""

    label: str
    shown: str
    value: float | None = None
    unit: str = ""
    stated: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement, where it stands, its verdict, and why in one sentence made from the figures."""

    key: str
    section: str
    statement: str
    verdict: str
    because: str
    figures: tuple[Figure, ...]


def number(label: str, value: Decimal, unit: str = "", *, digits: int = 2, stated: str = "") -> Figure:
    """A figure, shown to `digits` decimals."""
    return Figure(label=label, shown=f"{value:,.{digits}f}", value=float(value), unit=unit, stated=stated)


def words(label: str, shown: str, *, stated: str = "") -> Figure:
    """A figure that is a word."""
    return Figure(label=label, shown=shown, stated=stated)


def percent(label: str, share: Decimal) -> Figure:
    """A share from 0 to 1, in percent."""
    return number(label, 100 * share, "%", digits=1)


def by_count(true: Sequence[bool]) -> str:
    """Holds where every case does, conditional where some do, unsupported where none does."""
    return HOLDS if all(true) else CONDITIONAL if any(true) else UNSUPPORTED
