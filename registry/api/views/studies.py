"""Studies and their frontier."""

import gzip
import json
from typing import Any

from django.db import IntegrityError
from django.db.models import Q
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounting.assumptions import LIKENESS, NOT_STATED
from registry.accounting.figures import FULL, REUSED, SCOPES, ScopeError
from registry.accounting.units import kwh
from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.filters import FactorFilter, StudyFilter
from registry.api.idempotency import once
from registry.api.serializers.studies import FactorSerializer, FrontierSerializer, StudyCreation, StudySerializer
from registry.models import Factor, Project, Study
from registry.selectors import large, outlook
from registry.selectors import studies as selectors
from registry.selectors.studies import StudyFrontier
from registry.services import studies
from registry.services.errors import Invalid

CREATION = {
    "slug": "my-study",
    "name": "OLMo-2 students on our cluster",
    "suite": ["ifeval", "gsm8k", "mmlu"],
    "average_workloads": True,
}
LARGEST_N = 10**9
PARAMETERS = ("scope", "n", "hardware", "simulated")
LIKE = [
    OpenApiParameter(
        "software",
        str,
        description=f"Keep runs of this software, as the outlook's `mixed` words it, or `{NOT_STATED}`.",
    ),
    OpenApiParameter("dataset", str, description=f"Keep runs on this dataset, or `{NOT_STATED}`."),
    OpenApiParameter("teacher", str, description=f"Keep runs of this teacher, or `{NOT_STATED}`."),
]


class StudiesView(Endpoint):
    """Studies."""

    queryset = Study.objects.none()
    serializer_class = StudySerializer
    filterset_class = StudyFilter
    scopes = {"POST": ("submit", "upload")}

    @extend_schema(operation_id="list_studies", responses=StudySerializer(many=True))
    def get(self, request: Request) -> Response:
        """Studies, newest first."""
        return self.listed(access.visible(request, Study).select_related("project"))

    @extend_schema(
        operation_id="create_study",
        filters=False,
        request=StudyCreation,
        responses={201: StudySerializer},
        examples=[OpenApiExample("A study", value=CREATION, request_only=True)],
    )
    @once
    def post(self, request: Request) -> Response:
        """Create a study."""
        form = StudyCreation(data=request.data)
        form.is_valid(raise_exception=True)
        values = dict(form.validated_data)
        project = access.Desk(request).target(values)
        try:
            study = studies.create_study(actor=access.actor(request), project=project, origin="upload", **values)
        except IntegrityError as error:  # somebody took the slug meanwhile
            raise Invalid({"slug": f"{values['slug']!r} is taken; choose another"}) from error
        return Response(StudySerializer(study).data, status=201)


class StudyView(Endpoint):
    """One study."""

    queryset = Study.objects.none()
    serializer_class = StudySerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_study", responses=StudySerializer)
    def get(self, request: Request, slug: str) -> Response:
        """The study."""
        return Response(StudySerializer(access.get(request, Study, slug=slug)).data)


class FrontierView(Endpoint):
    """A study's energy–quality frontier."""

    queryset = Study.objects.none()
    serializer_class = FrontierSerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(
        operation_id="get_frontier",
        parameters=[
            OpenApiParameter("scope", str, enum=list(SCOPES), default=FULL, description="What a run is charged."),
            OpenApiParameter("n", str, default="1", description=f"For `amortised`: students from 1 on, or `{REUSED}`."),
            OpenApiParameter("hardware", str, description="Keep one class of hardware."),
            *LIKE,
            OpenApiParameter(
                "simulated",
                bool,
                description="The simulated runs, or the measured ones; left out, the measured ones if there are any. "
                "They never stand on one frontier.",
            ),
        ],
        responses=FrontierSerializer,
    )
    def get(self, request: Request, slug: str) -> HttpResponseBase:
        """The study's points under a scope, each with its place on or off the frontier; 2,000 of a large one."""
        study = access.get(request, Study, slug=slug)
        asked = frontier_query(request, (*PARAMETERS, *LIKENESS))
        likeness = {what: request.query_params[what] for what in LIKENESS if request.query_params.get(what)}
        if large.is_large(study):
            return _kept(request, study, _unlike(asked, likeness))
        return Response(_frontier(_alike(request, study, asked, likeness)))


