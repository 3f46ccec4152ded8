"""Import: another tool's file, looked at first, with what it does not say asked for, and then booked.

Between the two steps the page carries what was read, signed and for this person alone; nothing is kept here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core import signing
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from frontend.forms import ImportForm
from registry.accounting.stages import PIPELINES, TEACHER_REFERENCE
from registry.importers import booking, reading
from registry.importers.booking import KINDS, RUN_FIELDS, Answers, Preview, Row
from registry.importers.findings import Findings, FoundStage, ImportRefused
from registry.models import Run, Study
from registry.selectors import home
from registry.services.errors import Invalid, ServiceError

CARRIED_FOR_S = 24 * 3600
MOST_CARRIED = 8 * 2**20  # characters; a form may hold ten million
MOST_NAMED = 200  # runs that the inputs offer
MOST_ASKED = 900  # fields; Django reads a thousand


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One run of the file with the inputs that describe it, and its rows."""

    number: int
    name: str
    inputs: list[tuple[str, str, str]]  # field of a run, its words, what stands in it
    rows: list[tuple[Row, int | None, str]]  # row, number of the stage's input, its kind


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def import_file(request: HttpRequest) -> HttpResponse:
    """The form; then what the file holds and what it does not say; then the run it was booked into."""
    studies = Study.objects.filter(project__in=home.writable_projects(request.user)).order_by("name")
    if request.method != "POST":
        return render(request, "imports/import.html", {"form": ImportForm(studies=studies), "known": reading.KNOWN})
    if "state" in request.POST:
        return _second(request, studies)
    form = ImportForm(request.POST, request.FILES, studies=studies)
    context: dict[str, Any] = {"form": form, "known": reading.KNOWN}
    if not form.is_valid():
        return render(request, "imports/import.html", context, status=400)
    upload, study = form.cleaned_data["file"], form.cleaned_data["study"]
    try:
        findings = reading.read(upload, upload.name or "file", redact=not form.cleaned_data["keep_names"])
        return _preview(request, findings, study, Answers(), fresh=True)
    except ImportRefused as error:
        form.add_error("file", str(error))
    return render(request, "imports/import.html", context, status=400)


def _second(request: HttpRequest, studies: Any) -> HttpResponse:
    """What the person said, looked at again or booked."""
    try:
        carried = signing.loads(request.POST["state"], salt=_salt(request), max_age=CARRIED_FOR_S)
    except signing.BadSignature:
        form = ImportForm(studies=studies)
        context = {"form": form, "known": reading.KNOWN, "expired": True}
        return render(request, "imports/import.html", context, status=400)
    study = studies.filter(slug=carried["study"]).first()
    if study is None:
        return redirect("import")
    findings = Findings.from_dict(carried["findings"])
    return _preview(request, findings, study, _answers(request.POST, findings), fresh=False)


def _preview(request: HttpRequest, findings: Findings, study: Study, answers: Answers, *, fresh: bool) -> HttpResponse:
    problems: dict[str, Any] = {}
    preview: Preview | None = None
    try:
        preview = booking.book(
            findings=findings, answers=answers, study=study, actor=_user(request), keep="book" in request.POST
        )
    except Invalid as error:
        problems = error.problems
    except ServiceError as error:
        problems = {"": str(error)}
    state = signing.dumps({"findings": findings.to_dict(), "study": study.slug}, salt=_salt(request), compress=True)
    asked = [] if preview is None else list(_asked(preview, findings, answers))
    if len(state) > MOST_CARRIED or _inputs(asked) > MOST_ASKED:
        form = ImportForm(studies=Study.objects.filter(pk=study.pk))
        form.is_bound = True
        context: dict[str, Any] = {"form": form, "known": reading.KNOWN, "too_large": True}
        return render(request, "imports/import.html", context, status=400)
    named = Run.objects.filter(study=study).exclude(external_id="")
    context = {
        "preview": preview,
        "findings": findings,
        "study": study,
        "state": state,
        "asked": asked,
        "problems": problems,
        "answers": answers,
        "kinds": KINDS,
        "pipelines": [*PIPELINES, TEACHER_REFERENCE],
        "known_runs": named.values_list("external_id", flat=True)[:MOST_NAMED],
        "choose": findings.chosen and len(findings.groups) > 1,
        "fresh": fresh,
        "scores": ", ".join(answers.scores),
    }
    bad = bool(problems) or (preview is not None and preview.refused > 0)
    return render(request, "imports/preview.html", context, status=400 if bad and not fresh else 200)


def _user(request: HttpRequest) -> Any:
    return request.user


def _salt(request: HttpRequest) -> str:
    return f"import-{request.user.pk}"


def _answers(form: QueryDict, findings: Findings) -> Answers:
    """What was written into the page's inputs, which are numbered in the order of the file."""
    picked = set(form.getlist("groups"))
    runs: dict[str, Mapping[str, Any]] = {}
    for number, name in enumerate(findings.groups):
        given = {key: _text(form, f"run-{number}-{key}") for key in RUN_FIELDS}
        facts: dict[str, Any] = {key: value for key, value in given.items() if value}
        if facts.get("seed", "").isdecimal():
            facts["seed"] = int(facts["seed"])
        if findings.chosen and len(findings.groups) > 1:
            if name not in picked:
                continue
            facts.setdefault("external_id", name)
        if facts:
            runs[name] = facts
    stages = {
        stage.key: kind
        for number, stage in enumerate(findings.stages)
        if (kind := _text(form, f"stage-{number}")) in KINDS
    }
    questions = {question.name: _text(form, f"question-{question.name}") for question in findings.questions}
    scores = tuple(name.strip() for name in _text(form, "scores").split(",") if name.strip())
    return Answers(runs=runs, stages=stages, scores=scores, questions=questions)


def _text(form: QueryDict, name: str) -> str:
    return str(form.get(name, "")).strip()


def _asked(preview: Preview, findings: Findings, answers: Answers) -> Iterator[Asked]:
    """The runs that are taken, with their inputs and rows."""
    numbers = {stage.key: number for number, stage in enumerate(findings.stages)}
    by_key: dict[str, FoundStage] = {stage.key: stage for stage in findings.stages}
    for number, (name, says) in enumerate(findings.groups.items()):
        given = answers.runs.get(name, {})
        if findings.chosen and len(findings.groups) > 1 and name not in answers.runs:
            continue
        known = {"external_id": name} | says | dict(given)
        inputs = [(key, words_of(key), str(known.get(key, ""))) for key in RUN_FIELDS]
        rows = []
        for row in preview.rows:
            if row.run == name:
                stage = by_key.get(row.key) if row.what == "stage" else None
                kind = answers.stages.get(row.key, stage.kind) if stage else ""
                rows.append((row, numbers[row.key] if stage else None, kind))
        yield Asked(number=number, name=name, inputs=inputs, rows=rows)


def _inputs(asked: list[Asked]) -> int:
    return sum(len(one.inputs) + sum(number is not None for _, number, _ in one.rows) for one in asked)


def words_of(name: str) -> str:
    """The name of a run's field on the page."""
    return {
        "external_id": _("Name of the run"),
        "pipeline": _("Pipeline"),
        "student": _("Student"),
        "student_size": _("Size, such as 1B"),
        "teacher": _("Teacher"),
        "workload": _("Workload"),
        "seed": _("Seed"),
        "hardware_class": _("Hardware class"),
    }[name]
