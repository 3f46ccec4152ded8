"""Reuse before regenerate, applied: candidates out of the registry, the decision by `accounting.reuse`.

A registry may hold a million artifacts, and a request seven thousand rows. So the database names the few that could
serve (of the request's family, over a set of rows that holds some of the request's) or nearly serve, without reading
any rows; only of those few are the rows read, and `accounting.reuse` decides between them.
"""

import json
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from registry.accounting import reuse
from registry.accounting.canonical import flatten
from registry.accounting.fingerprint import family, fingerprint
from registry.accounting.plan import Identities, artifact_request
from registry.accounting.reuse import CUT, MAKE, USE, WAIT, ArtifactRequest, Candidate, Decision, Rows
from registry.accounting.spec import RunSpec
from registry.accounting.stages import OUTPUT_OF_STAGE, TEACHER_ARTIFACTS
from registry.models import Artifact, ArtifactLease, Project, User
from registry.selectors import reusable
from registry.selectors.reusable import Reach, Reusable
from registry.services import licences, rowsets
from registry.workloads import catalogue

_LOCK_SPACE = 0x5A6E  # keeps these locks apart from anybody else's advisory locks
_LOCK_ORDER = tuple(dict.fromkeys(output for output in OUTPUT_OF_STAGE.values() if output))
# Rows whose sets are looked up. A set that holds so many of the request's rows nearly always holds them all, and
# whether it does is then checked row by row.
_PROBES, _NEAR_PROBES = 4, 8
_ONE_ROW = Rows("*")
_SERVING_READ = 12  # covering artifacts named at most
_NEAR_SETS, _NEAR_COMPARED, _NEAR_READ = 8, 24, 5


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """An artifact that would serve and that the asking project may not use as things stand."""

    project: str  # its slug: whom to ask
    kind: str
    status: str
    production_energy_j: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """What may be used, and what only might be asked for. `artifacts`: the candidates' columns, by key."""

    candidates: tuple[Candidate, ...]
    elsewhere: tuple[Elsewhere, ...] = ()
    artifacts: dict[str, Reusable] = field(default_factory=dict)


def lock(request: ArtifactRequest) -> None:
    """Hold the request's family until the transaction ends: nobody else decides about it meanwhile.

    Whatever could cover the request, or be covered by it, lies in the family. So two requests of which one covers the
    other take the same lock, and whoever comes second sees what the first one began.
    """
    key = zlib.crc32(family(request).encode()) - 2**31
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, key])


def lock_all(requests: Iterable[ArtifactRequest]) -> None:
    """Lock several families, always in the same order, so that two submissions never wait for each other.

    The order is that of a run's stages, as a run that moves on locks them one after the other.
    """
    families = {(_LOCK_ORDER.index(request.kind), family(request)): request for request in requests}
    for _, request in sorted(families.items(), key=lambda item: item[0]):
        lock(request)


def decide(*, request: ArtifactRequest, project: Project, user: User | None, for_worker: bool = False) -> Decision:
    """Use, cut, wait or make, for a request out of `project`. Changes nothing.

    `for_worker`: leave out what was registered without its files, since a worker could not read it, and wait for what
    is made under a lease.
    """
    found = find(request, project, user, for_worker=for_worker)
    decision = reuse.decide(request, found.candidates)
    if for_worker:
        decision = heeded(decision, request, project)
    if decision.action != MAKE:
        return decision
    bare = _unreadable(request, project, user) if for_worker else ""
    said = [decision.reason, *(one.reason for one in found.elsewhere), *([bare] if bare else [])]
    return replace(decision, reason=" ".join(said))


def heeded(decision: Decision, request: ArtifactRequest, project: Project) -> Decision:
    """`decision`, but to wait where a member of `project` holds a lease on making what answers `request`."""
    held = standing_lease(request, project) if decision.action == MAKE else None
    if held is None:
        return decision
    until = f"{held.expires_at:%H:%M:%S} UTC"
    reason = f"Somebody of the project makes it outside of the workers, under a lease until {until}."
    return replace(decision, action=WAIT, reason=reason, lease_id=str(held.pk), until=held.expires_at, offer=None)


def standing_lease(request: ArtifactRequest, project: Project) -> ArtifactLease | None:
    """A lease of the project on making something that would answer the request."""
    wanted = reuse.normalised(request)
    held = open_leases().filter(project=project, family=family(wanted)).select_related("rows", "holder")
    return next((one for one in held if not reuse.covers(leased_request(one), wanted)), None)


def open_leases() -> QuerySet[ArtifactLease]:
    """Leases that neither ended nor ran out."""
    return ArtifactLease.objects.filter(ended_at=None, expires_at__gt=timezone.now())


