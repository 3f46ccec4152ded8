"""Artifacts: registered from elsewhere, published by workers, withdrawn; and their content verified."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from registry import storage
from registry.accounting import requests
from registry.accounting.canonical import CanonicalError
from registry.accounting.fingerprint import family, fingerprint
from registry.accounting.reuse import CUT, USE, WAIT, ArtifactRequest, covers
from registry.accounting.spec import RunSpec
from registry.models import Artifact, ArtifactLease, ArtifactUse, Job, Membership, Origin, Project, Run, Stage, User
from registry.services import accounts, audit, garbage, licences, quotas, reuse, rowsets, summaries, versions
from registry.services import evidence as claims
from registry.services.errors import Conflict, Invalid

LONGEST_NOTE = 2000
SHARED_KINDS = (Artifact.Kind.PREPARED_DATASET, Artifact.Kind.LOGIT_CACHE, Artifact.Kind.SYNTHETIC_DATASET)


def begin(
    *,
    request: ArtifactRequest,
    run: Run,
    job: Job,
    licence: str,
    name: str,
    actor: User | None,
    reason: str = "",
    again_of: Artifact | None = None,
) -> Artifact:
    """Declare an artifact as being made by `job`, before any work is done. The caller holds the family's lock.

    `reason`: why it is made although `again_of` exists.
    """
    artifact = Artifact.objects.create(
        project=run.project,
        kind=request.kind,
        name=name,
        origin=Origin.WORKER,
        **_identity(request) | ({"dataset": run.workload} if run.workload else {}),
        **_licences(run, request.kind) | {"licence": licence},
        made_by_run=run,
        maker_job=job,
        regenerate_reason=reason,
        made_again_of=again_of,
        created_by=actor,
    )
    ArtifactUse.objects.create(artifact=artifact, run=run, how=ArtifactUse.How.MADE)
    detail = {"reason": reason} | ({"again_of": str(again_of.pk)} if again_of else {})
    audit.record(actor=actor, project=run.project, action="artifact begun", subject=artifact, **detail)
    return artifact


@transaction.atomic
def register(
    *,
    actor: User | None,
    project: Project,
    request: ArtifactRequest,
    name: str,
    production_energy_j: float | None,
    licence: str = "",
    licensing: Mapping[str, Any] | None = None,
    dataset: str = "",
    evidence: Sequence[str] = (),
    evidence_note: str = "",
    origin: str = Origin.UPLOAD,
    meta: Mapping[str, Any] | None = None,
    bytes: int | None = None,
    content_sha256: str = "",
    made_by_run: Run | None = None,
    simulated: bool = False,
    elsewhere: bool = True,
) -> Artifact:
    """Register an artifact made elsewhere. Raises `Conflict` naming the one that already answers the request.

    `elsewhere`: artifacts of other projects that `actor` may use are looked at too, as a lookup and a lease do.

    `licensing`: teacher_licence, dataset_licence, licence_name, licence_link, may_train. `evidence` names the stage
    records behind the energy, which is then their sum and charged through the artifact alone; without any,
    `evidence_note` says where the figure comes from. The runs that made it are booked as its first uses.
    """
    accounts.require_role(actor, project, Membership.Role.SUBMITTER)
    columns = licences.stated(licence, licensing or {})
    if len(evidence_note) > LONGEST_NOTE:
        raise Invalid({"evidence_note": f"keep it below {LONGEST_NOTE} characters"})
    records = claims.claimable(project=project, kind=request.kind, record_ids=evidence)
    energy_j = claims.agreed_energy_j(records, production_energy_j) if records else production_energy_j
    simulated = _agreed_simulated(records, simulated)
    try:
        reuse.lock(request)
    except CanonicalError as error:
        raise Invalid({"request": str(error)}) from error
    decision = reuse.decide(request=request, project=project, user=actor if elsewhere else None)
    if decision.action in (USE, CUT, WAIT):
        raise Conflict(f"An artifact answers this request already: {decision.reason}", artifact=decision.artifact_id)
    artifact = Artifact.objects.create(
        project=project,
        kind=request.kind,
        name=name,
        status=Artifact.Status.READY,
        origin=origin,
        **_identity(request) | ({"dataset": dataset} if dataset else {}),
        **columns,
        evidence=[record.record_id for record in records],
        evidence_note=evidence_note.strip(),
        meta=dict(meta or {}),
        bytes=bytes,
        content_sha256=content_sha256,
        production_energy_j=energy_j,
        production_missing=[] if energy_j is not None else ["not stated"],
        made_by_run=made_by_run,
        created_by=actor,
        simulated=simulated,
        ready_at=timezone.now(),
    )
    versions.give(artifact)
    claims.claim(artifact=artifact, stages=records)
    _end_leases(artifact, request)
    audit.record(actor=actor, project=project, action="artifact registered", subject=artifact)
    return artifact


def declare(*, actor: User | None, project: Project, item: Mapping[str, Any], made_by_run: Run | None) -> Artifact:
    """Register an artifact from JSON types, as REST and run documents bring it. Raises as `declared` and `register`."""
    return register(
        actor=actor,
        project=project,
        request=declared(item),
        name=str(item.get("name") or Artifact.Kind(item["kind"]).label)[:200],
        production_energy_j=item.get("production_energy_j"),
        licence=item.get("licence", ""),
        licensing={name: item[name] for name in licences.STATED if name in item},
        dataset=item.get("dataset", ""),
        evidence=item.get("evidence", ()),
        evidence_note=item.get("evidence_note", ""),
        meta=item.get("meta", {}),
        bytes=item.get("bytes"),
        content_sha256=item.get("content_sha256", ""),
        made_by_run=made_by_run,
        simulated=item.get("simulated", False),
    )


def declared(item: Mapping[str, Any]) -> ArtifactRequest:
    """What is declared in JSON types, all of it well formed. Raises `Invalid` by field."""
    problems: dict[str, Any] = {
        name: f"unknown field; known here: {', '.join(_DECLARED)}"
        for name in item.keys() - {*_DECLARED, *_NUMBERS, "simulated", "may_train"}
    }
    if not isinstance(item.get("simulated", False), bool):
        problems["simulated"] = f"{item['simulated']!r} must be true or false"
    if not isinstance(item.get("may_train"), bool | None):
        problems["may_train"] = f"{item['may_train']!r} must be true, false or null"
    for name, (kind, wanted) in _DECLARED.items():
        if not isinstance(item.get(name, kind()), kind) or isinstance(item.get(name), bool):
            problems[name] = f"{item[name]!r} must be {wanted}"
    if item.get("kind") not in SHARED_KINDS:
        problems["kind"] = f"{item.get('kind')!r} must be one of {', '.join(SHARED_KINDS)}"
    problems |= _number_problems(item)
    if problems:
        raise Invalid(problems)
    request = ArtifactRequest(
        kind=item["kind"],
        identity=item.get("identity", {}),
        capture=item.get("capture", {}),
        row_digests=tuple(item.get("row_digests", ())),
    )
    problems |= requests.problems(request)
    if problems:
        raise Invalid(problems)
    return request


def _number_problems(item: Mapping[str, Any]) -> dict[str, str]:
    problems = {}
    for name, kinds in (("production_energy_j", (int, float)), ("bytes", (int,))):
        value = item.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kinds) or not (math.isfinite(value) and 0 <= value < 2**63):
            problems[name] = f"{value!r} is not a finite number of 0 or more; leave it out if it is not known"
    if not all(isinstance(row, str) for row in item.get("row_digests") or ()):
        problems["row_digests"] = "each digest must be a text"
    if not (item.get("identity") or item.get("row_digests")):
        problems["identity"] = "say what determines the artifact, or nobody can find it"
    digest = item.get("content_sha256") or "0" * 64
    if isinstance(digest, str) and not re.fullmatch(r"[0-9a-f]{64}", digest):
        problems["content_sha256"] = f"{digest!r} is not 64 hex digits"
    return problems


_DECLARED: dict[str, tuple[Any, str]] = {
    "kind": (str, "a text"),
    "name": (str, "a text"),
    "identity": (dict, "an object of what must be equal"),
    "capture": (dict, "an object of what may be cut"),
    "row_digests": (list, "a list of digests"),
    "licence": (str, "an SPDX expression"),
    "teacher_licence": (str, "an SPDX expression"),
    "dataset_licence": (str, "an SPDX expression"),
    "licence_name": (str, "a text"),
    "licence_link": (str, "an https:// link"),
    "dataset": (str, "a text"),
    "evidence": (list, "a list of record ids"),
    "evidence_note": (str, "a text"),
    "meta": (dict, "an object"),
    "content_sha256": (str, "64 hex digits"),
}
_NUMBERS = ("production_energy_j", "bytes")


def store(
    *,
    artifact: Artifact,
    folder: Path,
    meta: Mapping[str, Any],
    row_digests: Sequence[str],
    prompt_digests: Sequence[str] = (),
) -> None:
    """Store what a stage left. The artifact is not offered before `publish` says that it is whole.

    Raises `Conflict` where the project's quota does not reach, before anything is sent.
    """
    files = storage.describe(folder)
    quotas.require_room(artifact.project, files)
    storage.put(folder, files)
    with transaction.atomic():
        quotas.hold_room(artifact.project, files)  # what others have stored meanwhile counts
        # Under this lock nothing unreferenced is cleared away, and from here on the files are referenced.
        key = garbage.hold(storage.key_of(files))
        if not storage.is_complete(key, files):
            storage.put(folder, files)
        artifact.storage_key = key
        artifact.manifest = [file.to_dict() for file in files]
        artifact.bytes = sum(file.bytes for file in files)
        artifact.content_sha256 = storage.digest_of(files)
        artifact.meta = dict(meta)
        # What was asked for stands, over-long rows included: the next run asks for the same and must find it.
        artifact.rows = artifact.rows or rowsets.of(row_digests or ())
        artifact.prompts = rowsets.of(prompt_digests)
        artifact.save(update_fields=["storage_key", "manifest", "bytes", "content_sha256", "meta", "rows", "prompts"])


def publish(*, artifact: Artifact) -> None:
    """Offer a stored artifact, with all the energy of all the attempts that made it."""
    artifact.status, artifact.ready_at = Artifact.Status.READY, timezone.now()
    artifact.save(update_fields=["status", "ready_at"])
    versions.give(artifact)
    summaries.refresh_production(artifact)
    _tell_users(artifact)
    audit.record(actor=None, project=artifact.project, action="artifact ready", subject=artifact)


@transaction.atomic
def withdraw(*, artifact: Artifact, actor: User, reason: str) -> None:
    """Take an artifact out of reuse. It stays in the books of the runs that used it.

    A run that was to use it and has not begun to read it decides anew. Raises `Invalid`, `NotAllowed`, `Conflict`.
    """
    accounts.require_role(actor, artifact.project, Membership.Role.MAINTAINER)
    if not audit.legible(reason):
        raise Invalid({"reason": "say why it is withdrawn; whoever looks for it will read that"})
    if artifact.status == Artifact.Status.MAKING:
        raise Conflict(f"{artifact.name} is still being made; cancel the run that makes it.")
    if artifact.status == Artifact.Status.WITHDRAWN:
        raise Conflict(f"{artifact.name} is withdrawn already.")
    _set_status(artifact, Artifact.Status.WITHDRAWN, actor, reason)


def mark_corrupt(*, artifact: Artifact, reason: str) -> None:
    """Its files are not what its manifest says: it is never offered again, and its page says why."""
    if not Artifact.objects.filter(pk=artifact.pk, status=Artifact.Status.READY).exists():
        return  # somebody else has found it out, or it was withdrawn
    _set_status(artifact, Artifact.Status.CORRUPT, None, reason)


def mark_failed(*, artifact: Artifact, reason: str) -> None:
    """Its maker gave up; a run that waits for it takes over."""
    _set_status(artifact, Artifact.Status.FAILED, None, reason)


def use(*, artifact: Artifact, run: Run, how: str, used_share: float | None = 1.0) -> ArtifactUse:
    """Note that `run` uses `artifact`; it is charged its production energy from now on."""
    row, created = ArtifactUse.objects.get_or_create(
        artifact=artifact, run=run, defaults={"how": how, "used_share": used_share}
    )
    if created:
        summaries.refresh_kept(Run.objects.filter(pk=run.pk))
    return row


def request_of(artifact: Artifact) -> ArtifactRequest:
    """The request that this artifact answers exactly."""
    return ArtifactRequest(
        kind=artifact.kind,
        identity=artifact.identity,
        capture=artifact.capture,
        row_digests=tuple(artifact.row_digests),
    )


def _end_leases(artifact: Artifact, request: ArtifactRequest) -> None:
    """End those of its project on what it answers too: nobody waits for them any longer."""
    held = reuse.open_leases().filter(project=artifact.project, family=artifact.family).select_related("rows")
    answered = [one.pk for one in held if not covers(request, reuse.leased_request(one))]
    ArtifactLease.objects.filter(pk__in=answered).update(ended_at=timezone.now())


def _set_status(artifact: Artifact, status: str, actor: User | None, reason: str) -> None:
    artifact.status = status
    artifact.save(update_fields=["status"])
    _tell_users(artifact)
    audit.record(actor=actor, project=artifact.project, action=f"artifact {status}", subject=artifact, reason=reason)


def _tell_users(artifact: Artifact) -> None:
    """Their summaries follow once this is committed: under locks taken here, two makers could wait for each other."""
    transaction.on_commit(lambda: summaries.refresh_kept(Run.objects.filter(uses__artifact=artifact)))


def _licences(run: Run, kind: str) -> dict[str, Any]:
    """What the run's teacher and dataset give; nothing for a run that came without a spec."""
    if not run.spec:
        return {}
    return licences.of_run(RunSpec.from_dict(run.spec), of_teacher=kind != Artifact.Kind.PREPARED_DATASET)


def _agreed_simulated(records: Sequence[Stage], stated: bool) -> bool:
    """Whether its energy was simulated: its records know, where there are any. Raises `Invalid` where they deny it."""
    found = any(record.simulated for record in records)
    if records and stated and not found:
        raise Invalid({"simulated": "true is stated, and none of its records was simulated; leave one of them out"})
    return found or stated


def _identity(request: ArtifactRequest) -> dict[str, Any]:
    identity = dict(request.identity)
    teacher, dataset = identity.get("teacher"), identity.get("dataset")
    return {
        "fingerprint": fingerprint(request),
        "family": family(request),
        "identity": identity,
        "capture": dict(request.capture),
        "rows": rowsets.of(request.row_digests),
        "teacher": teacher.get("id", "") if isinstance(teacher, dict) else "",
        "dataset": dataset.get("id", "") if isinstance(dataset, dict) else "",
    }
