"""The sampling process: `python -m stagemeter.sampler DIRECTORY --pid PID`.

It appends one JSON line per sample to `DIRECTORY/samples.jsonl`, so that whatever was measured is on disk the
moment it was measured. It is a process of its own because training holds the interpreter's lock, and because it
has to outlive a killed stage by one last sample. It ends when it is told to, or when its parent has died.

It is spoken to over standard input, one word a line: `mark NAME` and `stop`. Each is answered, after the sample
that belongs to it is on disk, by `done`.

Lines of the log, told apart by `kind`:

- `header`: devices, CPU method, period, remarks; one each time a sampler starts
- `sample`: `t` (monotonic s), `wall` (unix s), per GPU `t`, `mj` (counter) and `w`, about once a second `cpu`
  (cumulative `cpu_j`, `ram_j`, and the CPU seconds `cpu_s` under them), and at the stage's edges a `mark` with the
  `strangers` that compute on its devices
- `tick`: after an edge, `at` which monotonic second a GPU's counter moved, from `before` to `mj`
- `end`: why it stopped
"""

import argparse
import json
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
from stagemeter.sensors import GpuSensor, flag
from stagemeter.sensors.ticks import FINE_TICK_S, moves, tick_periods

LOG_NAME = "samples.jsonl"
CPU_PERIOD_S = 1.0
WATCH_S = 0.35  # long enough to see three ticks of a 100 ms counter
LONGEST_WATCH_S = 0.3
PARENT_CHECK_S = 0.5


