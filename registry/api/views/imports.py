"""Files that other tools wrote."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.idempotency import once
from registry.api.parsers import CappedFormParser
from registry.api.serializers.imports import EXAMPLE, ImportAnswer, ImportUpload, answer
from registry.importers import booking, reading
from registry.importers.findings import ImportRefused
from registry.models import Run, Study
from registry.services.errors import Invalid, Missing


class ImportsView(Endpoint):
    """Measurements and scores in other tools' files."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = []
    parser_classes = [CappedFormParser]
    scopes = {"POST": ("upload",)}

    @extend_schema(
        operation_id="import_file",
        request={"multipart/form-data": ImportUpload},
        responses={200: ImportAnswer, 201: ImportAnswer},
        examples=[
            OpenApiExample("CodeCarbon, looked at", value=EXAMPLE, request_only=True, media_type="multipart/form-data")
        ],
    )
    @once
    def post(self, request: Request) -> Response:
        """Book what a file holds (201), or look at it (200, with `dry_run`): the rows, flags, and what is to be said.

        All of it is booked, or nothing: 400 where something is still to be said or a row is refused. The same file
        again books nothing. Known are CodeCarbon `emissions.csv`, run folders of the paper's harness as zip or tar,
        Zeus, lm-eval results, AlpacaEval leaderboards, MLflow runs as JSON, and Hugging Face model cards.
        """
        form = ImportUpload(data=request.data)
        form.is_valid(raise_exception=True)
        asked: dict[str, Any] = form.validated_data
        study = access.visible(request, Study).filter(slug=asked["study"]).first()
        if study is None:
            raise Missing(f"There is no study {asked['study']!r} for you to see; make it first, or correct its slug.")
        answers = booking.Answers.read(asked.get("answers", {}))
        try:
            found = reading.read(asked["file"], asked["file"].name or "file", redact=asked["redact"] == "1")
        except ImportRefused as error:
            raise Invalid({"file": str(error)}) from error
        look = asked["dry_run"] == "1"
        preview = booking.book(findings=found, answers=answers, study=study, actor=access.actor(request), keep=not look)
        if not look and not preview.kept:
            raise Invalid(_problems(preview))
        return Response(answer(preview), status=201 if _is_new(preview) else 200)


def _is_new(preview: booking.Preview) -> bool:
    return preview.kept and any(row.status == booking.NEW for row in preview.rows)


def _problems(preview: booking.Preview) -> dict[str, Any]:
    problems = {f"answers.{name}": text for name, text in preview.needed.items()}
    for row in preview.rows:
        if row.status == booking.REFUSED:
            problems |= {f"{row.what}s.{row.key}.{name}": text for name, text in row.problems.items()}
    return problems or {"file": "nothing of it was taken: every row is left out"}
