"""The command line, as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stagemeter import spool
from stagemeter.__main__ import _child
from tests.stagemeter.conftest import ROOT
from tests.stagemeter.test_client import Server, a_record, results


def command(spool_dir, *words, **settings):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STAGEMETER_SPOOL": str(spool_dir), **settings}
    return [sys.executable, "-m", "stagemeter", *words], {"env": environment, "cwd": spool_dir}


def run(spool_dir, *words, **settings):
    arguments, options = command(spool_dir, *words, **settings)
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False, **options)


def test_a_command_is_metered_and_its_exit_code_passed_on(spool_dir):
    words = ["run", "--stage", "evaluation", "--run", "r1", "--tokens", "evaluated=12", "--", "sh", "-c", "exit 3"]
    done = run(spool_dir, *words)
    assert done.returncode == 3, done.stderr
    (record,) = spool.pending(spool_dir)
    assert (record.kind, record.status, record.run_id, record.evaluated_tokens) == ("evaluation", "failed", "r1", 12)
    assert "record" in done.stderr


def test_cpu_time_of_the_command_is_metered_after_it_has_ended(spool_dir):
    loop = "import time\nwhile time.process_time() < 1: pass"
    assert run(spool_dir, "run", "--stage", "evaluation", "--", sys.executable, "-c", loop).returncode == 0
    (record,) = spool.pending(spool_dir)
    expected = record.meter["cpu_tdp_w"] / record.meter["cpu_threads"]  # joules per CPU second, by CodeCarbon's rule
    assert record.cpu_energy_j == pytest.approx(expected, rel=0.25)


def test_a_termination_reaches_the_command(spool_dir):
    words = [
        "run",
        "--stage",
        "evaluation",
        "--",
        "sh",
        "-c",
        "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done",
    ]
    arguments, options = command(spool_dir, *words)
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 7
        finally:
            process.kill()


def test_a_termination_while_the_command_is_being_started_reaches_it(monkeypatch):
    start = subprocess.Popen

    def hit(words):
        child = start(words)
        os.kill(os.getpid(), signal.SIGTERM)
        return child

    monkeypatch.setattr(subprocess, "Popen", hit)
    assert _child(["sleep", "60"]) == 128 + signal.SIGTERM


def test_a_command_that_is_not_there_is_127(spool_dir):
    assert run(spool_dir, "run", "--stage", "evaluation", "--", "no-such-command").returncode == 127


def test_no_command_is_a_usage_error_that_shows_how(spool_dir):
    done = run(spool_dir, "run", "--stage", "evaluation")
    assert done.returncode == 2
    assert "-- python" in done.stderr


def test_an_unknown_kind_without_a_role_is_refused_with_the_roles(spool_dir):
    done = run(spool_dir, "run", "--stage", "pruning", "--", "true")
    assert done.returncode == 3
    assert "data, teacher, student, evaluation" in done.stderr


def test_doctor_proves_that_this_host_can_be_metered(spool_dir):
    done = run(spool_dir, "doctor", "--json", "--seconds", "1", "--burn-in", "0.4")
    assert done.returncode == 0, done.stdout
    said = json.loads(done.stdout)
    checks = {check["name"]: check for check in said["checks"]}
    assert checks["metering"]["ok"]
    assert checks["cpu"]["ok"]
    assert said["baseline"]["ram_w"] == pytest.approx(10, rel=0.2)
    assert said["burn_in"]["cpu_s"] > 0.02  # a busy machine lets it burn less
    assert said["stored"] == {}
    assert spool.pending(spool_dir) == []


def test_doctor_finds_a_spool_that_cannot_be_written(spool_dir, tmp_path):
    (tmp_path / "file").touch()
    done = run(spool_dir, "doctor", STAGEMETER_SPOOL=str(tmp_path / "file"))
    assert done.returncode == 1
    assert "FAULT spool" in done.stdout
    assert "FAULT metering" in done.stdout


def test_doctor_says_without_torch_that_no_gpu_was_loaded(spool_dir, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    words = ["doctor", "--seconds", "0.5", "--burn-in", "0.2", "--gpu-load"]
    done = run(spool_dir, *words, PYTHONPATH=path)
    assert "no GPU was loaded: torch is not installed" in done.stdout
    assert "no idle baseline is kept" in done.stdout


def test_prerun_prints_its_record_and_keeps_the_idle_power_for_net_energy(spool_dir):
    done = run(spool_dir, "prerun", "--seconds", "1.2", "--burn-in", "0")
    record = json.loads(done.stdout)
    assert (record["kind"], record["role"]) == ("prerun", "prerun")
    assert record["idle_power_w"] == pytest.approx(10, abs=3)  # RAM alone: a sleeping process costs no CPU time
    assert {check["name"] for check in record["extra"]["checks"]} >= {"spool", "cpu", "gpu"}
    assert run(spool_dir, "run", "--stage", "evaluation", "--", "true").returncode == 0
    (evaluation,) = [found for found in spool.pending(spool_dir) if found.kind == "evaluation"]
    assert evaluation.meter["idle"]["prerun"] == record["record_id"]


def test_the_spool_is_uploaded_and_the_exit_code_says_whether_all_went_in(spool_dir):
    record = a_record()
    spool.write_record(spool_dir, record)
    server = Server()
    try:
        server.answer(200, results("created"))
        done = run(spool_dir, "upload", STAGEMETER_URL=server.url, STAGEMETER_TOKEN="t")
    finally:
        server.close()
    assert done.returncode == 0, done.stderr
    assert server.requests[0][2][0]["record_id"] == record.record_id
    assert spool.pending(spool_dir) == []


def test_a_file_of_records_is_uploaded_and_a_refusal_is_exit_code_1(spool_dir):
    lines = "\n".join(json.dumps(a_record().to_dict()) for _ in range(2))
    Path(spool_dir / "records.jsonl").write_text(lines)
    server = Server()
    try:
        server.answer(200, results("created", "refused"))
        done = run(spool_dir, "upload", "records.jsonl", STAGEMETER_URL=server.url, STAGEMETER_TOKEN="t")
    finally:
        server.close()
    assert done.returncode == 1
    assert len(server.requests[0][2]) == 2


def test_an_unreachable_server_is_exit_code_5_and_keeps_the_spool(spool_dir):
    spool.write_record(spool_dir, a_record())
    words = ["upload", "--attempts", "2"]
    done = run(spool_dir, *words, STAGEMETER_URL="http://127.0.0.1:9", STAGEMETER_TOKEN="t")
    assert done.returncode == 5
    assert len(spool.pending(spool_dir)) == 1


def test_importing_the_package_costs_next_to_nothing(spool_dir):
    code = "import sys, time; t = time.process_time(); import stagemeter; print(time.process_time() - t, *sys.modules)"
    best = 1.0
    for _ in range(3):
        arguments, options = [sys.executable, "-c", code], command(spool_dir)[1]
        seconds, *modules = subprocess.run(
            arguments, capture_output=True, text=True, check=True, **options
        ).stdout.split()
        best = min(best, float(seconds))
        time.sleep(0.1)
    assert best < 0.1
    assert not {"django", "torch", "httpx", "codecarbon", "pynvml"} & set(modules)
