"""The idle baseline: taken once on a host, and used for the net energy of stages it says something about."""

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest

from stagemeter import baseline, prerun
from stagemeter.baseline import Baseline
from stagemeter.errors import MeterError
from stagemeter.meter import Meter
from tests.stagemeter.conftest import read_json

NOW = datetime.now(UTC)
TAKEN = Baseline(
    record_id="r1",
    taken_at=(NOW - timedelta(hours=2)).isoformat(),
    boot=baseline.boot_id(),
    hardware=baseline.hardware_id(),
    seconds=30.0,
    gpu_w={"GPU-a": 60.0, "GPU-b": 70.0},
    cpu_w=1.0,
    ram_w=10.0,
    cpu_method="codecarbon_process",
    ram_method="codecarbon_process",
    spread=0.02,
    spread_w=2.8,
    simulated=False,
)
METHODS = {"cpu": "codecarbon_process", "ram": "codecarbon_process"}


def resolved(tmp_path, taken=TAKEN, *, gpus=("GPU-a",), methods=METHODS, simulated=False):
    baseline.save(tmp_path, taken)
    kept = json.loads(json.dumps(baseline.for_start(tmp_path)))
    return baseline.resolve(kept, began=NOW, gpus=gpus, methods=methods, simulated=simulated)


def test_a_stage_pays_for_the_gpus_it_uses_and_no_others(tmp_path):
    idle = resolved(tmp_path)
    assert idle.power_w == 71
    assert idle.meter["idle"]["prerun"] == "r1"
    assert idle.meter["idle"]["age_s"] == pytest.approx(7200, abs=5)
    assert idle.flags == ()
    assert resolved(tmp_path, gpus=("GPU-b", "GPU-a")).power_w == 141
    assert resolved(tmp_path, gpus=()).power_w == 11


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"taken_at": (NOW - timedelta(days=8)).isoformat()}, "is 8 days old, and up to 7 are believed"),
        ({"taken_at": (NOW + timedelta(days=8)).isoformat()}, "days old"),
        ({"boot": "another"}, "was taken before this machine was last started"),
        ({"hardware": "another"}, "was taken on other hardware"),
        ({"gpu_w": {"GPU-c": 1.0}}, "does not cover the GPU GPU-a"),
        ({"cpu_method": "rapl"}, "has its CPU power by rapl, and this stage by codecarbon_process"),
        ({"ram_method": ""}, "has its RAM power by no method"),
        ({"cpu_w": None}, "has no CPU or no RAM power"),
    ],
)
def test_a_baseline_that_says_nothing_about_the_stage_is_not_used_and_the_record_says_why(tmp_path, changed, reason):
    idle = resolved(tmp_path, replace(TAKEN, **changed))
    assert (idle.power_w, idle.meter) == (None, None)
    (remark,) = idle.flags
    assert remark["code"] == "baseline_unused"
    assert reason in remark["message"]
    assert "stagemeter prerun" in remark["message"]


def test_a_simulated_baseline_is_for_simulated_stages_alone(tmp_path):
    baseline.save(tmp_path, replace(TAKEN, simulated=True, record_id="simulated"))
    assert resolved(tmp_path).meter["idle"]["prerun"] == "r1"  # both are kept
    assert resolved(tmp_path, simulated=True).meter["idle"]["prerun"] == "simulated"


def test_a_host_without_a_baseline_gets_no_remark(tmp_path):
    idle = baseline.resolve(baseline.for_start(tmp_path), began=NOW, gpus=(), methods=METHODS, simulated=False)
    assert (idle.power_w, idle.flags) == (None, ())


def test_an_unsteady_baseline_is_used_with_a_remark(tmp_path):
    idle = resolved(tmp_path, replace(TAKEN, spread=0.5, spread_w=40.0))
    assert idle.power_w == 71
    assert [remark["code"] for remark in idle.flags] == ["baseline_unsteady"]


@pytest.mark.parametrize("text", ["{", "[]", '{"measured": 5}', '{"measured": {"record_id": "x"}}', "null"])
def test_a_file_that_cannot_be_understood_is_no_baseline(tmp_path, text):
    baseline.save(tmp_path, TAKEN)
    (path,) = (tmp_path / "hosts").iterdir()
    path.write_text(text)
    assert baseline.for_start(tmp_path) == {}


def test_values_of_the_wrong_type_are_no_baseline():
    assert Baseline.from_dict(asdict(TAKEN)) == TAKEN
    assert Baseline.from_dict({**asdict(TAKEN), "taken_at": 5}) is None
    assert Baseline.from_dict({**asdict(TAKEN), "cpu_w": "much"}) is None
    assert Baseline.from_dict({**asdict(TAKEN), "gpu_w": [1]}) is None


