"""A run's log, its stages and the time between them: the books balance."""

import time

import pytest

from stagemeter import Meter, MeterError, Session
from stagemeter.spool import read_json

TICK_J = 600 * 0.1  # what one tick of the counter can hide at the edges


def test_a_runs_stages_and_the_time_between_are_what_its_log_says(gpu_host, spool_dir):
    between = []
    with Session("run-1", spool_dir=spool_dir) as session:
        began = time.monotonic()
        time.sleep(0.3)
        with Meter("preprocess", spool_dir=spool_dir, environment={}) as first:
            time.sleep(0.2)
            with Meter("filtering", spool_dir=spool_dir, environment={}) as nested:
                time.sleep(0.3)
        between.append((began, first._facts["t"]))
        began = time.monotonic()
        time.sleep(0.5)
        with Meter("student_training", spool_dir=spool_dir, environment={}) as second:
            time.sleep(0.4)
        between.append((began, second._facts["t"]))
    session_s = read_json(session.folder / "balance.json")["duration_s"]
    balance = session.balance
    assert set(balance) == {"gpu", "cpu", "ram"}
    for share in balance.values():
        assert share.stages_j + share.untracked_j == pytest.approx(share.total_j, rel=0.02)
    gpu = balance["gpu"]
    assert gpu.stages_j == pytest.approx(first.record.gpu_energy_j + second.record.gpu_energy_j, rel=0.02)
    # Time that no stage covers: between them, and a little around each for its edges.
    known = sum(gpu_host.truth_j(a, b) for a, b in between)
    edges = session_s - sum(record.record.duration_s for record in (first, second)) - sum(b - a for a, b in between)
    assert known - TICK_J <= gpu.untracked_j <= known + 600 * edges + TICK_J
    assert {record.record.run_id for record in (first, nested, second)} == {"run-1"}
    assert nested.record.parent_id == first.record_id
    assert nested.record.gpu_energy_j < first.record.gpu_energy_j
    assert list(spool_dir.glob("*/samples.jsonl")) == [session.folder / "samples.jsonl"]
    assert read_json(session.folder / "balance.json")["components"]["gpu"]["total_j"] == gpu.total_j


def test_a_balance_is_there_when_the_run_is_over(spool_dir):
    session = Session("run-2", spool_dir=spool_dir)
    with pytest.raises(MeterError, match="once the with block has ended"):
        _ = session.balance
    with session:
        pass
    assert session.balance["cpu"].stages_j == 0
    with pytest.raises(MeterError, match="make another one"), session:
        pytest.fail("the block must not run")
