"""The artifacts of a run document: those that the run used, and those that it made."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import Min

from registry.accounting.canonical import CanonicalError
from registry.accounting.fingerprint import fingerprint
from registry.accounting.stages import OUTPUT_OF_STAGE
from registry.models import Artifact, ArtifactUse, AuditEvent, Run, User
from registry.services import artifacts, licences, reuse
from registry.services.errors import Conflict, Invalid

How = ArtifactUse.How
_OF_USE = ("use", "how", "used_share")


def book(item: Mapping[str, Any], run: Run, actor: User | None) -> None:
    """Book `{"use": id}` of one registered here, or the declaration of one this run made; again, it changes nothing.

    The stages of the run are booked already. Raises `Invalid` by field, and `Conflict` where it was told otherwise.
    """
    if "use" in item:
        _book_use(item, run, actor)
    else:
        _book_made(item, run, actor)
    if run.uses.filter(artifact__kind=Artifact.Kind.PREPARED_DATASET).count() > 1:
        field = "use" if "use" in item else "kind"
        raise Invalid({field: "a run is charged one prepared dataset; name the one that holds all it was trained on"})


def _book_use(item: Mapping[str, Any], run: Run, actor: User | None) -> None:
    how, share = _stated(item)
    artifact = _visible(str(item["use"]), actor)
    before = run.uses.filter(artifact=artifact).first()
    if before is not None:
        whole = before.how == How.MADE and how == How.USED  # who made it may say that it used it
        if not whole and (before.how, before.used_share) != (how, share):
            raise Conflict(
                f"The run {before.get_how_display()} by the books; a use is not changed.", use=str(artifact.pk)
            )
        return
    if obstacle := _obstacle(artifact, run):
        raise Invalid({"use": f"{artifact.name} {obstacle}"})
    artifacts.use(artifact=artifact, run=run, how=how, used_share=share)


def _stated(item: Mapping[str, Any]) -> tuple[str, float | None]:
    """How it was used, and how much of it: all, or the stated share of its tokens (`None`: not known) of a cut."""
    problems = {name: f"unknown field; known here: {', '.join(_OF_USE)}" for name in item.keys() - {*_OF_USE}}
    how, share = item.get("how", How.USED.value), item.get("used_share")
    if how not in (How.USED, How.CUT):
        problems["how"] = f"{str(how)[:80]!r} must be used or cut"
    elif share is not None and how != How.CUT:
        problems["used_share"] = 'only an artifact that was cut is used in part; say "how": "cut"'
    elif share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1):
        problems["used_share"] = f"{str(share)[:80]!r} is no share of its tokens above 0 and at most 1"
    if problems:
        raise Invalid(problems)
    return how, float(share) if share is not None else None if how == How.CUT else 1.0


def _visible(key: str, actor: User | None) -> Artifact:
    seen = Artifact.objects.all() if actor is None else Artifact.objects.visible_to(actor)
    try:
        return seen.select_related("project").get(pk=uuid.UUID(key))
    except (Artifact.DoesNotExist, ValueError) as error:
        raise Invalid({"use": f"{key!r} is no artifact you can see; look it up first"}) from error


def _obstacle(artifact: Artifact, run: Run) -> str:
    """Why the run cannot have used it, or may not; empty if nothing stands in the way."""
    if artifact.status in (Artifact.Status.MAKING, Artifact.Status.FAILED):
        return f"is {artifact.get_status_display()}, so there is nothing of it to use"
    if not reuse.may_use(artifact, run.project):
        why = licences.obstacle_to_sharing(artifact) or "its maintainers have not published it"
        return f"is another project's: {why}"
    if artifact.status != Artifact.Status.READY and not _began_before(artifact, run):
        return f"is {artifact.get_status_display()}, and the run has no stage from before that; use another"
    return ""


def _began_before(artifact: Artifact, run: Run) -> bool:
    """Whether the run was under way before the artifact was taken out of reuse: it may have used it then."""
    said = AuditEvent.objects.filter(subject_type="artifact", subject_id=str(artifact.pk))
    out = said.filter(action=f"artifact {artifact.status}").order_by("-id").first()
    began = run.stages.aggregate(began=Min("started_at"))["began"]
    return out is not None and began is not None and began < out.created_at


def _book_made(item: Mapping[str, Any], run: Run, actor: User | None) -> None:
    made = _made_before(item, run)
    if made is None:
        _check_charged_once(item, run)
        artifacts.declare(actor=actor, project=run.project, item=item, made_by_run=run)
        return
    stands = {"name": made.name, "evidence": made.evidence}
    if not made.evidence:  # otherwise the energy is theirs, and follows what is said of them
        stands["production_energy_j"] = made.production_energy_j
    if changed := [name for name, value in stands.items() if name in item and item[name] != value]:
        said = f"The run has made {made.name} already, with another {', '.join(changed)}"
        raise Conflict(f"{said}; what is registered stays as it is.", artifact=str(made.pk))


def _check_charged_once(item: Mapping[str, Any], run: Run) -> None:
    """Refuse a stated energy beside the run's own records of that work: both would be charged. Raises `Invalid`."""
    if item.get("production_energy_j") is None or item.get("evidence"):
        return
    kinds = [kind for kind, output in OUTPUT_OF_STAGE.items() if output is not None and output == item.get("kind")]
    own = run.stages.filter(kind__in=kinds, artifact=None).order_by("id").values_list("record_id", flat=True)[:3]
    if own:
        named = ", ".join(own)
        raise Invalid(
            {"evidence": f"the run has records of that work, {named}: name them as evidence, or it is charged twice"}
        )


def _made_before(item: Mapping[str, Any], run: Run) -> Artifact | None:
    """What the run brought before under the same fingerprint."""
    try:
        digest = fingerprint(artifacts.declared(item))
    except CanonicalError:
        return None  # which `declare` refuses
    return Artifact.objects.filter(made_by_run=run, fingerprint=digest).order_by("id").first()
