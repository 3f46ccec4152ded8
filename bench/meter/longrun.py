"""A long stage: 17 hours at 10 Hz with 8 GPUs, written in virtual time as the sampler writes it.

    python -m bench.meter.longrun [--hours 17] [--devices 8]

Prints the size of the log, and the time and memory that integrating it takes. `bench/traces.py` does the same for the
power trace that is made from it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stagemeter.energy import Window
from stagemeter.samplelog import LOG_NAME
from stagemeter.sensors import Device, Reading

START = 1000.0
PERIOD_S = 0.1


def write(folder: Path, hours: float, devices: int) -> float:
    """Write the log; the stage's end in monotonic seconds. Card i draws 300 + i W."""
    cards = [
        Device(uuid=f"GPU-{i}", index=i, name="card", power_limit_w=700.0, has_instant=True) for i in range(devices)
    ]
    header = {"kind": "header", "schema": 2, "pid": 1, "period_s": PERIOD_S, "gpu_expected": True, "rapl": {}}
    header |= {"t": START - 1, "wall": 1.7e9, "devices": [c.to_dict() for c in cards], "simulated": True, "flags": []}
    samples = int(hours * 3600 / PERIOD_S)
    with (folder / LOG_NAME).open("w") as log:
        log.write(json.dumps(header) + "\n")
        for i in range(-5, samples + 6):
            t = START + i * PERIOD_S
            readings = []
            for card in range(devices):
                mj = 10**12 + round(1000 * (300 + card) * t)
                readings.append(
                    Reading(t + 2e-5 * card, 4e-6, mj, 300_000 + 1000 * card, 300_000 + 1000 * card).to_list(t)
                )
            line = {"kind": "sample", "t": round(t, 6), "wall": round(1.7e9 + t, 6), "gpu": readings}
            if i % 10 == 0:
                tree = {"t": round(t, 6), "cpu_s": 0.9 * (t - START + 10), "rss": 2**31, "busy_s": t, "ram_used": 2**33}
                line["tree"] = tree
            log.write(json.dumps(line, separators=(",", ":")) + "\n")
    return START + samples * PERIOD_S


def integrate(folder: Path, end: float) -> None:
    """Integrate and print what it took; in a process of its own, for its memory."""
    from stagemeter.assemble import measure

    began = time.process_time()
    measured = measure(folder, Window(start=START, end=end, period_s=PERIOD_S))
    spent = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"integrated in {spent:.0f} s of CPU time with at most {peak:.0f} MB: {measured.gpu.value_j:.0f} J")


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=17)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--integrate", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.integrate:
        integrate(Path(options.integrate[0]), float(options.integrate[1]))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        end = write(Path(temporary), options.hours, options.devices)
        size = (Path(temporary) / LOG_NAME).stat().st_size
        truth = sum(300 + i for i in range(options.devices)) * (end - START)
        print(
            f"{options.hours:g} h at 10 Hz with {options.devices} cards: {size / 1e6:.0f} MB; truth {truth:.0f} J",
            flush=True,
        )
        words = [sys.executable, "-m", "bench.meter.longrun", "--integrate", temporary, str(end)]
        return subprocess.run(words, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
