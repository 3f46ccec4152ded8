"""A killed stage has burnt energy too: its record is rebuilt from what lies on disk."""

import json
import os
import signal
import time

import psutil
import pytest

from stagemeter import spool
from stagemeter.meter import Meter
from stagemeter.prerun import _has_read
from stagemeter.samplelog import last_mark, read_log
from tests.stagemeter.conftest import read_json

BUSY = """
import time
from stagemeter import Meter
ids = {"run_id": "run-1", "attempt_id": "attempt-1", "environment": {"k": "v"}}
with Meter("student_training", spool_dir=sys.argv[1], **ids) as meter:
    with meter.part("model_loading"):
        pass
    print(meter.record_id, flush=True)
    while True:
        meter.add_tokens(trained=7)
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass
"""


def killed(script, after_s):
    """A metered program, killed `after_s` seconds into its stage; its folder's name and when it was killed, in s."""
    process = script(BUSY)
    record_id = process.stdout.readline().strip()
    began = time.monotonic()
    time.sleep(after_s)
    process.kill()
    lived_s = time.monotonic() - began
    process.wait()
    return record_id, lived_s


def test_a_stage_killed_with_sigkill_is_booked_with_the_energy_it_burnt(script, spool_dir):
    _, lived_s = killed(script, 2.5)
    (record,) = spool.recover(spool_dir)
    assert record.status == "lost"
    assert (record.run_id, record.attempt_id, record.environment) == ("run-1", "attempt-1", {"k": "v"})
    assert record.duration_s == pytest.approx(lived_s, abs=1.0)
    assert record.cpu_energy_j > 0
    assert record.ram_energy_j > 0
    assert record.trained_tokens >= 7
    assert record.trained_tokens % 7 == 0
    assert "model_loading" in record.extra["parts"]
    assert "lost" in {flag["code"] for flag in record.flags}


def test_gpu_energy_of_a_killed_stage_is_the_counters(script, spool_dir, gpu_host):
    gpu_host.waveform(((0.0, 200.0), (1.0, 200.0)))
    killed(script, 2.0)
    (record,) = spool.recover(spool_dir)
    assert record.gpu_method == "nvml_counter"
    assert record.gpu_energy_j == pytest.approx(200 * record.duration_s, abs=2 * 200 * 0.1)


def test_recovering_twice_books_once(script, spool_dir):
    record_id, _ = killed(script, 0.5)
    assert [record.record_id for record in spool.recover(spool_dir)] == [record_id]
    assert spool.recover(spool_dir) == []
    assert [record.record_id for record in spool.pending(spool_dir)] == [record_id]


def test_a_running_stage_is_left_alone(script, spool_dir):
    process = script(BUSY)
    process.stdout.readline()
    assert spool.recover(spool_dir) == []
    assert process.poll() is None


def test_a_record_is_pending_until_it_is_marked_as_sent(spool_dir):
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        pass
    assert spool.pending(spool_dir) == [meter.record]
    spool.mark_sent(spool_dir, meter.record_id)
    assert spool.pending(spool_dir) == []
    assert (spool.log_folder(spool_dir, meter.record_id) / "samples.jsonl").exists()


def test_the_sampler_ends_with_its_parent_after_one_last_sample(script, spool_dir):
    process = script(BUSY)
    record_id = process.stdout.readline().strip()
    sampler = psutil.Process(read_json(spool_dir / record_id / "start.json")["sampler"]["pid"])
    process.kill()
    process.wait()
    sampler.wait(timeout=5)
    log = read_log(spool.log_folder(spool_dir, record_id))
    assert log.end_reason in ("parent_died", "parent_left")
    assert "last" in log.marks


def test_a_sampler_that_dies_is_replaced_and_the_hole_is_flagged(spool_dir, gpu_host):
    gpu_host.waveform(((0.0, 200.0), (1.0, 200.0)))
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        while not _has_read(meter.folder / "cpu.jsonl"):  # CodeCarbon takes its time to load
            time.sleep(0.05)
        os.kill(read_json(meter.folder / "start.json")["sampler"]["pid"], signal.SIGKILL)
        time.sleep(1.5)
        meter.add_tokens(trained=1)
        time.sleep(0.6)
    record = meter.record
    codes = {flag["code"] for flag in record.flags}
    assert {"sampler_replaced", "low_coverage", "cpu_bridged"} <= codes
    assert record.coverage < 0.8
    assert record.gpu_energy_j == pytest.approx(200 * record.duration_s, abs=200 * 0.2)  # a counter sees across a hole
    assert record.cpu_energy_j is not None


