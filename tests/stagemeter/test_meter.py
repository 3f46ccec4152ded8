"""The meter on this very machine: real processes, CodeCarbon as installed."""

import shutil
import sys
import time
from datetime import datetime

import pytest

from stagemeter import spool
from stagemeter.errors import MeterError
from stagemeter.meter import Meter
from stagemeter.records import total_energy
from stagemeter.samplelog import read_log, trace


def spin(cpu_seconds):
    end = time.process_time() + cpu_seconds
    while time.process_time() < end:
        pass


def test_cpu_energy_follows_the_cpu_time_of_the_metered_process(spool_dir):
    outside = time.process_time()
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        before = time.process_time()
        spin(1.5)
        used = time.process_time() - before
        time.sleep(0.5)
    at_most = time.process_time() - outside  # the meter's own part grows where the machine is busy
    record = meter.record
    per_second = record.meter["cpu_tdp_w"] / record.meter["cpu_threads"]
    assert 0.85 * per_second * used <= record.cpu_energy_j <= 1.15 * per_second * at_most
    assert record.cpu_method == "codecarbon_process"


def test_a_process_that_sleeps_costs_ram_but_no_cpu_time(spool_dir):
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        time.sleep(1.2)
    assert meter.record.cpu_energy_j < 0.5
    assert meter.record.ram_energy_j == pytest.approx(10 * meter.record.duration_s, rel=0.3)


def test_an_estimate_has_no_bounds_and_says_that_it_is_one(spool_dir):
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        pass
    record = meter.record
    assert "estimated" in {flag["code"] for flag in record.flags}
    assert (record.cpu_energy_lower_j, record.cpu_energy_upper_j) == (None, None)
    assert record.meter["codecarbon"].startswith("3.")
    assert record.meter["pue"] == 1.0


