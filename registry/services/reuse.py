"""Reuse before regenerate, applied: candidates out of the registry, the decision by `accounting.reuse`.

A registry may hold a million artifacts, and a request seven thousand rows. So the database names the few that could
serve (of the request's family, over a set of rows that holds some of the request's) or nearly serve, without reading
any rows; only of those few are the rows read, and `accounting.reuse` decides between them.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet

from registry.accounting import reuse
from registry.accounting.canonical import flatten
from registry.accounting.fingerprint import family, fingerprint
from registry.accounting.plan import Identities, artifact_request
from registry.accounting.reuse import MAKE, USE, ArtifactRequest, Candidate, Decision
from registry.accounting.spec import RunSpec
from registry.accounting.stages import OUTPUT_OF_STAGE, TEACHER_ARTIFACTS
from registry.models import Artifact, Project, RowSet, User
from registry.services import licences, rowsets
from registry.workloads import catalogue

_LOCK_SPACE = 0x5A6E  # keeps these locks apart from anybody else's advisory locks
_LOCK_ORDER = tuple(dict.fromkeys(output for output in OUTPUT_OF_STAGE.values() if output))
_OPEN = (Artifact.Status.READY, Artifact.Status.MAKING)
# Rows whose sets are looked up. A set that holds so many of the request's rows nearly always holds them all, and
# whether it does is then checked row by row.
_PROBES, _NEAR_PROBES = 4, 8
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
    """What may be used, and what only might be asked for."""

    candidates: tuple[Candidate, ...]
    elsewhere: tuple[Elsewhere, ...] = ()


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

    `for_worker`: leave out what was registered without its files, since a worker could not read it.
    """
    found = find(request, project, user, for_worker=for_worker)
    decision = reuse.decide(request, found.candidates)
    if decision.action != MAKE or not found.elsewhere:
        return decision
    return replace(decision, reason=" ".join([decision.reason, *(one.reason for one in found.elsewhere)]))


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
    want = reuse.normalised(request)
    rows = _reachable(want.kind, project, user)
    if for_worker:
        rows = rows.exclude(status=Artifact.Status.READY, storage_key="")
    asked = want.kind in TEACHER_ARTIFACTS and bool(want.row_digests)
    sets = rowsets.holding(want.row_digests, probes=_PROBES) if asked else []
    serving = list(_serving(want, rows, sets))
    offered = [candidate for row, candidate in serving if _offered(row, project)]
    named = {row.pk for row, _ in serving}
    # What nearly serves is looked for only where nothing serves.
    near = [] if offered else [row for row in _near(want, rows, sets) if row.pk not in named and _offered(row, project)]
    return Found(
        candidates=(*offered, *_candidates(_nearest(near, want), want)),
        elsewhere=tuple(_elsewhere(row, user) for row, _ in serving if not _offered(row, project))[:3],
    )


def _reachable(kind: str, project: Project, user: User | None) -> QuerySet[Artifact]:
    """Artifacts of the kind that are ready or being made and that somebody asking from `project` may be told of."""
    rows = Artifact.objects.filter(kind=kind, status__in=_OPEN).select_related("project", "rows")
    rows = rows.defer("rows__digests", "rows__keys", "manifest", "meta", "production_missing", "evidence")
    if user is None:
        return rows.filter(project=project)
    if user.is_superuser:
        return rows
    told = Q(sharing__in=[Artifact.Sharing.SHARED, Artifact.Sharing.REQUEST])
    mine = [project.pk, *user.member_project_ids()]
    return rows.filter(Q(project__in=mine) | Q(project__public=True) | told)


def _offered(row: Artifact, project: Project) -> bool:
    """Whether `project` may use it: its own, or handed on to others under a licence that lets them."""
    if row.project_id == project.pk:
        return True
    handed_on = row.sharing == Artifact.Sharing.SHARED or row.project.public
    return handed_on and licences.obstacle_to_sharing(row) is None


def _elsewhere(row: Artifact, user: User | None) -> Elsewhere:
    seen = row.project.public or (user is not None and row.project_id in user.member_project_ids())
    why = licences.obstacle_to_sharing(row) if seen or row.sharing == Artifact.Sharing.SHARED else None
    where = f"The project {row.project.slug} has one that would serve"
    ask = f"{where}; ask its maintainers to publish it." if why is None else f"{where}, but {why}."
    return Elsewhere(
        project=row.project.slug,
        kind=row.kind,
        status=row.status,
        production_energy_j=row.production_energy_j,
        reason=ask,
    )


