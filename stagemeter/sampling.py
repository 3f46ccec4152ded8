"""The metered process's side of the sampler: start it, speak to it, end it."""

import os
import select
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from stagemeter.errors import MeterError

if TYPE_CHECKING:
    import subprocess

READY_WITHIN_S = 30.0
ANSWER_WITHIN_S = 15.0
STOPPED_WITHIN_S = 60.0  # CodeCarbon looks up the processor once per machine, which on a slow disk takes a while
ERRORS_NAME = "sampler.log"


class SamplerProcess:
    """A running sampler over `folder`. Raises `MeterError` if it takes no first sample."""

    def __init__(self, folder: Path, *, period_s: float, cpu_cache: Path, gpus: str | None) -> None:
        self._folder = folder
        options = ["--pid", str(os.getpid()), "--period", str(period_s), "--cpu-cache", str(cpu_cache)]
        try:
            self._process = self._started(options, gpus)
        except OSError as error:
            raise MeterError(f"sampling did not begin: {error}") from error
        try:
            said = self._hear(READY_WITHIN_S)
        except BaseException:
            self.kill()
            raise
        if said != "ready":
            self.kill()
            raise MeterError(f"sampling did not begin: {said or self._last_words()}")

    def _started(self, options: list[str], gpus: str | None) -> "subprocess.Popen[bytes]":
        import subprocess

        with (self._folder / ERRORS_NAME).open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "stagemeter.sampler", str(self._folder), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self._folder,  # nothing there can shadow a module
                env=helper_environment(gpus),
                start_new_session=True,  # Ctrl-C is for the stage
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether it still lives."""
        return self._process.poll() is None

    def mark(self, name: str) -> bool:
        """Have it take a sample with this mark; whether it has."""
        return self._ask(f"mark {name}", ANSWER_WITHIN_S)

    def _ask(self, command: str, seconds: float) -> bool:
        if self._process.stdin is None:
            return False
        try:
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()
        except OSError:
            return False
        return self._hear(seconds) == "done"

    def settle(self) -> bool:
        """Have it see the counters' next ticks; afterwards an edge that was marked can be integrated."""
        return self._ask("settle", ANSWER_WITHIN_S)

    def stop(self) -> bool:
        """Have it take its last sample and end; whether it did."""
        done = self._ask("stop", STOPPED_WITHIN_S)
        if done:
            self._close()
        else:
            self.kill()
        return done

    def kill(self) -> None:
        """End it without another sample."""
        self._process.kill()
        self._close()

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # it died with words for it unsent
                    continue
        self._process.wait()

    def _hear(self, seconds: float) -> str:
        """The line that it answers; empty if none comes in time."""
        if self._process.stdout is None:
            return ""
        deadline, heard = time.monotonic() + seconds, b""
        while not heard.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._process.stdout.fileno(), 4096) if ready else b""
            if not data:
                return ""
            heard += data
        return heard.decode(errors="replace").strip()

    def _last_words(self) -> str:
        lines = (self._folder / ERRORS_NAME).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "the sampler said nothing"


def helper_environment(gpus: str | None) -> dict[str, str]:
    """A helper process finds this package where this process did, whatever its working directory."""
    values = dict(os.environ)
    here = str(Path(__file__).parent.parent)
    values["PYTHONPATH"] = os.pathsep.join(filter(None, [here, values.get("PYTHONPATH")]))
    if gpus is not None:
        values["CUDA_VISIBLE_DEVICES"] = gpus
    return values


def shared_sampler(
    around: Iterable["SharedSampler | None"], spool_dir: Path, gpus: str | None
) -> "SharedSampler | None":
    """The first of those `around` that watches the same devices from this process."""
    for sampler in around:
        if sampler is None or not sampler.is_open or sampler.owner != os.getpid():
            continue
        if sampler.folder.parent == spool_dir and gpus in (None, sampler.gpus):
            return sampler
    return None


class SharedSampler:
    """The sampler of one log, for a meter and all that are nested in it; found dead, it is replaced.

    Raises `MeterError` if sampling does not begin. Whoever shares it calls `join` and `leave`; the last to leave ends
    it. Safe to call from several threads.
    """

    def __init__(self, folder: Path, *, period_s: float, cpu_cache: Path, gpus: str | None) -> None:
        self.folder, self.period_s, self.gpus = folder, period_s, gpus
        self.owner = os.getpid()
        self._cpu_cache = cpu_cache
        self._users = 0
        self._lock = RLock()
        self._process: SamplerProcess | None = self._start()

    @property
    def pid(self) -> int | None:
        """The process id of the sampler now; `None` while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def is_open(self) -> bool:
        """Whether it can still be joined."""
        with self._lock:
            return self._process is not None

    def size(self) -> int:
        """Bytes in its log, to read on from later."""
        from stagemeter.samplelog import LOG_NAME

        path = self.folder / LOG_NAME
        return path.stat().st_size if path.exists() else 0

    def join(self) -> None:
        """One more user."""
        with self._lock:
            self._users += 1

    def leave(self) -> bool:
        """One user less; whether the sampler answered, where it was the last and ended it."""
        with self._lock:
            self._users -= 1
            if self._users or self._process is None:
                return True
            process, self._process = self._process, None
            return process.stop()

    def mark(self, name: str) -> bool:
        """Have it take a sample with this mark; whether it has."""
        with self._lock:
            return self._process is not None and self._process.mark(name)

    def edge(self, name: str) -> bool:
        """Mark the edge of a stage or run, by another sampler if this one has died or does not answer; whether one has.

        Raises `MeterError` if another one is needed and sampling does not begin.
        """
        with self._lock:
            self.revive()
            if self.mark(name):
                return True
            self.replace()
            return self.mark(name)

    def settle(self) -> bool:
        """Wait until what was marked can be integrated."""
        with self._lock:
            return self._process is not None and self._process.settle()

    def revive(self) -> bool:
        """If the sampler has died, go on with another one; whether it had. The hole stays visible in the log."""
        with self._lock:
            if self._process is not None:
                if self._process.is_running():
                    return False
                self._process.kill()
                self._process = None
            self._process = self._start()
            return True

    def replace(self) -> None:
        """Go on with another one, as this one does not answer."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process = None
            self._process = self._start()

    def kill(self) -> None:
        """End it without another sample."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process = None

    def _start(self) -> SamplerProcess:
        return SamplerProcess(self.folder, period_s=self.period_s, cpu_cache=self._cpu_cache, gpus=self.gpus)
