"""Studies of very many runs: every configuration takes part in the frontier, at most 2,000 points are sent.

All runs are read as arrays, which add up, group and find the frontier; only the points that are shown are read in full,
by the same code as those of a small study. What is answered is kept in the cache under the study's version.
"""

import gzip
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import numpy as np
from django.core.cache import cache
from django.db import connection
from django.db.models import F

from registry.accounting import crowd as masses
from registry.accounting.crowd import Configurations, Crowd
from registry.accounting.figures import FULL, REUSED, Charge, RunFigures
from registry.accounting.frontier import Placement, points
from registry.accounting.frontier import frontier as place
from registry.accounting.skyline import MOST_SHOWN, Thinned, standing, thinned
from registry.models import ArtifactUse, Run, Study
from registry.models.base import AmongKeys
from registry.selectors import crowd
from registry.selectors.figures import COLUMNS, Reader, figures_of, reuse_counts
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
    names = Run.objects.filter(study=study).order_by("hardware_class").values_list("hardware_class", flat=True)
    found: list[str] = json.loads(kept(study, "hardware", {}, lambda: json.dumps(list(names.distinct()[:100]))))
    return tuple(found)


def version(study: Study) -> str:
    """Changes with everything the study's figures are made of; read it before them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(bit_xor(token), 0) FROM registry_studychange WHERE study_id = %s", [study.pk])
        return f"{cursor.fetchone()[0] & (2**64 - 1):016x}"


def kept(study: Study, name: str, asked: Mapping[str, Any], make: Callable[[], str]) -> str:
    """The text that `make` gives, from the cache while the study is unchanged.

    N "as reused" depends on runs of other studies too, and is made anew each time.
    """
    tag = tag_of(study, name, asked)
    return gzip.decompress(packed(tag, make)).decode() if tag else make()


def tag_of(study: Study, name: str, asked: Mapping[str, Any]) -> str:
    """Names the text of a view of the study as it is now; empty where it depends on more than the study."""
    if asked.get("n") == REUSED:
        return ""
    spelt = json.dumps([study.average_workloads, *sorted((key, str(value)) for key, value in asked.items())])
    return hashlib.sha256(f"{study.pk}:{version(study)}:{name}:{spelt}".encode()).hexdigest()


def packed(tag: str, make: Callable[[], str]) -> bytes:
    """As `kept`, by its tag and compressed with gzip: as it is sent, so that nobody compresses it again."""
    found: bytes | None = cache.get(f"study:{tag}")
    if found is None:
        found = gzip.compress(make().encode(), 6, mtime=0)
        cache.set(f"study:{tag}", found, KEPT_FOR_S)
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
    found = crowd.read(study)
    marked = masses.simulated(found)
    kind = bool(marked.size) and bool(marked.all()) if simulated is None else simulated
    chosen = marked == kind
    names = _names(found, chosen)
    if hardware is not None:
        chosen &= found.hardware == names[hardware] if hardware in names else False
    energy = masses.charged(found, scope, n, _counts(study) if n == REUSED else {})
    made = masses.configurations(found, energy, chosen, average=study.average_workloads)
    shown = thinned(made.energy, made.q, standing(made.energy, made.q, slack=SLACK))
    runs = _figures(found, np.flatnonzero(np.isin(made.of_run, shown.indices)), user, reuse=n == REUSED)
    workloads = tuple(dict.fromkeys(run.workload for run in runs)) if study.average_workloads else ()
    placements = place(points(runs, scope, n, study.average_workloads, workloads=workloads))
    return StudyFrontier(
        slug=study.slug,
        scope=scope,
        n=n,
        placements=placements,
        hardware=tuple(sorted(names)),
        burnt=_burnt(found, chosen),
        simulated=kind,
        left_out=int((marked != kind).sum()),
        thinning=_thinning(found, made, shown, placements),
    )


def _names(found: Crowd, chosen: Any) -> dict[str, int]:
    """The chosen runs' classes of hardware, each with the hash that the arrays hold."""
    hashes, first = np.unique(found.hardware[chosen], return_index=True)
    keys = crowd.keys_of(found.keys[chosen][first])
    names = dict(Run.objects.filter(pk__in=keys).values_list("pk", "hardware_class"))
    return {names[key]: hashed for key, hashed in zip(keys, hashes.tolist(), strict=True) if key in names}


def _counts(study: Study) -> dict[bytes, int]:
    """How many finished runs, of any study, used each artifact of this one."""
    used = ArtifactUse.objects.filter(run__study=study).order_by().values_list("artifact_id", flat=True).distinct()
    return {crowd.key_of(key): count for key, count in reuse_counts(used).items()}


def _figures(found: Crowd, places: Any, user: Reader, *, reuse: bool) -> list[RunFigures]:
    """The runs at these places, in full."""
    named = AmongKeys(F("pk"), crowd.keys_of(found.keys[places]))
    runs = Run.objects.filter(named).select_related("summary").only(*COLUMNS)
    return list(figures_of(runs.order_by("id"), user, reuse=reuse).values())


def _thinning(found: Crowd, made: Configurations, shown: Thinned, placements: tuple[Placement, ...]) -> Thinning:
    counts = dict(zip(shown.indices.tolist(), shown.counts.tolist(), strict=True))
    firsts = np.array([crowd.key_of(UUID(placement.point.run_ids[0])) for placement in placements], "S16")
    numbers = made.of_run[np.searchsorted(found.keys, firsts)].tolist()
    standing_here = sum(placement.on_frontier for placement in placements)
    return Thinning(
        configurations=len(made.energy) + made.partial,
        partial=made.partial,
        on_frontier=shown.on_frontier if shown.frontier_thinned else standing_here,
        frontier_shown=standing_here,
        stands_for={p.point.key: counts[number] for p, number in zip(placements, numbers, strict=True)},
    )


def _burnt(found: Crowd, chosen: Any) -> Charge:
    """What the chosen runs burnt together, each artifact once; `None` with a hole in any."""
    holes = int((chosen & ~found.whole).sum())
    if holes or not chosen.any():
        return Charge(energy_j=None, by_role={}, missing=(f"figures of {holes:,} runs",))
    ours = np.flatnonzero(chosen[found.uses.run] & (found.uses.kind > 0))
    made_j = found.uses.production[ours[np.unique(found.uses.artifact[ours], return_index=True)[1]]]
    unknown = int(np.isnan(made_j).sum())
    missing = (f"production energy of {unknown:,} artifacts",) * bool(unknown)
    energy_j = None if unknown else math.fsum(found.own[chosen]) + math.fsum(made_j)
    return Charge(energy_j=energy_j, by_role={}, missing=missing)
