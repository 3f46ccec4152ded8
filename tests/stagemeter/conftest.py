"""A simulated GPU host, and a spool that knows this machine's processor already."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stagemeter.meter import Meter
from stagemeter.simulation import LIBRARY, Waveform, build, environment

ROOT = Path(__file__).parents[2]
SQUARE = ((0.0, 100.0), (0.3, 100.0), (0.3, 600.0), (0.7, 600.0))


@pytest.fixture(scope="session")
def nvml_folder(tmp_path_factory):
    """A folder with the simulated library, built once."""
    return build(tmp_path_factory.mktemp("nvml")).parent


class SimulatedHost:
    """Sets what the simulated library does, and knows what a meter must find.

    To begin with, power has no delay and the counter moves every 100 ms. `set(PROFILE="hopper", TICK="")` and so on
    changes that; an empty setting is the profile's own.
    """

    def __init__(self, monkeypatch, folder, fault_file):
        self._monkeypatch, self._folder, self._fault_file = monkeypatch, folder, fault_file
        for name in [name for name in os.environ if name.startswith("SIM_NVML_")]:
            monkeypatch.delenv(name)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
        self.waveform(SQUARE)
        self.set(PROFILE="ideal", TICK=0.1)

    def waveform(self, points, phase_s=0.0):
        self.wave = Waveform(tuple(points), phase_s)
        self.set(WAVE=self.wave.text, PHASE=phase_s)

    def set(self, **settings):
        for name, value in environment(self._folder, self.wave, **settings).items():
            self._monkeypatch.setenv(name, value)

    def will_suffer(self, fault, *, in_s=None, device=""):
        """Prepare a fault for `strike`, or for `in_s` seconds from now."""
        self.set(FAULT=fault, FAULT_FILE=self._fault_file, FAULT_DEVICE=device)
        if in_s is not None:
            self.strike(in_s=in_s)

    def strike(self, *, in_s=0.0, for_s=""):
        """The fault begins `in_s` seconds from now, and ends `for_s` seconds later, or never."""
        start = time.monotonic() + in_s
        aside = self._fault_file.with_suffix(".new")
        aside.write_text(f"{start!r} {start + for_s if for_s else ''}")
        aside.replace(self._fault_file)

    def visible(self, devices):
        self._monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)

    def truth_j(self, start, end):
        """Exact energy of device 0 between two monotonic seconds."""
        return self.wave.between_j(start, end)


@pytest.fixture
def gpu_host(monkeypatch, nvml_folder, tmp_path):
    return SimulatedHost(monkeypatch, nvml_folder, tmp_path / "fault")


@pytest.fixture
def nvml(monkeypatch, gpu_host, nvml_folder):
    """nvidia-ml-py over the simulated library in this very process; its settings are read when it is opened."""
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(nvml_folder / LIBRARY)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return gpu_host


@pytest.fixture(scope="session")
def _cpu_cache(tmp_path_factory):
    """What CodeCarbon finds out about this processor, looked up once for all tests."""
    spool = tmp_path_factory.mktemp("first")
    with Meter("evaluation", spool_dir=spool, environment={}):
        pass
    return spool / "cpu.json"


@pytest.fixture
def spool_dir(tmp_path, _cpu_cache):
    folder = tmp_path / "spool"
    folder.mkdir()
    shutil.copy(_cpu_cache, folder)
    return folder


@pytest.fixture
def script(tmp_path, spool_dir):
    """Runs a program that meters into `spool_dir`, as a process of its own; it is `args[0]` there."""
    started = []

    def start(text, **options):
        path = tmp_path / "program.py"
        path.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{text}")
        process = subprocess.Popen(
            [sys.executable, path, spool_dir], stdout=subprocess.PIPE, text=True, cwd=tmp_path, **options
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def read_json(path):
    return json.loads(Path(path).read_text())
