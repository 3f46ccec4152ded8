"""Studies of very many runs: every configuration takes part in the frontier, at most 2,000 points are sent.

The database adds up, arrays find the frontier, and only the points that are shown are read in full, by the same code as
those of a small study. What is answered is kept in the cache under the study's version.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.core.cache import cache
from django.db import connection, transaction

from registry.accounting.figures import AMORTISED, FULL, MADE_TO_MEASURE, REUSED, STUDENT_ONLY, Charge, RunFigures
from registry.accounting.frontier import Placement, points
from registry.accounting.frontier import frontier as place
from registry.accounting.skyline import MOST_SHOWN, Thinned, standing, thinned
from registry.accounting.stages import TEACHER_ARTIFACTS, TEACHER_REFERENCE
from registry.models import Run, Study
from registry.selectors.figures import COLUMNS, Reader, figures_of
from registry.selectors.studies import StudyFrontier, Thinning

LARGE = 2 * MOST_SHOWN  # runs from which on a study is read this way
KEPT_FOR_S = 24 * 3600
# Sums may be taken in another order than in `points`: candidates within this share are compared again, exactly.
SLACK = 1e-9


def is_large(study: Study) -> bool:
    """Whether the study has too many runs to be read one by one for a page."""
    return len(Run.objects.filter(study=study).order_by().values_list("pk")[: LARGE + 1]) > LARGE


def hardware(study: Study) -> tuple[str, ...]:
    """Classes of hardware among the study's runs, a hundred at most."""
    with connection.cursor() as cursor:
        cursor.execute(_CLASSES, {"study": study.pk})
        return tuple(row[0] for row in cursor.fetchall())


def version(study: Study) -> str:
    """Changes with everything the study's figures are made of; read it before them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(bit_xor(token), 0) FROM registry_studychange WHERE study_id = %s", [study.pk])
        return f"{cursor.fetchone()[0] & (2**64 - 1):016x}"


def kept(study: Study, name: str, asked: Mapping[str, Any], make: Callable[[], str]) -> str:
    """The text that `make` gives, from the cache while the study is unchanged.

    N "as reused" depends on runs of other studies too, and is made anew each time.
    """
    if asked.get("n") == REUSED:
        return make()
    spelt = json.dumps([study.average_workloads, *sorted((key, str(value)) for key, value in asked.items())])
    key = f"study:{study.pk}:{version(study)}:{name}:{spelt}".replace(" ", "_")
    found: str | None = cache.get(_short(key))
    if found is None:
        found = make()
        cache.set(_short(key), found, KEPT_FOR_S)
    return found


def view(
    study: Study,
    user: Reader,
    *,
    scope: str = FULL,
    n: int | str = 1,
    hardware: str | None = None,
    simulated: bool | None = None,
) -> StudyFrontier:
    """The study's frontier with at most 2,000 points."""
    found = _Grouped.read(study, scope, n)
    kind = simulated if simulated is not None else bool(found.simulated.size) and bool(found.simulated.all())
    chosen = found.of(kind, hardware, average=study.average_workloads)
    mask = standing(chosen.energy, chosen.q, slack=SLACK)
    shown = thinned(chosen.energy, chosen.q, mask)
    keys = [chosen.keys[place] for place in shown.indices]
    runs = _figures(study, user, set(keys), reuse=n == REUSED)
    placements = place(points(runs, scope, n, study.average_workloads, workloads=chosen.workloads))
    return StudyFrontier(
        slug=study.slug,
        scope=scope,
        n=n,
        placements=placements,
        hardware=found.classes(kind),
        burnt=_burnt(study, found, kind, hardware),
        simulated=kind,
        left_out=found.left_out(kind),
        thinning=_thinning(chosen, shown, placements),
    )


Key = tuple[str, str, str, bool]  # configuration, hardware, workload ("" where averaged), simulated


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """Complete configurations of one kind as arrays, and how many are partial."""

    keys: list[Key]
    energy: Any
    q: Any
    partial: int
    workloads: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Grouped:
    """One row for each configuration, hardware, workload and kind: usable runs, their mean energy in joules and Q."""

    rows: list[tuple[Any, ...]]
    simulated: Any

    @classmethod
    def read(cls, study: Study, scope: str, n: int | str) -> "_Grouped":
        with transaction.atomic(), connection.cursor() as cursor:
            # Compiling the query would take longer than running it, and its hashes fit into memory.
            cursor.execute("SET LOCAL jit = off; SET LOCAL work_mem = '64MB'")
            first, last = _ends(study)
            cursor.execute(_sql(scope, n), _values(study, n) | {"first": first, "last": last})
            rows = cursor.fetchall()
        return cls(rows=rows, simulated=np.array([row[3] for row in rows], np.bool_))

    def classes(self, kind: bool) -> tuple[str, ...]:
        """Classes of hardware among the runs of this kind."""
        return tuple(sorted({row[1] for row in self.rows if row[3] == kind}))

    def left_out(self, kind: bool) -> int:
        """Runs of the other kind."""
        return sum(row[4] for row in self.rows if row[3] != kind)

    def of(self, kind: bool, hardware: str | None, *, average: bool) -> _Chosen:
        """The complete configurations of one kind, on one class of hardware where asked for."""
        rows = [row for row in self.rows if row[3] == kind and hardware in (None, row[1])]
        return _averaged(rows) if average else _single(rows)