def test_a_host_without_a_gpu_expects_none_and_has_a_total(spool_dir, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        time.sleep(0.3)
    assert meter.record.components == ("cpu", "ram")
    assert meter.record.gpu_energy_j is None
    assert total_energy(meter.record)[0] > 0


def test_waiting_for_the_sampler_is_not_part_of_the_stage(spool_dir):
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        began = time.monotonic()
        time.sleep(0.4)
        slept_s = time.monotonic() - began
    assert meter.record.duration_s == pytest.approx(slept_s, abs=0.1)
    assert meter.record.coverage == 1.0


def test_an_exception_makes_the_stage_failed_and_passes_through(spool_dir):
    meter = Meter("evaluation", spool_dir=spool_dir, environment={})
    with pytest.raises(ZeroDivisionError), meter:
        _ = 1 / 0
    assert meter.record.status == "failed"
    assert meter.record.extra["error"] == "ZeroDivisionError: division by zero"
    assert spool.pending(spool_dir) == [meter.record]


def test_tokens_add_up_by_kind_and_what_was_not_counted_stays_none(spool_dir):
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        meter.add_tokens(trained=10, padding=2)
        meter.add_tokens(trained=5)
    assert (meter.record.trained_tokens, meter.record.padding_tokens) == (15, 2)
    assert meter.record.generated_tokens is None


def test_tokens_cannot_be_taken_back(spool_dir):
    with (
        Meter("evaluation", spool_dir=spool_dir, environment={}) as meter,
        pytest.raises(MeterError, match="only grow"),
    ):
        meter.add_tokens(evaluated=-1)


def test_parts_are_timed_and_work_is_counted_and_both_add_up(spool_dir):
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        slept_s = 0.0
        for _ in range(2):
            with meter.part("validation"):
                began = time.monotonic()
                time.sleep(0.1)
                slept_s += time.monotonic() - began
            meter.add_work(flops=2e9, moved_bytes=10, precision="fp32")
    assert meter.record.extra["work"] == {"flops": 4e9, "bytes": 20.0, "precision": "fp32"}
    assert meter.record.extra["parts"]["validation"] == pytest.approx(slept_s, abs=0.1)


def test_a_meter_inside_another_is_a_part_of_it(spool_dir):
    outer = Meter("student_training", spool_dir=spool_dir, environment={})
    with outer, Meter("evaluation", spool_dir=spool_dir, environment={}) as inner:
        pass
    assert inner.record.parent_id == outer.record_id
    assert outer.record.parent_id is None


def test_a_meter_meters_one_block(spool_dir):
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        pass
    with pytest.raises(MeterError, match="one block"), meter:
        pass


def test_the_record_is_not_there_before_the_block_has_ended(spool_dir):
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter, pytest.raises(MeterError, match="ended"):
        _ = meter.record


def test_live_figures_grow_while_the_stage_runs(spool_dir):
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        meter.add_tokens(trained=3)
        time.sleep(1.5)
        first = meter.live()
        time.sleep(1.5)
        second = meter.live()
    assert 0 < first.energy_j < second.energy_j <= total_energy(meter.record)[0]
    assert second.ram_power_w == pytest.approx(10, rel=0.2)
    assert second.tokens == {"trained": 3}


def test_both_edges_are_synchronised_before_they_are_read(spool_dir):
    calls = []
    with Meter("evaluation", spool_dir=spool_dir, environment={}, synchronize=lambda: calls.append(1)):
        assert calls == [1]
    assert calls == [1, 1]


def test_a_kind_of_ones_own_must_name_its_role(spool_dir):
    with pytest.raises(MeterError, match="give its role"):
        Meter("pruning", spool_dir=spool_dir)
    with Meter("pruning", role="student", spool_dir=spool_dir, environment={}) as meter:
        pass
    assert meter.record.role == "student"


def test_a_sampler_that_cannot_begin_is_an_error_before_the_stage(spool_dir, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(MeterError, match="sampler"), Meter("evaluation", spool_dir=spool_dir, environment={}):
        pytest.fail("the block must not run")


def test_the_power_trace_can_be_read_back(spool_dir):
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        time.sleep(2.4)
    curve = list(trace(spool.log_folder(spool_dir, meter.record_id)))
    times = [point.t for point in curve]
    assert times == sorted(times)
    assert times[0] >= 0
    assert next(point.ram_w for point in reversed(curve) if point.ram_w is not None) == pytest.approx(10, rel=0.2)


def test_times_on_the_wall_and_on_the_clock_agree(spool_dir):
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        time.sleep(0.2)
    record = meter.record
    assert (record.ended_at - record.started_at).total_seconds() == pytest.approx(record.duration_s, abs=1e-5)
    assert abs(record.ended_at.timestamp() - datetime.now().timestamp()) < 5


def test_the_metered_process_loads_neither_codecarbon_nor_nvml(script):
    process = script(
        "from stagemeter import Meter\n"
        "with Meter('evaluation', spool_dir=sys.argv[1], environment={}):\n    pass\n"
        "print(*({'codecarbon', 'pynvml', 'pandas', 'torch'} & set(sys.modules)))"
    )
    assert process.communicate(timeout=30)[0] == "\n"


def test_codecarbon_reaches_no_network_and_writes_no_file(spool_dir, monkeypatch):
    # Nothing can be looked up or reached through this proxy, and CodeCarbon's files would lie in its working directory.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        time.sleep(1.1)
    assert meter.record.cpu_energy_j is not None
    assert not list(spool_dir.rglob("emissions*"))
    log = (meter.folder / "sampler.log").read_text()
    assert "ERROR" not in log
    assert read_log(meter.folder).damaged_lines == 0


def test_an_own_codecarbon_configuration_changes_the_design_power_and_nothing_else(spool_dir, monkeypatch):
    monkeypatch.setenv("CODECARBON_FORCE_CPU_POWER", "100")
    monkeypatch.setenv("CODECARBON_PUE", "1.5")
    monkeypatch.setenv("CODECARBON_OUTPUT_DIR", "/no/such/folder")
    monkeypatch.setenv("CODECARBON_TRACKING_MODE", "machine")
    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        spin(0.5)
    assert meter.record.meter["cpu_tdp_w"] == 100.0
    per_second = 100 / meter.record.meter["cpu_threads"]
    assert meter.record.cpu_energy_j == pytest.approx(0.5 * per_second, rel=0.2)
