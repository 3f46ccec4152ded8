"""Doing the jobs of a run as a worker would, without one."""

import json

from registry.models import Job, Run
from registry.services import jobs
from registry.services.jobs import Result
from tests.conftest import make_record

SCORES = ("token_accuracy", "choice", "exact_match")


def ready(run: Run) -> Job:
    """The one job that may run next."""
    return run.jobs.get(status=Job.Status.READY)


def work(job: Job, tmp_path, *, row_digests=(), prompt_digests=(), **record) -> jobs.Ticket:
    """Do one ready job, with a file for what it makes."""
    ticket = jobs.claim(job_id=job.pk, worker="w")
    assert ticket is not None
    folder = tmp_path / str(ticket.attempt_id)
    folder.mkdir()
    (folder / "rows.jsonl").write_text(json.dumps({"job": str(job.pk)}) + "\n")
    scores = [{"benchmark": b, "value": 0.5, "n": 9} for b in SCORES] if job.role == "evaluation" else []
    known = {"row_digests": row_digests, "prompt_digests": prompt_digests} if job.kind == "preprocess" else {}
    result = Result(folder=folder, meta={"rows": 40}, scores=scores, **known)
    assert jobs.finish(ticket=ticket, record=make_record(kind=job.kind, **record), result=result)
    return ticket


def work_through(run: Run, tmp_path, **known) -> None:
    """Do every job of the run as it becomes ready; `known` are the rows that preparing finds."""
    while run.jobs.filter(status=Job.Status.READY).exists():
        work(ready(run), tmp_path, **known)
    run.refresh_from_db()