def _single(rows: list[tuple[Any, ...]]) -> _Chosen:
    usable = [row for row in rows if row[5]]
    return _Chosen(
        keys=[(row[0], row[1], row[2], row[3]) for row in usable],
        energy=np.array([row[6] for row in usable], np.float64),
        q=np.array([row[7] for row in usable], np.float64),
        partial=len(rows) - len(usable),
        workloads=(),
    )


def _averaged(rows: list[tuple[Any, ...]]) -> _Chosen:
    """Means over workloads; a configuration that lacks one of them is partial."""
    wanted = tuple(dict.fromkeys(row[2] for row in rows))
    groups: dict[Key, list[tuple[float, float] | None]] = {}
    for row in rows:
        groups.setdefault((row[0], row[1], "", row[3]), []).append((row[6], row[7]) if row[5] else None)
    usable = {key: found for key, found in groups.items() if len(found) == len(wanted) and None not in found}
    values = np.array(list(usable.values()), np.float64).reshape(len(usable), len(wanted), 2).mean(axis=1)
    return _Chosen(
        keys=list(usable),
        energy=values[:, 0],
        q=values[:, 1],
        partial=len(groups) - len(usable),
        workloads=wanted,
    )


def _figures(study: Study, user: Reader, wanted: set[Key], *, reuse: bool) -> list[RunFigures]:
    """The runs of these configurations, in full."""
    runs = Run.objects.filter(study=study, configuration__in={key[0] for key in wanted}).students()
    read = list(runs.select_related("summary").only(*COLUMNS).order_by("id"))
    return [run for run in figures_of(read, user, reuse=reuse).values() if _key(study, run) in wanted]


def _key(study: Study, run: RunFigures) -> Key:
    return (run.configuration, run.hardware, "" if study.average_workloads else run.workload, run.simulated)


def _thinning(chosen: _Chosen, shown: Thinned, placements: tuple[Placement, ...]) -> Thinning:
    counts = {chosen.keys[place]: int(count) for place, count in zip(shown.indices, shown.counts, strict=True)}
    by_key = {
        " · ".join(filter(None, (configuration, hardware, workload, "simulated" if kind else ""))): count
        for (configuration, hardware, workload, kind), count in counts.items()
    }
    standing_here = sum(placement.on_frontier for placement in placements)
    return Thinning(
        configurations=len(chosen.keys) + chosen.partial,
        partial=chosen.partial,
        on_frontier=shown.on_frontier if shown.frontier_thinned else standing_here,
        frontier_shown=standing_here,
        stands_for=by_key,
    )


def _short(key: str) -> str:
    """A key that any cache takes."""
    return f"study:{hashlib.sha256(key.encode()).hexdigest()}"


def _values(study: Study, n: int | str) -> dict[str, Any]:
    return {
        "study": study.pk,
        "n": n if isinstance(n, int) else 1,
        "reference": TEACHER_REFERENCE,
        "artifacts": list(TEACHER_ARTIFACTS),
    }