def leased_request(held: ArtifactLease) -> ArtifactRequest:
    """What is being made under the lease."""
    digests = () if held.rows is None else tuple(held.rows.digests)
    return ArtifactRequest(kind=held.kind, identity=held.identity, capture=held.capture, row_digests=digests)


def may_use(artifact: Artifact, project: Project) -> bool:
    """Whether `project` may use it as things stand: its own, or handed on to others under a licence that lets them."""
    return artifact.project_id == project.pk or _handed_on(artifact, public=artifact.project.public)


def _unreadable(request: ArtifactRequest, project: Project, user: User | None) -> str:
    """A sentence on one that would serve and was registered without its files, if there is one."""
    candidates = find(request, project, user).candidates
    would = reuse.decide(request, candidates)
    if would.action not in (USE, CUT):
        return ""
    name = next(one.name for one in candidates if one.artifact_id == would.artifact_id)
    return f"{name} would, but it was registered without its files, and a worker can't read it."


def identities(spec: RunSpec, project: Project, user: User | None) -> Identities:
    """The digests behind a spec's names; the rows of a hub dataset are known once somebody has prepared them.

    Raises `WorkloadError`.
    """
    found = catalogue.identities(spec)
    if found.row_digests is not None:
        return found
    prepared = artifact_request(Artifact.Kind.PREPARED_DATASET, spec, found)
    if prepared is None:
        return found
    decision = decide(request=prepared, project=project, user=user, for_worker=True)
    if decision.action != USE:
        return found
    return read_from(found, Artifact.objects.select_related("rows", "prompts").get(pk=decision.artifact_id or ""))


def read_from(known: Identities, prepared: Artifact) -> Identities:
    """`known`, with the rows of a prepared dataset."""
    prompts = () if prepared.prompts is None else tuple(prepared.prompts.digests)
    return replace(known, row_digests=tuple(prepared.row_digests), prompt_digests=prompts)


def candidates(
    request: ArtifactRequest, project: Project, user: User | None, *, for_worker: bool = False
) -> list[Candidate]:
    """Artifacts that serve or nearly serve `request` and that `project` may use."""
    return list(find(request, project, user, for_worker=for_worker).candidates)


def find(request: ArtifactRequest, project: Project, user: User | None, *, for_worker: bool = False) -> Found:
    """The artifacts that serve `request`, those that nearly do, and word of those that may be asked for.

    Offered are the project's own, and those of public projects or published ones whose licence lets others use them.
    `user=None` looks at the project alone.
    """
    question = _Question(reuse.normalised(request), _reach(request.kind, project, user, for_worker=for_worker))
    alike = question.alike()
    serving = question.serving(alike)
    offered = [row for row in serving if _offered(row, project)]
    named = {row.id for row in serving}
    # What nearly serves is looked for only where nothing serves.
    rest = [row for row in alike if row.id not in named]
    near = [] if offered else [row for row in question.near(rest, named) if _offered(row, project)]
    chosen = [*offered, *question.nearest(near)]
    return Found(
        candidates=tuple(question.candidates(chosen)),
        elsewhere=tuple(_elsewhere(row, user) for row in serving if not _offered(row, project))[:3],
        artifacts={str(row.id): row for row in chosen},
    )


def _reach(kind: str, project: Project, user: User | None, *, for_worker: bool) -> Reach:
    """Artifacts of the kind that somebody asking from `project` may be told of."""
    members = () if user is None else tuple(user.member_project_ids())
    return Reach(
        kind=kind,
        mine=(project.pk, *members),
        others=user is not None,
        everything=user is not None and user.is_superuser,
        for_worker=for_worker,
    )


def _offered(row: Reusable, project: Project) -> bool:
    """Whether `project` may use it: its own, or handed on to others under a licence that lets them."""
    return row.project_id == project.pk or _handed_on(row, public=row.project_public)


def _handed_on(row: Artifact | Reusable, *, public: bool) -> bool:
    return (public or row.sharing == Artifact.Sharing.SHARED) and licences.obstacle_to_sharing(row) is None


def _elsewhere(row: Reusable, user: User | None) -> Elsewhere:
    seen = row.project_public or (user is not None and row.project_id in user.member_project_ids())
    why = licences.obstacle_to_sharing(row) if seen or row.sharing == Artifact.Sharing.SHARED else None
    where = f"The project {row.project_slug} has one that would serve"
    ask = f"{where}; ask its maintainers to publish it." if why is None else f"{where}, but {why}."
    return Elsewhere(
        project=row.project_slug,
        kind=row.kind,
        status=row.status,
        production_energy_j=row.production_energy_j,
        reason=ask,
    )


