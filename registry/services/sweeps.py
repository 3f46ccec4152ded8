"""Sweeps: many runs planned together and submitted in one transaction, so that each teacher artifact is made once.

Whoever asks for most decides first; the others then use what it makes or cut it. Where nobody knows the rows yet, the
plan goes by their place in the split, and the jobs decide in the same order once the rows are known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from registry.accounting import plan as planning
from registry.accounting.fingerprint import fingerprint
from registry.accounting.plan import PlannedStage
from registry.accounting.reuse import CUT, MAKE, MAKING, USE, WAIT, ArtifactRequest, Candidate, decide
from registry.accounting.spec import RunSpec
from registry.accounting.stages import TEACHER_ARTIFACTS
from registry.accounting.sweeps import Sweep, largest_first, nominal_rows
from registry.models import Artifact, Job, Membership, Run, Study, User
from registry.selectors.expectations import Expectation, expected
from registry.services import accounts, artifacts, audit, reuse, runs, scheduling
from registry.services.errors import Invalid
from registry.workloads import catalogue


@dataclass(frozen=True, kw_only=True)
class Part:
    """One run's part in an artifact: made by it, used whole, or cut. `place` is the run's in the sweep."""

    place: int
    action: str
    rows: int
    exact: str  # what it would make for itself, by a harness that shares only what is equal to the last setting


@dataclass(frozen=True, kw_only=True)
class Need:
    """One artifact that runs of the sweep share.

    `action`: use or wait for what exists, make it, or later, when its rows are known. `expected` is what making it
    takes, `rows` how many it holds.
    """

    kind: str
    action: str
    reason: str
    artifact: Artifact | None
    rows: int
    parts: tuple[Part, ...]
    expected: Expectation

    @property
    def of_teacher(self) -> bool:
        """Whether a teacher works for it."""
        return self.kind in TEACHER_ARTIFACTS

    @property
    def made(self) -> int:
        """How many are made: one, or none."""
        return int(self.action in (MAKE, scheduling.LATER))

    @property
    def alone(self) -> int:
        """How many would be made if each run made its own."""
        return len(self.parts)

    @property
    def by_exact(self) -> int:
        """How many a harness makes that bakes the temperature in and generates anew for each length and prompt set."""
        return len({part.exact for part in self.parts})

    @property
    def burnt_j(self) -> float | None:
        """Joules that this plan burns for it; `None` where nobody knows what making it takes."""
        return 0.0 if not self.made else self.expected.energy_j

    @property
    def alone_j(self) -> float | None:
        """Joules if each run made its own: as many rows take as much. A shorter limit on answers is not counted off."""
        return self._energy(self.parts)

    @property
    def by_exact_j(self) -> float | None:
        """Joules of the harness that shares only what is equal."""
        return self._energy({part.exact: part for part in self.parts}.values())

    def _energy(self, parts: Any) -> float | None:
        if self.expected.energy_j is None:
            return None
        return sum(self.expected.energy_j * (part.rows / self.rows if self.rows else 1.0) for part in parts)


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What submitting a sweep would do. `others_j`: training and evaluation of all runs."""

    sweep: Sweep
    needs: tuple[Need, ...]
    needs_reference: bool
    others_j: float | None

    @property
    def of_teacher(self) -> tuple[Need, ...]:
        """The artifacts that a teacher works for."""
        return tuple(need for need in self.needs if need.of_teacher)

    @property
    def burnt_j(self) -> float | None:
        """Joules that the whole sweep is expected to burn."""
        return _sum([self.others_j, *(need.burnt_j for need in self.needs)])

    @property
    def known_j(self) -> float:
        """Joules of the parts of `burnt_j` that somebody has measured: no total while `unknown` names others."""
        return sum(energy for energy in (self.others_j, *(need.burnt_j for need in self.needs)) if energy is not None)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Kinds of artifacts, and `training_and_evaluation`, of which nobody knows what they take."""
        kinds = [need.kind for need in self.needs if need.burnt_j is None]
        return tuple(dict.fromkeys([*kinds, *(["training_and_evaluation"] if self.others_j is None else [])]))

    @property
    def saved_j(self) -> float | None:
        """Joules of teacher work that are not burnt, against each run making its own."""
        return _less(_sum([need.alone_j for need in self.of_teacher]), _sum([need.burnt_j for need in self.of_teacher]))

    @property
    def saved_by_exact_j(self) -> float | None:
        """The same against a harness that shares only what is equal."""
        return _less(
            _sum([need.by_exact_j for need in self.of_teacher]), _sum([need.burnt_j for need in self.of_teacher])
        )


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """One artifact that one run asks for. `known`: its rows are real."""

    place: int
    stage: PlannedStage
    request: ArtifactRequest
    known: bool


def plan(*, user: User | None, study: Study, sweep: Sweep) -> SweepPlan:
    """The artifacts that the runs share, with their decisions, and what it all is expected to cost. Changes nothing.

    Raises `Invalid`.
    """
    planned = [_planned(spec, study, user) for spec in sweep.specs]
    wanted = [one for place, stages in enumerate(planned) for one in _wanted(place, stages, sweep.specs[place])]
    costs = _costs(study)
    needs = _needs(wanted, sweep.specs, study, user, costs)
    others = [
        costs(stage, spec).energy_j
        for stages, spec in zip(planned, sweep.specs, strict=True)
        for stage in stages
        if stage.output not in artifacts.SHARED_KINDS
    ]
    return SweepPlan(
        sweep=sweep,
        needs=needs,
        needs_reference=any(runs.reference(study, spec) is None for spec in sweep.specs),
        others_j=_sum(others),
    )


@transaction.atomic
def submit(*, actor: User | None, study: Study, sweep: Sweep) -> list[Run]:
    """Queue every run of the sweep, or none. Raises `Invalid`, `NotAllowed`. The runs come in the sweep's order."""
    accounts.require_role(actor, study.project, Membership.Role.SUBMITTER)
    for spec in sweep.specs:
        runs.check_pipeline(spec)
    wanted = [
        one for place, spec in enumerate(sweep.specs) for one in _wanted(place, _planned(spec, study, actor), spec)
    ]
    reuse.lock_all(one.request for one in wanted if one.known)
    made: dict[int, Run] = {}
    decided: dict[str, Job] = {}
    for place in _order(wanted, len(sweep.specs)):
        teachers = next((one for one in wanted if one.place == place and one.stage.output in TEACHER_ARTIFACTS), None)
        kind = teachers.stage.kind if teachers else ""
        run = runs.submit(actor=actor, study=study, spec=sweep.specs[place], after=decided.get(kind))
        made[place] = run
        if teachers is not None and not teachers.known:
            decided[kind] = run.jobs.get(kind=kind)
    ordered = [made[place] for place in range(len(sweep.specs))]
    audit.record(
        actor=actor,
        project=study.project,
        action="sweep submitted",
        subject=study,
        runs=[str(run.pk) for run in ordered],
    )
    return ordered


