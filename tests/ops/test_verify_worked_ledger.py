"""verify_ledger's comparison, at every step of runs that workers are at."""

import pytest

from registry.services import runs, verification
from tests.conftest import make_spec
from tests.registry.working import ready, work


@pytest.mark.django_db(transaction=True)
def test_a_ledger_that_workers_wrote_verifies_at_every_step(study, member, tmp_path, settings):
    settings.ARTIFACT_URL = f"file://{tmp_path / 'artifacts'}"
    maker = runs.submit(actor=member, study=study, spec=make_spec("kd"))
    user_of_it = runs.submit(actor=member, study=study, spec=make_spec("kd", seed=1))
    for run in (maker, user_of_it, maker.reference):
        while run.jobs.filter(status="ready").exists():
            work(ready(run), tmp_path)
            assert [str(each) for each in verification.differences()] == []
    user_of_it.refresh_from_db()
    assert user_of_it.status == "finished" and user_of_it.summary.quality is not None