class Log:
    """Appends lines with one `write` each. A line that the disk refused is counted and said with the next one."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._torn = path.stat().st_size > 0  # a line that broke off must not swallow the next
        self.lost = 0

    def append(self, kind: str, **values: Any) -> None:
        """Write one line now."""
        record = {"kind": kind, "t": time.monotonic(), "wall": time.time(), **values}
        if self.lost:
            record["lost_lines"] = self.lost
        line = ("\n" if self._torn else "") + json.dumps(record, separators=(",", ":")) + "\n"
        try:
            written = os.write(self._fd, line.encode())
        except OSError as error:
            print(f"a sample could not be written: {error}", file=sys.stderr)  # noqa: T201 - sampler.log
            self.lost += 1
            return
        self._torn = written < len(line.encode())
        self.lost = self.lost + 1 if self._torn else 0

    def close(self) -> None:
        """Push it to the platter and close."""
        os.fsync(self._fd)
        os.close(self._fd)


class Sampler:
    """Owns the sensors and the loop."""

    def __init__(self, log: Log, *, pid: int, period_s: float, tick_s: float, gpu: GpuSensor | None, cpu: Any) -> None:
        self._log, self._pid, self._period_s, self._tick_s = log, pid, period_s, tick_s
        self._gpu, self._cpu = gpu, cpu
        self._next_cpu = 0.0
        self._pending = b""

    def sample(self, mark: str | None = None) -> None:
        """Read everything and append it. CPU figures come about once a second, and always at a mark."""
        values: dict[str, Any] = {}
        if self._gpu is not None:
            values["gpu"] = self._gpu.read()
        # The sample nearest to a second after the last: a hair too early must not mean half a second too late.
        due = time.monotonic() + self._period_s / 2 >= self._next_cpu
        if self._cpu is not None and (mark or due):
            values["cpu"] = self._cpu.read()
            self._next_cpu = time.monotonic() + CPU_PERIOD_S
        if mark:
            values["mark"] = mark
            values["strangers"] = strangers(self._gpu, self._pid)
        self._log.append("sample", **values)

    def watch(self) -> None:
        """Follow the counters until each has moved once: where exactly a tick lies sharpens the edge before it."""
        if self._gpu is None or self._tick_s <= FINE_TICK_S:
            return
        for move in moves(self._gpu, min(1.3 * self._tick_s, LONGEST_WATCH_S), enough=1):
            self._log.append("tick", uuid=move.uuid, at=move.t, before=move.before, mj=move.mj)

    def run(self, control: int, answers: int) -> str:
        """Sample until told to stop or left alone; the reason."""
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= due:
                self.sample()
                due = max(due + self._period_s, time.monotonic())
            wait = min(max(due - time.monotonic(), 0.0), PARENT_CHECK_S)
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
            self.sample(mark=name)
            if name == "end":  # the stage is over and can wait; one that begins cannot
                self.watch()
            _answer(answers, "done")
            if name == "start":
                self.watch()
        return None


def strangers(gpu: GpuSensor | None, pid: int) -> dict[str, list[int]]:
    """Processes that compute on the stage's devices and are not its own, by UUID.

    In a container the driver names processes by the host's numbers; those that do not exist here say nothing.
    """
    if gpu is None:
        return {}
    try:
        own = {pid, os.getpid(), *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.Error:  # the stage has just died
        return {}
    found = {
        uuid: [other for other in pids if other not in own and psutil.pid_exists(other)]
        for uuid, pids in gpu.processes().items()
    }
    return {uuid: pids for uuid, pids in found.items() if pids}


def _answer(answers: int, word: str) -> None:
    try:
        os.write(answers, f"{word}\n".encode())
    except BrokenPipeError:  # the parent has just died: the loop will see it and take its last sample
        return


def open_gpu() -> tuple[GpuSensor | None, list[dict[str, str]], bool]:
    """The GPU sensor, remarks, and whether GPU energy is expected of this host at all."""
    from stagemeter.sensors.nvml import gpu_nodes, open_nvml

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    sensor, reason = open_nvml(visible)
    hidden = visible is not None and visible.strip() in ("", "-1")
    if sensor is None and gpu_nodes() and not hidden:
        return None, [flag("gpu_unreadable", f"this host has a GPU, but its energy could not be read: {reason}")], True
    return sensor, [], sensor is not None


def open_cpu(pid: int, cache: Path | None) -> tuple[Any, list[dict[str, str]]]:
    """The started CPU sensor, or `None` and why."""
    from stagemeter.sensors.cpu import CpuSensor

    sensor = CpuSensor(pid, cache=cache)
    try:
        sensor.start()
    except ImportError as error:
        return None, [flag("cpu_unmeasured", f"CPU energy was not measured: {error}; install stagemeter[codecarbon]")]
    except MeterError as error:
        return None, [flag("cpu_unmeasured", str(error))]
    return sensor, sensor.flags


def header(
    gpu: GpuSensor | None, cpu: Any, *, period_s: float, ticks: dict[str, float], expected: bool
) -> dict[str, Any]:
    """What the log's first line says about the sensors."""
    simulated = bool(gpu and gpu.simulated) or os.environ.get("STAGEMETER_SIMULATED") == "1"
    return {
        "schema": 1,
        "pid": os.getpid(),
        "period_s": period_s,
        "gpu_expected": expected,
        "devices": [device.to_dict() for device in gpu.devices] if gpu else [],
        "tick_s": ticks,
        "cpu": cpu.facts if cpu else {},
        "simulated": simulated,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the sampler; 0 when it was told to stop, 3 when its parent left it."""
    parser = argparse.ArgumentParser(prog="python -m stagemeter.sampler", description="Sample energy into a log.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pid", type=int, required=True, help="the metered process, which is this one's parent")
    parser.add_argument("--period", type=float, default=0.5, help="seconds between samples")
    parser.add_argument("--cpu-cache", type=Path, help="where the processor's design power is kept")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the stage; the stage then stops its sampler
    log = Log(options.directory / LOG_NAME)
    gpu, gpu_flags, expected = open_gpu()
    ticks: dict[str, float] = {}
    watch = Thread(target=lambda: ticks.update(tick_periods(gpu, WATCH_S) if gpu else {}))
    watch.start()
    cpu, cpu_flags = open_cpu(options.pid, options.cpu_cache)
    watch.join()
    facts = header(gpu, cpu, period_s=options.period, ticks=ticks, expected=expected)
    log.append("header", **facts, flags=[*gpu_flags, *cpu_flags])
    tick_s = max(ticks.values(), default=0.0)
    sampler = Sampler(log, pid=options.pid, period_s=options.period, tick_s=tick_s, gpu=gpu, cpu=cpu)
    sampler.sample(mark="first")
    _answer(1, "ready")
    reason = sampler.run(0, 1)
    sampler.sample(mark="last")
    if reason != "stopped":
        sampler.watch()
    if cpu:
        cpu.stop()
    log.append("end", reason=reason)
    log.close()
    _answer(1, "done")
    return 0 if reason == "stopped" else 3


if __name__ == "__main__":
    sys.exit(main())
