"""A program that meters blocks with `stagemeter.Meter`, for the benches: `python -m bench.meter.ours`.

It reads one JSON object a line: `spool`, and what to do inside the block (`seconds` to sleep, or `hold_s` to hold the
interpreter's lock with `hold`, one of HOLDS); `period_s` if need be. It answers with one line a block. `announce` has
it say so, before it sleeps, when the block has begun.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from stagemeter import Meter, spool
from stagemeter.integrate import Window, power_energy
from stagemeter.samplelog import GpuPoint, read_log

PAPER_PERIOD_S = 0.5
COUNT_EVERY_S = 0.05


def paper_points(points: Sequence[GpuPoint], start: float, end: float) -> Iterator[GpuPoint]:
    """What a loop would have read that asks for power every half second from the block's start on, and at its end."""
    due = start
    read = [point for point in points if point.w is not None]
    for point in read:
        if point.t > end:
            break
        if point.t >= due - 0.002:  # the reading of the start mark lies just before the block
            yield point
            due = max(due + PAPER_PERIOD_S, point.t)
    last = next((point for point in read if point.t >= end), None)
    if last is not None:
        yield last


def paper_j(points: Sequence[GpuPoint], start: float, end: float, limit_w: float | None) -> float | None:
    """The half-second rule over a log of ours, by our own trapezoid."""
    window = Window(start=start, end=end, period_s=PAPER_PERIOD_S)
    return power_energy(paper_points(points, start, end), window, limit_w).value_j


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _hold_in_c(seconds: float) -> None:
    """A call into C that keeps the lock and sleeps, as an extension that never lets go of it."""
    ctypes.PyDLL(None).usleep(int(1e6 * seconds))


def _hold_in_sum(seconds: float) -> None:
    """One long call of a builtin, which nothing can interrupt."""
    began = time.monotonic()
    sum(range(1_000_000))
    sum(range(int(1_000_000 * seconds / (time.monotonic() - began))))


HOLDS: dict[str, Callable[[float], None]] = {"c": _hold_in_c, "sum": _hold_in_sum}


def block(wanted: dict[str, Any], answers: IO[str]) -> dict[str, Any]:
    """Meter one block, and say what came of it."""
    called = time.monotonic()
    options = {"environment": {}} if wanted.get("environment") is None else {}
    with Meter("student_training", spool_dir=wanted["spool"], period_s=wanted.get("period_s", 0.1), **options) as meter:
        begin = time.monotonic()
        if wanted.get("announce"):
            print(json.dumps({"begin": begin, "folder": str(meter.folder)}), file=answers, flush=True)
        _inside(wanted, meter)
        end = time.monotonic()
    left = time.monotonic()
    return {"setup_s": begin - called, "exit_s": left - end, **_figures(meter, begin, end)}


def _inside(wanted: dict[str, Any], meter: Meter) -> None:
    if "hold" in wanted:
        HOLDS[wanted["hold"]](wanted["hold_s"])
    elif wanted.get("count"):  # as a training loop does, which also looks after the sampler
        until = time.monotonic() + wanted["seconds"]
        while (left := until - time.monotonic()) > 0:
            meter.add_tokens(trained=1)
            _sleep(min(COUNT_EVERY_S, left))
    else:
        _sleep(wanted["seconds"])


def _figures(meter: Meter, begin: float, end: float) -> dict[str, Any]:
    record = meter.record
    folder = spool.log_folder(meter.folder.parent, record.record_id)
    log = read_log(folder)
    limits = {device["uuid"]: device["power_limit_w"] for device in log.devices}
    since = meter._facts["t"]  # what the bounds are of, some µs around the block
    return {
        "begin": begin,
        "end": end,
        "since": since,
        "until": since + record.duration_s,
        "record_id": record.record_id,
        "joules": [device["energy_j"] for device in record.devices],
        "lower": [device["energy_lower_j"] for device in record.devices],
        "upper": [device["energy_upper_j"] for device in record.devices],
        "method": [device["method"] for device in record.devices],
        "power_j": [device["power_energy_j"] for device in record.devices],
        "instant_j": [device["instant_energy_j"] for device in record.devices],
        "paper": [paper_j(log.gpu.get(uuid, []), begin, end, limit) for uuid, limit in limits.items()],
        "gpu_energy_j": record.gpu_energy_j,
        "codes": sorted({flag["code"] for flag in record.flags}),
        "flags": [flag["message"] for flag in record.flags],
        "coverage": record.coverage,
        "longest_gap_s": record.longest_gap_s,
        "period_s": record.sample_period_s,
        "status": record.status,
        "record": (Path(meter.folder) / "record.json").read_text(),
    }


def main() -> int:
    """Do what standard input says, until it closes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # nothing else may speak there
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        try:
            answer = block(json.loads(line), answers)
        except Exception as error:  # noqa: BLE001 - what a program cannot do is its answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
