"""Upload: records or a whole run, through the same services as REST, looked at first if wished."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from frontend.forms import UploadForm
from frontend.views import pasted
from frontend.views.pasted import Unreadable
from registry.models import EvaluationScore, Origin, Project, Run, Stage, Study, User
from registry.selectors import home
from registry.services import ledger
from registry.services.errors import Invalid, ServiceError
from registry.services.uploads import upload_run
from stagemeter.errors import RecordError
from stagemeter.records import StageRecord, total_energy


@dataclass(frozen=True, kw_only=True)
class Line:
    """What became of one item: booked, known already, or refused with reasons."""

    name: str
    kind: str
    energy_j: float | None
    status: str  # new | same | refused
    problems: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an upload. `kept` is false after a look that booked nothing."""

    lines: list[Line]
    run: Run | None
    kept: bool

    @property
    def refused(self) -> int:
        """Items that were refused."""
        return sum(line.status == "refused" for line in self.lines)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def upload(request: HttpRequest) -> HttpResponse:
    """The form, and what became of what was sent. Without `book`, everything is tried and nothing is kept."""
    studies = Study.objects.filter(project__in=home.writable_projects(request.user)).order_by("name")
    form = UploadForm(request.POST or None, request.FILES or None, studies=studies)
    outcome = None
    if request.method == "POST" and form.is_valid():
        try:
            items = parse(form.cleaned_data["content"])
            outcome = take(items, user=request.user, study=form.cleaned_data["study"], keep="book" in request.POST)
        except Unreadable as error:
            form.add_error("text", str(error))
    bad = bool(form.errors) or (outcome is not None and outcome.refused == len(outcome.lines) > 0)
    context = {"form": form, "outcome": outcome, "example": EXAMPLE}
    return render(request, "uploads/upload.html", context, status=400 if bad else 200)


def parse(content: str) -> list[dict[str, Any]]:
    """The objects of a JSON document, a JSON list or NDJSON lines. Raises `Unreadable`."""
    lines = [(number, text.strip()) for number, text in enumerate(content.split("\n"), 1) if text.strip()]
    # No single JSON value has a line that ends one object followed by a line that begins another.
    if len(lines) > 1 and lines[0][1].endswith("}") and lines[1][1].startswith("{"):
        document = [_line(number, text) for number, text in lines]
    else:
        document = pasted.read(content)
    items = document if isinstance(document, list) else [document]
    if len(items) > settings.MAX_LIST_ITEMS:
        raise Unreadable(_("More than %(limit)d items; split them.") % {"limit": settings.MAX_LIST_ITEMS})
    if not items or not all(isinstance(item, dict) for item in items):
        raise Unreadable(_("Give JSON objects: one run document, or one or more records."))
    return items


def _line(number: int, line: str) -> Any:
    try:
        return pasted.read(line)
    except Unreadable as error:
        raise Unreadable(_("Line %(number)d: %(error)s") % {"number": number, "error": error}) from error


def take(items: list[dict[str, Any]], *, user: Any, study: Study | None, keep: bool) -> Outcome:
    """Book the items, or try them and take everything back. A run document is all or nothing."""
    with transaction.atomic():
        lines, run = _take(items, user, study)
        kept = keep and any(line.status != "refused" for line in lines)
        if not kept:
            transaction.set_rollback(True)
    return Outcome(lines=lines, run=run, kept=kept)


def _take(items: list[dict[str, Any]], user: User, study: Study | None) -> tuple[list[Line], Run | None]:
    run: Run | None = None
    lines: list[Line] = []
    for number, item in enumerate(items, 1):
        try:
            with transaction.atomic():
                if "run" in item or "stages" in item:
                    result = upload_run(actor=user, document=item)
                    run = result.run
                    lines += _run_lines(result)
                else:
                    lines.append(_record(item, user, study))
        except (RecordError, Invalid) as error:
            lines.append(_refused(item, number, dict(error.problems)))
        except ServiceError as error:
            lines.append(_refused(item, number, {"": str(error)}))
    return lines, run


def _run_lines(result: Any) -> list[Line]:
    stages = Stage.objects.in_bulk([name for name, _ in result.stages], field_name="record_id")
    scores = EvaluationScore.objects.in_bulk([name for name, _ in result.scores], field_name="score_id")
    return [
        Line(name=name, kind=stages[name].kind, energy_j=stages[name].energy_j, status=_status(new), problems={})
        for name, new in result.stages
    ] + [
        Line(
            name=name[:12],
            kind=f"{scores[name].benchmark} {scores[name].value:g}",
            energy_j=None,
            status=_status(new),
            problems={},
        )
        for name, new in result.scores
    ]


def _status(created: bool) -> str:
    return "new" if created else "same"


def _record(item: dict[str, Any], user: User, study: Study | None) -> Line:
    record = StageRecord.from_dict(item)
    project = _project_of(record, user, study)
    booked = ledger.record_stage(record=record, project=project, origin=Origin.UPLOAD, actor=user)
    energy_j = total_energy(record)[0]
    return Line(name=record.record_id, kind=record.kind, energy_j=energy_j, status=_status(booked.created), problems={})


def _project_of(record: StageRecord, user: User, study: Study | None) -> Project:
    """The project of the study that was chosen, or of the run that the record names, if `user` may write there."""
    if study is not None:
        return study.project
    mine = home.writable_projects(user)
    runs = Run.objects.filter(project__in=mine).by_name(record.run_id) if record.run_id else Run.objects.none()
    run: Run | None = runs.select_related("project").first()
    if run is None:
        raise Invalid({"run_id": _("names no run of yours; choose a study, or upload the run first")})
    return run.project


def _refused(item: dict[str, Any], number: int, problems: dict[str, Any]) -> Line:
    name = str(item.get("record_id") or _("item %(number)d") % {"number": number})[:80]
    return Line(name=name, kind=str(item.get("kind", ""))[:40], energy_j=None, status="refused", problems=problems)


EXAMPLE = """{
  "schema_version": 1,
  "study": "my-study",
  "run": {
    "external_id": "olmo-1b-kd-s0",
    "pipeline": "kd",
    "student": "allenai/OLMo-2-0425-1B",
    "student_size": "1B",
    "workload": "tulu-3",
    "hardware_class": "1 × NVIDIA H100 80GB HBM3"
  },
  "stages": [
    {
      "record_id": "olmo-1b-kd-s0-training",
      "kind": "student_training",
      "started_at": "2026-01-31T12:00:00Z",
      "ended_at": "2026-01-31T18:00:00Z",
      "duration_s": 21600,
      "components": ["gpu", "cpu"],
      "gpu_energy_j": 12960000,
      "cpu_energy_j": 1700000,
      "trained_tokens": 30000000
    }
  ],
  "scores": [{"benchmark": "gsm8k", "value": 67.0, "stderr": 1.3}]
}"""
