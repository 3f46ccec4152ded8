"""The ledger."""

import pytest
from django.db import IntegrityError, connection, transaction

from registry.models import Stage
from registry.services import ledger
from registry.services.errors import Conflict
from tests.conftest import make_record


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
