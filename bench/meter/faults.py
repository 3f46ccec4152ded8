"""What goes wrong in a card or on a host, and what the record then says.

    python -m bench.meter.faults

Each fault strikes half way through a stage of two seconds at 300 W on the simulated library. Then a program that holds
the interpreter's lock for seconds, eight stages that end at once in one spool, and bursts that beat with the instant
power's sensor.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.meter.host import Host
from bench.meter.virtual import BURST10
from stagemeter import spool
from stagemeter.simulation import Waveform

STEADY = Waveform(((0.0, 300.0), (1.0, 300.0)))
FAULTS = ("reset", "wrap", "lost", "failing", "garbage", "garbage_counter", "frozen", "no_permission")
STAGE = """
import sys, time, json
from stagemeter import Meter
with Meter("student_training", spool_dir=sys.argv[1], environment={}) as meter:
    began = time.monotonic()
    exec(sys.argv[2])
    ended = time.monotonic()
codes = sorted({flag["code"] for flag in meter.record.flags})
print(json.dumps([began, ended, meter.record.gpu_energy_j, codes, meter.record.longest_gap_s]))
"""
HOLD = "import re; end = time.monotonic() + 4\nwhile time.monotonic() < end: re.match('(a+)+$', 'a' * 25 + 'b')"


def run(host: Host, wave: Waveform, body: str, **settings: object) -> tuple[float | None, float, list[str], float]:
    """Energy in J, the truth, flags, longest gap in s, of a stage that does `body`."""
    words = [sys.executable, "-c", STAGE, str(host.spool()), body]
    done = subprocess.run(words, env=host.environment(wave, **settings), capture_output=True, text=True, check=True)
    began, ended, energy, codes, gap = json.loads(done.stdout)
    return energy, wave.between_j(began, ended), codes, gap


def main() -> int:
    """Run and print; 1 if something was missed."""
    good: list[bool] = []

    def tell(name: str, text: str, *, met: bool) -> None:
        good.append(met)
        print(f"{name:18} {text:70} {'met' if met else 'MISSED'}", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        host = Host(Path(temporary))
        host.spool()
        for fault in FAULTS:
            strike = Path(temporary) / "strike"
            strike.write_text(repr(time.monotonic() + 2.0))
            energy, truth, codes, _ = run(
                host, STEADY, "time.sleep(3.0)", profile="hopper", fault=fault, fault_file=strike
            )
            found = [code for code in codes if code != "estimated"]
            off = None if energy is None else 100 * (energy / truth - 1)
            text = "None" if off is None else f"{off:+.2f} %"
            tell(fault, f"{text}, {', '.join(found)}", met=bool(found) and (off is None or abs(off) <= 5))
        energy, truth, _, gap = run(host, STEADY, HOLD, profile="hopper")
        tell("lock held 4 s", f"longest gap {gap:.3f} s, {100 * (energy / truth - 1):+.2f} %", met=gap <= 0.2)
        energy, truth, codes, _ = run(host, Waveform(BURST10), "time.sleep(8)", profile="hopper")
        tell("bursts", f"{100 * (energy / truth - 1):+.2f} %, {', '.join(codes)}", met="instant_alias" in codes)
        folder = host.spool()
        words = [sys.executable, "-c", STAGE, str(folder), "time.sleep(2)"]
        environment = host.environment(STEADY, profile="hopper")
        writers = [subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) for _ in range(8)]
        for writer in writers:
            writer.wait()
        whole = [record for record in spool.pending(folder) if record.gpu_energy_j and record.cpu_energy_j is not None]
        tell("eight at once", f"{len(whole)} of 8 records, with GPU and CPU energy", met=len(whole) == 8)
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
