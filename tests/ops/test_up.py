"""`manage.py up`, as `make run` calls it: starts everything, stops exactly that, goes on where it ended."""

import io
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest
from django.core.management import CommandError, call_command

from registry.management.commands import up
from registry.supervisor import Child, Supervisor

ROOT = Path(__file__).resolve().parents[2]


class Installation:
    """A home of its own on a free port, and the process that serves it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[str] | None = None

    def command(self, *words: str) -> dict[str, object]:
        kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        kept |= {"STAGEMETER_HOME": str(self.home), "PORT": str(self.port)}
        return {"args": [sys.executable, "manage.py", *words], "cwd": ROOT, "env": kept, "text": True}

    def start(self) -> None:
        """Start, and read what it says until it has said its last line."""
        with (self.home / "log").open("w") as log:
            self.process = subprocess.Popen(
                **self.command("up", "--no-tour"), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        self.wait_for("Ctrl-C stops it")

    def wait_for(self, text: str, within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while text not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.2)

    def output(self) -> str:
        return (self.home / "log").read_text()

    def processes(self) -> list[psutil.Process]:
        """Everything it started, the servers among it, which leave its process tree."""
        pids = [int(path.read_text().split()[0]) for path in self.home.glob("servers/*/*.pid")]
        servers = [psutil.Process(pid) for pid in pids]
        tree = [*psutil.Process(self.process.pid).children(recursive=True), *servers]
        return tree + [child for server in servers for child in server.children(recursive=True)]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def installation():
    home = Path(tempfile.mkdtemp(prefix="stagemeter-up-"))
    home.chmod(0o755)
    there = Installation(home)
    yield there
    if there.process is not None and there.process.poll() is None:
        there.interrupt()
    shutil.rmtree(home)


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in psutil.wait_procs(processes, timeout=10)[1] if each.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def bystander():
    """A process that is nobody's business."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(300)"])
    yield process
    process.kill()
    process.wait()


def test_one_command_brings_everything_up_and_ctrl_c_takes_exactly_that_down(installation, bystander):
    installation.start()
    password = re.search(r"Log in as demo with the password (\S+)", installation.output())[1]
    written = installation.home / "demo_password"
    assert written.read_text().strip() == password and stat.S_IMODE(written.stat().st_mode) == 0o600
    assert httpx.get(f"{installation.base}/healthz").json()["database"] == "ok"
    page = httpx.get(f"{installation.base}/studies/arxiv-2605-13981/", follow_redirects=True)
    assert page.status_code == 200
    started = installation.processes()
    names = " ".join(" ".join(each.cmdline()) for each in started)
    assert all(name in names for name in ("gunicorn", "celery", "postgres", "valkey"))
    assert installation.interrupt() == 0, installation.output()
    assert _alive(started) == []
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections may linger
        again.bind(("127.0.0.1", installation.port))
    assert bystander.poll() is None


def test_a_second_start_goes_on_and_a_dead_child_is_started_again(installation):
    installation.start()
    known = (installation.home / "demo_password").read_text().strip()
    assert f"with the password {known}" in installation.output()
    refused = subprocess.run(**installation.command("up"), capture_output=True, check=False)
    assert refused.returncode == 1
    worker = next(each for each in installation.processes() if "celery" in " ".join(each.cmdline()))
    worker.kill()
    installation.wait_for("The worker ended by SIGKILL; it is started again in 1 s.", within_s=20)
    deadline = time.monotonic() + 60
    while httpx.get(f"{installation.base}/healthz", timeout=30).json()["status"] != "ok":
        assert time.monotonic() < deadline, installation.output()
        time.sleep(0.5)
    assert installation.interrupt() == 0


@pytest.mark.parametrize("port", ["0", "65536", "eighty", "-1"])
def test_a_port_that_is_none_is_refused(monkeypatch, port):
    monkeypatch.setenv("PORT", port)
    with pytest.raises(CommandError, match=f"PORT is '{port}'; it must be a whole number from 1 to 65535"):
        call_command("up")


def test_a_port_that_is_taken_is_refused_with_the_way_out(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        with pytest.raises(
            CommandError, match=rf"Cannot listen on 127.0.0.1:{port} \(Address already in use\); choose"
        ):
            call_command("up", stdout=io.StringIO())


def test_a_simulated_gpu_is_found_by_whoever_gets_its_environment(tmp_path):
    found = up._simulated_gpu(tmp_path)
    assert found["STAGEMETER_SIMULATED"] == "1"
    look = "import pynvml as n; n.nvmlInit(); print(n.nvmlDeviceGetName(n.nvmlDeviceGetHandleByIndex(0)))"
    seen = subprocess.run(
        [sys.executable, "-c", look], env={**os.environ, **found}, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "Simulated H100"


def test_without_a_compiler_a_simulated_gpu_is_refused_with_both_ways_out(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PORT", str(probe.getsockname()[1]))
    with pytest.raises(CommandError, match=r"apt-get install gcc.*Or start without it: make run"):
        call_command("up", "--simulated-gpu", stdout=io.StringIO())


@pytest.mark.parametrize(("setting", "flag"), [("1", True), ("0", False), ("", False)])
def test_make_passes_the_simulated_gpu_on(setting, flag):
    done = subprocess.run(
        ["make", "-n", "run", f"SIMULATED_GPU={setting}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ("manage.py up --simulated-gpu" in done.stdout) == flag


def test_a_child_has_variables_of_its_own(tmp_path):
    children = Supervisor(print, tmp_path, {**os.environ, "OURS": "1"})
    script = "import os; open(os.environ['OURS'] + os.environ['MINE'], 'w')"
    child = Child(name="b", command=[sys.executable, "-S", "-c", script], grace_s=1, environment={"MINE": "2"})
    children.start(child)
    assert child.process.wait(30) == 0
    assert (tmp_path / "12").exists()
    children.stop()


def test_a_child_that_keeps_dying_is_started_again_with_growing_pauses(tmp_path):
    said: list[str] = []
    children = Supervisor(said.append, tmp_path, os.environ)
    children.start(Child(name="lamp", command=[sys.executable, "-S", "-c", "raise SystemExit(3)"], grace_s=1))
    deadline = time.monotonic() + 30
    while len(said) < 2:
        assert time.monotonic() < deadline
        children.watch()
        time.sleep(0.05)
    children.stop()
    assert said == [
        "The lamp ended with status 3; it is started again in 1 s.",
        "The lamp ended with status 3; it is started again in 2 s.",
    ]


def test_a_child_that_will_not_stop_is_killed_with_its_children(tmp_path):
    said: list[str] = []
    children = Supervisor(said.append, tmp_path, os.environ)
    deaf = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    deaf += "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(300)'])\n"
    deaf += "open('ready', 'w').close(); time.sleep(300)"
    child = Child(name="mule", command=[sys.executable, "-c", deaf], grace_s=0.5)
    children.start(child)
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    family = [psutil.Process(child.process.pid), *psutil.Process(child.process.pid).children()]
    assert len(family) == 2
    children.stop()
    assert _alive(family) == []
    assert said == ["The mule is busy; it is stopped hard."]
