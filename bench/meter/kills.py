"""`kill -9` at random instants: what is lost, what stays, who is left behind.

    python -m bench.meter.kills [--kills 200] [--side 6]

Each victim meters one stage, closes it, and is killed somewhere in its second one. Then the spool is recovered: the
first record must be there whole, the second one reach to within a period of the kill, and no sampler live 2 s later.
Half of the kills hit the sampler instead: the stage goes on and must come out within 5 % of the exact integral.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.meter.host import Host
from stagemeter import spool
from stagemeter.simulation import Waveform

PERIOD_S = 0.1
STEADY = Waveform(((0.0, 300.0), (1.0, 300.0)))
VICTIM = """
import sys, time
from stagemeter import Meter
options = {"spool_dir": sys.argv[1], "environment": {}, "period_s": 0.1}
with Meter("preprocess", **options) as meter:
    time.sleep(0.3)
print(meter.record_id, flush=True)
with Meter("student_training", **options) as meter:
    print(meter.record_id, time.monotonic(), flush=True)
    end = time.monotonic() + float(sys.argv[2])
    while time.monotonic() < end:
        meter.add_tokens(trained=1)
        time.sleep(0.01)
    print(time.monotonic(), flush=True)
"""


@dataclass
class Outcome:
    """One kill. `lost_s` is how much of the second stage has no figure, `error` the share it is off by."""

    first_intact: bool
    orphans: list[str]
    lost_s: float | None = None
    error: float | None = None
    flagged: bool = True


def kill_the_stage(folder: Path, environment: dict[str, str], after_s: float) -> Outcome:
    """Kill the metered process `after_s` seconds into its second stage."""
    with _victim(folder, environment, 60) as process:
        first, second, began = _lines(process)
        time.sleep(after_s)
        family = _family(process.pid)
        killed_at = time.monotonic()
        process.kill()
        process.wait()
    time.sleep(2.0)
    records = {record.record_id: record for record in [*spool.recover(folder), *spool.pending(folder)]}
    lost = records[second]
    return Outcome(
        first_intact=first in records
        and records[first].status == "completed"
        and records[first].gpu_energy_j is not None,
        orphans=[name for child, name in family.items() if _lives(child)],
        lost_s=killed_at - began - lost.duration_s,
        error=abs(lost.gpu_energy_j - 300 * lost.duration_s) / (300 * lost.duration_s) if lost.gpu_energy_j else None,
    )


def kill_the_sampler(folder: Path, environment: dict[str, str], after_s: float) -> Outcome:
    """Kill the sampler `after_s` seconds into the second stage, which goes on for another 1.5 s."""
    with _victim(folder, environment, after_s + 1.5) as process:
        first, second, began = _lines(process)
        time.sleep(after_s)
        sampler = json.loads((folder / second / "start.json").read_text())["sampler"]["pid"]
        os.kill(sampler, 9)
        ended = float(process.stdout.readline())
        family = _family(process.pid)
        process.wait()
    time.sleep(2.0)
    records = {record.record_id: record for record in spool.pending(folder)}
    found, truth = records[second], 300 * (ended - began)
    return Outcome(
        first_intact=first in records,
        orphans=[name for child, name in family.items() if _lives(child)],
        error=abs(found.gpu_energy_j - truth) / truth if found.gpu_energy_j is not None else None,
        flagged="sampler_replaced" in {flag["code"] for flag in found.flags},
    )


def _victim(folder: Path, environment: dict[str, str], seconds: float) -> subprocess.Popen:
    words = [sys.executable, "-c", VICTIM, str(folder), str(seconds)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)


def _family(pid: int) -> dict[psutil.Process, str]:
    """Every process below, and which module it runs."""
    found = {}
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            found[child] = " ".join(word for word in child.cmdline() if word.startswith("stagemeter.")) or "another"
    return found


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _lines(process: subprocess.Popen) -> tuple[str, str, float]:
    first = process.stdout.readline().strip()
    second, began = process.stdout.readline().split()
    return first, second, float(began)


def main() -> int:
    """Run and print; 1 if something was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--side", type=int, default=4, help="how many victims at once")
    options = parser.parse_args()
    draw = random.Random()  # noqa: S311
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.side) as pool:
        host = Host(Path(temporary))
        environment = host.environment(STEADY, profile="hopper")
        jobs = []
        for index in range(options.kills):
            kill = kill_the_stage if index % 2 == 0 else kill_the_sampler
            jobs.append((index % 2, pool.submit(kill, host.spool(), environment, draw.uniform(0.05, 2.0))))
        outcomes = [(which, job.result()) for which, job in jobs]
    return report(outcomes)


def report(outcomes: list[tuple[int, Outcome]]) -> int:
    """Print what came out."""
    stage = [outcome for which, outcome in outcomes if which == 0]
    sampler = [outcome for which, outcome in outcomes if which == 1]
    lost = sorted(outcome.lost_s / PERIOD_S for outcome in stage)
    errors = sorted(outcome.error for outcome in sampler if outcome.error is not None)
    left = [f"{name} after a kill of the {('stage', 'sampler')[which]}" for which, o in outcomes for name in o.orphans]
    lines = [
        ("kills of the stage", len(stage), None),
        ("  periods of it without a figure, median", round(lost[len(lost) // 2], 2), None),
        ("  periods of it without a figure, most", round(lost[-1], 2), lost[-1] <= 1.5),
        ("  first stages intact", sum(o.first_intact for o in stage), all(o.first_intact for o in stage)),
        ("  without a GPU figure", sum(o.error is None for o in stage), all(o.error is not None for o in stage)),
        ("kills of the sampler", len(sampler), None),
        ("  without a GPU figure", len(sampler) - len(errors), len(errors) == len(sampler)),
        ("  off by, most (%)", round(100 * errors[-1], 2), errors[-1] <= 0.05),
        ("  flagged", sum(o.flagged for o in sampler), all(o.flagged for o in sampler)),
        ("orphans after 2 s", len(left), not left),
    ]
    for name, value, good in lines:
        print(f"{name:44} {value!s:>8} {'' if good is None else 'met' if good else 'MISSED'}")
    for name in sorted(set(left)):
        print(f"  left behind: {left.count(name)} × {name}")
    return int(any(good is False for _, _, good in lines))


if __name__ == "__main__":
    sys.exit(main())
