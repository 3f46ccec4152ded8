"""Tables that leave the house: rows as plain values, in chunks, so that none has to fit into memory."""

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from registry.models import Run
from registry.tables import COUNT, FLAG, MOMENT, NUMBER, OBJECT, TEXT

CHUNK = 2_000
# column → where it is read from, and what it holds; energies in joules
_RUN: dict[str, tuple[str, str]] = {
    "id": ("id", TEXT),
    "study": ("study__slug", TEXT),
    **{name: (name, TEXT) for name in ("external_id", "pipeline", "student", "student_size", "teacher", "workload")},
    "seed": ("seed", COUNT),
    "status": ("status", TEXT),
    "origin": ("origin", TEXT),
    "hardware": ("hardware_class", TEXT),
    "configuration": ("configuration", TEXT),
    **{
        f"{part}_energy_j": (f"summary__{part}_energy_j", NUMBER)
        for part in ("data", "teacher", "student", "evaluation", "lost")
    },
    "duration_s": ("summary__duration_s", NUMBER),
    "q": ("summary__quality", NUMBER),
    "missing": ("summary__missing", OBJECT),
    "simulated_run": ("simulated", FLAG),
    "simulated_records": ("summary__simulated", FLAG),
    "created_at": ("created_at", MOMENT),
}
RUN_COLUMNS = {name: kind for name, (_, kind) in _RUN.items()}


def run_rows(runs: QuerySet[Run]) -> Iterator[tuple[Any, ...]]:
    """One tuple of `RUN_COLUMNS` a run, newest first, read through a cursor of the database.

    Energies are those of the run's own records in joules, `None` with a hole, which `missing` names by role. The energy
    of artifacts that it used is theirs.
    """
    paths = [path for path, _ in _RUN.values()]
    rows: Iterator[tuple[Any, ...]] = runs.order_by("-pk").values_list(*paths).iterator(chunk_size=CHUNK)
    return rows