def _planned(spec: RunSpec, study: Study, user: User | None) -> tuple[PlannedStage, ...]:
    runs.check_pipeline(spec)
    return runs.planned(spec, study, user)


def _wanted(place: int, stages: Sequence[PlannedStage], spec: RunSpec) -> list[_Wanted]:
    """What a run asks for of what can be shared; rows nobody knows are stood for by their place in the split."""
    found = []
    for stage in stages:
        if stage.output not in artifacts.SHARED_KINDS:
            continue
        request = stage.request or _nominal(stage, spec)
        found.append(_Wanted(place=place, stage=stage, request=request, known=stage.request is not None))
    return found


def _nominal(stage: PlannedStage, spec: RunSpec) -> ArtifactRequest:
    rows = nominal_rows(spec.dataset)
    identities = replace(catalogue.identities(spec), row_digests=rows, prompt_digests=rows)
    request = planning.artifact_request(stage.output, spec, identities)
    if request is None:
        raise Invalid({"dataset": f"what {stage.kind} makes does not follow from its rows"})
    return request


def _order(wanted: Sequence[_Wanted], count: int) -> list[int]:
    """Places of the runs, those with the largest teacher artifacts first."""
    teachers = {one.place: one.request for one in wanted if one.stage.output in TEACHER_ARTIFACTS}
    return [*largest_first(teachers), *(place for place in range(count) if place not in teachers)]


