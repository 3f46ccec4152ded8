"""What a foreign file holds, before anybody has said where it belongs: stages and scores, as JSON types.

An importer reads its format into `Findings` and decides nothing that the file does not say. The kind of a stage, the
run, its pipeline and what `Question`s ask are a person's to say; `booking` puts both together.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Self


class ImportRefused(ValueError):
    """A file that cannot be read as what it seems to be; the message names the place and the way out."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Something the file does not say and its figures hang on. `choices` is empty where the answer is a text."""

    name: str
    text: str
    choices: tuple[str, ...] = ()
    default: str = ""


@dataclass(frozen=True, kw_only=True)
class FoundStage:
    """One measured stage. `facts` are fields of `StageRecord`; its id, kind and run are still to come.

    `key` tells it from every other stage of its format and stays the same however often the file is read. A time
    without a zone is local time, somewhere. `partial` is a stage whose end the file does not hold.
    """

    key: str
    group: str
    label: str
    facts: dict[str, Any]
    kind: str = ""  # where the file says it


@dataclass(frozen=True, kw_only=True)
class FoundScore:
    """One score. `values` are the arguments of `services.scores.record_score`. A limited one saw a part of its rows."""

    group: str
    values: dict[str, Any]
    limited: bool = False
    flags: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that one file holds. `groups` are the runs it speaks of, by the names it gives them, with what it says.

    `exclusive`: stages of one run may not overlap in time, because their sum would count energy twice.
    `chosen`: most of its groups or scores are of no interest; those that nobody asks for are left out.
    """

    format: str
    groups: dict[str, dict[str, Any]]
    stages: tuple[FoundStage, ...] = ()
    scores: tuple[FoundScore, ...] = ()
    questions: tuple[Question, ...] = ()
    flags: tuple[dict[str, str], ...] = ()
    exclusive: bool = False
    chosen: bool = False
    source: dict[str, Any] = field(default_factory=dict)  # name, bytes and SHA-256 of what was read

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what `to_dict` gave."""
        return cls(
            **{
                **data,
                "stages": tuple(FoundStage(**item) for item in data["stages"]),
                "scores": tuple(FoundScore(**{**item, "flags": tuple(item["flags"])}) for item in data["scores"]),
                "questions": tuple(Question(**{**q, "choices": tuple(q["choices"])}) for q in data["questions"]),
                "flags": tuple(data["flags"]),
            }
        )


ZONE = Question(name="zone", text="The file's times name no zone. Which was it, such as +02:00?", default="+00:00")
NO_GPU = Question(
    name="gpu_zero",
    text="GPU energy of exactly 0 beside other energy is no measurement. Had the host no GPU in use?",
    choices=("not measured", "no gpu"),
    default="not measured",
)


def flag(code: str, message: str) -> dict[str, str]:
    """A doubt about a figure."""
    return {"code": code, "message": message[:400]}


def number(value: object) -> float | None:
    """A finite number out of JSON or a CSV cell; `None` for what is none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)  # type: ignore[arg-type]  # what it cannot take is caught
    except (TypeError, ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def seconds(value: object) -> float | None:
    """A length of time: zero to thirty years."""
    found = number(value)
    return found if found is not None and 0 <= found <= 1e9 else None


def measured(value: object) -> float | None:
    """A figure above zero. Foreign tools write 0 for "not measured", and no device draws nothing for a whole stage."""
    found = number(value)
    return found if found is not None and found > 0 else None


def count(value: object) -> int | None:
    """A whole number above zero; a tool's 0 means that nobody counted."""
    found = measured(value)
    return None if found is None or found >= 2**63 else int(found)


def moment(epoch_s: float) -> str:
    """ISO 8601 in UTC of seconds since 1970. Raises `ImportRefused` beyond what a calendar holds."""
    try:
        return datetime.fromtimestamp(epoch_s, UTC).isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise ImportRefused(f"{epoch_s!r} is no time in seconds since 1970") from error


def naive_or_aware(text: str) -> str:
    """An ISO 8601 time as it stands, checked. Raises `ImportRefused`."""
    try:
        return datetime.fromisoformat(text.strip()).isoformat()
    except ValueError as error:
        raise ImportRefused(f"{text[:80]!r} is no ISO 8601 time") from error
