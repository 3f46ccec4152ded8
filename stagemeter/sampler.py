"""The sampling process: `python -m stagemeter.sampler DIRECTORY --pid PID`.

It appends one JSON line per sample to `DIRECTORY/samples.jsonl`, so that whatever was measured is on disk the
moment it was measured. It is a process of its own because training holds the interpreter's lock, and because it
has to outlive a killed stage by one last sample. It ends when it is told to, or when its parent has died. It stays
small: CodeCarbon, which is not, runs in a process beside it (`stagemeter.cpu_sampler`).

It is spoken to over standard input, one word a line: `mark NAME`, `settle` (see the counters' next ticks, so that the
last mark can be integrated) and `stop`. Each is answered, once what it asks for is on disk, by `done`.

Polling adapts. A GPU's counter moves in ticks, and where exactly a tick lies is what sharpens an edge; so counters are
read every 2 ms until their pace is known, and after every mark until each has moved once. In between a reading each
period is enough, as a counter forgets nothing. A GPU without a counter is read 50 times a second.

Lines of the log, told apart by `kind`; `t` is monotonic, `wall` is unix time, both in seconds:

- `header`: devices, RAPL zones, period, remarks; one each time a sampler starts
- `sample`: `gpu`, one list per device of the header, `[µs after t, µs of doubt, counter mJ, average mW, instant mW,
  age of the instant power in µs]` and an error if one occurred; about once a second and at marks `tree` (the process
  tree) and `rapl`; at marks `mark`, and now and then the `strangers` that compute on its devices and the `unseen`,
  whose numbers do not exist here
- `fast`: `gpu` alone, without average power
- `end`: why it stopped
"""

import argparse
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from stagemeter.samplelog import LOG_NAME
from stagemeter.sensors import GpuSensor, Reading, flag
from stagemeter.sensors.nvml import Gpus, open_nvml
from stagemeter.sensors.rapl import RaplSensor, open_rapl, rapl_facts
from stagemeter.sensors.tree import ProcessTree

SLOW_PERIOD_S = 1.0  # of what changes slowly: the process tree, RAPL
STRANGERS_PERIOD_S = 10.0
NO_COUNTER_PERIOD_S = 0.02
FAST_PERIOD_S = 0.002
TICKS_FOR_A_PACE = 3
LONGEST_FAST_S = 3.0  # a counter that moves once a second is known by then
MOVES_AT_EDGE = 2  # the second says how long a tick is there
LONGEST_FAST_AT_EDGE_S = 1.0
PARENT_CHECK_S = 0.5
CPU_SAMPLER_ENDS_WITHIN_S = 45.0
ORPHAN_ENDS_WITHIN_S = 1.0


class Log:
    """Appends lines with one `write` each. A line that the disk refused is counted, and said with the next one."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._torn = path.stat().st_size > 0  # a line that broke off must not swallow the next
        self.lost = 0
        self.trouble = ""  # what the disk said last

    def claim(self) -> None:
        """Be the only writer while this process lives. Raises `BlockingIOError` where another one is."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:  # a file system without locks
            _complain(f"{LOG_NAME} could not be locked: {error}")

    def append(self, kind: str, **values: Any) -> None:
        """Write one line now. One that breaks off is read as damaged; the count it carried goes with the next."""
        record = {"kind": kind, "t": round(time.monotonic(), 6), "wall": round(time.time(), 6), **values}
        if self.lost:
            record["lost_lines"] = self.lost
        line = (("\n" if self._torn else "") + json.dumps(record, separators=(",", ":")) + "\n").encode()
        written = self._write(line)
        if written == len(line):
            self._torn, self.lost = False, 0
        elif written:
            self._torn = True
        else:
            self.lost += 1

    def _write(self, line: bytes) -> int:
        try:
            return os.write(self._fd, line)
        except OSError as error:
            if str(error) != self.trouble:
                self.trouble = str(error)
                _complain(f"a sample could not be written: {error}")
            return 0

    def close(self) -> None:
        """Push it to the platter and close."""
        os.fsync(self._fd)
        os.close(self._fd)


