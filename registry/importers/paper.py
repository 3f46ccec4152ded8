"""The tables of arXiv:2605.13981 into the ledger, through the services that everybody's records go through.

Nine students, the teacher's own scores, one logit cache and one synthetic dataset that three students share each,
and the prerun apart. Energies are *reported* totals (origin `published`); the paper prints neither durations nor
token counts, so durations are left out with a note, and the 30.0 M tokens behind its J/token are marked nominal.
"""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from django.db import transaction

from registry.accounting.claims import Claim, Tables, Total
from registry.accounting.claims import ledger as ledger_of_claims
from registry.accounting.fingerprint import fingerprint
from registry.accounting.presets import PAPER_STUDENTS, PAPER_SUITE, PAPER_TEACHER
from registry.accounting.reuse import ArtifactRequest
from registry.accounting.stages import OUTPUT_OF_STAGE, TEACHER_ARTIFACTS, TEACHER_REFERENCE
from registry.accounting.units import joules
from registry.models import Artifact, Origin, Project, Study
from registry.services import artifacts, ledger, studies
from registry.services.uploads import upload_run
from stagemeter.records import StageRecord

SLUG = "arxiv-2605-13981"
PROJECT = "published"
FOLDER = Path(__file__).resolve().parent / "reference"
SIZES = tuple(PAPER_STUDENTS)
WORKLOAD = "mean of three workloads"
NOMINAL_TOKENS = 30_000_000  # every J/token of table 2 is its kWh over this
HARDWARE = "1 × NVIDIA H100 80GB"
ENVIRONMENT = {
    "gpus": [{"name": "NVIDIA H100 80GB", "power_limit_w": 700}],
    "cpu_model": "Intel Xeon Gold 6442Y",
    "cpu_threads_usable": 16,
    "python": "3.10.13",
    "libraries": {"torch": "2.6.0+cu124", "transformers": "4.51.3"},
}
CITATION = "arXiv:2605.13981, Towards Resource-Efficient LLMs: End-to-End Energy Accounting of Distillation Pipelines"
DESCRIPTION = (
    "Three students of OLMo-2-32B-SFT through three pipelines on one H100, as tables 2, 3 and 4 print them. "
    "Energies are means over three workloads. The paper prints no scores of the teacher: four are the ones its authors "
    "published with the model; MT-Bench-101 (7.85) is inferred from table 2, whose Q it gives back in all nine rows. "
    "Token counts are nominal: one divisor of 30.0 M tokens stands behind every J/token of table 2."
)
# The paper appeared in May 2026 and says of no stage when it ran.
_WHEN = datetime(2026, 5, 1, tzinfo=UTC)
_METHOD = "published: table 3 of arXiv:2605.13981 (NVML power at 0.5 s + CodeCarbon CPU)"
_CAPTURES = {"logit_caching": {"k": 100, "temperatures": [1.0], "max_length": 1024}, "teacher_generation": {}}


@transaction.atomic
def load() -> Study:
    """Load the study, or complete it; loading twice books once. Raises what the services raise."""
    project = studies.ensure_project(slug=PROJECT, name="Published studies", public=True)
    study = Study.objects.filter(slug=SLUG).first() or _create_study(project)
    table = list(rows("table3"))
    upload_run(actor=None, document=_teacher(), origin=Origin.PUBLISHED)
    shared = {row["pipeline"]: _artifact(project, row) for row in table if _is_shared(row["stage"])}
    for pipeline in dict.fromkeys(row["pipeline"] for row in table if row["pipeline"] != "any"):
        for size in SIZES:
            document = _student(pipeline, size, table, shared.get(pipeline))
            upload_run(actor=None, document=document, origin=Origin.PUBLISHED)
    prerun = next(row for row in table if row["stage"] == "prerun")
    ledger.record_stage(record=_record(prerun, SIZES[0], "prerun"), project=project, origin=Origin.PUBLISHED)
    return study


def rows(name: str) -> Iterator[dict[str, str]]:
    """The rows of one of the committed tables, by header."""
    with (FOLDER / f"{name}.csv").open(newline="") as handle:
        yield from csv.DictReader(handle)


@cache
def tables() -> Tables:
    """The committed tables as decimals, for the ledger of claims."""
    energies: dict[tuple[str, str], dict[str, Decimal]] = {}
    table = list(rows("table3"))
    for row in table:
        for size in SIZES:
            energies.setdefault((row["pipeline"], size), {})[row["stage"]] = Decimal(row[f"kwh_{size}"])
    scored = {(row["model"], row["size"]): {name: Decimal(row[name]) for name in PAPER_SUITE} for row in rows("table4")}
    totals = {
        (row["pipeline"], row["size"]): Total(
            energy_kwh=Decimal(row["energy_kwh"]), j_per_token=Decimal(row["j_per_token"]), q=Decimal(row["q"])
        )
        for row in rows("table2")
    }
    return Tables(
        sizes=SIZES,
        totals=totals,
        stages={cell: energies[cell] for cell in totals},
        prerun_kwh=energies["any", SIZES[0]]["prerun"],
        scores={cell: scored[cell] for cell in totals},
        teacher_scores=scored["teacher", "32B"],
        inferred="mt_bench_101",
        inference_j_per_token={row["size"]: Decimal(row["j_per_token"]) for row in rows("inference")},
    )


