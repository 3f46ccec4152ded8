"""What installs alone: the library without Django and torch, the web process without torch. And the pins."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")


def _run(*words: object, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=240, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def environment(tmp_path):
    """An empty virtual environment's Python."""
    _run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    return tmp_path / "venv" / "bin" / "python"


def test_the_library_installs_alone_and_meters_without_django_and_torch(environment, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "stagemeter", source / "stagemeter", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    _run(UV, "pip", "install", "--quiet", "--python", environment, "-c", ROOT / "constraints.txt", source)
    script = (
        "import sys\n"
        "from stagemeter import Client, Meter, current, keep_run, metered\n"
        "with Meter('evaluation', spool_dir=sys.argv[1]) as meter:\n"
        "    meter.add_tokens(evaluated=3)\n"
        "assert meter.record.evaluated_tokens == 3 and meter.record.gpu_energy_j is None\n"
        "from stagemeter.simulation import build\n"
        "assert build(sys.argv[1]).exists()\n"
        "print(sorted({'django', 'torch', 'registry', 'celery'} & set(sys.modules)))\n"
    )
    assert _run(environment, "-c", script, tmp_path / "spool", cwd=tmp_path).strip() == "[]"
    installed = _run(UV, "pip", "freeze", "--python", environment)
    assert "stagemeter" in installed and "jango" not in installed and "torch" not in installed
    assert "usage: stagemeter" in _run(environment.with_name("stagemeter"), "--help")


def test_the_web_process_installs_without_torch_and_passes_its_checks(environment):
    flags = ["--only-binary", ":all:", "-r", ROOT / "requirements-web.txt", "-c", ROOT / "constraints.txt"]
    _run(UV, "pip", "install", "--quiet", "--python", environment, *flags)
    absent = subprocess.run([environment, "-c", "import torch"], capture_output=True, check=False)
    assert absent.returncode == 1
    servers = {"DATABASE_URL": "postgresql:///none", "REDIS_URL": "redis://none"}
    assert "no issues" in _run(environment, "manage.py", "check", cwd=ROOT, env=servers)


@pytest.fixture(scope="module")
def requirements():
    """The script behind `make lock` and `make check`."""
    spec = importlib.util.spec_from_file_location("requirements_script", ROOT / ".ci" / "requirements.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_direct_dependency_is_pinned_and_gives_its_reason(requirements):
    for name in requirements.DIRECT:
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith(("#", "-r ")):
                assert "==" in line and len(line.partition("#")[2].strip()) > 8, line


def test_the_constraints_pull_in_no_cuda_and_no_local_build(requirements):
    pins = requirements.pins((ROOT / "constraints.txt").read_text())
    assert len(pins) > 100 and "torch" not in pins
    assert not [name for name in pins if requirements.CUDA.match(name)]
    assert requirements.CUDA.match("nvidia-cublas-cu12") and not requirements.CUDA.match("nvidia-ml-py")
    assert not [version for version in pins.values() if "+" in version]


def test_requirements_and_constraints_share_no_name(requirements):
    assert not requirements.direct().keys() & requirements.pins((ROOT / "constraints.txt").read_text()).keys()


def test_a_line_that_pins_nothing_is_refused(requirements):
    with pytest.raises(SystemExit, match="'django>=5' pins no version"):
        requirements.pins("django>=5  # too loose\n")
