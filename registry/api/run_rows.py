"""Rows of the runs' list, straight from columns: a model and a serializer for each row would be most of a request.

`RunSerializer` says the same of one run; a test compares.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from registry.accounting.figures import total
from registry.api.serializers.runs import RunRowSerializer, RunSerializer, SummarySerializer
from registry.selectors.figures import OWN_ROLES

_PLAIN = ("external_id", "pipeline", "status", "origin", "teacher", "student", "student_size", "workload", "seed")
_MOMENTS = ("created_at", "started_at", "finished_at")
_SUMMARY: tuple[str, ...] = tuple(SummarySerializer.Meta.fields)
_ENERGIES = tuple(f"{role}_energy_j" for role in OWN_ROLES)

Read = tuple[tuple[str, ...], Callable[[Any], Any]]  # the columns a field is made of, and how


def _column(path: str) -> Read:
    return (path,), attrgetter(path)


def _simulated(row: Any) -> bool:
    return bool(row.simulated or row.summary__simulated)


def _summary(row: Any) -> dict[str, Any] | None:
    if row.summary__records is None:
        return None
    return {name: getattr(row, f"summary__{name}") for name in _SUMMARY}


def _energy_j(row: Any) -> float | None:
    if row.summary__missing:
        return None
    present = [energy for name in _ENERGIES if (energy := getattr(row, f"summary__{name}")) is not None]
    return total(present)


_FIELDS: dict[str, Read] = {
    "id": (("pk",), lambda row: str(row.pk)),
    "project": _column("project__slug"),
    "study": _column("study__slug"),
    **{name: _column(name) for name in (*_PLAIN, "hardware_class", *_MOMENTS)},
    "simulated": (("simulated", "summary__simulated"), _simulated),
    "summary": (tuple(f"summary__{name}" for name in _SUMMARY), _summary),
    "energy_j": (("summary__missing", *(f"summary__{name}" for name in _ENERGIES)), _energy_j),
    "quality": _column("summary__quality"),
}
KNOWN = tuple(name for name in RunSerializer.Meta.fields if name in _FIELDS)
SHORT = tuple(RunRowSerializer.Meta.fields)


def columns(names: Sequence[str]) -> list[str]:
    """What has to be read for these fields; the key, by which pages are walked, always is."""
    return list(dict.fromkeys(["pk", *(column for name in names for column in _FIELDS[name][0])]))


def shown(rows: Sequence[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows (named tuples of `columns`) as JSON types, but for moments, which the renderer spells."""
    reads = [(name, _FIELDS[name][1]) for name in names]
    return [{name: read(row) for name, read in reads} for row in rows]
