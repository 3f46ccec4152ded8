"""A long stage's power trace: from the sampler's log to Parquet and to a chart's points.

    python bench/traces.py [--hours 17] [--gpus 8] [--per-second 10]

Writes a log as the sampler does, in a temporary folder, then makes the trace from it in a process of its own, and reads
it as the run's page does. Prints sizes, seconds and each process's peak memory.
"""

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stagemeter.samplelog import CPU_LOG_NAME, LOG_NAME

STEPS = ("make", "whole", "zoom")


def main() -> None:
    """One line a step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=17.0)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--per-second", type=int, default=10)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(options.step, options.folder)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_log(folder, round(options.hours * 3600), options.gpus, options.per_second)
        log_mb = sum((folder / log).stat().st_size for log in (LOG_NAME, CPU_LOG_NAME)) / 1e6
        print(f"log: {log_mb:.0f} MB, {options.hours:g} h of {options.gpus} GPUs at {options.per_second} Hz")
        for name in STEPS:
            command = [sys.executable, __file__, "--step", name, "--folder", folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"{name}: {done.stdout.strip()}")


def step(name: str, folder: Path) -> dict[str, float]:
    """One step, in this process; its figures."""
    began = time.process_time()
    figures = {"make": make, "whole": whole, "zoom": zoom}[name](folder)
    used_s = time.process_time() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {**figures, "cpu_s": round(used_s, 2), "peak_memory_mb": round(peak_mb)}


def make(folder: Path) -> dict[str, float]:
    """The trace out of the log."""
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    os.environ.setdefault("DATABASE_URL", "postgresql:///none")
    os.environ.setdefault("REDIS_URL", "redis://none")
    import django

    django.setup()
    from stagemeter.samplelog import trace
    from workers.traces import write

    lines = write(trace(folder, start=0.0), folder / "trace.parquet", about={})
    readings = sum(line.samples for line in lines)
    return {"readings": readings, "trace_mb": round((folder / "trace.parquet").stat().st_size / 1e6, 1)}


def whole(folder: Path) -> dict[str, float]:
    """Every line of the whole stage, thinned to 2,000 points."""
    return read(folder, -math.inf, math.inf)


def zoom(folder: Path) -> dict[str, float]:
    """Every line of one minute in the middle."""
    return read(folder, 30_000.0, 30_060.0)


def read(folder: Path, start_s: float, end_s: float) -> dict[str, float]:
    """A stretch of every line; how many points of how many samples are left."""
    from registry.accounting.thinning import thin
    from registry.tracefile import TraceReader

    with (folder / "trace.parquet").open("rb") as stream:
        reader = TraceReader(stream)
        lines = [
            thin(reader.samples(*line, start_s=start_s, end_s=end_s), points=2000, gap_s=3.0) for line in reader.lines
        ]
    return {"samples": sum(line.samples for line in lines), "points": sum(len(line.times_s) for line in lines)}


def write_log(folder: Path, seconds: int, gpus: int, per_s: int) -> None:
    """Readings that step and drift as a training's do, in the sampler's own form."""
    chance = random.Random(0)  # noqa: S311 (no secret is made)
    devices = [{"uuid": f"GPU-{place}"} for place in range(gpus)]
    counters = [0] * gpus
    with (folder / LOG_NAME).open("w") as log, (folder / CPU_LOG_NAME).open("w") as cpu:
        log.write(json.dumps({"kind": "header", "devices": devices, "gpu_expected": True, "simulated": True}) + "\n")
        cpu.write(json.dumps({"kind": "header"}) + "\n")
        for i in range(seconds * per_s):
            t = round(i / per_s + chance.uniform(0, 0.002), 6)
            readings = []
            for place in range(gpus):
                mw = 650_000 if (i // (4 * per_s) + place) % 8 else 240_000
                mw += round(chance.gauss(0, 12_000))
                counters[place] += mw // per_s
                readings.append([60 * place, 40, counters[place], mw, mw + 500, 0])
            log.write(json.dumps({"kind": "sample", "t": t, "wall": t, "gpu": readings}) + "\n")
            if i % per_s == 0:
                second = {"kind": "sample", "t": t, "cpu_j": 140.0 * t, "ram_j": 55.0 * t, "cpu_s": 16.0 * t}
                cpu.write(json.dumps(second) + "\n")


if __name__ == "__main__":
    main()
