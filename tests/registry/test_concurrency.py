"""The promise under many hands: an artifact is made once, a job is done once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from registry.models import Artifact, Run
from registry.services import jobs, runs
from tests.conftest import make_spec

HANDS = 16


def at_once(work, arguments: list) -> list:
    """Call `work` for every argument from as many threads, each with a connection of its own."""

    def alone(argument):
        try:
            return work(argument)
        finally:
            connection.close()

    with ThreadPoolExecutor(HANDS) as pool:
        return list(pool.map(alone, arguments))


@pytest.mark.django_db(transaction=True)
def test_many_simultaneous_submissions_make_each_artifact_once(study, member):
    at_once(lambda seed: runs.submit(actor=member, study=study, spec=make_spec("kd", seed=seed)), list(range(HANDS)))
    assert Run.objects.filter(pipeline="kd").count() == HANDS
    assert Artifact.objects.filter(kind="logit_cache").count() == 1
    assert Artifact.objects.filter(kind="prepared_dataset").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_larger_and_a_smaller_request_racing_make_no_more_than_two(study, member):
    """Whichever came first, nobody makes what one that exists or is being made covers."""
    specs = [make_spec("kd", seed=seed, distillation={"k": 20 + 80 * (seed % 2)}) for seed in range(HANDS)]
    at_once(lambda spec: runs.submit(actor=member, study=study, spec=spec), specs)
    made = sorted(a.capture["k"] for a in Artifact.objects.filter(kind="logit_cache"))
    assert made in ([100], [20, 100])


@pytest.mark.django_db(transaction=True)
def test_one_of_many_workers_gets_the_job(study, member):
    run = runs.submit(actor=member, study=study, spec=make_spec("sft"))
    job = run.jobs.get(status="ready")
    tickets = at_once(lambda n: jobs.claim(job_id=job.pk, worker=f"w{n}"), list(range(HANDS)))
    assert len([ticket for ticket in tickets if ticket]) == 1
