"""The ledger."""

from threading import Event, Thread

import pytest
from django.db import IntegrityError, connection, connections, transaction

from registry.models import RunSummary, Stage
from registry.services import ledger
from registry.services.errors import Conflict
from tests.conftest import make_record
from tests.scenes import add_run


def test_the_same_record_twice_is_booked_once(project):
    record = make_record()
    first = ledger.record_stage(record=record, project=project, origin="upload")
    second = ledger.record_stage(record=record, project=project, origin="upload")
    assert (first.created, second.created) == (True, False)
    assert first.row == second.row


def test_another_body_under_the_same_record_id_is_refused_and_changes_nothing(project):
    record = make_record()
    ledger.record_stage(record=record, project=project, origin="upload")
    with pytest.raises(Conflict, match="another body"):
        ledger.record_stage(
            record=make_record(record_id=record.record_id, cpu_energy_j=1.0), project=project, origin="upload"
        )
    assert Stage.objects.get().cpu_energy_j == 1000.0


def test_a_total_with_a_hole_is_no_total(project):
    booked = ledger.record_stage(record=make_record(ram_energy_j=None), project=project, origin="upload")
    assert booked.row.energy_j is None


@pytest.mark.parametrize("statement", ["UPDATE registry_stage SET cpu_energy_j = 0", "DELETE FROM registry_stage"])
def test_the_database_itself_refuses_to_change_a_record(project, statement):
    ledger.record_stage(record=make_record(), project=project, origin="upload")
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_record_booked_while_another_is_still_uncommitted_is_counted_with_it(transactional_db, study):
    run = add_run(study)
    ledger.record_stage(record=make_record(), project=study.project, origin="upload", run=run)
    booked, done = Event(), Event()

    def slow():
        try:
            with transaction.atomic():
                ledger.record_stage(record=make_record(), project=study.project, origin="upload", run=run)
                booked.set()
                done.wait(0.5)  # long enough for the other one to have read the sums, if nothing stops it
        finally:
            connections.close_all()

    thread = Thread(target=slow)
    thread.start()
    booked.wait(10)
    ledger.record_stage(record=make_record(), project=study.project, origin="upload", run=run)
    done.set()
    thread.join()
    assert RunSummary.objects.get(run=run).records == 3
