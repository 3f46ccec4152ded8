"""One run with everything that a study can be looked at by: energy, its bounds, seconds, device-seconds, scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from registry.accounting.figures import ArtifactShare, Charge, RunFigures, charge


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Something that stages took and that adds up (seconds, joules at least, joules at most).

    `own` is by role, `made` by artifact id; what is not there, or `None`, is not known.
    """

    own: Mapping[str, float | None] = field(default_factory=dict)
    made: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Score:
    """A benchmark's value and its standard error, both on the benchmark's own scale."""

    value: float
    stderr: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunMeasures:
    """A run beyond its energy. `inference_j_per_token` is joules per token evaluated, a stand-in for serving.

    `lower_j` and `upper_j` bound the energy where records state bounds; a component without any stands in both at its
    own figure, and `bounded_j` says how much of the energy bounds were stated for.
    """

    figures: RunFigures
    seconds: Taken = Taken()
    device_seconds: Taken = Taken()
    lower_j: Taken = Taken()
    upper_j: Taken = Taken()
    bounded_j: Taken = Taken()
    lost_j: Taken = Taken()  # burnt by attempts that failed or died
    floor_j: Taken = Taken()  # what an ideal run of the completed work would burn
    idle_j: Taken = Taken()  # what the hosts would have drawn at rest in the same time
    scores: Mapping[str, Score] = field(default_factory=dict)
    teacher_scores: Mapping[str, Score] = field(default_factory=dict)
    inference_j_per_token: float | None = None
    inference_stated: bool = False  # a stated estimate, not counted here


def charged(run: RunFigures, taken: Taken, what: str, scope: str, n: int | str = 1) -> Charge:
    """What a run is charged of something other than joules, by the rule of `figures.charge`.

    The rule is linear in what the stages took, so seconds go through it where joules stand and come out as seconds;
    `Charge.energy_j` then holds the unit of `taken`. `what` names it in the list of what is missing.
    """
    roles = {role: taken.own.get(role) for role in run.own_energy_j}
    swapped = replace(
        run,
        own_energy_j=roles,
        missing={role: (f"{what} of {role}",) for role in roles},
        prepared=None if run.prepared is None else _swapped(run.prepared, taken),
        teacher_artifacts=tuple(_swapped(artifact, taken) for artifact in run.teacher_artifacts),
    )
    found = charge(swapped, scope, n)
    return replace(found, missing=tuple(hole.replace("production energy", what, 1) for hole in found.missing))


def _swapped(artifact: ArtifactShare, taken: Taken) -> ArtifactShare:
    return replace(artifact, production_energy_j=taken.made.get(artifact.artifact_id))
