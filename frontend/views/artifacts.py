"""Artifacts: found and filtered, the page of one with its books, and what other catalogues read of it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from frontend.charts import energy_per_use
from frontend.forms_artifacts import AliasForm, LicenceForm, SharingForm, SupersedeForm, WithdrawForm
from frontend.lineage import Box, Drawing, draw
from frontend.study_charts import as_json
from frontend.templatetags.figures import called
from registry.models import Artifact, Membership, User
from registry.selectors import artifact_search, artifacts, cards
from registry.selectors.artifacts import ArtifactDetail
from registry.selectors.versions import resolve
from registry.services import accounts, licences, versions
from registry.services import artifacts as services
from registry.services.errors import Invalid, ServiceError

USES_DRAWN = 500
USE_TITLE = gettext_lazy("Energy per use of the production, as more finished runs share it")


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """All artifacts by words, facets and order; the address holds everything that was chosen."""
    context: dict[str, Any] = {
        "asked": request.GET.dict(),
        "sorts": artifact_search.SORTS,
        "facet_names": artifact_search.FACETS,
    }
    try:
        context["results"] = artifact_search.search(request.user, asked_of(request))
    except artifact_search.SearchError as error:
        return render(request, "artifacts/list.html", context | {"problem": str(error)}, status=400)
    return render(request, "artifacts/list.html", context)


def asked_of(request: HttpRequest) -> dict[str, str]:
    """What the address chooses. Raises `SearchError` for what no list has."""
    asked = {name: str(value) for name, value in request.GET.items() if value}
    known = ("q", "sort", "after", *artifact_search.FACETS)
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise artifact_search.SearchError(f"{unknown[0][:40]!r} is no filter here; known are {', '.join(known)}")
    if any("\x00" in value for value in asked.values()):
        raise artifact_search.SearchError("A filter holds a null character, which no artifact has.")
    return asked


@require_safe
def detail(request: HttpRequest, key: UUID) -> HttpResponse:
    """What an artifact is, what lies there, what it cost, who used it and what that saved."""
    found = found_of(request, key)
    artifact, drawing = found.artifact, lineage(found)
    members_only = licences.why_members_only(artifact, request.user)
    context = {
        "detail": found,
        "artifact": artifact,
        "drawing": drawing,
        "here_x": next(placed.x for placed in drawing.boxes if placed.box.here),
        "figure": use_figure(found),
        "use_title": USE_TITLE,
        "settings": cards.settings(artifact),
        "basis": cards.basis(artifact),
        "croissant": _croissant(request, artifact),
        "snippet": "" if members_only else snippet(request, artifact),
        "curates": _curates(request, artifact),
        "sharing_form": SharingForm(initial={"sharing": artifact.sharing}),
        "licence_form": LicenceForm.of(artifact),
        "withdraw_form": WithdrawForm(auto_id="withdraw_%s"),
        "supersede_form": SupersedeForm(auto_id="supersede_%s"),
        "alias_form": AliasForm(auto_id="alias_%s"),
        "aliases": [row.alias for row in artifact.aliases.all()],
        "obstacle": licences.obstacle_to_sharing(artifact),
        "members_only": members_only,
    }
    return render(request, "artifacts/detail.html", context)


@require_safe
def croissant(request: HttpRequest, key: UUID) -> HttpResponse:
    """Croissant JSON-LD, as a file."""
    artifact = found_of(request, key).artifact
    response = JsonResponse(_croissant(request, artifact), json_dumps_params={"indent": 2, "ensure_ascii": False})
    response["Content-Type"] = "application/ld+json"
    response["Content-Disposition"] = f'attachment; filename="{artifact.handle or artifact.kind}-croissant.json"'
    return response


@require_safe
def card(request: HttpRequest, key: UUID) -> HttpResponse:
    """The README.md of a dataset repository on a hub."""
    artifact = found_of(request, key).artifact
    url = request.build_absolute_uri(artifact.get_absolute_url())
    response = HttpResponse(cards.dataset_card(artifact, url=url), content_type="text/markdown; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="README.md"'
    return response


@require_POST
@login_required
def share(request: HttpRequest, key: UUID) -> HttpResponse:
    """Publish to other projects, tell them that it exists, or keep it."""
    artifact, form = found_of(request, key).artifact, SharingForm(request.POST)
    return _curated(
        request, artifact, form, lambda actor, values: licences.share(actor=actor, artifact=artifact, **values)
    )


@require_POST
@login_required
def narrow(request: HttpRequest, key: UUID) -> HttpResponse:
    """State a stricter licence, with a note."""
    artifact, form = found_of(request, key).artifact, LicenceForm(request.POST)
    return _curated(
        request, artifact, form, lambda actor, values: licences.narrow(actor=actor, artifact=artifact, **values)
    )


@require_POST
@login_required
def withdraw(request: HttpRequest, key: UUID) -> HttpResponse:
    """Take it out of reuse, and say why."""
    artifact, form = found_of(request, key).artifact, WithdrawForm(request.POST)
    return _curated(
        request, artifact, form, lambda actor, values: services.withdraw(actor=actor, artifact=artifact, **values)
    )


@require_POST
@login_required
def supersede(request: HttpRequest, key: UUID) -> HttpResponse:
    """Name a better one."""
    artifact, form = found_of(request, key).artifact, SupersedeForm(request.POST)

    def write(actor: User, values: dict[str, Any]) -> None:
        by = _named(request, artifact, values["by"])
        if by is None:
            raise Invalid({"by": f"{values['by']} is no artifact that you can see"})
        versions.supersede(actor=actor, artifact=artifact, by=by, reason=values["reason"])

    return _curated(request, artifact, form, write)


def _named(request: HttpRequest, beside: Artifact, text: str) -> Artifact | None:
    """What name@version, or @version of the same name, means in the project of `beside`; or what has the id `text`."""
    handle, at, reference = text.strip().rpartition("@")
    if at:
        name = handle or beside.handle
        return resolve(project=beside.project.slug, handle=name, reference=reference, user=request.user)
    try:
        return Artifact.objects.visible_to(request.user).filter(pk=UUID(text.strip())).first()
    except ValueError:
        return None


@require_POST
@login_required
def name_alias(request: HttpRequest, key: UUID) -> HttpResponse:
    """Let a second name mean this version from now on."""
    artifact, form = found_of(request, key).artifact, AliasForm(request.POST)
    return _curated(
        request, artifact, form, lambda actor, values: versions.set_alias(actor=actor, artifact=artifact, **values)
    )


@require_POST
@login_required
def drop_alias(request: HttpRequest, key: UUID) -> HttpResponse:
    """Take a second name away."""
    artifact, form = found_of(request, key).artifact, AliasForm(request.POST)
    return _curated(
        request, artifact, form, lambda actor, values: versions.drop_alias(actor=actor, artifact=artifact, **values)
    )


def lineage(found: ArtifactDetail) -> Drawing:
    """Teacher and dataset, sources, the artifact, the runs that used it, their students."""
    artifact, line = found.artifact, found.lineage
    origins = [
        *([Box(key="teacher", kind=_("teacher"), label=line.teacher)] if line.teacher else []),
        *([Box(key="dataset", kind=_("dataset"), label=line.dataset)] if line.dataset else []),
    ]
    sources = [_box(source) for source in line.sources]
    here = Box(key="here", kind=artifact.get_kind_display(), label=artifact.name, here=True)
    runs = [
        Box(
            key=str(run.pk),
            kind=_("run"),
            label=called(run),
            url=run.get_absolute_url(),
        )
        for run in line.runs
    ]
    students = [_box(student) for student in line.students.values()]
    edges = [
        *((box.key, "here") for box in origins if not (sources and box.key == "dataset")),
        *(("dataset", source.key) for source in sources),
        *((source.key, "here") for source in sources),
        *(("here", run.key) for run in runs),
        *((str(run), str(student.pk)) for run, student in line.students.items()),
    ]
    return draw([origins, sources, [here], runs, students], edges)


def snippet(request: HttpRequest, artifact: Artifact) -> str:
    """Shell lines that bring the artifact's files here and check them; empty where it has none."""
    if not (artifact.storage_key and artifact.manifest):
        return ""
    lines = []
    for entry in artifact.manifest:
        url = request.build_absolute_uri(reverse("api:artifact-file", args=[artifact.pk, entry["name"]]))
        lines.append(f'curl -fL -C - -H "Authorization: Token $STAGEMETER_TOKEN" -o {entry["name"]} {url}')
        lines.append(f"echo '{entry['sha256']}  {entry['name']}' | sha256sum --check")
    return "\n".join([*lines, *_reading(artifact)])


