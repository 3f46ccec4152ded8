"""The processor's registers, from folders laid out as Linux lays out /sys/class/powercap."""

import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from stagemeter.meter import Meter
from stagemeter.sensors.rapl import CEILING_W, RaplSensor, Zone, open_rapl, rapl_facts

RANGE_UJ = 262_143_328_850


class Powercap:
    """A fake of the kernel's folder; its registers are files."""

    def __init__(self, root):
        self.root = root

    def zone(self, folder, name, uj, range_uj=RANGE_UJ):
        path = self.root / folder
        path.mkdir(parents=True)
        (path / "name").write_text(f"{name}\n")
        (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
        self.set(folder, uj)

    def set(self, folder, uj):
        aside = self.root / folder / "new"
        aside.write_text(f"{uj}\n")
        aside.replace(self.root / folder / "energy_uj")


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    monkeypatch.setenv("STAGEMETER_POWERCAP", str(tmp_path / "powercap"))
    return Powercap(tmp_path / "powercap")


def two_sockets(powercap):
    (powercap.root / "intel-rapl").mkdir(parents=True)  # the control type, which is no zone
    powercap.zone("intel-rapl:0", "package-0", 5_000_000)
    powercap.zone("intel-rapl:0:0", "core", 3_000_000)
    powercap.zone("intel-rapl:0:1", "uncore", 1_000_000)
    powercap.zone("intel-rapl:0:2", "dram", 700_000)
    powercap.zone("intel-rapl:1", "package-1", 9_000_000)
    powercap.zone("intel-rapl:1:0", "dram", 90_000_000)
    powercap.zone("intel-rapl:2", "psys", 20_000_000)
    powercap.zone("intel-rapl-mmio:0", "package-0", 5_000_100)


def test_packages_and_their_memory_are_read_apart_and_nothing_twice(powercap):
    two_sockets(powercap)
    sensor = open_rapl()
    assert sensor.read() == {
        "package-0": 5_000_000,
        "package-0/dram": 700_000,
        "package-1": 9_000_000,
        "package-1/dram": 90_000_000,
    }
    assert sensor.facts["zones"]["package-1/dram"] == {"kind": "dram", "range_uj": RANGE_UJ}
    assert set(sensor.facts["left_out"]) == {
        "package-0/core",
        "package-0/uncore",
        "psys",
        "package-0 (intel-rapl-mmio:0)",
    }
    assert sensor.facts["unreadable"] == {}


def test_dies_that_all_show_their_packages_register_are_counted_once(powercap):
    powercap.zone("intel-rapl:0", "package-0-die-0", 800_000_000_000)
    powercap.zone("intel-rapl:1", "package-0-die-1", 800_000_300_000)
    powercap.zone("intel-rapl:2", "package-1-die-0", 500_000_000_000)
    sensor = open_rapl()
    assert set(sensor.read()) == {"package-0-die-0", "package-1-die-0"}
    assert sensor.facts["left_out"] == {"package-0-die-1": "shows the register of package-0-die-0"}


def test_a_package_seen_through_its_copy_alone_is_read_there(powercap):
    powercap.zone("intel-rapl-mmio:0", "package-0", 7)
    assert open_rapl().read() == {"package-0": 7}


def test_registers_that_cannot_be_read_are_named(powercap):
    two_sockets(powercap)
    (powercap.root / "intel-rapl:1" / "energy_uj").write_text("no number")
    (powercap.root / "intel-rapl:1:0" / "energy_uj").unlink()
    facts = open_rapl().facts
    assert facts["unreadable"] == {
        "package-1": "holds no number",
        "package-1/dram": "cannot be read: No such file or directory",
    }


@contextmanager
def as_nobody():
    """Without the right to read every file."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_registers_of_root_are_named(monkeypatch):
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)  # unlike pytest's own folders
        monkeypatch.setenv("STAGEMETER_POWERCAP", root)
        powercap = Powercap(Path(root))
        powercap.zone("intel-rapl:0", "package-0", 7)
        (powercap.root / "intel-rapl:0" / "energy_uj").chmod(0)
        with as_nobody():
            assert open_rapl() is None
            assert rapl_facts()["unreadable"] == {"package-0": "may not be read by this user"}


def test_a_host_without_registers_has_no_sensor(powercap):
    assert open_rapl() is None
    assert rapl_facts()["zones"] == {}


def test_a_zone_that_fails_later_is_missing_from_the_reading(powercap):
    two_sockets(powercap)
    sensor = open_rapl()
    (powercap.root / "intel-rapl:1" / "energy_uj").unlink()
    assert "package-1" not in sensor.read()
    assert "package-0" in sensor.read()


def test_registers_are_read_far_more_often_than_they_come_round(tmp_path):
    # The smallest range in use, 65 kJ, at more power than any processor draws.
    assert Zone("package-0", "package", tmp_path, 65_532_610_987).wraps_after_s > 50
    assert CEILING_W >= 1000


def test_reading_costs_little(powercap):
    two_sockets(powercap)
    sensor = open_rapl()
    assert isinstance(sensor, RaplSensor)
    began = time.process_time()
    for _ in range(20):
        sensor.read()
    assert (time.process_time() - began) / 20 < 0.01  # seconds, once a second; it is about 0.1 ms


def test_a_stage_on_a_host_with_registers_is_measured_by_them(powercap, spool_dir):
    powercap.zone("intel-rapl:0", "package-0", RANGE_UJ - 10_000_000)
    powercap.zone("intel-rapl:0:0", "dram", 0)
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        for step in range(1, 16):
            end = time.process_time() + 0.1
            while time.process_time() < end:
                pass
            powercap.set("intel-rapl:0", (RANGE_UJ - 10_000_000 + 2_000_000 * step) % RANGE_UJ)  # round once
            powercap.set("intel-rapl:0:0", 4_000_000 * step // 15)
    record = meter.record
    assert (record.cpu_method, record.ram_method) == ("rapl", "rapl")
    assert record.cpu_energy_upper_j == pytest.approx(30, rel=0.1)
    assert 0 < record.cpu_energy_j <= record.cpu_energy_upper_j
    assert record.cpu_energy_lower_j <= record.cpu_energy_j
    assert record.ram_energy_upper_j == pytest.approx(4, rel=0.1)
    assert 0 < record.ram_energy_j <= record.ram_energy_upper_j
    codes = {remark["code"] for remark in record.flags}
    assert {"cpu_attributed", "ram_attributed", "rapl_wrapped"} <= codes
    assert "estimated" not in codes
    assert record.meter["rapl"]["zones"]["package-0"]["range_uj"] == RANGE_UJ
    assert record.meter["cpu_cross_check_j"] > 0
