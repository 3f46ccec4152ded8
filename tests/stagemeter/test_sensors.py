"""One source at a time."""

import json
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagemeter.errors import MeterError
from stagemeter.meter import Meter
from stagemeter.sensors.cpu import ProcessTree
from stagemeter.sensors.nvml import select
from stagemeter.sensors.replay import ReplaySensor, Waveform

UUIDS = ["GPU-aaaa", "GPU-aabb", "GPU-bbbb"]


@pytest.mark.parametrize(
    ("visible", "chosen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("0,7,1", [0]),  # CUDA ignores what follows an entry it does not know
        ("1,1", [1]),
        ("GPU-b", [2]),
        ("GPU-a", []),  # two cards begin like that
        ("NoDevFiles", []),
    ],
)
def test_visible_devices_are_read_by_cudas_rules(visible, chosen):
    assert select(visible, UUIDS) == chosen


def test_a_waveform_knows_its_integral():
    wave = Waveform(((0, 100), (1, 100), (1, 300), (2, 300), (4, 100)))
    assert wave.energy_j(1) == 100
    assert wave.energy_j(4) == 100 + 300 + 400
    assert wave.energy_j(9) == 2 * 800 + 100
    assert wave.power_w(3) == 200


@given(st.floats(0, 50), st.floats(0, 50))
def test_energy_between_two_moments_lies_between_the_waveforms_extremes(a, b):
    wave = Waveform(((0, 100), (0.4, 100), (0.4, 700), (0.8, 650)))
    start, end = sorted((a, b))
    energy = wave.energy_j(end) - wave.energy_j(start)
    assert 100 * (end - start) - 1e-6 <= energy <= 700 * (end - start) + 1e-6


@pytest.mark.parametrize("points", [(), ((0, 1),), ((1, 1), (2, 1)), ((0, 1), (2, 1), (1, 1))])
def test_a_waveform_without_an_order_is_refused(points):
    with pytest.raises(MeterError, match="in order"):
        Waveform(points)


def replayed(tmp_path):
    path = tmp_path / "wave.json"
    device = {"uuid": "GPU-replayed", "name": "A card of the past", "points": [[0, 250], [1, 250]]}
    path.write_text(json.dumps({"tick_s": 0.02, "devices": [device]}))
    return path


def test_a_recorded_waveform_is_metered_like_a_gpu(tmp_path, spool_dir, monkeypatch):
    monkeypatch.setenv("STAGEMETER_REPLAY", str(replayed(tmp_path)))
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        time.sleep(0.8)
    assert meter.record.simulated
    assert meter.record.gpu_energy_j == pytest.approx(250 * meter.record.duration_s, abs=250 * 0.04)


def test_a_replay_gives_counter_and_power_of_the_last_tick(tmp_path):
    sensor = ReplaySensor.from_file(replayed(tmp_path))
    reading = sensor.read()["GPU-replayed"]
    assert reading["w"] == 250
    assert reading["mj"] == pytest.approx(250_000 * reading["t"], abs=250_000 * 0.03)


def test_a_process_tree_keeps_the_time_of_children_that_have_ended():
    child = "import time\nwhile time.process_time() < 0.4: pass"
    wait = "print(1, flush=True)\nsys.stdin.read()"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])\n{wait}"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        tree = ProcessTree(process.pid, without=-1)
        process.stdout.readline()
        assert tree.cpu_times().user >= 0.35  # the kernel counts in ticks of 10 ms
        before = tree.seconds
        process.kill()
        process.wait()
        assert tree.cpu_times().user == before  # nothing more is known of a process that is gone


class Tree(ProcessTree):
    """A tree whose kernel gives the queued totals."""

    def __init__(self, *totals):
        super().__init__(os.getpid(), without=-1)
        self.given = [self._read(total) for total in totals]

    def _read(self, total):
        self._advance(total)
        return self.seconds


def test_a_child_missing_in_one_reading_is_not_counted_twice_when_it_is_back():
    assert Tree(10, 4, 11).given == [10, 10, 11]


def test_a_child_that_left_for_good_stays_in_the_sum_and_later_seconds_still_count():
    assert Tree(10, 4, 4, 4, 5, 6).given == [10, 10, 10, 10, 11, 12]
