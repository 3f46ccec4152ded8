"""The process that runs CodeCarbon: what it leaves, and that it leaves nothing running."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import psutil
import pytest

from stagemeter.cpu_sampler import main
from stagemeter.sensors.cpu import CpuSensor
from stagemeter.sensors.tree import ProcessTree
from tests.stagemeter.conftest import ROOT

GONE_WITHIN_S = 2.0


@pytest.fixture
def cache(spool_dir):
    return spool_dir / "cpu.json"


def words(folder, pid, cache):
    return [sys.executable, "-m", "stagemeter.cpu_sampler", str(folder), "--pid", str(pid), "--cache", str(cache)]


@contextmanager
def sampling(folder, pid, cache, **environment):
    folder.mkdir(exist_ok=True)
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    process = subprocess.Popen(
        words(folder, pid, cache), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=settings
    )
    try:
        yield process
    finally:
        process.kill()
        process.stdin.close()
        process.wait()


def lines(folder):
    path = folder / "cpu.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kinds(folder):
    return [line["kind"] for line in lines(folder)]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def has_read(folder):
    return lambda: "sample" in kinds(folder)


def test_eight_at_once_leave_eight_whole_logs(tmp_path, cache):
    """Over one cache that knows this processor; CodeCarbon's own files lose records among so many writers."""
    folders = [tmp_path / str(i) for i in range(8)]
    samplers = [sampling(folder, os.getpid(), cache) for folder in folders]
    processes = [sampler.__enter__() for sampler in samplers]
    try:
        for folder in folders:
            wait_for(has_read(folder))
        for process in processes:
            process.stdin.close()
        assert [process.wait(30) for process in processes] == [0] * 8
    finally:
        for sampler in samplers:
            sampler.__exit__(None, None, None)
    for folder in folders:
        assert kinds(folder)[0] == "header"
        assert kinds(folder)[-1] == "end"
        readings = [line for line in lines(folder) if line["kind"] == "sample"]
        assert len(readings) >= 2
        assert readings[-1]["ram_j"] > readings[0]["ram_j"]
    kept = json.loads(cache.read_text())
    assert len(kept) == 1


def test_it_takes_a_last_reading_when_told_to_stop(tmp_path, cache):
    with sampling(tmp_path / "log", os.getpid(), cache) as process:
        wait_for(has_read(tmp_path / "log"))
        told = time.monotonic()
        process.stdin.close()
        assert process.wait(30) == 0
    *_, last, end = lines(tmp_path / "log")
    assert (last["kind"], end["kind"], end["reason"]) == ("sample", "end", "stopped")
    assert last["t"] >= told


def test_constants_that_are_known_are_said_before_codecarbon_is_loaded(tmp_path, cache):
    with sampling(tmp_path / "log", os.getpid(), cache) as process:
        process.stdin.close()
        assert process.wait(30) == 0
    header, *_, end = lines(tmp_path / "log")
    assert header["cpu"]["cpu_tdp_w"] > 0
    assert header["cpu"]["ram_steps_w"][0][0] == 0
    assert end["reason"] == "stopped"


