"""Derived figures against the records they were derived from."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from registry.models import Artifact, Run, RunSummary, Stage
from registry.services import summaries

# Sums may be taken in another order than they were when the figure was written.
TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One derived figure that isn't what its records give."""

    subject: Run | Artifact | Stage
    figure: str
    stored: Any
    rebuilt: Any

    def __str__(self) -> str:
        kind = self.subject._meta.verbose_name
        return f"{kind} {self.subject.pk}: {self.figure} is {self.stored!r}, its records give {self.rebuilt!r}"


def differences() -> Iterator[Difference]:
    """Every difference: totals of stages, production energies of artifacts, then summaries of runs."""
    for stage in Stage.objects.order_by("id").iterator():
        yield from _compare(stage, {"energy_j": stage.energy_j}, {"energy_j": _total(stage)})
    for artifact in Artifact.objects.order_by("id").iterator():
        yield from _production(artifact)
    for run in Run.objects.select_related("study", "reference").order_by("id").iterator():
        yield from _summary(run)


def repair(difference: Difference) -> bool:
    """Rebuild the figure from its records. `False` for a stage: a record is never changed, so a person must look."""
    if isinstance(difference.subject, Run):
        summaries.refresh(difference.subject)
    elif isinstance(difference.subject, Artifact):
        summaries.refresh_production(difference.subject)
    else:
        return False
    return True


def _total(stage: Stage) -> float | None:
    energies: list[float | None] = [getattr(stage, f"{component}_energy_j") for component in stage.components]
    measured = [energy for energy in energies if energy is not None]
    return math.fsum(measured) if len(measured) == len(energies) else None


def _production(artifact: Artifact) -> Iterator[Difference]:
    if artifact.status == Artifact.Status.MAKING or not (
        artifact.evidence or summaries.stages_behind(artifact).exists()
    ):
        return  # not there yet, or declared by whoever registered it: there is nothing to compare with
    names = ("production_energy_j", "production_missing", "simulated")
    stored = {name: getattr(artifact, name) for name in names}
    yield from _compare(artifact, stored, dict(zip(names, summaries.production(artifact), strict=True)))


def _summary(run: Run) -> Iterator[Difference]:
    rebuilt = summaries.rebuilt(run)
    summary = RunSummary.objects.filter(run=run).first()
    if summary is None:
        if rebuilt["records"]:
            yield Difference(subject=run, figure="summary", stored=None, rebuilt=f"{rebuilt['records']} records")
        return
    yield from _compare(run, {name: getattr(summary, name) for name in rebuilt}, rebuilt)


def _compare(subject: Run | Artifact | Stage, stored: dict[str, Any], rebuilt: dict[str, Any]) -> Iterator[Difference]:
    for figure, value in rebuilt.items():
        if not _same(stored[figure], value):
            yield Difference(subject=subject, figure=figure, stored=stored[figure], rebuilt=value)


def _same(stored: Any, rebuilt: Any) -> bool:
    if isinstance(stored, float) and isinstance(rebuilt, float):
        return math.isclose(stored, rebuilt, rel_tol=TOLERANCE)
    return bool(stored == rebuilt)
