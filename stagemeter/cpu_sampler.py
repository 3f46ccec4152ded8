"""The CPU sampling process: `python -m stagemeter.cpu_sampler DIRECTORY --pid PID`.

It runs CodeCarbon's tracker over the metered process's tree and appends its figures to `DIRECTORY/cpu.jsonl`, one
JSON object a line, each with one `write`. It is a process of its own because CodeCarbon takes up to three seconds and
130 MB to load, which neither the stage nor the sampler should wait for. Whatever goes wrong in it is said in the log;
a stage never fails for it.

It ends, after a last reading, once its standard input is closed, its parent (the sampler) has died, or the metered
process has. There is no signal on the parent's death (`PR_SET_PDEATHSIG`): it goes off when the *thread* ends that
started this process, and would cost the last reading.

Lines of the log, told apart by `kind`; each has `t` (monotonic s) and `wall` (unix s):

- `header`: `cpu`, CodeCarbon's version and constants, and `flags`. One comes at once if the constants are known from
  an earlier stage on this host, another if they turn out to be different or something goes wrong
- `sample`: about once a second, cumulative `cpu_j` and `ram_j` (joules) and the `cpu_s` (CPU seconds) they stand on
- `end`: why
"""

import argparse
import os
import select
import signal
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

from stagemeter.errors import MeterError
from stagemeter.samplelog import CPU_LOG_NAME
from stagemeter.sampler import Log
from stagemeter.sensors import flag
from stagemeter.sensors.cpu import CpuSensor
from stagemeter.sensors.tree import ProcessTree

PERIOD_S = 1.0
CHECK_S = 0.4  # so it is gone well within two seconds of any death
NICENESS = 5  # loading CodeCarbon must not take the stage's cores
LOOKUP_WITHIN_S = 30.0  # how long a sampler may wait for the constants, once per host
STDIN = 0


class CpuSampler:
    """Loads CodeCarbon in a thread and measures with it, until there is a reason to end."""

    def __init__(self, log: Log, pid: int, cache: Path | None) -> None:
        self._log, self._pid = log, pid
        self._parent = os.getppid()
        self._born = _born(pid)
        sampler = os.getpid() if self._parent == pid else self._parent
        self._sensor = CpuSensor(ProcessTree(pid, without=sampler), cache=cache)
        self._ready = False
        self._loader = Thread(target=self._load, daemon=True)

    def run(self) -> str:
        """Measure about once a second; why it ended."""
        if self._sensor.facts:
            self._log.append("header", cpu=self._sensor.facts, flags=[])
        self._loader.start()
        due, reason = time.monotonic(), None
        while reason is None:
            if self._ready and time.monotonic() >= due:
                self._sample()
                due = max(due + PERIOD_S, time.monotonic())
            reason = self._reason(min(max(due - time.monotonic(), 0.05), CHECK_S))
        if self._ready:
            self._sample()
        elif not self._sensor.facts and reason == "stopped":
            self._await_constants()
        self._log.append("end", reason=reason)
        return reason

    def _load(self) -> None:
        """Start CodeCarbon, whatever that brings with it."""
        early = self._sensor.facts
        try:
            self._sensor.start()
        except ImportError as error:
            self._give_up(f"CPU energy was not measured: {error}; install stagemeter[codecarbon]")
        except MeterError as error:
            self._give_up(str(error))
        except Exception as error:  # noqa: BLE001 - a library's insides were adapted; the stage must go on
            self._give_up(f"CodeCarbon failed: {error!r}"[:300])
        else:
            if self._sensor.facts != early:
                self._log.append("header", cpu=self._sensor.facts, flags=[])
            self._ready = True

    def _sample(self) -> None:
        try:
            self._log.append("sample", **self._sensor.read())
        except Exception as error:  # noqa: BLE001 - as above
            self._ready = False
            self._give_up(f"CodeCarbon failed while measuring: {error!r}"[:300])

    def _give_up(self, message: str) -> None:
        """The constants stay good where they are known: CodeCarbon's rule can be applied without it."""
        self._log.append("header", cpu=self._sensor.facts, flags=[flag("codecarbon_failed", message)])

    def _reason(self, wait_s: float) -> str | None:
        """Wait, and say why to end if there is a reason."""
        ready, _, _ = select.select([STDIN], [], [], wait_s)
        if os.getppid() != self._parent:
            return "parent_died"
        if ready and not os.read(STDIN, 4096):
            return "stopped"
        return None if self._stage_lives() else "stage_died"

    def _is_wanted(self) -> bool:
        return os.getppid() == self._parent and self._stage_lives()

    def _stage_lives(self) -> bool:
        try:
            process = psutil.Process(self._pid)
            return bool(process.create_time() == self._born and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def _await_constants(self) -> None:
        """The stage was over before CodeCarbon had ever been loaded on this host: its rule is needed all the same."""
        deadline = time.monotonic() + LOOKUP_WITHIN_S
        while self._loader.is_alive() and time.monotonic() < deadline and self._is_wanted():
            self._loader.join(CHECK_S)


def _born(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def main(arguments: list[str] | None = None) -> int:
    """Run the CPU sampler; 0 when it was told to stop, 3 when it was left alone."""
    parser = argparse.ArgumentParser(prog="python -m stagemeter.cpu_sampler", description="Sample CPU energy.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pid", type=int, required=True, help="the metered process")
    parser.add_argument("--cache", type=Path, help="where CodeCarbon's constants are kept")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the stage
    os.nice(NICENESS)
    log = Log(options.directory / CPU_LOG_NAME)
    reason = CpuSampler(log, options.pid, options.cache).run()
    log.close()
    return 0 if reason == "stopped" else 3


if __name__ == "__main__":
    code: Any = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread may still be loading CodeCarbon; waiting for it would outlive the stage