def _reading(artifact: Artifact) -> list[str]:
    names = [entry["name"] for entry in artifact.manifest]
    jsonl = next((name for name in names if name.endswith(".jsonl")), None)
    tensors = next((name for name in names if name.endswith(".safetensors")), None)
    if jsonl:
        load = f"import datasets; print(datasets.load_dataset('json', data_files='{jsonl}', split='train'))"
    elif tensors:
        load = (
            f"from safetensors.numpy import load_file; print({{k: v.shape for k, v in load_file('{tensors}').items()}})"
        )
    else:
        return []
    return [f'python -c "{load}"']


def _box(artifact: Artifact) -> Box:
    url = artifact.get_absolute_url()
    return Box(key=str(artifact.pk), kind=artifact.get_kind_display(), label=artifact.name, url=url)


def found_of(request: HttpRequest, key: UUID) -> ArtifactDetail:
    """The artifact, or 404 whether it is not there or not to be seen."""
    found = artifacts.detail(key, request.user)
    if found is None:
        raise Http404
    return found


def use_figure(found: ArtifactDetail) -> Any:
    """The falling figure, as soon as there are two uses to compare."""
    if len(found.per_use) < 2:
        return None
    points = [(point.uses, point.energy_j) for point in found.per_use[:USES_DRAWN]]
    return as_json(energy_per_use(points))


def _croissant(request: HttpRequest, artifact: Artifact) -> dict[str, Any]:
    def address(name: str) -> str:
        return request.build_absolute_uri(reverse("api:artifact-file", args=[artifact.pk, name]))

    return cards.croissant(artifact, url=request.build_absolute_uri(artifact.get_absolute_url()), address=address)


def _curates(request: HttpRequest, artifact: Artifact) -> bool:
    user = request.user
    return isinstance(user, User) and accounts.has_role(user, artifact.project, Membership.Role.MAINTAINER)


def _curated(request: HttpRequest, artifact: Artifact, form: Any, write: Any) -> HttpResponse:
    """Do what a curator asked for, and say on the page what became of it."""
    if not form.is_valid():
        messages.error(request, " ".join(text for errors in form.errors.values() for text in errors))
        return redirect("artifact", artifact.pk)
    try:
        write(request.user, form.cleaned_data)
        messages.success(request, _("It is changed, and the change is in the audit log."))
    except ServiceError as error:
        messages.error(request, str(error))
    return redirect("artifact", artifact.pk)
