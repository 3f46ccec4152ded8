"""Trouble with metering never stops a stage, and never goes unsaid."""

import os
import signal
import sys
from threading import Thread
from types import SimpleNamespace

import psutil
import pytest

from stagemeter import spool
from stagemeter.errors import MeterError, SpoolError
from stagemeter.meter import Meter, current, synchronize_cuda
from stagemeter.session import Session
from stagemeter.spool import read_json


def codes(record):
    return {remark["code"] for remark in record.flags}


def kill_sampler(metered):
    sampler = psutil.Process(metered._sampler.pid)
    os.kill(sampler.pid, signal.SIGKILL)
    while sampler.status() != psutil.STATUS_ZOMBIE:
        pass


@pytest.mark.parametrize("error", [AssertionError("no CUDA here"), KeyboardInterrupt()])
def test_a_device_that_cannot_be_synchronised_costs_no_record(spool_dir, error):
    edges = []

    def synchronize():
        edges.append(1)
        if len(edges) == 2 or not isinstance(error, KeyboardInterrupt):
            raise error

    meter = Meter("evaluation", spool_dir=spool_dir, environment={}, synchronize=synchronize)
    try:
        with meter:
            pass
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    assert len(edges) == 2
    assert "not_synchronized" in codes(meter.record)
    assert type(error).__name__ in str(meter.record.flags)
    assert not meter._sampler.is_open
    assert spool.pending(spool_dir) == [meter.record]


def test_cuda_is_synchronised_where_torch_has_used_it_and_never_started(monkeypatch):
    calls, used = [], {0: 0, 1: 5, 2: 0}
    cuda = SimpleNamespace(
        is_initialized=lambda: bool(calls),
        current_device=lambda: 0,
        device_count=lambda: 3,
        memory_reserved=used.__getitem__,
        synchronize=calls.append,
    )
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    synchronize_cuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    synchronize_cuda()
    assert calls == []
    calls.append("used")
    synchronize_cuda()
    assert calls == ["used", 0, 1]  # the current one, and the other that holds memory


def test_a_block_may_be_left_in_another_thread_than_it_was_entered_in(spool_dir):
    meter = Meter("evaluation", spool_dir=spool_dir, environment={})
    meter.__enter__()
    thread = Thread(target=meter.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    assert meter.record.status == "completed"
    assert not meter._sampler.is_open
    with pytest.raises(MeterError, match="no meter is open"):
        current()
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as later:
        pass
    assert later.record.parent_id is None  # what has ended has no parts


def test_a_dead_sampler_is_replaced_when_the_next_stage_begins(spool_dir, gpu_host):
    with Session("run-1", spool_dir=spool_dir) as session:
        with Meter("evaluation", spool_dir=spool_dir, environment={}) as outer:
            kill_sampler(outer)
            with Meter("filtering", spool_dir=spool_dir, environment={}) as inner:
                pass
        kill_sampler(session)
    assert inner.record.gpu_energy_j is not None
    assert inner.record.parent_id == outer.record_id
    assert "sampler_replaced" in codes(outer.record)
    assert session.balance["gpu"].total_j > 0
    kept = read_json(session.folder / "balance.json")
    assert [r["message"] for r in kept["flags"] if r["code"] == "sampler_replaced"] == [
        "the sampler died and was replaced 2 times"
    ]


def test_a_run_whose_sampler_cannot_be_replaced_says_so_in_its_balance(spool_dir, monkeypatch):
    with Session("run-1", spool_dir=spool_dir, gpus="") as session:
        kill_sampler(session)
        monkeypatch.setattr(sys, "executable", "/no/such/python")
    (remark,) = [remark for remark in session.flags if remark["code"] == "sampler_died"]
    assert "could not be replaced" in remark["message"]
    assert remark in read_json(session.folder / "balance.json")["flags"]


def test_a_record_that_the_disk_would_not_take_stays_in_memory_and_can_be_saved_later(spool_dir, monkeypatch, caplog):
    def full(*_):
        raise SpoolError("no space left on device")

    write = spool.write_record
    monkeypatch.setattr(spool, "write_record", full)
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        meter.add_tokens(evaluated=5)
    assert "record_unsaved" in codes(meter.record)
    assert meter.record.evaluated_tokens == 5
    assert "make room, then call save()" in caplog.text
    monkeypatch.setattr(spool, "write_record", write)
    monkeypatch.setattr(spool, "is_alive", lambda *_: False)
    spool.mark_sent(spool_dir, meter.record_id)  # booked from memory: nobody books it again as lost
    assert spool.recover(spool_dir) == []
    (meter.folder / "sent").unlink()
    meter.save()
    (kept,) = spool.pending(spool_dir)
    assert kept.record_id == meter.record_id
    assert "record_unsaved" not in codes(kept)
