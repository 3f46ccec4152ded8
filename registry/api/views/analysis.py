"""What is computed about a study beyond its frontier."""

from dataclasses import asdict

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounting.figures import FULL, SCOPES
from registry.accounting.transfer import Factors, TransferError
from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.serializers.analysis import ClaimsSerializer, TransferSerializer
from registry.api.views.studies import PARAMETERS, frontier_query
from registry.importers import paper
from registry.models import Study
from registry.selectors import studies
from registry.selectors.transfer import document, transfer
from registry.services.errors import Invalid

FACTORS = ("teacher", "student", "evaluation")


class ClaimsView(Endpoint):
    """The claims of the published study."""

    queryset = Study.objects.none()
    serializer_class = ClaimsSerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_claims", responses=ClaimsSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """Each statement of arXiv:2605.13981 with the verdict its own tables give. 404 for every other study."""
        study = access.get(request, Study, slug=slug)
        if study.slug != paper.SLUG:
            raise Http404
        return Response({"study": study.slug, "claims": [asdict(claim) for claim in paper.claims()]})


class TransferView(Endpoint):
    """A study under other assumptions."""

    queryset = Study.objects.none()
    serializer_class = TransferSerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(
        operation_id="get_transfer",
        parameters=[
            *(
                OpenApiParameter(name, float, default=1.0, description=f"Factor on the energy of {name} stages.")
                for name in FACTORS
            ),
            OpenApiParameter("scope", str, enum=list(SCOPES), default=FULL, description="What a run is charged."),
            OpenApiParameter("n", str, default="1", description="For `amortised`: students from 1 on, or `reused`."),
            OpenApiParameter("hardware", str, description="Keep one class of hardware."),
            OpenApiParameter("simulated", bool, description="The simulated runs, or the measured ones."),
        ],
        responses=TransferSerializer,
    )
    def get(self, request: Request, slug: str) -> Response:
        """Frontier and N* as measured, and with teacher, student and evaluation energy times a factor each."""
        study = access.get(request, Study, slug=slug)
        asked = frontier_query(request, known=(*PARAMETERS, *FACTORS))
        factors = _factors(request)
        found = transfer(study, studies.figures(study, request.user), factors, **asked)
        return Response(document(study, found))


def _factors(request: Request) -> Factors:
    """The factors asked for. Raises `Invalid` by name."""
    given = {name: request.query_params[name] for name in FACTORS if name in request.query_params}
    problems, numbers = {}, {}
    for name, text in given.items():
        try:
            numbers[name] = float(text)
            Factors(**{name: numbers[name]})
        except (ValueError, TransferError) as error:
            problems[name] = str(error) if isinstance(error, TransferError) else f"{text[:40]!r} is not a number"
    if problems:
        raise Invalid(problems)
    return Factors(**numbers)
