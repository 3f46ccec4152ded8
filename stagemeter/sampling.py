"""The metered process's side of the sampler: start it, speak to it, end it."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from stagemeter.errors import MeterError

READY_WITHIN_S = 90.0  # CodeCarbon looks up the processor once per machine, on a slow disk this takes a while
ANSWER_WITHIN_S = 15.0
ERRORS_NAME = "sampler.log"


class SamplerProcess:
    """A running sampler over `folder`. Raises `MeterError` if it takes no first sample."""

    def __init__(self, folder: Path, *, period_s: float, cpu_cache: Path, gpus: str | None) -> None:
        self._folder = folder
        options = ["--pid", str(os.getpid()), "--period", str(period_s), "--cpu-cache", str(cpu_cache)]
        with (folder / ERRORS_NAME).open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stagemeter.sampler", str(folder), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,  # nothing there can shadow a module
                env=_environment(gpus),
                start_new_session=True,  # Ctrl-C is for the stage
            )
        try:
            ready = self._wait_for(b"ready", READY_WITHIN_S)
        except BaseException:
            self.kill()
            raise
        if not ready:
            self.kill()
            raise MeterError(f"sampling did not begin: {self._last_words()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether it still lives."""
        return self._process.poll() is None

    def ask(self, command: str) -> bool:
        """Have it do something; whether it has."""
        if self._process.stdin is None:
            return False
        try:
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()
        except OSError:
            return False
        return self._wait_for(b"done", ANSWER_WITHIN_S)

    def stop(self) -> bool:
        """Have it take its last sample and end; whether it did."""
        done = self.ask("stop")
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

    def _wait_for(self, word: bytes, seconds: float) -> bool:
        """Whether it answered `word` in time."""
        if self._process.stdout is None:
            return False
        deadline, heard = time.monotonic() + seconds, b""
        while not heard.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._process.stdout.fileno(), 4096) if ready else b""
            if not data:
                return False
            heard += data
        return heard.split() == [word]

    def _last_words(self) -> str:
        lines = (self._folder / ERRORS_NAME).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "the sampler said nothing"


def _environment(gpus: str | None) -> dict[str, str]:
    """The sampler finds this package where this process did, whatever its working directory."""
    values = dict(os.environ)
    here = str(Path(__file__).parent.parent)
    values["PYTHONPATH"] = os.pathsep.join(filter(None, [here, values.get("PYTHONPATH")]))
    if gpus is not None:
        values["CUDA_VISIBLE_DEVICES"] = gpus
    return values
