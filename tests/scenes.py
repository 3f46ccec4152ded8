"""Studies with runs in them, made through the services: what selectors, pages and browser tests look at."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.utils import timezone

from registry.accounting.reuse import ArtifactRequest
from registry.models import Artifact, ArtifactUse, Attempt, EvaluationScore, Job, Run, Stage, Study, Trace
from registry.services import artifacts, ledger, scores, summaries, traces
from registry.tracefile import FILE_NAME, TraceWriter
from tests.conftest import make_record, make_spec

_numbers = itertools.count(1)
SUITE_SCORES = {"token_accuracy": 0.8, "choice": 0.75, "exact_match": 0.6}
ENVIRONMENT = {
    "host_class": "3f1c",
    "cpu_model": "Xeon Gold 6442Y",
    "cpu_threads": 16,
    "kernel": "6.1.0",
    "python": "3.11.2",
    "libraries": {"torch": "2.13.0", "transformers": "5.23.0"},
    "git": {"commit": "0f2f3170c1", "dirty": False},
    "gpus": [],
}


def add_run(study: Study, pipeline: str = "sft", **changes: Any) -> Run:
    """A finished run without records; `changes` go over its columns."""
    spec = make_spec(pipeline) if pipeline in ("sft", "kd", "synthetic_sft") else None
    values = {
        "project": study.project,
        "study": study,
        "pipeline": pipeline,
        "status": Run.Status.FINISHED,
        "spec": spec.to_dict() if spec else {},
        "teacher": "smollm2-135m-instruct",
        "student": "smollm2-135m-instruct",
        "student_size": "12 layers",
        "workload": "tour-facts",
        "configuration": f"{pipeline}-12",
        "hardware_class": "Xeon Gold 6442Y",
        "environment": ENVIRONMENT,
        "started_at": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "finished_at": datetime(2026, 1, 31, 12, 10, tzinfo=UTC),
    }
    return Run.objects.create(**(values | changes))


def add_stage(run: Run, kind: str, energy_j: float | None, *, artifact: Artifact | None = None, **changes: Any) -> Any:
    """A booked record of one stage of `run`; `None` leaves its CPU unmeasured."""
    tokens = {"preprocess": "prompt", "student_training": "trained", "evaluation": "evaluated"}
    counted = {f"{tokens.get(kind, 'generated')}_tokens": 30_000}
    record = make_record(
        **{"kind": kind, "components": ("cpu",), "cpu_energy_j": energy_j, "ram_energy_j": None} | counted | changes
    )
    booked = ledger.record_stage(record=record, project=run.project, origin="worker", run=run, artifact=artifact)
    return booked.row


def add_scores(run: Run, factor: float = 1.0) -> None:
    """The whole suite of the tour, at `factor` of the teacher's scores; only the last one rebuilds the summary."""
    *early, last = SUITE_SCORES.items()
    common = {"run": run, "origin": "worker", "stderr": 0.02, "n": 200}
    for benchmark, value in early:
        score = {"score_id": f"{run.pk}-{benchmark}", "project": run.project, "body_sha256": "0"}
        EvaluationScore.objects.create(**common, **score, benchmark=benchmark, value=value * factor)
    scores.record_score(**common, benchmark=last[0], value=last[1] * factor)


def add_reference(study: Study) -> Run:
    """The teacher on the study's suite."""
    reference = add_run(study, "teacher_reference", student_size="30 layers", configuration="teacher")
    add_stage(reference, "preprocess", 10.0)
    add_stage(reference, "teacher_evaluation", 400.0)
    add_scores(reference)
    return reference


def add_artifact(run: Run, kind: str = "logit_cache", energy_j: float | None = 9000.0, **changes: Any) -> Artifact:
    """A ready artifact that `run` made, with a record of its making."""
    request = ArtifactRequest(
        kind=kind,
        identity={"teacher": {"id": "smollm2-135m-instruct", "digest": f"d{next(_numbers)}"}, "precision": "bf16"},
        capture={"k": 50, "temperatures": [1.0, 2.0, 4.0]} if kind == "logit_cache" else {"max_new_tokens": 32},
        row_digests=("a", "b", "c"),
    )
    artifact = artifacts.register(
        actor=None,
        project=run.project,
        request=request,
        name=f"{kind} of smollm2-135m-instruct",
        production_energy_j=energy_j,
        licence="Apache-2.0",
        made_by_run=run,
        bytes=4_200_000,
    )
    if changes:
        Artifact.objects.filter(pk=artifact.pk).update(**changes)
        artifact.refresh_from_db()
    use_artifact(run, artifact, ArtifactUse.How.MADE)
    return artifact