def _serving(want: ArtifactRequest, rows: QuerySet[Artifact], sets: list[str]) -> Iterator[tuple[Artifact, Candidate]]:
    """What answers the request, smallest first: equal to it, or of its family and holding all of its rows.

    `sets`: keys of those that probably hold them all.
    """
    if want.kind not in TEACHER_ARTIFACTS:
        for row in rows.filter(fingerprint=fingerprint(want)).order_by("-id")[:_SERVING_READ]:
            yield row, _candidate(row, ())
        return
    if not want.row_digests:
        return
    key, bare = rowsets.digest_of(want.row_digests), _bare(want)
    found = rows.filter(family=family(bare), rows__in=sets).order_by("rows__count", "-id")
    able = [row for row in found if not reuse.covers(_bare(_request(row)), bare)]
    wanted, named = set(want.row_digests), 0
    for row in sorted(able, key=lambda row: (row.superseded_by_id is not None, row.simulated, row.rows_id != key)):
        digests = want.row_digests if row.rows_id == key else tuple(row.row_digests)
        if row.rows_id != key and not wanted.issubset(digests):
            continue
        yield row, _candidate(row, digests)
        named += 1
        if named == _SERVING_READ:
            return


def _near(want: ArtifactRequest, rows: QuerySet[Artifact], sets: list[str]) -> list[Artifact]:
    """Some of the same kind and teacher over the same or overlapping rows, those of its family first.

    Those of its family over all of the rows (`sets`) are named whatever else overlaps: they lack a setting alone.
    """
    if want.kind not in TEACHER_ARTIFACTS:
        dataset = flatten(want.identity).get("dataset.id", "")
        return list(rows.filter(dataset=dataset).order_by("-id")[:_NEAR_COMPARED])
    if not want.row_digests:
        return []
    lacking = list(rows.filter(family=family(_bare(want)), rows__in=sets).order_by("-id")[:_NEAR_COMPARED])
    closest = rowsets.touching(want.row_digests, probes=_NEAR_PROBES, most=_NEAR_SETS)
    teacher = flatten(want.identity).get("teacher.id", "")
    over = rows.filter(rows__in=closest, teacher=teacher)
    of_family = ExpressionWrapper(Q(family=family(_bare(want))), output_field=BooleanField())
    others = over.exclude(pk__in=[row.pk for row in lacking]).order_by(of_family.desc(), "-id")
    return lacking + list(others[:_NEAR_COMPARED])


def _nearest(rows: list[Artifact], want: ArtifactRequest) -> list[Artifact]:
    """Those with the fewest differences, going by their settings alone: only of these are the rows read."""
    if not rows:
        return []
    key, bare = rowsets.digest_of(want.row_digests), _bare(want)

    def distance(row: Artifact) -> tuple[int, int]:
        obstacles = reuse.covers(_bare(_request(row)), bare)
        return len(obstacles) + (row.rows_id != key), -row.pk.int

    return sorted(rows, key=distance)[:_NEAR_READ]


def _candidates(rows: Sequence[Artifact], want: ArtifactRequest) -> list[Candidate]:
    known = {rowsets.digest_of(want.row_digests): want.row_digests}
    others = {row.rows_id for row in rows} - known.keys()
    read = dict(RowSet.objects.filter(pk__in=others).values_list("pk", "digests")) if others else {}
    known |= {key: tuple(digests) for key, digests in read.items()}
    return [_candidate(row, known.get(row.rows_id or "", ())) for row in rows]


def _candidate(row: Artifact, digests: tuple[str, ...]) -> Candidate:
    return Candidate(
        artifact_id=str(row.pk),
        name=row.name,
        # Sets of rows are kept as they are compared: sorting thousands anew would take longer than all the rest.
        request=replace(reuse.normalised(_request(row)), row_digests=digests),
        status=row.status,
        production_energy_j=row.production_energy_j,
        superseded=row.superseded_by_id is not None,
        simulated=row.simulated,
    )


def _request(row: Artifact) -> ArtifactRequest:
    return ArtifactRequest(kind=row.kind, identity=row.identity, capture=row.capture)


def _bare(request: ArtifactRequest) -> ArtifactRequest:
    """The request as if it were for one row: what is left to compare are its settings."""
    return replace(request, row_digests=("*",))