def _needs(
    wanted: Sequence[_Wanted],
    specs: Sequence[RunSpec],
    study: Study,
    user: User | None,
    costs: Callable[[PlannedStage, RunSpec], Expectation],
) -> tuple[Need, ...]:
    """Decide for one run after the other as submitting will, with what the earlier ones make in sight."""
    order = largest_first({number: one.request for number, one in enumerate(wanted)})
    needs: dict[str, Need] = {}
    here: list[Candidate] = []
    for number in order:
        one = wanted[number]
        there = _there(one.request, study, user) if one.known else []
        decision = decide(one.request, [*there, *here])
        key = decision.artifact_id or f"made by {number}"
        if decision.action == MAKE:
            here.append(Candidate(artifact_id=key, name="", request=one.request, status=MAKING))
            needs[key] = _made(one, decision.reason, costs(one.stage, specs[one.place]))
        elif key not in needs:
            needs[key] = _found(key, decision.action, decision.reason, one)
        action = decision.action
        if action == WAIT:
            action = USE if _print(one.request) == _held(key, [*here, *there]) else CUT
        part = Part(place=one.place, action=action, rows=len(one.request.row_digests), exact=_exact(one.request))
        needs[key] = replace(needs[key], parts=(*needs[key].parts, part))
    return tuple(replace(need, parts=tuple(sorted(need.parts, key=lambda part: part.place))) for need in needs.values())


def _there(request: ArtifactRequest, study: Study, user: User | None) -> list[Candidate]:
    """What exists or is being made, by another run or under a lease."""
    found = reuse.candidates(request, study.project, user, for_worker=True)
    held = reuse.standing_lease(request, study.project)
    if held is None:
        return found
    name = f"What is leased until {held.expires_at:%H:%M:%S} UTC"
    return [*found, Candidate(artifact_id=str(held.pk), name=name, request=reuse.leased_request(held), status=MAKING)]


def _held(key: str, candidates: Sequence[Candidate]) -> str:
    return next(_print(one.request) for one in candidates if one.artifact_id == key)


def _print(request: ArtifactRequest) -> str:
    """Equal for equal requests of one plan, at a small part of a fingerprint's price: thousands of rows are hashed."""
    rows = str(hash(frozenset(request.row_digests)))
    return fingerprint(replace(request, row_digests=(rows,)))


def _made(one: _Wanted, reason: str, cost: Expectation) -> Need:
    later = "Made once its rows are known, unless it turns out to exist."
    return Need(
        kind=one.request.kind,
        action=MAKE if one.known else scheduling.LATER,
        reason=reason if one.known else later,
        artifact=None,
        rows=len(one.request.row_digests),
        parts=(),
        expected=cost,
    )


def _found(key: str, action: str, reason: str, one: _Wanted) -> Need:
    artifact = Artifact.objects.select_related("rows").defer("rows__digests", "rows__keys").filter(pk=key).first()
    return Need(
        kind=one.request.kind,
        action=WAIT if action == WAIT else USE,
        reason=reason,
        artifact=artifact,
        rows=artifact.rows.count if artifact and artifact.rows else len(one.request.row_digests),
        parts=(),
        expected=Expectation(energy_j=artifact.production_energy_j if artifact else None, basis="what making it took"),
    )


def _exact(request: ArtifactRequest) -> str:
    """The same for two runs only if they could share what bakes the temperature in, as it is."""
    return _print(replace(request, capture={**request.capture, **request.needed}, needed={}))


def _costs(study: Study) -> Callable[[PlannedStage, RunSpec], Expectation]:
    """`expected`, asked once for stages that are alike."""

    asked: dict[tuple[Any, ...], Expectation] = {}

    def cost(stage: PlannedStage, spec: RunSpec) -> Expectation:
        key = (stage.kind, spec.pipeline, spec.teacher, spec.student, spec.dataset.id)
        if key not in asked:
            asked[key] = expected(stage, spec, study.project)
        return asked[key]

    return cost


def _sum(energies: Sequence[float | None]) -> float | None:
    known = [energy for energy in energies if energy is not None]
    return sum(known) if len(known) == len(energies) else None


def _less(whole: float | None, part: float | None) -> float | None:
    return None if whole is None or part is None else whole - part