def test_a_prerun_is_kept_and_later_stages_have_an_idle_power(spool_dir, gpu_host):
    gpu_host.waveform(((0.0, 120.0), (1.0, 120.0)))
    record = prerun.run(2.0, burn_in_s=0.3, spool_dir=spool_dir, environment={})
    assert record.idle_power_w == pytest.approx(130, rel=0.05)  # and RAM's 10 W; a process that sleeps costs no CPU
    assert (record.kind, record.role, record.simulated) == ("prerun", "prerun", True)
    assert record.duration_s > 2.3
    assert record.gpu_energy_j == pytest.approx(120 * record.duration_s, rel=0.05)
    assert len(record.extra["parts_w"]) == 2
    assert record.extra["burn_in"]["cpu_s"] > 0.02  # a busy machine lets it burn less
    said = {check["name"]: check for check in record.extra["checks"]}
    assert {"spool", "cpu", "gpu", "metering", "rest"} <= said.keys()
    messages = " ".join(check["message"] for check in record.extra["checks"])
    tick_ms = re.search(r"moves every (\d+) ms", messages)
    assert tick_ms is not None, messages
    assert int(tick_ms[1]) == pytest.approx(100, abs=30)  # on a busy machine reads come late, and so do ticks
    assert "from the counter" in messages
    assert not [check for check in record.extra["checks"] if check["ok"] is False]

    with Meter("evaluation", spool_dir=spool_dir, environment={}) as meter:
        pass
    assert meter.record.idle_power_w == pytest.approx(record.idle_power_w)
    assert meter.record.meter["idle"]["prerun"] == record.record_id
    assert 0 <= meter.record.meter["idle"]["age_s"] < 60
    assert read_json(meter.folder / "start.json")["baseline"]["simulated"]["record_id"] == record.record_id

    with Meter("evaluation", spool_dir=spool_dir, environment={}, idle_power_w=5.0) as told:
        pass
    assert told.record.idle_power_w == 5
    assert "idle" not in told.record.meter


def test_a_gpu_that_works_during_the_rest_makes_the_baseline_unsteady(spool_dir, gpu_host):
    gpu_host.waveform(((0.0, 100.0), (1.5, 100.0), (1.5, 600.0), (3.0, 600.0)))
    record = prerun.examine(3.0, burn_in_s=0, spool_dir=spool_dir, environment={})
    assert "baseline_unsteady" in {remark["code"] for remark in record.flags}
    assert record.extra["baseline"]["spread"] > 0.3
    assert not (spool_dir / "hosts").exists()  # looked at, not kept


def test_a_gpu_lost_during_the_rest_leaves_idle_power_and_steadiness_unknown(spool_dir, gpu_host):
    gpu_host.set(DEVICES=2)
    gpu_host.will_suffer("lost", in_s=1.5, device=1)
    record = prerun.examine(2.0, burn_in_s=0, spool_dir=spool_dir, environment={})
    taken = record.extra["baseline"]
    assert record.idle_power_w is None
    assert (taken["spread"], taken["spread_w"]) == (None, None)
    assert "GPU-00000001-5151-5151-5151-515151515151" not in taken["gpu_w"]
    (said,) = [check for check in record.extra["checks"] if check["name"] == "rest" and "steady" in check["message"]]
    assert (said["ok"], "is not known" in said["message"]) == (None, True)


def test_a_baseline_of_unknown_steadiness_is_used_with_a_remark(tmp_path):
    idle = resolved(tmp_path, replace(TAKEN, spread=None, spread_w=None))
    assert idle.power_w == 71
    assert idle.meter["idle"]["spread"] is None
    (remark,) = idle.flags
    assert "how steady idle power was is not known" in remark["message"]


def test_a_frozen_counter_is_found(spool_dir, gpu_host):
    gpu_host.waveform(((0.0, 300.0), (1.0, 300.0)))
    gpu_host.will_suffer("frozen", in_s=0.0)
    record = prerun.examine(3.0, burn_in_s=0, spool_dir=spool_dir, environment={})
    faults = [check["message"] for check in record.extra["checks"] if check["ok"] is False]
    assert any("cannot be used" in fault for fault in faults)
    assert any("stood still" in fault for fault in faults)


def test_a_rest_of_no_seconds_is_refused(spool_dir):
    with pytest.raises(MeterError, match="more than 0 s"):
        prerun.run(0, spool_dir=spool_dir)
