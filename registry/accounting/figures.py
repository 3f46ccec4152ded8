"""What a run cost, and what it is charged under each scope.

A teacher artifact is burnt once and used often, so "what did this run cost" has four honest answers; the scope
says which one is meant.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

FULL, MADE_TO_MEASURE, AMORTISED, STUDENT_ONLY = "full", "made_to_measure", "amortised", "student_only"
SCOPES = (FULL, MADE_TO_MEASURE, AMORTISED, STUDENT_ONLY)
REUSED = "reused"  # amortise over the runs that really used the artifact
TEACHER, DATA, PRERUN = "teacher", "data", "prerun"


class ScopeError(ValueError):
    """A scope or N that does not exist."""


@dataclass(frozen=True, kw_only=True)
class ArtifactShare:
    """An artifact as one run used it."""

    artifact_id: str
    production_energy_j: float | None  # of all attempts that made it; `None` if not known
    used_share: float | None = 1.0  # of its tokens; below 1 when the run only cut it, `None` if not known
    reuse_count: int = 1  # distinct finished runs that used it
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """One run as the frontier sees it. Energies in joules; `None` is not measured.

    `own_energy_j` holds the run's own stages by role, *without* those whose energy is the production energy of
    an artifact listed in `teacher_artifacts` or `prepared`: nothing may be counted twice. `missing` says for a
    role that is `None` what is not there (`{"student": ("student_training: gpu",)}`).
    """

    run_id: str
    pipeline: str
    student: str
    teacher: str = ""
    configuration: str  # key: the spec without seed and workload
    hardware: str = ""
    workload: str = ""
    seed: int = 0
    own_energy_j: Mapping[str, float | None]
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prepared: ArtifactShare | None = None
    teacher_artifacts: tuple[ArtifactShare, ...] = ()
    q: float | None = None
    tokens: int | None = None
    tokens_nominal: bool = False
    complete: bool = True
    origin: str = "worker"
    simulated: bool = False
    flagged: bool = False


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What a run is charged under one scope, in joules. A hole in a part is a hole in the total, and is named."""

    energy_j: float | None
    by_role: Mapping[str, float | None]
    missing: tuple[str, ...] = ()


Part = tuple[str, float | None, tuple[str, ...]]  # role, joules, what is missing


def charge(figures: RunFigures, scope: str, n: int | str = 1) -> Charge:
    """The energy charged to one run.

    full: own stages + the whole production energy of the teacher artifacts used, whoever made them.
    made_to_measure: of an artifact that was only cut, the share of tokens used.
    amortised: the teacher's part ÷ N, or ÷ the runs that used each artifact (`n="reused"`).
    student_only: full − teacher. A prepared dataset is charged whole in every scope.

    Raises `ScopeError` for an unknown scope or an N below 1.
    """
    _check(scope, n)
    return _charge(_parts(figures, scope, n))


def _charge(parts: list[Part]) -> Charge:
    parts = parts or [(DATA, None, ("stages",))]
    by_role: dict[str, list[float | None]] = {}
    for role, energy_j, _ in parts:
        by_role.setdefault(role, []).append(energy_j)
    missing = [hole for _, energy_j, holes in parts if energy_j is None for hole in holes]
    return Charge(
        energy_j=total([energy_j for _, energy_j, _ in parts]),
        by_role={role: total(energies) for role, energies in by_role.items()},
        missing=tuple(dict.fromkeys(missing)),
    )


def total(energies: list[float | None]) -> float | None:
    """The sum in joules; `None` as soon as one of them is, or when there are none."""
    known = [energy for energy in energies if energy is not None]
    return math.fsum(known) if known and len(known) == len(energies) else None


def burnt(runs: Iterable[RunFigures]) -> Charge:
    """What the runs really burnt together: their own stages, and each artifact they used once however many used it."""
    own: list[Part] = []
    artifacts: dict[str, Part] = {}
    for run in runs:
        own += _parts(replace(run, prepared=None, teacher_artifacts=()), FULL, 1)
        used = [(TEACHER, artifact) for artifact in run.teacher_artifacts]
        used += [(DATA, run.prepared)] if run.prepared is not None else []
        for role, artifact in used:
            artifacts[artifact.artifact_id] = (role, artifact.production_energy_j, (_production_of(artifact),))
    return _charge([*own, *artifacts.values()])


def _check(scope: str, n: int | str) -> None:
    if scope not in SCOPES:
        raise ScopeError(f"{scope!r} is no scope; there are {', '.join(SCOPES)}")
    counted = isinstance(n, int) and not isinstance(n, bool) and n >= 1
    if scope == AMORTISED and not counted and n != REUSED:
        raise ScopeError(f"N is {n!r}; give a whole number of students from 1 on, or {REUSED!r}")


def _parts(figures: RunFigures, scope: str, n: int | str) -> list[Part]:
    parts: list[Part] = []
    for role, energy_j in figures.own_energy_j.items():
        if role == PRERUN:
            continue  # belongs to a host, never to a run
        if role != TEACHER:
            parts.append((role, energy_j, figures.missing.get(role, (role,))))
        elif scope != STUDENT_ONLY:
            # A teacher stage without a registered artifact serves this run alone.
            unshared = ArtifactShare(artifact_id="", production_energy_j=energy_j)
            parts.append((TEACHER, _share(unshared, scope, n), figures.missing.get(role, (role,))))
    if figures.prepared is not None:
        parts.append((DATA, figures.prepared.production_energy_j, (_production_of(figures.prepared),)))
    if scope != STUDENT_ONLY:
        parts += [(TEACHER, _share(a, scope, n), (_production_of(a),)) for a in figures.teacher_artifacts]
    return parts


def _share(artifact: ArtifactShare, scope: str, n: int | str) -> float | None:
    """The part of an artifact's production energy that falls to one run, in joules."""
    if artifact.production_energy_j is None:
        return None
    if scope == MADE_TO_MEASURE:
        return None if artifact.used_share is None else artifact.production_energy_j * artifact.used_share
    if scope == AMORTISED:
        runs = max(artifact.reuse_count, 1) if n == REUSED else int(n)
        return artifact.production_energy_j / runs
    return artifact.production_energy_j


def _production_of(artifact: ArtifactShare) -> str:
    name = artifact.name or artifact.artifact_id
    if artifact.production_energy_j is None:
        return f"production energy of {name}"
    return f"share of {name} that was used"
