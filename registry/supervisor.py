"""Child processes: started, started again when they die, and stopped together; these and no others.

Each child leads a process group of its own, so that Ctrl-C in a terminal reaches only the parent, and so that what
a child left behind can be ended with it. If the parent is killed, Linux tells the children to stop.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
LONGEST_PAUSE_S = 60.0
STEADY_S = 60.0  # a child that lived this long failed for a new reason


@dataclass
class Child:
    """One program. `grace_s`: how long it may take to stop by itself before it is killed.

    `environment` holds variables of its own, besides those that all children get.
    """

    name: str  # as a sentence names it: "web server"
    command: Sequence[str]
    grace_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    started_at: float = 0.0
    restart_at: float | None = None
    failures: int = 0


class Supervisor:
    """Runs children in `cwd` with `environment`; `say` takes each sentence for the person at the terminal."""

    def __init__(self, say: Callable[[str], None], cwd: Path, environment: Mapping[str, str]) -> None:
        self.children: list[Child] = []
        self._say = say
        self._cwd = cwd
        self._environment = environment

    def start(self, child: Child) -> None:
        """Start a child and look after it from now on."""
        self.children.append(child)
        self._launch(child)

    def watch(self) -> None:
        """One round: notice children that died, and start them again after a pause that grows."""
        for child in self.children:
            if child.restart_at is not None:
                if time.monotonic() >= child.restart_at:
                    self._launch(child)
            elif child.process is not None and child.process.poll() is not None:
                self._mourn(child, child.process)

    def stop(self) -> None:
        """Ask every child to stop, wait as long as each may take, then kill what is left of its group."""
        alive = [(child, child.process) for child in self.children if child.process is not None]
        asked_at = time.monotonic()
        for _, process in alive:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for child, process in sorted(alive, key=lambda pair: pair[0].grace_s):
            try:
                process.wait(max(asked_at + child.grace_s - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                self._say(f"The {child.name} is busy; it is stopped hard.")
            finally:
                end_group(process)
        self.children.clear()

    def _launch(self, child: Child) -> None:
        child.restart_at = None
        child.started_at = time.monotonic()
        child.process = subprocess.Popen(
            child.command,
            cwd=self._cwd,
            env={**self._environment, **child.environment},
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=_stop_with_parent,  # noqa: PLW1509 (one call into the C library, and no threads here)
        )

    def _mourn(self, child: Child, process: "subprocess.Popen[bytes]") -> None:
        end_group(process)
        steady = time.monotonic() - child.started_at > STEADY_S
        child.failures = 1 if steady else child.failures + 1
        pause_s = min(2.0 ** (child.failures - 1), LONGEST_PAUSE_S)
        child.restart_at = time.monotonic() + pause_s
        self._say(f"The {child.name} ended {_how(process.returncode)}; it is started again in {pause_s:.0f} s.")


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill whatever is left of the group that `process` leads, and reap it."""
    with suppress(ProcessLookupError):  # an empty group, as it should be
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _how(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


def _stop_with_parent() -> None:
    """In the child, before its program starts: be told to stop when the parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