@cache
def claims() -> tuple[Claim, ...]:
    """The ledger of the paper's claims."""
    return ledger_of_claims(tables())


def _create_study(project: Project) -> Study:
    return studies.create_study(
        actor=None,
        project=project,
        slug=SLUG,
        name="Energy accounting of distillation pipelines",
        suite=list(PAPER_SUITE),
        description=DESCRIPTION,
        average_workloads=True,
        origin=Origin.PUBLISHED,
        citation=CITATION,
    )


def _teacher() -> dict[str, Any]:
    """The teacher's own run: no energy is stated for it, only scores."""
    run = {"external_id": f"{SLUG}/teacher", "pipeline": TEACHER_REFERENCE, "student": PAPER_TEACHER.id}
    return {
        "study": SLUG,
        "run": {**run, "student_size": "32B", "teacher": PAPER_TEACHER.id, "workload": WORKLOAD},
        "scores": _scores("teacher", "32B"),
    }


def _student(pipeline: str, size: str, table: list[dict[str, str]], shared: Artifact | None) -> dict[str, Any]:
    name = f"{SLUG}/{pipeline}/{size}"
    own = [row for row in table if row["pipeline"] == pipeline and not _is_shared(row["stage"])]
    return {
        "study": SLUG,
        "run": {
            "external_id": name,
            "pipeline": pipeline,
            "student": PAPER_STUDENTS[size].id,
            "student_size": size,
            "teacher": PAPER_TEACHER.id,
            "workload": WORKLOAD,
            "hardware_class": HARDWARE,
            "environment": ENVIRONMENT,
        },
        "artifacts": [{"use": str(shared.pk)}] if shared else [],
        "stages": [_record(row, size, f"{pipeline}/{size}").to_dict() for row in own],
        "scores": _scores(pipeline, size),
    }


def _artifact(project: Project, row: dict[str, str]) -> Artifact:
    """The teacher artifact of one pipeline: made once, charged whole to each of the three students that used it."""
    kind = Artifact.Kind(str(OUTPUT_OF_STAGE[row["stage"]]))
    request = ArtifactRequest(
        kind=kind.value,
        identity={"teacher": {"id": PAPER_TEACHER.id}, "dataset": {"id": WORKLOAD}, "published_in": SLUG},
        capture=_CAPTURES[row["stage"]],
    )
    record = _record(row, SIZES[0], row["pipeline"])
    found = Artifact.objects.filter(project=project, fingerprint=fingerprint(request)).first()
    artifact = found or artifacts.register(
        actor=None,
        project=project,
        request=request,
        name=f"{kind.label} of {PAPER_TEACHER.id.rpartition('/')[2]}",
        production_energy_j=record.reported_energy_j,
        origin=Origin.PUBLISHED,
        meta={"published_in": CITATION},
    )
    ledger.record_stage(record=record, project=project, origin=Origin.PUBLISHED, artifact=artifact)
    return artifact


def _record(row: dict[str, str], size: str, owner: str) -> StageRecord:
    """One cell of table 3. `owner` is what the cell belongs to; with the stage it makes the record's id."""
    trained = NOMINAL_TOKENS if row["stage"] == "student_training" else None
    return StageRecord(
        record_id=f"{SLUG}/{owner}/{row['stage']}",
        kind=row["stage"],
        name="table 3",
        started_at=_WHEN,
        ended_at=_WHEN,
        duration_s=None,
        components=("reported",),
        reported_energy_j=joules(float(row[f"kwh_{size}"])),
        reported_method=_METHOD,
        trained_tokens=trained,
        tokens_nominal=trained is not None,
        environment=ENVIRONMENT,
        extra={"duration": "not stated by the paper", "started_at": "not stated; the month it appeared"},
    )


def _scores(model: str, size: str) -> list[dict[str, Any]]:
    row = next(row for row in rows("table4") if (row["model"], row["size"]) == (model, size))
    return [{"benchmark": benchmark, "value": float(row[benchmark])} for benchmark in PAPER_SUITE]


def _is_shared(stage: str) -> bool:
    return OUTPUT_OF_STAGE.get(stage) in TEACHER_ARTIFACTS
