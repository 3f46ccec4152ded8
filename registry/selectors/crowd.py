"""The runs of a large study as arrays, as PostgreSQL itself packs them: nothing is made for each row.

Every column has a fixed width and no NULL, so its bytes as they come are the array. Names are read as 64-bit hashes.
"""

from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from django.db import connection, transaction
from numpy.typing import NDArray

from registry.accounting.crowd import PREPARED_KIND, TEACHER_KIND, Crowd, Uses
from registry.accounting.stages import TEACHER_ARTIFACTS, TEACHER_REFERENCE
from registry.models import Artifact, Run, Study
from registry.selectors.figures import OWN_ROLES

HEADER = 20  # bytes before the elements of an array
_TYPES = {"uuid": "S16", "int8": ">i8", "int2": ">i2", "float8": ">f8", "bool": "?"}
_RUNS = {
    "keys": ("run.id", "uuid"),
    **{
        name: (f"hashtextextended(run.{column}, 0)", "int8")
        for name, column in (
            ("configuration", "configuration"),
            ("hardware", "hardware_class"),
            ("workload", "workload"),
        )
    },
    "simulated": ("run.simulated OR coalesce(summary.simulated, false)", "bool"),
    "finished": ("run.status = 'finished'", "bool"),
    "whole": ("coalesce(summary.missing = '{}'::jsonb, false)", "bool"),
    **{role: (f"coalesce(summary.{role}_energy_j, 'NaN')", "float8") for role in OWN_ROLES},
    "q": ("coalesce(summary.quality, 'NaN')", "float8"),
}
_USES = {
    "run": ("use.run_id", "uuid"),
    "noted": ("use.id", "int8"),
    "artifact": ("use.artifact_id", "uuid"),
    "kind": (
        f"CASE WHEN artifact.kind = ANY(%(artifacts)s) THEN {TEACHER_KIND} "
        f"WHEN artifact.kind = '{Artifact.Kind.PREPARED_DATASET}' THEN {PREPARED_KIND} ELSE 0 END::int2",
        "int2",
    ),
    "production": ("coalesce(artifact.production_energy_j, 'NaN')", "float8"),
    "share": ("CASE WHEN use.how = 'cut' THEN coalesce(use.used_share, 'NaN') ELSE 1 END", "float8"),
    "simulated": ("artifact.simulated", "bool"),
}
_FROM_RUNS = """registry_run run
LEFT JOIN registry_runsummary summary ON summary.run_id = run.id AND summary.run_id BETWEEN %(first)s AND %(last)s
WHERE run.study_id = %(study)s AND run.pipeline <> %(reference)s"""
_FROM_USES = f"""registry_artifactuse use
JOIN registry_artifact artifact ON artifact.id = use.artifact_id AND artifact.kind <> '{Artifact.Kind.STUDENT}'
WHERE use.run_id BETWEEN %(first)s AND %(last)s"""


def read(study: Study) -> Crowd:
    """All runs of the study but the teacher's own, in the order of their keys."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Compiling the queries, or joining what several processes packed, takes longer than packing it in one.
        cursor.execute("SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0")
        cursor.execute("SET LOCAL work_mem = '64MB'")
        values = _values(study)
        runs, uses = _columns(_RUNS, _FROM_RUNS, values), _columns(_USES, _FROM_USES, values)
    order = np.argsort(runs["keys"])
    columns = {name: column[order] for name, column in runs.items()}
    return Crowd(**columns, uses=_uses(uses, columns["keys"]))


def _values(study: Study) -> dict[str, Any]:
    """With the first and the last key of the study: other tables are read between them, as keys follow the clock."""
    keys = Run.objects.filter(study=study).values_list("pk", flat=True)
    first, last = keys.order_by("pk").first(), keys.order_by("-pk").first()
    values = {"study": study.pk, "first": first, "last": last, "reference": TEACHER_REFERENCE}
    return values | {"artifacts": list(TEACHER_ARTIFACTS)}


def _columns(columns: dict[str, tuple[str, str]], source: str, values: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """The rows of a query, each column an array in the processor's byte order; all in one order."""
    wanted = ", ".join(f"array_agg(({expression})::{kind})" for expression, kind in columns.values())
    with psycopg.Cursor(connection.connection) as cursor:
        query = f"SELECT {wanted} FROM {source}"  # noqa: S608 (constants)
        cursor.execute(query, values, binary=True)
        result = cursor.pgresult
        raw = [result.get_value(0, place) if result else None for place in range(len(columns))]
    return {name: _column(bytes_, _TYPES[kind]) for bytes_, (name, (_, kind)) in zip(raw, columns.items(), strict=True)}


def _column(raw: bytes | None, kind: str) -> NDArray[Any]:
    """An array out of PostgreSQL's binary form: behind a header, each element after its length."""
    layout = np.dtype([("length", ">i4"), ("value", kind)])
    elements = np.frombuffer(raw[HEADER:] if raw else b"", layout)["value"]
    return np.ascontiguousarray(elements, elements.dtype.newbyteorder("="))


def _uses(rows: dict[str, NDArray[Any]], runs: NDArray[Any]) -> Uses:
    """Those of these runs, in the order they were noted."""
    place = np.minimum(np.searchsorted(runs, rows["run"]), max(len(runs) - 1, 0))
    ours = np.flatnonzero(runs[place] == rows["run"]) if len(runs) else np.zeros(0, np.intp)
    ours = ours[np.argsort(rows["noted"][ours], kind="stable")]
    columns = {name: rows[name][ours] for name in _USES if name not in ("run", "noted")}
    return Uses(run=place[ours], **columns)


def key_of(key: UUID) -> bytes:
    """A key as the arrays hold it: zero bytes at its end are not kept."""
    return key.bytes.rstrip(b"\x00")


def keys_of(names: NDArray[Any]) -> list[UUID]:
    """Keys from an array of them."""
    return [UUID(bytes=name.ljust(16, b"\x00")) for name in names.tolist()]