def test_a_sampler_found_dead_at_the_end_is_read_once_more(spool_dir, gpu_host):
    gpu_host.waveform(((0.0, 200.0), (1.0, 200.0)))
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        time.sleep(0.7)
        os.kill(read_json(meter.folder / "start.json")["sampler"]["pid"], signal.SIGKILL)
        time.sleep(0.7)
    assert meter.record.gpu_energy_j == pytest.approx(200 * meter.record.duration_s, rel=0.5)
    assert meter.record.gpu_energy_lower_j <= 200 * meter.record.duration_s <= meter.record.gpu_energy_upper_j


def finished(spool_dir):
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        pass
    return meter


def test_one_damaged_folder_keeps_no_other_from_being_found(spool_dir, caplog):
    good, bad = finished(spool_dir), finished(spool_dir)
    (bad.folder / "record.json").write_text("{")
    assert [record.record_id for record in spool.pending(spool_dir)] == [good.record_id]
    assert (spool_dir / "damaged" / bad.record_id / "samples.jsonl").exists()
    assert "was moved to" in caplog.text


def test_a_start_that_cannot_be_read_is_set_aside(spool_dir):
    (spool_dir / "x").mkdir()
    (spool_dir / "x" / "start.json").write_text('{"process": 5}')
    assert spool.recover(spool_dir) == []
    assert (spool_dir / "damaged" / "x" / "start.json").exists()


SESSION = """
import time
from stagemeter import Meter, Session
with Session("run-1", spool_dir=sys.argv[1]) as session:
    with Meter("preprocess", spool_dir=sys.argv[1], environment={}):
        time.sleep(0.3)
    with Meter("student_training", spool_dir=sys.argv[1], environment={}):
        with Meter("evaluation", spool_dir=sys.argv[1], environment={}):
            print(session.folder.name, flush=True)
            time.sleep(60)
"""


def test_a_killed_run_has_its_balance_from_the_log_and_is_pruned_in_time(script, spool_dir, gpu_host):
    gpu_host.waveform(((0.0, 200.0), (1.0, 200.0)))
    process = script(SESSION)
    folder = spool_dir / process.stdout.readline().strip()
    time.sleep(0.5)
    process.kill()
    process.wait()
    assert spool.prune(spool_dir, keep_days=-1) == 0  # the log is still needed
    records = spool.recover(spool_dir)
    roots = [record for record in spool.pending(spool_dir) if record.parent_id is None]
    assert {record.kind for record in records} == {"student_training", "evaluation"}
    assert {record.kind for record in roots} == {"preprocess", "student_training"}
    found = read_json(folder / "balance.json")
    gpu = found["components"]["gpu"]
    assert found["run_id"] == "run-1"
    assert "lost" in {remark["code"] for remark in found["flags"]}
    assert gpu["total_j"] == pytest.approx(200 * found["duration_s"], abs=2 * 200 * 0.1)
    assert gpu["stages_j"] == pytest.approx(sum(record.gpu_energy_j for record in roots), abs=200 * 0.1)
    assert gpu["stages_j"] + gpu["untracked_j"] == pytest.approx(gpu["total_j"], abs=200 * 0.1)
    spool.recover(spool_dir)
    assert read_json(folder / "balance.json") == found
    assert spool.prune(spool_dir, keep_days=1) == 0
    assert spool.prune(spool_dir, keep_days=-1) == 1
    assert not folder.exists()


def test_a_killed_run_without_a_log_says_that_nothing_was_measured(spool_dir):
    folder = spool_dir / "session-1"
    folder.mkdir()
    dead = {**spool.identity(os.getpid()), "pid": 2**22 + 1}
    spool.write_json(
        folder / "session.json", {"run_id": "r", "t": 5.0, "period_s": 0.1, "process": dead, "sampler": None}
    )
    assert spool.recover(spool_dir) == []
    found = read_json(folder / "balance.json")
    assert {"lost", "no_samples"} <= {remark["code"] for remark in found["flags"]}
    assert {share["total_j"] for share in found["components"].values()} == {None}


def test_the_end_of_a_stage_is_found_however_much_was_logged_after_it(tmp_path):
    def line(**values):
        return json.dumps({"kind": "sample", "wall": 0.0, **values}) + "\n"

    before = line(t=0.5, mark="end:x")
    after = line(t=9.0) * 30_000
    (tmp_path / "samples.jsonl").write_text(before + line(t=1.0, mark="end:a") + "torn end:a\n" + after)
    assert len(after) > 1 << 20
    assert last_mark(tmp_path, "end:a") == 1.0
    assert last_mark(tmp_path, "end:b") is None
    assert last_mark(tmp_path, "end:a", since=1 << 20) is None  # far behind


def test_pruning_deletes_what_a_server_has_had_for_long_and_nothing_else(spool_dir):
    sent, waiting = finished(spool_dir), finished(spool_dir)
    spool.mark_sent(spool_dir, sent.record_id)
    assert spool.prune(spool_dir, keep_days=1) == 0
    assert spool.prune(spool_dir, keep_days=-1) == 1
    assert not sent.folder.exists()
    assert waiting.folder.exists()
