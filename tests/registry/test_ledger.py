"""The ledger."""

from threading import Event, Thread

import pytest
from django.db import IntegrityError, connection, connections, transaction

from registry.models import RunSummary, Stage, StageReview
from registry.services import ledger, summaries
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


def book(run, **changes):
    return ledger.record_stage(record=make_record(**changes), project=run.project, origin="upload", run=run).row


def missing(run):
    return RunSummary.objects.get(run=run).missing.get("student", [])


def test_a_part_without_its_whole_leaves_a_hole_until_the_whole_is_here(study):
    run = add_run(study)
    book(run)
    book(run, record_id="part", parent_id="whole")
    assert missing(run) == ["student_training: the record whole that it is a part of"]
    book(run, record_id="whole")
    assert missing(run) == []
    assert RunSummary.objects.get(run=run).student_energy_j == 2200.0


def test_a_whole_that_counts_in_another_run_or_in_none_is_no_whole_of_this_run(study):
    run, other = add_run(study), add_run(study)
    book(run)
    book(other, record_id="elsewhere")
    book(run, parent_id="elsewhere")
    assert missing(run) == ["student_training: the record elsewhere that it is a part of"]
    assert missing(other) == []


def test_parts_of_each_other_are_in_no_sum_and_leave_a_hole(study):
    run = add_run(study)
    book(run)
    book(run, record_id="a", parent_id="b")
    book(run, record_id="b", parent_id="a")
    assert len(missing(run)) == 2


def test_a_part_of_a_part_is_held_by_the_whole(study):
    run = add_run(study)
    for record_id, parent_id in (("whole", None), ("part", "whole"), ("part of the part", "part")):
        book(run, record_id=record_id, parent_id=parent_id)
    assert missing(run) == []


def test_a_part_without_its_whole_that_is_withdrawn_leaves_no_hole(study, owner):
    run = add_run(study)
    book(run)
    StageReview.objects.create(stage=book(run, parent_id="nowhere"), verdict="withdrawn", reason="test", actor=owner)
    summaries.refresh(run)
    assert missing(run) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE registry_stage SET cpu_energy_j = 0",
        "UPDATE registry_stage SET cpu_energy_j = 0, artifact_id = gen_random_uuid()",
        "DELETE FROM registry_stage",
    ],
)
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
