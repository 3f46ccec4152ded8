"""A study under its reader's assumptions: the numbers behind every chart of its page."""

import math
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounting.advice import Candidate, Wish
from registry.accounting.assumptions import (
    FUNCTIONAL_UNITS,
    LARGEST_N,
    NUMBERS,
    AssumptionError,
    Assumptions,
    known_names,
    parse,
)
from registry.accounting.axes import COSTS, ENERGY, SUITE, UNITS, WEIGHTED
from registry.accounting.breakeven import InferenceBreakEven
from registry.accounting.figures import FULL, REUSED, SCOPES
from registry.accounting.frontier import Point
from registry.accounting.outlook import Spot
from registry.accounting.payback import Substitution
from registry.accounting.split import Part
from registry.accounting.units import kwh
from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.serializers.outlook import (
    AdviceSerializer,
    BreakdownSerializer,
    BreakEvensSerializer,
    OutlookSerializer,
    SensitivitySerializer,
    WorkloadsSerializer,
)
from registry.api.views.studies import LIKE
from registry.models import Study
from registry.selectors import factors, outlook, sensitivity, studies
from registry.selectors.measures import TooManyRuns
from registry.services import draws
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
    *LIKE,
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
        study, view = looked_at(request, slug)
        draws.ask(study, view)
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
        "pending": noise.pending,
        "noise": list(noise.sources),
        "assumed_errors": list(noise.assumed),
        "unstated_errors": list(noise.unstated),
        "mixed": {
            mix.what: {words: len(runs) for words, runs in mix.runs_of.items()} for mix in view.mixes if mix.mixed
        },
        "points": outlook.rows(view),
    }


