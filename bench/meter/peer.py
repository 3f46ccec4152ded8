"""A program that meters blocks as a peer does: `python peer.py zeus|zeus_power|codecarbon|poll`, in `.venv-peers`.

It speaks as `bench/meter/ours.py` does (`seconds` to sleep inside the block; `csv`, a folder CodeCarbon writes to), and
imports nothing of this repository. `poll` is the half-second loop of bare NVML power readings, in a thread of the
program; `polls` is the same at 0.1 s, to see how far its readings come to lie apart.
"""

import ctypes
import json
import os
import sys
import threading
import time
from typing import Any

J_PER_KWH = 3.6e6


def inside(wanted: dict[str, Any]) -> None:
    """The block itself."""
    if "hold" in wanted:
        hold = wanted["hold_s"]
        if wanted["hold"] == "c":
            ctypes.PyDLL(None).usleep(int(1e6 * hold))
        else:
            began = time.monotonic()
            sum(range(1_000_000))
            sum(range(int(1_000_000 * hold / (time.monotonic() - began))))
    else:
        time.sleep(wanted["seconds"])


class Zeus:
    """ZeusMonitor: the counter, before and after."""

    def __init__(self) -> None:
        from zeus.monitor import ZeusMonitor

        self.monitor = ZeusMonitor(cpu_indices=[])

    def block(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """One block."""
        self.monitor.begin_window("block", sync_execution=False)
        begin = time.monotonic()
        inside(wanted)
        end = time.monotonic()
        measured = self.monitor.end_window("block", sync_execution=False)
        joules = [measured.gpu_energy[index] for index in sorted(measured.gpu_energy)]
        return {"begin": begin, "end": end, "joules": joules}


class ZeusPower:
    """Zeus's PowerMonitor, which polls from processes of its own."""

    def __init__(self) -> None:
        from zeus.monitor import PowerMonitor

        self.monitor = PowerMonitor(update_period=0.1)

    def block(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """One block."""
        begin, wall = time.monotonic(), time.time()
        inside(wanted)
        end, wall_end = time.monotonic(), time.time()
        time.sleep(0.3)  # for what is on its way
        energy = self.monitor.get_energy(wall, wall_end)
        return {"begin": begin, "end": end, "joules": None if energy is None else [energy[i] for i in sorted(energy)]}


class CodeCarbon:
    """One tracker a block, in process mode, started and stopped."""

    def __init__(self) -> None:
        import codecarbon

        self.tracker = codecarbon.OfflineEmissionsTracker

    def block(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """One block."""
        called = time.monotonic()
        folder = wanted.get("csv")
        tracker = self.tracker(
            country_iso_code="USA",
            tracking_mode="process",
            measure_power_secs=wanted.get("period_s", 15),
            save_to_file=folder is not None,
            output_dir=folder or ".",
            allow_multiple_runs=True,
            log_level="critical",
        )
        tracker.start()
        begin = time.monotonic()
        if "at" in wanted:  # all at once, to write at once
            time.sleep(max(0.0, wanted["at"] - begin))
        else:
            inside(wanted)
        end = time.monotonic()
        tracker.stop()
        data = tracker.final_emissions_data
        return {
            "begin": begin,
            "end": end,
            "setup_s": begin - called,
            "joules": [data.gpu_energy * J_PER_KWH / (data.pue or 1)],
        }


class Poll:
    """A thread that reads power every `period_s` seconds, each reading held until the next."""

    def __init__(self, period_s: float) -> None:
        import pynvml

        pynvml.nvmlInit()
        self.nvml, self.period_s = pynvml, period_s
        self.handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]

    def block(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """One block."""
        stop, read = threading.Event(), []

        def watch() -> None:
            while not stop.is_set():
                read.append((time.monotonic(), [self.nvml.nvmlDeviceGetPowerUsage(h) / 1000 for h in self.handles]))
                stop.wait(self.period_s)

        thread = threading.Thread(target=watch)
        thread.start()
        begin = time.monotonic()
        inside(wanted)
        end = time.monotonic()
        stop.set()
        thread.join()
        times = [t for t, _ in read]
        ends = [*times[1:], end]
        joules = [
            sum(powers[i] * (after - t) for (t, powers), after in zip(read, ends, strict=True))
            for i in range(len(self.handles))
        ]
        gaps = [b - a for a, b in zip([begin, *times], [*times, end], strict=True)]
        return {"begin": begin, "end": end, "joules": joules, "longest_gap_s": max(gaps)}


PEERS = {
    "zeus": Zeus,
    "zeus_power": ZeusPower,
    "codecarbon": CodeCarbon,
    "poll": lambda: Poll(0.5),
    "polls": lambda: Poll(0.1),
}


def main() -> None:
    """Do what standard input says, until it closes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    began = time.monotonic()
    peer = PEERS[sys.argv[1]]()
    print(json.dumps({"ready": True, "setup_s": time.monotonic() - began}), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = peer.block(json.loads(line))
        except Exception as error:  # noqa: BLE001 - what a peer raises is its answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
