"""A short load, in a process of its own: `python -m stagemeter.burn_in SECONDS [--gpu]`.

It keeps one core busy, and with `--gpu` every visible GPU, for which it loads torch: the only place of this package
that does, only when asked, and never in the process that meters. It prints what it did as JSON.
"""

import argparse
import json
import sys
import time
from importlib import import_module
from typing import Any

MATRIX = 4096  # large enough to fill a card, small enough to fit beside a model


def main(arguments: list[str] | None = None) -> int:
    """Burn; always 0."""
    parser = argparse.ArgumentParser(prog="python -m stagemeter.burn_in", description="Load CPU and GPU for a while.")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--gpu", action="store_true", help="load the GPUs too, with torch")
    options = parser.parse_args(arguments)
    matrices, gpu = _matrices() if options.gpu else ([], {})
    began = time.monotonic()
    while time.monotonic() - began < options.seconds:
        for matrix in matrices:
            matrix @ matrix
    for matrix in matrices:
        matrix.sum().item()  # waits for what was queued
    done = {"seconds": time.monotonic() - began, "cpu_s": time.process_time(), "gpu": gpu}
    sys.stdout.write(json.dumps(done))
    return 0


def _matrices() -> tuple[list[Any], dict[str, Any]]:
    """One matrix on each GPU, and what was found."""
    try:
        torch: Any = import_module("torch")
    except ImportError:
        return [], {"problem": "torch is not installed"}
    if not torch.cuda.is_available():
        return [], {"problem": f"torch {torch.__version__} finds no CUDA device"}
    devices = range(torch.cuda.device_count())
    found = [torch.rand(MATRIX, MATRIX, dtype=torch.float16, device=f"cuda:{i}") for i in devices]
    return found, {"torch": torch.__version__, "devices": len(found)}


if __name__ == "__main__":
    sys.exit(main())
