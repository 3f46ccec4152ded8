"""What metering costs: CPU and memory of the sampling processes, and how long a stage waits to begin.

    python -m bench.meter.overhead [--seconds 20] [--devices 8]

The simulated cards answer at once, so what they take is the call into the library and nothing else. The same calls,
made as often by a bare loop, say how much of the sampler's time lies inside NVML's own reads.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.meter.host import Host
from stagemeter.simulation import Waveform

STEADY = Waveform(((0.0, 300.0), (1.0, 300.0)))
METERED = """
import json, sys, time
import psutil
from stagemeter import Meter
def times(process):
    used = process.cpu_times()
    return used.user + used.system
called = time.monotonic()
with Meter("student_training", spool_dir=sys.argv[1], environment={}, period_s=0.1) as meter:
    waited = time.monotonic() - called
    time.sleep(8)  # CodeCarbon has loaded by then
    family = {p: " ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)}
    begun = {p: times(p) for p in family}
    time.sleep(float(sys.argv[2]))
    for p, words in family.items():
        name = "cpu_sampler" if "cpu_sampler" in words else "sampler"
        spent = (times(p) - begun[p]) / float(sys.argv[2])
        print(json.dumps([name, spent, p.memory_info().rss / 2**20]), flush=True)
print(json.dumps(["begins", waited, 0]))
"""
READS = """
import sys, time
from stagemeter.sensors.nvml import open_nvml
sensor = open_nvml(None).sensor
handles = list(sensor._handles.values())
nvml, fields, rounds = sensor._nvml, sensor._fields, int(sys.argv[1])
began = time.process_time()
for _ in range(rounds):
    for handle in handles:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        nvml.nvmlDeviceGetFieldValues(handle, fields)
print((time.process_time() - began) / rounds)
"""


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--devices", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        host = Host(Path(temporary))
        environment = host.environment(STEADY, profile="hopper", devices=options.devices)
        words = [sys.executable, "-c", METERED, str(host.spool()), str(options.seconds)]
        metered = _run(words, environment)
        reads = float(_run([sys.executable, "-c", READS, "2000"], environment)[0])
        waits = [_run([*words[:3], str(host.spool()), "0.1"], environment)[-1] for _ in range(3)]
    figures = {name: (spent, rss) for name, spent, rss in map(_parse, metered)}
    share, rss = figures["sampler"]
    waited = sorted(_parse(line)[1] for line in [metered[-1], *waits])[1]
    print(f"{options.devices} cards at 10 Hz over {options.seconds:.0f} s")
    print(
        f"sampler: {100 * share:.2f} % of a core, of which {100 * 10 * reads:.2f} % inside NVML's reads; {rss:.0f} MB"
    )
    share, rss = figures["cpu_sampler"]
    print(f"cpu_sampler (CodeCarbon): {100 * share:.2f} % of a core; {rss:.0f} MB")
    print(f"a stage begins {waited:.2f} s after it was asked for (median of 4)")
    return 0


def _run(words: list[str], environment: dict[str, str]) -> list[str]:
    return subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()


def _parse(line: str) -> tuple[str, float, float]:
    name, figure, rss = json.loads(line)
    return name, figure, rss


if __name__ == "__main__":
    sys.exit(main())