BETWEEN = """
import subprocess, sys
process = subprocess.Popen({words!r}, stdin=subprocess.PIPE)
print(process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("victim", ["sampler", "stage"])
@pytest.mark.parametrize("while_loading", [True, False], ids=["while loading", "while measuring"])
def test_it_is_gone_two_seconds_after_its_sampler_or_its_stage_was_killed(tmp_path, cache, victim, while_loading):
    """Also while CodeCarbon is loading and looks up a processor that no cache knows."""
    folder = tmp_path / "log"
    folder.mkdir()
    known = tmp_path / "nothing.json" if while_loading else cache
    stage = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    code = BETWEEN.format(words=words(folder, stage.pid, known))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    sampler = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    found = psutil.Process(int(sampler.stdout.readline()))
    try:
        wait_for((folder / "cpu.jsonl").exists if while_loading else has_read(folder))
        killed = {"sampler": sampler, "stage": stage}[victim]
        killed.send_signal(signal.SIGKILL)
        if victim == "stage":
            killed.wait()
        _, alive = psutil.wait_procs([found], timeout=GONE_WITHIN_S)
        assert not alive or found.status() == psutil.STATUS_ZOMBIE
        end = lines(folder)[-1]
        assert end["kind"] == "end"
        assert end["reason"] in {"sampler": ("parent_died", "stopped"), "stage": ("stage_died",)}[victim]
    finally:
        for process in (sampler, stage):
            process.kill()
            process.wait()
            process.stdin.close()
        sampler.stdout.close()


def test_without_codecarbon_it_says_so_and_waits_for_its_end(tmp_path, cache):
    (tmp_path / "codecarbon.py").write_text("raise ImportError(\"No module named 'codecarbon'\")")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with sampling(tmp_path / "log", os.getpid(), tmp_path / "none.json", PYTHONPATH=path) as process:
        wait_for(lambda: "header" in kinds(tmp_path / "log"))
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(30) == 0
    header, end = lines(tmp_path / "log")
    assert header["cpu"] == {}
    assert header["flags"][0]["code"] == "codecarbon_failed"
    assert "install stagemeter[codecarbon]" in header["flags"][0]["message"]
    assert end["reason"] == "stopped"


def test_a_codecarbon_that_breaks_is_no_crash(tmp_path, cache):
    (tmp_path / "codecarbon.py").write_text("raise RuntimeError('not today')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with sampling(tmp_path / "log", os.getpid(), tmp_path / "none.json", PYTHONPATH=path) as process:
        wait_for(lambda: "header" in kinds(tmp_path / "log"))
        process.stdin.close()
        assert process.wait(30) == 0
    assert lines(tmp_path / "log")[0]["flags"][0]["message"] == "CodeCarbon failed: RuntimeError('not today')"


def test_a_step_of_the_wall_clock_changes_no_energy(cache, monkeypatch):
    """CodeCarbon divides CPU seconds by wall time; here that is the monotonic clock's."""
    sensor = CpuSensor(ProcessTree(os.getpid(), without=-1), cache=cache)
    sensor.start()
    per_second = sensor.facts["cpu_tdp_w"] / sensor.facts["cpu_threads"]
    before = sensor.read()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    after = sensor.read()
    sensor.stop()
    expected = per_second * (after["cpu_s"] - before["cpu_s"])
    assert expected > 0
    assert after["cpu_j"] - before["cpu_j"] == pytest.approx(expected, rel=0.05)


def test_shared_memory_counts_no_more_than_the_machine_has(cache):
    tree = ProcessTree(os.getpid(), without=-1)
    sensor = CpuSensor(tree, cache=cache)
    sensor.start()
    tree.rss = 10**15
    (ram,) = (part for part in sensor._tracker._hardware if type(part).__name__ == "TreeRam")
    assert ram.process_memory_GB == psutil.virtual_memory().total / 2**30
    sensor.stop()


def test_ranks_on_one_host_book_its_memory_once_together(monkeypatch):
    tree = SimpleNamespace(pid=os.getpid(), rss=2**30, seconds=0.0)

    def steps():
        sensor = CpuSensor(tree, cache=None)
        sensor.start()
        sensor.stop()
        return sensor.facts["ram_steps_w"], sensor.facts["ram_shared_by"]

    (alone, _), floor = steps(), 10.0  # two modules of 5 W, which the model never goes below
    assert alone[0][1] == floor
    for name, value in {"RANK": 1, "WORLD_SIZE": 4, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    shared, sharing = steps()
    assert sharing == 4 and shared[0][1] == pytest.approx(floor / 4)


def test_the_cache_is_for_codecarbons_own_settings_too(cache, monkeypatch):
    tree = SimpleNamespace(pid=os.getpid())
    assert CpuSensor(tree, cache=cache).facts
    monkeypatch.setenv("CODECARBON_FORCE_CPU_POWER", "5")
    assert not CpuSensor(tree, cache=cache).facts


def test_it_needs_to_know_whom_to_meter(capsys):
    with pytest.raises(SystemExit):
        main(["."])
    assert "--pid" in capsys.readouterr().err