class _Question:
    """One request while it is looked up: what was worked out or read for it once is not worked out or read again."""

    def __init__(self, want: ArtifactRequest, reach: Reach) -> None:
        self.want = want
        self.rows = want.row_digests if isinstance(want.row_digests, Rows) else Rows()
        self.reach = reach
        self.of_teacher = want.kind in TEACHER_ARTIFACTS
        self.family = family(want)
        self._bare = _bare(want)
        self._read = {self.rows.key: self.rows}
        self._obstacles: dict[tuple[str, str], int] = {}

    def alike(self) -> list[Reusable]:
        """What may well serve: equal to the request, or of its family over a set that probably holds all its rows."""
        if not self.of_teacher:
            return reusable.equal(self.reach, fingerprint(self.want), _SERVING_READ)
        if not self.rows:
            return []
        probes, count = rowsets.spread(self.rows, _PROBES), len(self.rows)
        return reusable.over(self.reach, family=self.family, rows=self.rows.key, count=count, probes=probes)

    def serving(self, alike: list[Reusable]) -> list[Reusable]:
        """Those that do serve, the best first: their settings go as far, and their rows hold all that are asked for."""
        if not self.of_teacher:
            return alike
        able = [row for row in alike if not self.lacking(row)]
        served: list[Reusable] = []
        for start in range(0, len(able), _SERVING_READ):
            some = able[start : start + _SERVING_READ]
            self._read_rows(some)
            served += [row for row in some if self.rows.members <= self._rows_of(row).members]
            if len(served) >= _SERVING_READ:
                break
        return served[:_SERVING_READ]

    def near(self, rest: list[Reusable], named: Iterable[uuid.UUID]) -> list[Reusable]:
        """Some of the same kind and teacher over the same or overlapping rows, those of its family first.

        Those of its family over all of the rows (`rest`) are there whatever else overlaps: they lack a setting alone.
        """
        names = flatten(self.want.identity)
        if not self.of_teacher:
            found = reusable.of_dataset(self.reach, names.get("dataset.id", ""), _NEAR_COMPARED)
            return [row for row in found if row.id not in named]
        if not self.rows:
            return []
        lacking = sorted(rest, key=lambda row: row.id, reverse=True)[:_NEAR_COMPARED]
        return lacking + reusable.near(
            self.reach,
            family=self.family,
            teacher=names.get("teacher.id", ""),
            count=len(self.rows),
            probes=rowsets.spread(self.rows, _NEAR_PROBES),
            sets=_NEAR_SETS,
            besides=[*named, *(row.id for row in lacking)],
            most=_NEAR_COMPARED,
        )

    def nearest(self, rows: list[Reusable]) -> list[Reusable]:
        """Those with the fewest differences, going by their settings alone: only of these are the rows read."""

        def distance(row: Reusable) -> tuple[int, int]:
            return self.lacking(row) + (row.rows_id != self.rows.key), -row.id.int

        return sorted(rows, key=distance)[:_NEAR_READ]

    def candidates(self, rows: Sequence[Reusable]) -> list[Candidate]:
        """As the decision compares them."""
        if not self.of_teacher:  # what came out of them says nothing of what they are
            return [_candidate(row, Rows()) for row in rows]
        self._read_rows(rows)
        return [_candidate(row, self._rows_of(row)) for row in rows]

    def lacking(self, row: Reusable) -> int:
        """How many of its settings stand in the way; the same ones are compared once."""
        spelt = row.identity, row.capture
        if spelt not in self._obstacles:
            self._obstacles[spelt] = len(reuse.covers(_bare(_settings(row.kind, *spelt)), self._bare))
        return self._obstacles[spelt]

    def _read_rows(self, rows: Iterable[Reusable]) -> None:
        absent = {row.rows_id for row in rows if row.rows_id is not None} - self._read.keys()
        # Kept sorted, each once, in the spelling they are compared in.
        self._read |= {key: Rows(json.loads(text)) for key, text in reusable.digests(absent).items()}

    def _rows_of(self, row: Reusable) -> Rows:
        return self._read[row.rows_id] if row.rows_id is not None else Rows()


def _candidate(row: Reusable, digests: Rows) -> Candidate:
    return Candidate(
        artifact_id=str(row.id),
        name=row.name,
        request=replace(_settings(row.kind, row.identity, row.capture), row_digests=digests),
        status=row.status,
        production_energy_j=row.production_energy_j,
        superseded=row.superseded_by_id is not None,
        simulated=row.simulated,
    )


@lru_cache(maxsize=2048)
def _settings(kind: str, identity: str, capture: str) -> ArtifactRequest:
    """What an artifact is, from its JSON texts, in the one spelling that settings are compared in."""
    return reuse.normalised(ArtifactRequest(kind=kind, identity=json.loads(identity), capture=json.loads(capture)))


def _bare(request: ArtifactRequest) -> ArtifactRequest:
    """The request as if it were for one row: what is left to compare are its settings."""
    return replace(request, row_digests=_ONE_ROW)
