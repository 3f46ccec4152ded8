"""Live figures of a long stage: cheap, and the same as looking at all of it."""

import json

import pytest

from stagemeter.live import KEPT, LiveLog
from stagemeter.samplelog import CPU_LOG_NAME, LOG_NAME


def append(path, **line):
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def test_a_long_stage_is_added_up_without_holding_all_of_it(tmp_path):
    header = {"devices": [], "rapl": {}, "gpu_expected": False, "simulated": False, "flags": []}
    append(tmp_path / LOG_NAME, kind="header", t=0.0, wall=0.0, **header)
    facts = {"cpu_tdp_w": 80.0, "cpu_threads": 4, "ram_steps_w": [[0, 10.0]]}
    append(tmp_path / CPU_LOG_NAME, kind="header", t=0.0, wall=0.0, cpu=facts, flags=[])
    live, cpu_s, cpu_j = LiveLog(tmp_path), 0.0, 0.0
    for t in range(5 * KEPT):
        cpu_s += 0.5 + t % 3
        tree = {"t": float(t), "cpu_s": cpu_s, "rss": 2**30, "busy_s": 2 * cpu_s, "ram_used": 2**31}
        append(tmp_path / LOG_NAME, kind="sample", t=float(t), wall=0.0, tree=tree)
        if t > 3:
            cpu_j += 20 * (0.5 + t % 3)
            values = {"cpu_j": cpu_j, "ram_j": 10.0 * t, "cpu_s": cpu_s}
            append(tmp_path / CPU_LOG_NAME, kind="sample", t=float(t), wall=0.0, **values)
        if t % 50 == 49:
            figures = live.figures(1.0, 0.1, {})
            assert figures.cpu_energy_j == pytest.approx(20 * (cpu_s - 2.0))
            assert figures.ram_energy_j == pytest.approx(10 * (t - 1))
    assert len(live._reader.log.tree) <= 2 * KEPT + 50


def test_a_gpu_that_answers_no_more_has_no_power(tmp_path):
    header = {
        "devices": [{"uuid": "A", "flags": []}],
        "rapl": {},
        "gpu_expected": True,
        "simulated": False,
        "flags": [],
    }
    append(tmp_path / LOG_NAME, kind="header", t=0.0, wall=0.0, **header)
    append(tmp_path / LOG_NAME, kind="sample", t=1.0, wall=1.0, gpu=[[0, 0, 5000, 300_000, None, 0]])
    live = LiveLog(tmp_path)
    assert live.figures(1.0, 0.1, {}).gpu_power_w == 300
    append(tmp_path / LOG_NAME, kind="fast", t=1.1, wall=1.1, gpu=[[0, 0, 6000, None, None, 0]])
    assert live.figures(1.0, 0.1, {}).gpu_power_w == 300  # a fast reading leaves power out
    append(tmp_path / LOG_NAME, kind="sample", t=1.2, wall=1.2, gpu=[[0, 0, None, None, None, 0, "GPU is lost"]])
    figures = live.figures(1.0, 0.1, {})
    assert (figures.gpu_power_w, figures.gpu_energy_j, figures.energy_j) == (None, None, None)
