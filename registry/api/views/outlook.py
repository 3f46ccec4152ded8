"""A study under its reader's assumptions: the numbers behind every chart of its page."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounting.assumptions import FUNCTIONAL_UNITS, NUMBERS, AssumptionError, Assumptions, known_names, parse
from registry.accounting.axes import COSTS, ENERGY, SUITE, UNITS, WEIGHTED
from registry.accounting.figures import FULL, REUSED, SCOPES
from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.serializers.outlook import OutlookSerializer
from registry.models import Study
from registry.selectors import factors, outlook, studies
from registry.selectors.measures import TooManyRuns
from registry.services.errors import Invalid

ASSUMPTIONS = [
    OpenApiParameter("scope", str, enum=list(SCOPES), default=FULL, description="What a run is charged."),
    OpenApiParameter("n", str, default="1", description=f"For `amortised`: students from 1 on, or `{REUSED}`."),
    OpenApiParameter("cost", str, enum=list(COSTS), default=ENERGY, description="What is minimised."),
    OpenApiParameter(
        "quality",
        str,
        default=SUITE,
        description=f"What is maximised: `{SUITE}`, a benchmark's name, or `{WEIGHTED}` with `w.<benchmark>` for each "
        "weight that is not 1; weights are renormalised.",
    ),
    OpenApiParameter("hardware", str, description="Keep one class of hardware."),
    OpenApiParameter("simulated", bool, description="The simulated runs, or the measured ones."),
    OpenApiParameter("region", str, description="A region whose newest grid factor goes before `intensity`."),
    OpenApiParameter("unit", str, enum=list(FUNCTIONAL_UNITS), description="The functional unit of SCI."),
    *(
        OpenApiParameter(name, float, description=f"{words}, from {least:g} to {greatest:g}.")
        for name, (words, least, greatest) in NUMBERS.items()
    ),
]


def asked(request: Request, study: Study, *, known: tuple[str, ...] = ()) -> Assumptions:
    """The assumptions of a request; `known` names are read by the view itself. Raises `Invalid` by name."""
    query = {name: str(value) for name, value in request.query_params.items() if name not in known}
    region = query.pop("region", "")
    unknown = sorted(set(query) - known_names(study.suite) - {"region"})
    if unknown:
        raise Invalid({name: f"unknown parameter {name!r}; the OpenAPI file lists those there are" for name in unknown})
    factor = factors.of_region(study, region) if region else None
    if region and factor is None:
        raise Invalid({"region": f"{region[:80]!r} has no grid factor here; /api/v1/factors/ lists those there are"})
    try:
        return parse(query, suite=study.suite, grid_kg_per_kwh=factor.value if factor else None)
    except AssumptionError as error:
        raise Invalid(error.problems) from error


def looked_at(request: Request, slug: str, *, known: tuple[str, ...] = ()) -> tuple[Study, outlook.StudyOutlook]:
    """The study of that name under the request's assumptions. Raises `Http404` or `Invalid`."""
    study = access.get(request, Study, slug=slug)
    assumed = asked(request, study, known=known)
    try:
        return study, outlook.of_study(study, studies.figures(study, request.user), assumed)
    except TooManyRuns as error:
        raise Invalid({"cost": str(error)}) from error


class StudyAnalysis(Endpoint):
    """What all of these share."""

    queryset = Study.objects.none()
    pagination_class = None
    filter_backends = []


class OutlookView(StudyAnalysis):
    """A study on any two axes."""

    serializer_class = OutlookSerializer

    @extend_schema(operation_id="get_outlook", parameters=ASSUMPTIONS, responses=OutlookSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """The frontier over any cost and quality, its hypervolume, and how sure each place is."""
        _study, view = looked_at(request, slug)
        return Response(_outlook(view))


def _outlook(view: outlook.StudyOutlook) -> dict[str, Any]:
    axes, seen, noise = view.assumed.axes, view.seen, view.noise
    return {
        "study": view.slug,
        "cost": axes.cost,
        "cost_unit": UNITS[axes.cost],
        "quality": axes.quality,
        "scope": axes.scope,
        "n": str(axes.n),
        "hypervolume": seen.hypervolume,
        "reference": list(seen.reference) if seen.reference else None,
        "reference_given": seen.reference_given,
        "draws": noise.draws,
        "noise": list(noise.sources),
        "assumed_errors": list(noise.assumed),
        "unstated_errors": list(noise.unstated),
        "mixed": {
            mix.what: {words: len(runs) for words, runs in mix.runs_of.items()} for mix in view.mixes if mix.mixed
        },
        "points": outlook.rows(view),
    }