def _sql(scope: str, n: int | str) -> str:
    """One row a group; what a run is charged is `accounting.figures.charge`, which a test compares."""
    share = "CASE WHEN use.how = 'cut' THEN use.used_share ELSE 1 END" if scope == MADE_TO_MEASURE else "1"
    reused = scope == AMORTISED and n == REUSED
    divisor = "greatest(counted.runs, 1)" if reused else "%(n)s::float8" if scope == AMORTISED else "1"
    own = "NULL::float8" if scope == STUDENT_ONLY else "summary.teacher_energy_j"
    own_divisor = "%(n)s::float8" if scope == AMORTISED and not reused else "1"
    teacher, known = f"artifact.production_energy_j * {share} / {divisor}", "coalesce(uses.known, true)"
    if scope == STUDENT_ONLY:
        teacher, known = "NULL::float8", "true"
    counted = (
        "LEFT JOIN (SELECT artifact_id, count(DISTINCT run_id) AS runs FROM registry_artifactuse other "
        "JOIN registry_run finished ON finished.id = other.run_id AND finished.status = 'finished' "
        "GROUP BY artifact_id) counted ON counted.artifact_id = use.artifact_id"
        if reused
        else ""
    )
    return f"""
WITH uses AS MATERIALIZED (
    SELECT use.run_id, bool_or(artifact.simulated) AS simulated,
           sum({teacher}) FILTER (WHERE artifact.kind = ANY(%(artifacts)s)) AS teacher_j,
           bool_and({teacher} IS NOT NULL) FILTER (WHERE artifact.kind = ANY(%(artifacts)s)) AS known,
           bool_or(true) FILTER (WHERE artifact.kind = 'prepared_dataset') AS has_prepared,
           (array_agg(artifact.production_energy_j ORDER BY use.id)
               FILTER (WHERE artifact.kind = 'prepared_dataset'))[1] AS prepared_j
    FROM registry_artifactuse use
    JOIN registry_artifact artifact ON artifact.id = use.artifact_id AND artifact.kind <> 'student'
    {counted}
    WHERE use.run_id BETWEEN %(first)s AND %(last)s
    GROUP BY use.run_id
), charged AS (
    SELECT run.configuration, run.hardware_class, run.workload,
           run.simulated OR coalesce(summary.simulated, false) OR coalesce(uses.simulated, false) AS simulated,
           run.status = 'finished' AND summary.missing = '{{}}'::jsonb AND summary.quality IS NOT NULL
               AND {known} AND (uses.has_prepared IS NULL OR uses.prepared_j IS NOT NULL)
               AND coalesce(summary.data_energy_j, summary.student_energy_j, summary.evaluation_energy_j,
                            {own}, uses.teacher_j, uses.prepared_j) IS NOT NULL AS usable,
           coalesce(summary.data_energy_j, 0) + coalesce({own}, 0) / {own_divisor}
               + coalesce(summary.student_energy_j, 0) + coalesce(summary.evaluation_energy_j, 0)
               + coalesce(uses.teacher_j, 0) + coalesce(uses.prepared_j, 0) AS energy_j,
           coalesce(summary.data_energy_j, 0) + coalesce(summary.teacher_energy_j, 0)
               + coalesce(summary.student_energy_j, 0) + coalesce(summary.evaluation_energy_j, 0) AS own_j,
           summary.missing = '{{}}'::jsonb AS whole, summary.quality
    FROM registry_run run
    LEFT JOIN registry_runsummary summary ON summary.run_id = run.id AND summary.run_id BETWEEN %(first)s AND %(last)s
    LEFT JOIN uses ON uses.run_id = run.id
    WHERE run.study_id = %(study)s AND run.pipeline <> %(reference)s
)
SELECT configuration, hardware_class, workload, simulated, count(*), count(*) FILTER (WHERE usable),
       avg(energy_j) FILTER (WHERE usable), avg(quality) FILTER (WHERE usable), sum(own_j),
       count(*) FILTER (WHERE whole IS NOT TRUE)
FROM charged GROUP BY configuration, hardware_class, workload, simulated
"""  # noqa: S608 (fragments are constants)


_CLASSES = "SELECT DISTINCT hardware_class FROM registry_run WHERE study_id = %(study)s ORDER BY 1 LIMIT 100"

_MADE = """
SELECT coalesce(sum(production_energy_j), 0), count(*) FILTER (WHERE production_energy_j IS NULL) FROM registry_artifact
WHERE id IN (
    SELECT use.artifact_id FROM registry_artifactuse use JOIN registry_run run ON run.id = use.run_id
    LEFT JOIN registry_runsummary summary ON summary.run_id = run.id
    WHERE run.study_id = %(study)s AND run.pipeline <> %(reference)s
      AND (%(hardware)s::text IS NULL OR run.hardware_class = %(hardware)s)
      AND %(simulated)s = (run.simulated OR coalesce(summary.simulated, false) OR EXISTS (
          SELECT 1 FROM registry_artifactuse other JOIN registry_artifact simulated ON simulated.id = other.artifact_id
          WHERE other.run_id = run.id AND simulated.simulated AND simulated.kind <> 'student'))
) AND (kind = ANY(%(artifacts)s) OR kind = 'prepared_dataset')
"""


def _ends(study: Study) -> tuple[Any, Any]:
    """The first and the last key of the study's runs: other tables are read between them, as keys follow the clock."""
    keys = Run.objects.filter(study=study).values_list("pk", flat=True)
    return keys.order_by("pk").first(), keys.order_by("-pk").first()


def _burnt(study: Study, found: _Grouped, kind: bool, hardware: str | None) -> Charge:
    """What all runs of this kind burnt together, each artifact once; `None` with a hole in any."""
    rows = [row for row in found.rows if row[3] == kind and hardware in (None, row[1])]
    holes = sum(row[9] for row in rows)
    if holes or not rows:
        return Charge(energy_j=None, by_role={}, missing=(f"figures of {holes:,} runs",))
    with connection.cursor() as cursor:
        cursor.execute(_MADE, {**_values(study, 1), "simulated": kind, "hardware": hardware})
        made_j, unknown = cursor.fetchone()
    missing = (f"production energy of {unknown:,} artifacts",) * bool(unknown)
    return Charge(energy_j=None if unknown else sum(row[8] for row in rows) + made_j, by_role={}, missing=missing)
