"""What a stage is a part of: by the block around, by other threads, by the process that started this one."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Thread

import psutil
import pytest

from stagemeter import Meter, Session, StageRecord, nesting
from stagemeter.balance import balance
from stagemeter.lineage import beyond_root
from stagemeter.nesting import Span


@contextmanager
def opened(folder, record_id=None, run_id=None):
    """A stage's or run's block, without metering anything."""
    place = nesting.find(run_id)
    one = nesting.Open(
        record_id=record_id,
        run_id=run_id or (place.run.run_id if place.run else None),
        folder=folder,
        parent=place.parent if record_id else None,
        run=place.run if record_id else None,
    )
    nesting.enter(one)
    try:
        yield one
    finally:
        nesting.leave(one)


def elsewhere(function, *arguments):
    """What `function` returns in a new thread, whose context is empty."""
    found = []
    thread = Thread(target=lambda: found.append(function(*arguments)))
    thread.start()
    thread.join()
    return found[0]


def names(place):
    return place.parent and place.parent.record_id, place.run and place.run.run_id, [r["code"] for r in place.flags]


def test_a_stage_in_a_thread_is_a_part_of_the_one_stage_that_is_open(tmp_path):
    assert names(elsewhere(nesting.find, None)) == (None, None, [])
    with opened(tmp_path, run_id="r"):
        assert names(elsewhere(nesting.find, None)) == (None, "r", [])
        with opened(tmp_path, "outer"):
            assert names(elsewhere(nesting.find, None)) == ("outer", "r", [])
            with opened(tmp_path, "inner"):
                assert names(elsewhere(nesting.find, None)) == ("inner", "r", ["parent_guessed"])


def test_a_stage_of_another_run_in_a_thread_is_no_part_but_overlaps(tmp_path):
    with opened(tmp_path, "first", run_id="r1"):
        assert names(elsewhere(nesting.find, "r2")) == (None, None, ["overlapping_stages"])


def test_two_tasks_at_once_are_no_parts_of_each_other_and_the_later_is_flagged(tmp_path):
    found = []

    async def stage(name):
        with opened(tmp_path, name) as one:
            found.append(one.parent)
            await asyncio.sleep(0)
            found.append(names(nesting.find(None)))

    async def both():
        await asyncio.gather(stage("a"), stage("b"))

    asyncio.run(both())
    assert found == [None, None, ("a", None, []), ("b", None, [])]
    with opened(tmp_path, "a") as a:
        nesting._stage.reset(a.token)  # another task of this thread, begun before
        a.token = None
        assert names(nesting.find(None)) == (None, None, ["overlapping_stages"])


def test_a_stage_that_has_ended_is_around_nothing(tmp_path):
    a, b = (nesting.Open(record_id=name, run_id=None, folder=tmp_path) for name in "ab")
    nesting.enter(a)
    nesting.enter(b)
    nesting.leave(a)
    nesting.leave(b)  # the context is left as it was before b, with a in it
    assert names(nesting.find(None)) == (None, None, [])
    assert nesting.VARIABLE not in os.environ


CHILD = "from stagemeter import nesting; p = nesting.find({!r}); print(p.parent and p.parent.record_id)"


def child_finds(run_id=None, *, through=()):
    words = [*through, sys.executable, "-c", CHILD.format(run_id)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_a_stage_in_a_child_process_is_a_part_of_the_stage_that_started_it(tmp_path):
    with opened(tmp_path, "outer", run_id="r"):
        assert child_finds() == "outer"
        assert child_finds("another") == "None"
        (tmp_path / "record.json").touch()  # it has ended while the child ran
        assert child_finds() == "None"


@pytest.mark.parametrize("changed", [{"pid": 1}, {"created": 5.0}, {"pid": "x"}, {"folder": None}, {"run_folder": 5}])
def test_what_no_living_ancestor_says_is_not_believed(tmp_path, monkeypatch, changed):
    facts = {"record_id": "x", "run_id": None, "folder": str(tmp_path), "run_folder": None, "pid": os.getppid()}
    facts["created"] = psutil.Process(os.getppid()).create_time()
    monkeypatch.setenv(nesting.VARIABLE, json.dumps(facts))
    assert names(nesting.find(None)) == ("x", None, [])
    monkeypatch.setenv(nesting.VARIABLE, json.dumps({**facts, **changed}))
    assert names(nesting.find(None)) == (None, None, [])
    monkeypatch.setenv(nesting.VARIABLE, "{")
    assert names(nesting.find(None)) == (None, None, [])


def test_the_environment_is_what_it_was_once_all_have_ended(tmp_path, monkeypatch):
    monkeypatch.setenv(nesting.VARIABLE, "outside")
    with opened(tmp_path, "a"), opened(tmp_path, "b"):
        assert json.loads(os.environ[nesting.VARIABLE])["record_id"] == "b"
    assert os.environ[nesting.VARIABLE] == "outside"


def test_overlapping_stages_do_not_add_up_in_secret(tmp_path):
    spans = [Span("a", 1.0, 4.0), Span("b", 2.0, 5.0), Span("c", 4.5, None), Span("d", 8.0, 7.0)]
    found = balance(tmp_path, (0.0, 6.0), spans, period_s=0.1)
    said = {remark["code"]: remark["message"] for remark in found.flags}
    assert "at the same time for 2.5 s" in said["overlapping_stages"]
    assert said["stages_open"].startswith("1 root stages had no end")


def stage_folder(spool_dir, name, *, parent=None, gpus=()):
    folder = spool_dir / name
    folder.mkdir()
    (folder / "start.json").write_text(json.dumps({"log": name, "parent_id": parent}))
    devices = [{"uuid": uuid, "flags": []} for uuid in gpus]
    facts = {"gpu_expected": True, "devices": devices, "simulated": False, "flags": []}
    (folder / "samples.jsonl").write_text(json.dumps({"kind": "header", **facts}) + "\n")
    return folder


def test_a_part_on_a_gpu_that_its_root_does_not_meter_is_flagged(tmp_path):
    now = datetime.now(UTC)
    times = {"started_at": now, "ended_at": now, "duration_s": 0.0}
    part = StageRecord(kind="evaluation", **times, components=("gpu",), devices=({"uuid": "A"}, {"uuid": "B"}))
    stage_folder(tmp_path, "root", gpus="AB")
    assert beyond_root(part, stage_folder(tmp_path, "blind", parent="root")) == []  # its root sees them
    assert beyond_root(part, stage_folder(tmp_path, "spooled-elsewhere", parent="x", gpus="AB")) == []
    (remark,) = beyond_root(part, stage_folder(tmp_path, "another-root", gpus="A"))
    assert remark["code"] == "not_in_root"
    assert remark["message"].startswith("B is not metered by the root stage")
    assert beyond_root(part, tmp_path / "gone") == []


PROGRAM = """
from stagemeter import Meter
with Meter("evaluation", spool_dir=sys.argv[1], environment={}) as meter:
    pass
