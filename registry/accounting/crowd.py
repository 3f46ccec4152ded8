"""Very many runs as arrays: what each is charged, and the configurations they make.

The same arithmetic as `figures.charge` and `frontier.points`, for 10^5 runs and more at once; a test compares.
`NaN` stands for `None`. Whatever scope and N are asked for, the arrays that are read stay the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.accounting.figures import AMORTISED, MADE_TO_MEASURE, REUSED, STUDENT_ONLY

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]
TEACHER_KIND, PREPARED_KIND = 1, 2


@dataclass(frozen=True, kw_only=True)
class Uses:
    """Artifacts as runs used them, in the order they were noted, (uses,) each; `run` is the run's place."""

    run: Indices
    artifact: NDArray[Any]  # keys
    kind: NDArray[np.int16]
    production: Floats  # joules
    share: Floats  # of its tokens; 1 where it was not cut
    simulated: Flags


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Runs, (runs,) each: who they are (names as 64-bit hashes), and their own energies by role in joules."""

    keys: NDArray[Any]
    configuration: NDArray[np.int64]
    hardware: NDArray[np.int64]
    workload: NDArray[np.int64]
    simulated: Flags
    finished: Flags
    whole: Flags  # nothing is missing from its records
    data: Floats
    teacher: Floats
    student: Floats
    evaluation: Floats
    q: Floats
    uses: Uses

    @property
    def own(self) -> Floats:
        """All of a run's own energy; what is not there counts nothing."""
        parts = np.stack((self.data, self.teacher, self.student, self.evaluation))
        known: Floats = np.nan_to_num(parts).sum(axis=0)
        return known


def charged(crowd: Crowd, scope: str, n: int | str, counts: Mapping[Any, int]) -> Floats:
    """What each run is charged, (runs,); NaN with a hole in the teacher's part, or for nothing at all.

    `counts` is by artifact how many finished runs used it, for N "as reused".
    """
    uses, size = crowd.uses, len(crowd.keys)
    energy, there = np.zeros(size), np.zeros(size, np.bool_)
    divisor = float(n) if scope == AMORTISED and n != REUSED else 1.0
    own = [crowd.data, crowd.student, crowd.evaluation]
    own += [] if scope == STUDENT_ONLY else [crowd.teacher / divisor]
    for part in own:
        energy, there = energy + np.nan_to_num(part), there | ~np.isnan(part)
    if scope != STUDENT_ONLY:
        taught = np.flatnonzero(uses.kind == TEACHER_KIND)
        parts = _shares(uses, scope, n, counts)[taught] / divisor
        energy = energy + np.bincount(uses.run[taught], weights=parts, minlength=size)
        there[uses.run[taught]] = True
    prepared = np.flatnonzero(uses.kind == PREPARED_KIND)
    of, first = np.unique(uses.run[prepared], return_index=True)
    energy[of] += uses.production[prepared[first]]
    there[of] = True
    return np.where(there, energy, np.nan)


def _shares(uses: Uses, scope: str, n: int | str, counts: Mapping[Any, int]) -> Floats:
    """The part of each artifact's production energy that falls to the run that used it."""
    if scope == MADE_TO_MEASURE:
        return uses.production * uses.share
    if scope == AMORTISED and n == REUSED:
        names, place = np.unique(uses.artifact, return_inverse=True)
        times = np.array([max(counts.get(name, 1), 1) for name in names.tolist()], np.float64)
        return uses.production / times[place]
    return uses.production


def simulated(crowd: Crowd) -> Flags:
    """Whether each run is marked: by itself, by a record, or by an artifact that it used."""
    marked = crowd.simulated.copy()
    marked[crowd.uses.run[crowd.uses.simulated]] = True
    return marked


@dataclass(frozen=True, kw_only=True)
class Configurations:
    """Complete configurations, (points,) each; `of_run` gives each run's point, −1 for those of none."""

    energy: Floats
    q: Floats
    of_run: Indices
    partial: int


def configurations(crowd: Crowd, energy: Floats, chosen: Flags, *, average: bool) -> Configurations:
    """Means over the usable runs of each configuration, then over workloads where the study averages over them.

    A configuration without a usable run is partial, and so is one that lacks a workload which others have.
    """
    runs = np.flatnonzero(chosen)
    usable = (crowd.finished & crowd.whole & ~np.isnan(crowd.q) & ~np.isnan(energy))[runs]
    group, first = _grouped(_mixed(crowd.configuration, crowd.hardware, crowd.workload)[runs])
    counts = np.bincount(group, weights=usable, minlength=len(first))
    means = [_mean(values[runs], usable, group, counts) for values in (energy, crowd.q)]
    good, place = counts > 0, group
    if average:
        outer, heads = _grouped(_mixed(crowd.configuration, crowd.hardware)[runs][first])
        wanted = len(np.unique(crowd.workload[runs]))
        means = [np.bincount(outer, weights=mean, minlength=len(heads)) / max(wanted, 1) for mean in means]
        good = np.bincount(outer, weights=good, minlength=len(heads)) == wanted
        place = outer[group]
    numbers = np.where(good, np.cumsum(good) - 1, -1)
    of_run = np.full(len(crowd.keys), -1, np.intp)
    of_run[runs] = numbers[place]
    return Configurations(energy=means[0][good], q=means[1][good], of_run=of_run, partial=int((~good).sum()))


def _mean(values: Floats, usable: Flags, group: Indices, counts: NDArray[Any]) -> Floats:
    """By group over its usable runs; NaN where it has none."""
    sums = np.bincount(group, weights=np.where(usable, values, 0.0), minlength=len(counts))
    with np.errstate(invalid="ignore"):
        found: Floats = sums / counts
    return found


def _mixed(*names: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One hash of several: each multiplied by an odd number of its own."""
    odd = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
    mixed = np.zeros(len(names[0]), np.uint64)
    for name, factor in zip(names, odd, strict=False):
        mixed = (mixed ^ name.view(np.uint64)) * np.uint64(factor)
    return mixed


def _grouped(names: NDArray[np.uint64]) -> tuple[Indices, Indices]:
    """The group of each, numbered in the order of first appearance, and where each group first appears."""
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    return rank[group], first[order]
