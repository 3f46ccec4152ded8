"""A simulated GPU host, and a spool that knows this machine's processor already."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stagemeter.meter import Meter
from stagemeter.sensors.replay import Waveform

ROOT = Path(__file__).parents[2]
SQUARE = ((0.0, 100.0), (0.3, 100.0), (0.3, 600.0), (0.7, 600.0))


@pytest.fixture(scope="session")
def nvml_folder(tmp_path_factory):
    """A folder with the simulated library, built once."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is needed to build the simulated NVML")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("simulated_nvml.c")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    return folder


class SimulatedHost:
    """Sets what the simulated library does, and knows what a meter must find."""

    def __init__(self, monkeypatch, folder, fault_file):
        self._monkeypatch, self._fault_file = monkeypatch, fault_file
        monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        self.waveform(SQUARE)

    def waveform(self, points):
        self.wave = Waveform(points)
        self.set(WAVE=",".join(f"{t}:{w}" for t, w in points))

    def set(self, **settings):
        for name, value in settings.items():
            self._monkeypatch.setenv(f"SIM_NVML_{name}", str(value))

    def will_suffer(self, fault):
        self.set(FAULT=fault, FAULT_FILE=self._fault_file)

    def strike(self):
        aside = self._fault_file.with_suffix(".new")
        aside.write_text(str(time.monotonic()))
        aside.replace(self._fault_file)

    def visible(self, devices):
        self._monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)

    def truth_j(self, start, end):
        """Exact energy of device 0 between two monotonic seconds."""
        return self.wave.energy_j(end) - self.wave.energy_j(start)


@pytest.fixture
def gpu_host(monkeypatch, nvml_folder, tmp_path):
    return SimulatedHost(monkeypatch, nvml_folder, tmp_path / "fault")


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