print(meter.record.parent_id, meter.record.run_id)
"""


def test_threads_tasks_forks_and_children_of_a_run_are_counted_once(spool_dir, script, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    records = []

    def stage(kind):
        with Meter(kind, spool_dir=spool_dir, environment={}) as meter:
            pass
        records.append(meter.record)

    async def two():
        async def task():
            with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
                await asyncio.sleep(0.1)
            return meter.record

        return await asyncio.gather(task(), task())

    with Session("run-1", spool_dir=spool_dir) as session:
        with Meter("student_training", spool_dir=spool_dir, environment={}) as outer:
            elsewhere(stage, "filtering")
            child = script(PROGRAM).communicate(timeout=30)[0].split()
            pid = os.fork()
            if not pid:
                try:
                    with pytest.warns(RuntimeWarning, match="cannot be counted in a fork"):
                        outer.add_tokens(trained=5)
                    outer.__exit__(None, None, None)
                finally:
                    os._exit(0 if outer._record is None else 1)
            assert os.waitpid(pid, 0)[1] == 0
            outer.add_tokens(trained=7)
        elsewhere(stage, "preprocess")
        first, later = asyncio.run(two())
    in_thread, alone = records
    assert (in_thread.parent_id, in_thread.run_id) == (outer.record_id, "run-1")
    assert child == [outer.record_id, "run-1"]
    assert (alone.parent_id, alone.run_id) == (None, "run-1")
    assert outer.record.trained_tokens == 7
    assert "counts_lost" in {remark["code"] for remark in outer.record.flags}
    assert "overlapping_stages" in {remark["code"] for remark in later.flags}
    assert "overlapping_stages" not in {remark["code"] for remark in first.flags}
    ram = session.balance["ram"]
    roots = sum(record.ram_energy_j for record in (outer.record, alone, first, later))
    assert ram.stages_j == pytest.approx(roots, rel=0.01)
    assert ram.overlap_j > 0.5
    assert ram.total_j == pytest.approx(ram.stages_j - ram.overlap_j + ram.untracked_j, rel=0.01)
    assert "overlapping_stages" in {remark["code"] for remark in session.flags}
    assert len(list(spool_dir.glob("session-*/samples.jsonl"))) == 1
