"""Looking before making: what answers a request, as the page and the REST layer both say it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from registry.accounting import reuse as deciding
from registry.accounting.plan import Identities, artifact_request, asked_beyond
from registry.accounting.reuse import ArtifactRequest, Candidate, NearMiss, Offer
from registry.accounting.spec import RunSpec
from registry.accounting.stages import OUTPUT_OF_STAGE, STAGES_OF_PIPELINE, TEACHER_ARTIFACTS
from registry.models import Project, User
from registry.selectors.reusable import Reusable
from registry.services import reuse
from registry.services.errors import Invalid
from registry.workloads import catalogue

UNKNOWN_ROWS = "The rows of {} are read by a worker; before that, nobody can say what holds them."


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was found for one request. `action` is `None`, and so is `request`, while nobody knows its rows.

    `artifacts`: the columns of all that are named, by key. `expires_at`: of the lease under which it is being made.
    """

    kind: str
    action: str | None  # use | cut | wait | make
    reason: str
    request: ArtifactRequest | None = None
    artifact_id: str | None = None
    expires_at: datetime | None = None
    offer: Offer | None = None
    exact: tuple[Candidate, ...] = ()
    covering: tuple[Candidate, ...] = ()
    making: tuple[Candidate, ...] = ()
    near: tuple[NearMiss, ...] = ()
    elsewhere: tuple[reuse.Elsewhere, ...] = ()
    artifacts: Mapping[str, Reusable] = field(default_factory=dict)


def kind_for(spec: RunSpec) -> str | None:
    """The teacher artifact that a run of this spec needs, if any."""
    outputs = [OUTPUT_OF_STAGE[stage] for stage in STAGES_OF_PIPELINE[spec.pipeline]]
    return next((output for output in outputs if output in TEACHER_ARTIFACTS), None)


def of_spec(kind: str, spec: RunSpec, project: Project, user: User | None, **beyond: Any) -> Answer:
    """Look for the artifact of `kind` that a run of `spec` needs; `beyond` is what `plan.asked_beyond` takes.

    Raises `WorkloadError` for a model, dataset or split that is not there.
    """
    wanted = request_of(kind, spec, reuse.identities(spec, project, user), **beyond)
    if wanted is None:
        return Answer(kind=kind, action=None, reason=UNKNOWN_ROWS.format(spec.dataset.id))
    return answer(wanted, project, user)


def request_of(kind: str, spec: RunSpec, identities: Identities, **beyond: Any) -> ArtifactRequest | None:
    """The artifact of `kind` that a run of `spec` needs; `None` while its rows are unknown."""
    wanted = artifact_request(kind, spec, identities)
    return asked_beyond(wanted, **beyond) if wanted is not None and kind in TEACHER_ARTIFACTS else wanted


def made_elsewhere(
    kind: str, spec: RunSpec, project: Project, user: User | None, *, rows: Sequence[str] = (), **beyond: Any
) -> ArtifactRequest:
    """What determines an artifact of `kind` that was made elsewhere, as a run of `spec` here would ask for it.

    `rows`: the digest of each of its rows; left out, those that the spec selects. Raises `WorkloadError`, and
    `Invalid` where nobody here has read the rows.
    """
    known = reuse.identities(spec, project, user) if not rows else catalogue.named(spec)
    if rows:
        known = replace(known, row_digests=tuple(rows), prompt_digests=tuple(rows))
    wanted = request_of(kind, spec, known, **beyond)
    if wanted is None:
        raise Invalid({"rows": f"nobody here has read the rows of {spec.dataset.id}: give the digest of each"})
    return wanted


def answer(request: ArtifactRequest, project: Project, user: User | None) -> Answer:
    """Look for what answers `request`; `user=None` looks at the project alone. Raises `CanonicalError`."""
    wanted = deciding.normalised(request)  # once for all comparisons
    found = reuse.find(wanted, project, user)
    matches = deciding.match(wanted, found.candidates)
    decision = reuse.heeded(matches.decision, wanted, project)
    return Answer(
        kind=wanted.kind,
        action=decision.action,
        reason=decision.reason,
        request=wanted,
        artifact_id=decision.artifact_id,
        expires_at=decision.until,
        offer=decision.offer,
        exact=matches.exact,
        covering=matches.covering,
        making=matches.making,
        near=matches.near,
        elsewhere=found.elsewhere,
        artifacts=found.artifacts,
    )


def document(request: ArtifactRequest) -> Mapping[str, Any]:
    """The request as the REST layer takes it to look up, to lease and to register."""
    normal = deciding.normalised(request)
    return {
        "kind": normal.kind,
        "identity": dict(normal.identity),
        "capture": dict(normal.capture),
        "row_digests": list(normal.row_digests),
    }