class FactorsView(Endpoint):
    """Dated factors."""

    queryset = Factor.objects.none()
    serializer_class = FactorSerializer
    filterset_class = FactorFilter

    @extend_schema(operation_id="list_factors", responses=FactorSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Grid intensities and PUEs: everybody's, and those of the projects you may see."""
        mine = Q(project=None) | Q(project__in=access.visible(request, Project))
        return self.listed(Factor.objects.filter(mine).select_related("project"))


def frontier_query(request: Request, known: tuple[str, ...] = PARAMETERS) -> dict[str, Any]:
    """Scope, N, hardware and kind of runs as asked for. Raises `Invalid` for what cannot be, and any other name."""
    given = request.query_params
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise Invalid(dict.fromkeys(unknown, f"unknown parameter; known here: {', '.join(known)}"))
    scope, n = given.get("scope", FULL), _n(given.get("n", "1"))
    try:
        # An N is checked whatever the scope: ignored, it would seem to have done something.
        _check(scope, n)
    except ScopeError as error:
        raise Invalid({"scope" if scope not in SCOPES else "n": str(error)}) from error
    return {
        "scope": scope,
        "n": n,
        "hardware": given.get("hardware"),
        "simulated": _simulated(given.get("simulated")),
    }


def _unlike(asked: dict[str, Any], likeness: dict[str, str]) -> dict[str, Any]:
    """What was asked of a large study, whose runs are read as arrays without fingerprints."""
    if likeness:
        text = f"runs are kept by it in studies of up to {large.LARGE:,}; leave it out, or choose one `hardware`"
        raise Invalid(dict.fromkeys(likeness, text))
    return asked


def _alike(request: Request, study: Study, asked: dict[str, Any], likeness: dict[str, str]) -> StudyFrontier:
    """The frontier of the runs of one likeness; whether simulated ones are shown is settled over all of them."""
    runs = selectors.figures(study, request.user)
    if asked["simulated"] is None:
        asked["simulated"] = selectors.shows_simulated(runs)
    return selectors.frontier_of(study, outlook.alike(runs, likeness), **asked)


def _n(text: str) -> int | str:
    """N as a number where it is one; anything else is refused by name."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text


def _simulated(text: str | None) -> bool | None:
    if text not in (None, "true", "false"):
        raise Invalid({"simulated": f"{text!r} must be true or false; leave it out for the measured runs"})
    return None if text is None else text == "true"


def _check(scope: str, n: int | str) -> None:
    if scope not in SCOPES:
        raise ScopeError(f"{scope!r} is no scope; there are {', '.join(SCOPES)}")
    if n != REUSED and not (isinstance(n, int) and 1 <= n <= LARGEST_N):
        raise ScopeError(f"N is {n!r}; give a whole number of students from 1 to {LARGEST_N}, or {REUSED!r}")


def _kept(request: Request, study: Study, asked: dict[str, Any]) -> HttpResponse:
    """A large study's frontier as the cache holds it: compressed, under a tag; 304 to whoever has that one."""

    def made() -> str:
        return _dumped(large.view(study, request.user, **asked))

    tag = large.tag_of(study, "rest", asked)
    if not tag:
        return HttpResponse(made(), content_type="application/json")
    headers = {"ETag": f'W/"{tag}"', "Vary": "Accept-Encoding", "Cache-Control": "private, no-cache"}
    if f'"{tag}"' in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=304, headers=headers)
    body = large.packed(tag, made)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return HttpResponse(body, content_type="application/json", headers=headers | {"Content-Encoding": "gzip"})
    return HttpResponse(gzip.decompress(body), content_type="application/json", headers=headers)


def _dumped(view: Any) -> str:
    return json.dumps(_frontier(view), ensure_ascii=False, separators=(",", ":"))


def _frontier(view: Any) -> dict[str, Any]:
    burnt_j = view.burnt.energy_j
    return {
        "study": view.slug,
        "scope": view.scope,
        "n": str(view.n),
        "hardware": list(view.hardware),
        "burnt_kwh": None if burnt_j is None else kwh(burnt_j),
        "simulated": view.simulated,
        "left_out_runs": view.left_out,
        "thinned": selectors.thinning(view),
        "points": selectors.rows(view),
    }