def use_artifact(run: Run, artifact: Artifact, how: str = "used", used_share: float = 1.0) -> None:
    """Note a use, and rebuild what is derived from it."""
    artifacts.use(artifact=artifact, run=run, how=how, used_share=used_share)
    summaries.refresh(run)


def complete_run(
    study: Study, pipeline: str, reference: Run, *, training_j: float, factor: float, **changes: Any
) -> Run:
    """A finished run with every record and score of its pipeline, but for its teacher artifact."""
    run = add_run(study, pipeline, reference=reference, **changes)
    add_stage(run, "preprocess", 20.0)
    add_stage(run, "student_training", training_j)
    add_stage(run, "evaluation", 100.0)
    add_scores(run, factor)
    return run


def distilled_study(study: Study) -> dict[str, Run]:
    """SFT, KD and synthetic SFT for two students; the second KD and synthetic run reuse the first one's artifact."""
    reference = add_reference(study)
    runs: dict[str, Run] = {}
    sizes = {"12 layers": (3000.0, 0.6), "20 layers": (7000.0, 0.9)}
    artifact_of: dict[str, Artifact] = {}
    for size, (energy_j, factor) in sizes.items():
        for pipeline, gain in (("sft", 0.0), ("kd", 0.08), ("synthetic_sft", 0.05)):
            run = complete_run(
                study,
                pipeline,
                reference,
                training_j=energy_j - gain * 10_000,
                factor=factor + gain,
                student_size=size,
                configuration=f"{pipeline}-{size}",
            )
            runs[f"{pipeline} {size}"] = run
            if pipeline == "sft":
                continue
            kind = "logit_cache" if pipeline == "kd" else "synthetic_dataset"
            if kind in artifact_of:
                use_artifact(run, artifact_of[kind])
            else:
                artifact_of[kind] = add_artifact(run, kind)
    return runs


def open_run(study: Study, submitted_by: Any = None) -> Run:
    """A run whose training a worker is at right now."""
    run = add_run(study, "sft", status=Run.Status.RUNNING, finished_at=None, submitted_by=submitted_by)
    now = timezone.now()
    done = Job.objects.create(
        project=run.project,
        run=run,
        kind="preprocess",
        role="data",
        position=0,
        status=Job.Status.FINISHED,
        started_at=now,
        finished_at=now,
    )
    Attempt.objects.create(job=done, number=1, fence=1, worker="cpu-1", status=Attempt.Status.COMPLETED, ended_at=now)
    training = Job.objects.create(
        project=run.project,
        run=run,
        kind="student_training",
        role="student",
        position=1,
        status=Job.Status.RUNNING,
        worker="cpu-1",
        started_at=now,
        lease_expires_at=now + timedelta(minutes=1),
        progress={
            "done": 40,
            "total": 100,
            "note": "step",
            "figures": {"loss": 1.25},
            "energy_j": 512.5,
            "power_w": 31.5,
        },
    )
    Attempt.objects.create(
        job=training, number=1, fence=1, worker="cpu-0", status=Attempt.Status.LOST, ended_at=now, error="no heartbeat"
    )
    Attempt.objects.create(job=training, number=2, fence=2, worker="cpu-1")
    Job.objects.create(project=run.project, run=run, kind="evaluation", role="evaluation", position=2)
    add_stage(run, "preprocess", 20.0)
    return run


def add_trace(stage: Stage, readings: Iterable[tuple[Any, ...]] | None = None) -> Trace:
    """A power trace beside a record: (component, device, seconds, watts, counter), or a minute of CPU and RAM."""
    if readings is None:
        readings = [row for t in range(61) for row in (("cpu", "", t, 20.0 + t, None), ("ram", "", t, 5.0, None))]
    with TemporaryDirectory() as folder:
        path = Path(folder) / FILE_NAME
        with TraceWriter(path, about={"record_id": stage.record_id}) as writer:
            for reading in readings:
                writer.add(*reading)
        return traces.keep(stage=stage, path=path, lines=writer.lines)
