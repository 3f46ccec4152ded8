"""Artifacts that may answer a request, as far as the database can tell without reading any rows.

A lookup must take milliseconds with a million artifacts, so these are prepared statements. Each reads by index: the
sets of rows first, then, set by set, the artifacts over it (`LATERAL`, with an `OFFSET 0` or a `LIMIT` that keeps
PostgreSQL from turning it round and reading a whole family).
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

from registry.selectors import prepared


class Reusable(NamedTuple):
    """An artifact's columns without its files and rows. `identity`, `capture` and lists are JSON texts."""

    id: uuid.UUID
    project_id: uuid.UUID
    created_at: datetime
    kind: str
    name: str
    handle: str
    version: int | None
    status: str
    origin: str
    fingerprint: str
    family: str
    identity: str
    capture: str
    rows_id: str | None
    teacher: str
    dataset: str
    bytes: int | None
    content_sha256: str
    licence: str
    teacher_licence: str
    dataset_licence: str
    licence_name: str
    licence_link: str
    licence_note: str
    may_train: bool | None
    sharing: str
    simulated: bool
    production_energy_j: float | None
    production_missing: str
    evidence: str
    evidence_note: str
    made_by_run_id: uuid.UUID | None
    regenerate_reason: str
    made_again_of_id: uuid.UUID | None
    superseded_by_id: uuid.UUID | None
    ready_at: datetime | None
    project_slug: str
    project_public: bool
    rows_count: int


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Which artifacts somebody asking may be told of: of one kind, ready or being made, and within sight.

    `mine`: projects whose artifacts are all told of. `others`: those of public projects too, and whatever is shared
    or may be asked for. `everything`: all. `for_worker` leaves out what was registered without its files.
    """

    kind: str
    mine: tuple[uuid.UUID, ...]
    others: bool
    everything: bool = False
    for_worker: bool = False

    @property
    def values(self) -> dict[str, object]:
        """As the statements take it."""
        return asdict(self) | {"mine": list(self.mine)}


_OF_ARTIFACT = [name for name in Reusable._fields if name not in ("project_slug", "project_public", "rows_count")]
_COLUMNS = ", ".join([*(f"a.{name}" for name in _OF_ARTIFACT), "p.slug", "p.public", "coalesce(r.count, 0)"])
_REACHED = """
    a.kind = %(kind)s AND a.status IN ('ready', 'making')
    AND NOT (%(for_worker)s::boolean AND a.status = 'ready' AND a.storage_key = '')
    AND (
        %(everything)s::boolean OR a.project_id = ANY(%(mine)s::uuid[])
        OR (%(others)s::boolean AND (p.public OR a.sharing IN ('shared', 'request')))
    )
"""
# ruff: noqa: S608 (the statements are put together of the texts above alone)
OVER = f"""
    SELECT {_COLUMNS}
    FROM registry_rowsets_holding(%(probes)s::bigint[], %(count)s::integer) AS r
    CROSS JOIN LATERAL (
        SELECT * FROM registry_artifact WHERE family = %(family)s AND rows_id = r.sha256 OFFSET 0
    ) AS a
    JOIN registry_project AS p ON p.id = a.project_id
    WHERE {_REACHED}
    ORDER BY a.superseded_by_id IS NOT NULL, a.simulated, a.rows_id <> %(rows)s, r.count, a.id DESC
"""
NEAR = f"""
    SELECT {_COLUMNS}
    FROM (
        SELECT one.id, bool_or(one.of_family) AS of_family
        FROM registry_rowsets_touching(%(probes)s::bigint[], %(count)s::integer, %(sets)s::integer) AS touching
        CROSS JOIN LATERAL (
            (
                SELECT a.id, TRUE AS of_family
                FROM (
                    SELECT * FROM registry_artifact WHERE family = %(family)s AND rows_id = touching.sha256 OFFSET 0
                ) AS a
                JOIN registry_project AS p ON p.id = a.project_id
                WHERE a.teacher = %(teacher)s AND a.id <> ALL(%(besides)s::uuid[]) AND {_REACHED}
                ORDER BY a.id DESC LIMIT %(most)s::integer
            )
            UNION ALL
            (
                SELECT a.id, FALSE
                FROM registry_artifact AS a JOIN registry_project AS p ON p.id = a.project_id
                WHERE a.rows_id = touching.sha256 AND a.teacher = %(teacher)s AND a.id <> ALL(%(besides)s::uuid[])
                AND {_REACHED}
                ORDER BY a.id DESC LIMIT %(most)s::integer
            )
        ) AS one
        GROUP BY one.id ORDER BY of_family DESC, one.id DESC LIMIT %(most)s::integer
    ) AS few
    JOIN registry_artifact AS a ON a.id = few.id
    JOIN registry_project AS p ON p.id = a.project_id
    JOIN registry_rowset AS r ON r.sha256 = a.rows_id
    ORDER BY few.of_family DESC, a.id DESC
"""
_WHOLE = f"""
    SELECT {_COLUMNS}
    FROM registry_artifact AS a
    JOIN registry_project AS p ON p.id = a.project_id
    LEFT JOIN registry_rowset AS r ON r.sha256 = a.rows_id
    WHERE {{}} AND {_REACHED}
    ORDER BY a.id DESC LIMIT %(most)s::integer
"""
EQUAL = _WHOLE.format("a.fingerprint = %(fingerprint)s")
OF_DATASET = _WHOLE.format("a.dataset = %(dataset)s")
DIGESTS = "SELECT sha256, digests FROM registry_rowset WHERE sha256 = ANY(%(keys)s::varchar[])"


def over(reach: Reach, *, family: str, rows: str, count: int, probes: Sequence[int]) -> list[Reusable]:
    """All of a family over sets of at least `count` rows that hold `probes`, as they are to be offered.

    Superseded ones last, simulated ones before them, those over the very set `rows` first, then the smallest.
    """
    values = {"family": family, "rows": rows, "count": count, "probes": list(probes)}
    return _named(OVER, reach, values)


def near(
    reach: Reach,
    *,
    family: str,
    teacher: str,
    count: int,
    probes: Sequence[int],
    sets: int,
    besides: Iterable[uuid.UUID],
    most: int,
) -> list[Reusable]:
    """`most` of a teacher's, of the family first, over the `sets` sets nearest in size that hold any of `probes`."""
    values = {"family": family, "teacher": teacher, "count": count, "probes": list(probes), "sets": sets, "most": most}
    return _named(NEAR, reach, values | {"besides": list(besides)})


def equal(reach: Reach, fingerprint: str, most: int) -> list[Reusable]:
    """The newest of that fingerprint."""
    return _named(EQUAL, reach, {"fingerprint": fingerprint, "most": most})


def of_dataset(reach: Reach, dataset: str, most: int) -> list[Reusable]:
    """The newest made of that dataset."""
    return _named(OF_DATASET, reach, {"dataset": dataset, "most": most})


def digests(keys: Iterable[str]) -> dict[str, str]:
    """Key → digests of each set of rows, as the JSON text of a sorted list."""
    wanted = list(keys)
    return dict(prepared.rows(DIGESTS, {"keys": wanted})) if wanted else {}


def _named(statement: str, reach: Reach, values: dict[str, object]) -> list[Reusable]:
    return [Reusable._make(row) for row in prepared.rows(statement, reach.values | values)]