class BreakEvensView(StudyAnalysis):
    """When distillation pays."""

    serializer_class = BreakEvensSerializer

    @extend_schema(operation_id="get_break_evens", parameters=ASSUMPTIONS, responses=BreakEvensSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """N* of each distilled configuration with its interval, and T* of each substitute."""
        study, view = looked_at(request, slug)
        full = studies.frontier_of(
            study,
            [run.figures for run in view.runs],
            hardware=view.assumed.hardware,
            simulated=view.assumed.simulated,
        )
        return Response(
            {
                "study": study.slug,
                "tolerance": view.assumed.tolerance or 0.0,
                "reuse": [_payback(row) for row in outlook.paybacks(view, studies.break_evens(full))],
                "serving": [_substitute(row, view.assumed) for row in outlook.substitutes(view)],
            }
        )


class BreakdownView(StudyAnalysis):
    """Where the energy went."""

    serializer_class = BreakdownSerializer

    @extend_schema(operation_id="get_breakdown", parameters=ASSUMPTIONS, responses=BreakdownSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Energy by role with shares, lost attempts, net of idle, and SCI, for each configuration."""
        study, view = looked_at(request, slug)
        splits, intensities = outlook.splits(view), outlook.intensities(view)
        axes = view.assumed.axes
        points = []
        for spot in view.seen.spots:
            key, intensity = spot.point.key, intensities.get(spot.point.key)
            points.append(
                {
                    **_named(spot.point),
                    "energy_kwh": _kwh(spot.point.energy_j),
                    "sci_kg": intensity.kg if intensity else None,
                    "parts": {role: _part(part) for role, part in splits[key].items()},
                }
            )
        return Response(
            {
                "study": study.slug,
                "scope": axes.scope,
                "n": str(axes.n),
                "unit": view.assumed.functional_unit,
                "embodied": axes.prices.embodied_kg_per_hour is not None,
                "points": points,
            }
        )


class SensitivityView(StudyAnalysis):
    """What settings do."""

    serializer_class = SensitivitySerializer

    @extend_schema(operation_id="get_sensitivity", parameters=ASSUMPTIONS, responses=SensitivitySerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Cost and quality against every setting that varies while all others stay."""
        study, view = looked_at(request, slug)
        found = [
            {
                "pipeline": one.pipeline,
                "setting": one.setting,
                "curves": [
                    {"student": c.student, "name": c.label, "points": [_setting(v, s) for v, s in c.points]}
                    for c in one.curves
                ],
            }
            for one in sensitivity.of_settings(view)
        ]
        return Response({"study": study.slug, "cost_unit": UNITS[view.assumed.axes.cost], "settings": found})


class WorkloadsView(StudyAnalysis):
    """Workloads and their mean."""

    serializer_class = WorkloadsSerializer

    @extend_schema(operation_id="get_workloads", parameters=ASSUMPTIONS, responses=WorkloadsSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Each configuration on each workload, and their mean as the paper averages."""
        study, view = looked_at(request, slug)
        names, rows = sensitivity.of_workloads(view)
        points = [
            {
                **_named(row.point),
                "by_workload": {
                    name: _position(spot) for name, spot in zip(names, row.by_workload, strict=True) if spot is not None
                },
                "mean": _position(row.mean) if row.mean.complete else None,
                "missing": list(row.mean.missing),
            }
            for row in rows
        ]
        unit = UNITS[view.assumed.axes.cost]
        return Response({"study": study.slug, "cost_unit": unit, "workloads": list(names), "points": points})


WISHES = ("size", "q_floor", "budget", "students", "tokens")


class AdviceView(StudyAnalysis):
    """Which pipeline and size to choose."""

    serializer_class = AdviceSerializer

    @extend_schema(
        operation_id="get_advice",
        parameters=[
            OpenApiParameter("size", str, many=True, description="Students, as named on charts; any without."),
            OpenApiParameter("q_floor", float, description="Q at least."),
            OpenApiParameter("budget", float, description="kWh a student, with its share of the teacher."),
            OpenApiParameter("students", int, default=1, description="Students that share one teacher artifact."),
            OpenApiParameter("tokens", float, description="Tokens that each student will serve."),
            *(parameter for parameter in ASSUMPTIONS if parameter.name in ("hardware", "simulated")),
        ],
        responses=AdviceSerializer,
    )
    def get(self, request: Request, slug: str) -> Response:
        """Measured configurations by what they would take, with the arithmetic; nothing is extrapolated."""
        wish = _wish(request)
        study, view = looked_at(request, slug, known=WISHES)
        found = sensitivity.advice(view, study, wish)
        return Response(
            {
                "study": study.slug,
                "choice": found.choice.spot.point.key if found.choice else None,
                "without_basis": list(found.without_basis),
                "candidates": [_candidate(candidate) for candidate in found.candidates],
            }
        )


def _wish(request: Request) -> Wish:
    """The wish of a request. Raises `Invalid` by name."""
    limits = {"q_floor": 10.0, "budget": 1e12, "students": float(LARGEST_N), "tokens": 1e18}
    numbers: dict[str, float | None] = {}
    problems = {}
    for name, most in limits.items():
        text = str(request.query_params.get(name, ""))
        try:
            numbers[name] = float(text) if text else None
        except ValueError:
            numbers[name] = math.nan
        value = numbers[name]
        least = 1.0 if name == "students" else 0.0
        if value is not None and not (least <= value <= most and (name != "students" or value.is_integer())):
            problems[name] = f"{text[:40]!r} is no {name}; give a number from {least:g} to {most:g}"
    if problems:
        raise Invalid(problems)
    sizes = [str(size)[:80] for size in request.query_params.getlist("size")]
    return Wish(
        sizes=tuple(dict.fromkeys(size for size in sizes if size)),
        q_floor=numbers["q_floor"],
        budget_kwh=numbers["budget"],
        students=int(numbers["students"] or 1),
        tokens=numbers["tokens"] or 0.0,
    )


def _candidate(candidate: Candidate) -> dict[str, Any]:
    point = candidate.spot.point
    names = ("rest_kwh", "teacher_kwh", "training_kwh", "j_per_token", "serving_kwh", "total_kwh", "verdict")
    figures = {name: getattr(candidate, name) for name in names}
    return {**_named(point), **figures, "q": candidate.spot.quality, "n": point.n}


def _setting(value: object, spot: Spot) -> dict[str, Any]:
    place = {"n": spot.point.n, "on_frontier": spot.on_front, "workloads": list(spot.point.workloads)}
    return {"key": spot.point.key, "value": value, **_position(spot), **place}


def _position(spot: Spot) -> dict[str, float | None]:
    return {"cost": spot.cost, "quality": spot.quality}


def _named(point: Point) -> dict[str, Any]:
    return {"key": point.key, "pipeline": point.pipeline, "student": point.student}


def _part(part: Part) -> dict[str, float | None]:
    energies = {"energy_kwh": part.energy_j, "lost_kwh": part.lost_j, "net_kwh": part.net_j, "floor_kwh": part.floor_j}
    return {name: _kwh(energy_j) for name, energy_j in energies.items()} | {"share": part.share}


def _payback(row: outlook.Payback) -> dict[str, Any]:
    pair, found = row.pair, row.interval
    exact = pair.result.exact
    return {
        "distilled": _named(pair.distilled),
        "baseline": _named(pair.baseline),
        "teacher_kwh": _kwh(pair.teacher_j),
        "verdict": pair.result.verdict,
        "n_star": pair.result.count,
        "n_star_exact": None if exact is None else float(exact),
        "n_star_lower": found.lower if found else None,
        "n_star_upper": found.upper if found else None,
        "never_share": found.never if found else None,
        "delta_q": pair.result.delta_q,
        "rest_kwh": _kwh(row.floor_j),
    }


def _substitute(row: Substitution, assumed: Assumptions) -> dict[str, Any]:
    return {
        "small": _named(row.small.point),
        "large": _named(row.large.point),
        "delta_q": row.against_large.delta_q,
        "small_j_per_token": row.small_j_per_token,
        "large_j_per_token": row.large_j_per_token,
        "stated": row.stated,
        "against_large": _serving(row.against_large),
        "against_same_size": _serving(row.same_size) if row.same_size else None,
        "days": row.days(assumed.tokens_per_day),
    }


def _serving(found: InferenceBreakEven) -> dict[str, Any]:
    tokens = None if found.tokens is None else float(found.tokens)
    return {"verdict": found.verdict, "tokens": tokens, "sentence": found.sentence}


def _kwh(energy_j: float | None) -> float | None:
    return None if energy_j is None else kwh(energy_j)