def _complain(text: str) -> None:
    """Into sampler.log, which may lie on the same full disk: then the count of lost lines has to say it."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())


class Watch:
    """Whether each counter has moved often enough since the watch began."""

    def __init__(self, moves: int, until: float) -> None:
        self._moves, self._until = moves, until
        self._last: list[int | None] = []
        self._seen: list[int] = []

    def take(self, readings: Sequence[Reading]) -> None:
        """Look at one reading of all devices."""
        values = [reading.mj for reading in readings]
        if not self._last:
            self._last, self._seen = values, [0] * len(values)
        for i, (before, now) in enumerate(zip(self._last, values, strict=True)):
            if now is not None and before is not None and now != before:
                self._seen[i] += 1
            self._last[i] = before if now is None else now

    @property
    def wanted(self) -> int:
        """How many moves the slowest counter still owes."""
        owed = [self._moves - seen for seen, mj in zip(self._seen, self._last, strict=True) if mj is not None]
        return max(owed, default=self._moves)

    def is_over(self) -> bool:
        """Whether nothing more is to be learnt, or time is up."""
        return time.monotonic() > self._until or (bool(self._last) and self.wanted <= 0)


class Sampler:
    """Owns the sensors and the loop."""

    def __init__(
        self,
        log: Log,
        *,
        pid: int,
        period_s: float,
        gpu: GpuSensor | None,
        rapl: RaplSensor | None,
        tree: ProcessTree,
        adaptive: bool = True,
    ) -> None:
        self._log, self._pid, self._period_s = log, pid, period_s
        self._gpu, self._rapl, self._tree, self._adaptive = gpu, rapl, tree, adaptive
        self._next_slow = self._next_strangers = 0.0
        self._watch: Watch | None = None
        self._pending = b""

    def sample(self, mark: str | None = None) -> None:
        """Read everything that is due and append it; at a mark everything, the GPUs first."""
        values: dict[str, Any] = {} if self._gpu is None else self._gpu_values(self._gpu.read())
        now = time.monotonic()
        # The sample nearest to a second after the last: a hair too early must not mean half a second too late.
        if mark or now + self._period_s / 2 >= self._next_slow:
            values["tree"] = self._tree.read()
            if self._rapl is not None:
                values["rapl"] = {"t": time.monotonic(), "uj": self._rapl.read()}
            self._next_slow = now + SLOW_PERIOD_S
        if self._gpu is not None and (mark or now >= self._next_strangers):
            values["strangers"], values["unseen"] = strangers(self._gpu, self._pid)
            self._next_strangers = now + STRANGERS_PERIOD_S
        self._log.append("sample", **({"mark": mark} if mark else {}), **values)

    def watch(self, moves: int, seconds: float) -> None:
        """Read fast from now on, until every counter has moved `moves` times or `seconds` have passed."""
        if self._gpu is not None and self._adaptive:
            owed = self._watch.wanted if self._watch is not None else 0
            self._watch = Watch(max(moves, owed), time.monotonic() + (LONGEST_FAST_S if owed > moves else seconds))

    def _gpu_values(self, readings: Sequence[Reading]) -> dict[str, Any]:
        since = readings[0].t
        return {"t": round(since, 6), "gpu": [reading.to_list(since) for reading in readings]}

    def _fast(self) -> None:
        """One fast reading; ends the watch when it has seen enough."""
        if self._gpu is None or self._watch is None:
            return
        readings = self._gpu.read_fast()
        self._log.append("fast", **self._gpu_values(readings))
        self._watch.take(readings)
        if self._watch.is_over():
            self._watch = None

    def finish_watch(self) -> None:
        """See the running watch to its end: no mark comes that could not wait."""
        while self._watch is not None:
            self._fast()
            time.sleep(FAST_PERIOD_S)

    def run(self, control: int, answers: int) -> str:
        """Sample until told to stop or left alone; the reason."""
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                self.sample()
                due = max(due + self._period_s, time.monotonic())
            elif self._watch is not None:
                self._fast()
            wait = FAST_PERIOD_S if self._watch is not None else PARENT_CHECK_S
            wait = min(max(due - time.monotonic(), 0.0), wait)
            ready, _, _ = select.select([control], [], [], wait)
            if os.getppid() != self._pid:
                return "parent_died"
            if ready:
                reason = self._obey(control, answers)
                if reason:
                    return reason

    def _obey(self, control: int, answers: int) -> str | None:
        """Do what standard input says; the reason to stop, if that is what it says."""
        data = os.read(control, 4096)
        if not data:
            return "parent_left"
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            word, _, name = line.decode().partition(" ")
            if word == "stop":
                return "stopped"
            if word == "settle":
                self.finish_watch()
                _answer(answers, "done")
                continue
            self.sample(mark=name)
            _answer(answers, "done")
            if self._adaptive:
                self.watch(moves=MOVES_AT_EDGE, seconds=LONGEST_FAST_AT_EDGE_S)
                self._fast()  # at once: a stage that has just begun lies between the mark and this
        return None


Pids = dict[str, list[int]]


def strangers(gpu: GpuSensor | None, pid: int) -> tuple[Pids, Pids]:
    """Processes that compute on the stage's devices and are not its own, by UUID; and those that do not exist here.

    In a container the driver names processes by the host's numbers. Of those that do not exist here nobody can say
    whether they are the stage's.
    """
    found = {} if gpu is None else gpu.processes()
    if not any(found.values()):
        return {}, {}
    try:
        own = {pid, os.getpid(), *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.Error:  # the stage has just died
        return {}, {}
    others = {uuid: [p for p in pids if p not in own and psutil.pid_exists(p)] for uuid, pids in found.items()}
    unseen = {uuid: [p for p in pids if p not in own and p not in others[uuid]] for uuid, pids in found.items()}
    return _filled(others), _filled(unseen)


def _filled(found: Pids) -> Pids:
    return {uuid: pids for uuid, pids in found.items() if pids}


def _answer(answers: int, word: str) -> None:
    try:
        os.write(answers, f"{word}\n".encode())
    except BrokenPipeError:  # the parent has just died: the loop will see it and take its last sample
        return


def gpu_remarks(gpus: Gpus) -> list[dict[str, str]]:
    """What is to be said where GPU energy is due and cannot be read."""
    if not gpus.expected:
        return []
    if gpus.missing:
        return [
            flag("gpu_unreadable", f"GPU {card.index} is the stage's and could not be opened ({card.reason})")
            for card in gpus.missing
        ]
    if gpus.sensor is None:
        text = f"this host has a GPU, but its energy could not be read: {gpus.reason}"
        return [flag("gpu_unreadable", text)]
    return []


def start_cpu_sampler(directory: Path, pid: int, cache: Path | None) -> subprocess.Popen[bytes]:
    """CodeCarbon in a process of its own, which ends when its standard input closes or this process dies."""
    options = ["--pid", str(pid), *(["--cache", str(cache)] if cache else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "stagemeter.cpu_sampler", str(directory), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )


def stop_cpu_sampler(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Have it take its last reading and end; kill it if it does not within `within_s` seconds."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def header(gpus: Gpus, rapl: RaplSensor | None, *, pid: int, period_s: float) -> dict[str, Any]:
    """What the log's first line says about the sensors."""
    simulated = gpus.simulated or os.environ.get("STAGEMETER_SIMULATED") == "1"
    return {
        "schema": 2,
        "pid": os.getpid(),
        "metered": pid,
        "period_s": period_s,
        "gpu_expected": gpus.expected,
        "devices": [device.to_dict() for device in gpus.sensor.devices] if gpus.sensor else [],
        "unreadable": [card.to_dict() for card in gpus.unreadable],
        "rapl": rapl.facts if rapl else rapl_facts(),
        "simulated": simulated,
        "flags": gpu_remarks(gpus),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the sampler; 0 when it was told to stop, 3 when its parent left it."""
    parser = argparse.ArgumentParser(prog="python -m stagemeter.sampler", description="Sample energy into a log.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pid", type=int, required=True, help="the metered process, which is this one's parent")
    parser.add_argument("--period", type=float, default=0.1, help="seconds between samples")
    parser.add_argument("--constant", action="store_true", help="never read faster than the period")
    parser.add_argument("--cpu-cache", type=Path, help="where the processor's design power is kept")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the stage; the stage then stops its sampler
    try:
        log = Log(options.directory / LOG_NAME)
        log.claim()
    except BlockingIOError:
        _answer(1, f"another sampler writes {options.directory / LOG_NAME}")
        return 1
    except OSError as error:
        _answer(1, f"{options.directory / LOG_NAME} cannot be written: {error}")
        return 1
    cpu = start_cpu_sampler(options.directory, options.pid, options.cpu_cache)
    gpus = open_nvml(os.environ.get("CUDA_VISIBLE_DEVICES"))
    gpu, rapl = gpus.sensor, open_rapl()
    period_s = options.period
    if gpu is not None and not options.constant and not all(device.has_counter for device in gpu.devices):
        period_s = min(period_s, NO_COUNTER_PERIOD_S)
    log.append("header", **header(gpus, rapl, pid=options.pid, period_s=period_s))
    tree = ProcessTree(options.pid, without=os.getpid())
    parts: dict[str, Any] = {"gpu": gpu, "rapl": rapl, "tree": tree, "adaptive": not options.constant}
    sampler = Sampler(log, pid=options.pid, period_s=period_s, **parts)
    sampler.sample(mark="first")
    if log.trouble:
        _answer(1, f"{options.directory / LOG_NAME} cannot be written: {log.trouble}")
        stop_cpu_sampler(cpu, ORPHAN_ENDS_WITHIN_S)
        return 1
    sampler.watch(moves=TICKS_FOR_A_PACE, seconds=LONGEST_FAST_S)
    _answer(1, "ready")
    reason = sampler.run(0, 1)
    sampler.finish_watch()
    sampler.sample(mark="last")
    # Where nobody waits any more, nothing may linger: CodeCarbon may be loading still, deaf to everything.
    stop_cpu_sampler(cpu, CPU_SAMPLER_ENDS_WITHIN_S if reason == "stopped" else ORPHAN_ENDS_WITHIN_S)
    log.append("end", reason=reason)
    log.close()
    _answer(1, "done")
    return 0 if reason == "stopped" else 3


if __name__ == "__main__":
    sys.exit(main())
