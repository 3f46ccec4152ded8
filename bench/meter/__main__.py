"""All benches of the meter: `python -m bench.meter [--quick]`. About 20 minutes on two quiet cores."""

import subprocess
import sys

QUICK = {
    "accuracy": ["--windows", "60"],
    "realtime": ["--quick"],
    "faults": [],
    "kills": ["--kills", "16"],
    "overhead": ["--seconds", "5"],
    "longrun": ["--hours", "0.5"],
}
WHOLE: dict[str, list[str]] = {**{name: [] for name in QUICK}, "realtime": ["--waves", "square", "burst10"]}


def main() -> int:
    """Run each in a process of its own; 1 if one missed something."""
    missed = []
    for name, options in (QUICK if "--quick" in sys.argv[1:] else WHOLE).items():
        print(f"\n== {name} ==", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.meter.{name}", *options], check=False).returncode:
            missed.append(name)
    print(f"\nmissed something: {', '.join(missed)}" if missed else "\neverything met")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
