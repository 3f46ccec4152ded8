"""The one task: take a job, run it metered, book it. No logic here."""

import uuid

from registry.celery import app
from registry.services.scheduling import RUN_JOB
from workers import execution


@app.task(name=RUN_JOB)
def run_job(job_id: str) -> None:
    """Run the job of that key, if it is still to be had."""
    execution.execute(uuid.UUID(job_id))
