"""A simulated host for the benches: a driver library, spools that know the processor already, and programs over both.

Everything lies in one temporary folder, which is gone at the end. Programs run as processes of their own; they are
asked for one block after another over standard input, one line of JSON each, and answer with one line of JSON. All
clocks are the machine's monotonic one, so the truth of a block is the waveform's integral between the two seconds that
the program says it began and ended at.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from bench.meter.virtual import WAVES
from stagemeter.simulation import Waveform, build, environment

ROOT = Path(__file__).parents[2]
PEERS_PYTHON = Path(os.environ.get("BENCH_PEERS", ROOT / ".venv-peers")) / "bin" / "python"
OURS = (sys.executable, "-m", "bench.meter.ours")
PEER_PROGRAM = Path(__file__).with_name("peer.py")
Answer = dict[str, Any]


def peer(name: str) -> tuple[str, ...]:
    """The command of a peer; empty where the peers are not installed (`bench/meter/peers.sh`)."""
    return (str(PEERS_PYTHON), str(PEER_PROGRAM), name) if PEERS_PYTHON.exists() else ()


def waveform(name: str, phase_s: float = 0.0) -> Waveform:
    """One of the benches' waves, for the simulated library."""
    return Waveform(WAVES[name], phase_s)


class Host:
    """The folder of one run of a bench."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._library = build(folder / "nvml").parent
        self._commands = folder / "bin"
        self._commands.mkdir()
        stub = self._commands / "nvidia-smi"  # CodeCarbon looks for GPUs only where this command answers
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)
        self._spools = 0
        self._constants = folder / "cpu.json"

    def environment(self, wave: Waveform, **settings: object) -> dict[str, str]:
        """Variables of a program on this host; `settings` as `stagemeter.simulation.environment` takes them."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("SIM_NVML_")}
        ours.pop("CUDA_VISIBLE_DEVICES", None)
        simulated = environment(self._library, wave, **settings)
        path = f"{self._commands}{os.pathsep}{ours.get('PATH', os.defpath)}"
        return {**ours, **simulated, "PYTHONPATH": str(ROOT), "PATH": path}

    def spool(self) -> Path:
        """A new, empty spool. The processor's design power, which is looked up once per machine, is known there."""
        if not self._constants.exists():
            self._look_up_constants()
        folder = self.bare_spool()
        shutil.copy(self._constants, folder)
        return folder

    def bare_spool(self) -> Path:
        """A new spool as a machine has it that never metered anything."""
        self._spools += 1
        folder = self.folder / f"spool{self._spools}"
        folder.mkdir()
        return folder

    def _look_up_constants(self) -> None:
        spool = self.bare_spool()
        with Program(OURS, self.environment(waveform("square"))) as ours:
            ours.ask(spool=str(spool), seconds=0.1)
        shutil.copy(spool / "cpu.json", self._constants)


@contextmanager
def host() -> Iterator[Host]:
    """A host in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="bench-meter-") as folder:
        yield Host(Path(folder))


class Program:
    """A running program that does blocks when it is asked for them."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            text=True,
            bufsize=1,
            cwd=tempfile.gettempdir(),
        )
        ready = self.answer()
        if "ready" not in ready:
            self.close()
            raise RuntimeError(f"{' '.join(command)} did not begin: {ready}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, **what: Any) -> Answer:
        """Have it do one thing; what it answers."""
        self.begin(**what)
        return self.answer()

    def begin(self, **what: Any) -> None:
        """Have it do one thing; `answer` gives what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")

    def answer(self) -> Answer:
        """Its next answer; one with `error` where it ended without."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "it ended without an answer"}

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def wait(self) -> None:
        """Until it is gone."""
        self._process.wait()

    def close(self) -> None:
        """Let it end, or end it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
