"""From the sampler's log to the trace beside the record: once, whole, of lost attempts too, and later if need be."""

import json
import tracemalloc

import pytest

from registry import storage
from registry.models import Job, Stage, Trace
from registry.services import jobs, ledger
from registry.tracefile import FILE_NAME, TraceReader
from stagemeter import spool
from stagemeter.samplelog import CPU_LOG_NAME, LOG_NAME, trace
from tests import scenes
from tests.conftest import make_record
from workers import recovery, traces

START_T = 5000.0  # the monotonic clock at the stage's begin
UUIDS = ("GPU-a", "GPU-b")


@pytest.fixture
def spool_dir(settings, tmp_path):
    settings.SPOOL_DIR = tmp_path / "spool"
    return settings.SPOOL_DIR


def write_log(folder, *, seconds=3, per_s=10):
    """A sampler's log of two GPUs and a processor, from before the stage's begin until after its end."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "start.json").write_text(json.dumps({"t": START_T}))
    devices = [{"uuid": uuid, "flags": []} for uuid in UUIDS]
    header = {"kind": "header", "devices": devices, "gpu_expected": True, "simulated": False, "flags": []}
    with (folder / LOG_NAME).open("w") as log, (folder / CPU_LOG_NAME).open("w") as cpu:
        log.write(json.dumps(header) + "\n")
        cpu.write(json.dumps({"kind": "header"}) + "\n")
        for i in range(-5, (seconds + 10) * per_s):
            t = START_T + i / per_s
            gpu = [[0, 5, 300 * i + 5000, 300_000 + i, None, 0], [20, 5, None, 100_000, None, 0]]
            log.write(json.dumps({"kind": "sample", "t": t, "wall": t, "gpu": gpu}) + "\n")
            if i % per_s == 0:
                reading = {"kind": "sample", "t": t, "cpu_j": 40.0 * i / per_s, "ram_j": 5.0 * i / per_s, "cpu_s": 1.0}
                cpu.write(json.dumps(reading) + "\n")
        log.write('{"kind": "sample", "t": 50')  # broke off


def spooled(spool_dir, **changes):
    """A record with its log in the spool; not booked yet."""
    record = make_record(components=("gpu", "cpu", "ram"), gpu_energy_j=1200.0, duration_s=3.0, **changes)
    write_log(spool_dir / record.record_id)
    spool.write_record(spool_dir, record)
    return record


@pytest.fixture
def booked(study, spool_dir):
    run = scenes.add_run(study)
    record = spooled(spool_dir)
    return ledger.record_stage(record=record, project=study.project, origin="worker", run=run).row


def lines_of(stage):
    with storage.opened(stage.trace.storage_key, FILE_NAME) as stream:
        reader = TraceReader(stream)
        return {line: list(reader.samples(*line, start_s=-1e9, end_s=1e9)) for line in reader.lines}


def test_every_reading_of_the_stage_is_beside_its_record(booked):
    assert traces.keep(booked.record_id)
    lines = lines_of(booked)
    assert list(lines) == [("gpu", "GPU-a"), ("gpu", "GPU-b"), ("cpu", ""), ("ram", "")]
    ((times, watts),) = lines["gpu", "GPU-a"]
    assert times[0] == pytest.approx(0.0, abs=0.001)
    assert 3.0 < times[-1] <= 5.0  # the edge lies between two samples
    assert watts[30] == pytest.approx(300.03)
    assert lines["cpu", ""][0][1].tolist() == pytest.approx([40.0] * 5)


def test_what_is_only_on_the_way_is_cleared_away(booked, spool_dir):
    traces.keep(booked.record_id)
    assert not (spool_dir / booked.record_id / FILE_NAME).exists()
    assert (spool_dir / booked.record_id / LOG_NAME).exists()


def test_keeping_twice_keeps_once(booked):
    assert traces.keep(booked.record_id)
    before = Trace.objects.get()
    assert traces.keep(booked.record_id)
    assert Trace.objects.get() == before


def test_a_record_that_is_not_booked_or_has_no_log_has_nothing_to_keep(booked, spool_dir, study):
    uploaded = scenes.add_stage(booked.run, "evaluation", 5.0)
    assert traces.keep(uploaded.record_id)
    assert traces.keep(spooled(spool_dir, kind="evaluation").record_id)
    assert not Trace.objects.exists()


def test_a_log_without_a_sample_leaves_no_trace(booked, spool_dir):
    (spool_dir / booked.record_id / LOG_NAME).write_text("")
    (spool_dir / booked.record_id / CPU_LOG_NAME).unlink()
    assert traces.keep(booked.record_id)
    assert not Trace.objects.exists()


def test_while_the_storage_is_away_the_trace_is_asked_for_again(booked, settings, tmp_path):
    (tmp_path / "in the way").write_text("")
    here, settings.ARTIFACT_URL = settings.ARTIFACT_URL, f"file://{tmp_path / 'in the way'}"
    assert not traces.keep(booked.record_id)
    settings.ARTIFACT_URL = here
    assert traces.keep(booked.record_id)
    assert booked.record_id == Trace.objects.get().stage.record_id


def test_a_trace_beyond_the_cap_is_left_and_not_asked_for_again(booked, settings, caplog):
    settings.MAX_TRACE_BYTES = 100
    assert traces.keep(booked.record_id)
    assert not Trace.objects.exists()
    assert "stays without a power trace" in caplog.text


def test_two_processes_do_not_make_the_same_trace_at_once(booked, spool_dir):
    with traces._alone(spool_dir / booked.record_id) as alone:
        assert alone
        assert not traces.keep(booked.record_id)
    assert traces.keep(booked.record_id)


def test_a_nested_stage_has_its_own_stretch_of_the_log_around_it(study, spool_dir, booked):
    record = make_record(parent_id=booked.record_id, name="validation", duration_s=1.0)
    folder = spool_dir / record.record_id
    folder.mkdir()
    (folder / "start.json").write_text(json.dumps({"t": START_T + 2.0, "log": booked.record_id}))
    nested = ledger.record_stage(record=record, project=study.project, origin="worker", run=booked.run).row
    assert traces.keep(record.record_id)
    ((times, watts),) = lines_of(nested)["gpu", "GPU-a"]
    assert times[0] == pytest.approx(0.0, abs=0.001)
    assert watts[0] == pytest.approx(300.02)


def test_the_trace_of_a_dead_attempt_is_kept_when_it_is_booked_from_the_spool(study, spool_dir):
    run = scenes.add_run(study, status="running")
    job = Job.objects.create(
        project=study.project, run=run, kind="student_training", role="student", position=0, status=Job.Status.READY
    )
    ticket = jobs.claim(job_id=job.pk, worker="w")
    record = spooled(spool_dir, status="lost", attempt_id=str(ticket.attempt_id), run_id=str(run.pk))
    assert recovery.book_dead_attempts() == 1
    stage = Stage.objects.get(record_id=record.record_id)
    assert (stage.status, len(lines_of(stage))) == ("lost", 4)
    assert spool.pending(spool_dir) == []


def test_a_record_whose_trace_could_not_be_kept_stays_in_the_spool_until_it_is(booked, spool_dir, settings, tmp_path):
    (tmp_path / "in the way").write_text("")
    here, settings.ARTIFACT_URL = settings.ARTIFACT_URL, f"file://{tmp_path / 'in the way'}"
    assert not traces.keep(booked.record_id)
    assert [record.record_id for record in spool.pending(spool_dir)] == [booked.record_id]
    settings.ARTIFACT_URL = here
    assert traces.keep(booked.record_id)


def test_a_long_log_is_never_in_memory_as_a_whole(tmp_path):
    folder = tmp_path / "long"

    def write():
        return traces.write(trace(folder, start=START_T), tmp_path / FILE_NAME, about={}, rows_per_group=512)

    write_log(folder, seconds=100)
    write()  # what is loaded once
    write_log(folder, seconds=1500)
    tracemalloc.start()
    lines = write()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(line.samples for line in lines) > 30_000
    assert peak_bytes < (folder / LOG_NAME).stat().st_size / 5
