"""What a host costs when it does nothing, and whether it can be metered: once per host, never part of a run.

The idle baseline is taken with the same sensors as a stage: GPUs at rest, the process-wise estimate of the CPU for
a process that sleeps, and RAM. So a stage's net energy is its gross energy minus `idle_power_w` × duration, like for
like.
"""

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from stagemeter import spool
from stagemeter.errors import SpoolError
from stagemeter.meter import Meter
from stagemeter.records import StageRecord
from stagemeter.sensors.nvml import gpu_nodes, open_nvml
from stagemeter.sensors.ticks import tick_periods

LITTLE_SPACE_BYTES = 100 * 2**20
SLOW_SYNC_S = 1.0


@dataclass(frozen=True)
class Check:
    """One thing a host needs. `ok` is `None` for what is neither good nor bad."""

    name: str
    ok: bool | None
    message: str


def run(
    seconds: float = 30.0,
    *,
    spool_dir: Path | str | None = None,
    period_s: float = 0.5,
    environment: Mapping[str, Any] | None = None,
) -> StageRecord:
    """Meter this host idling for `seconds`; a record of kind `prerun` with `idle_power_w` and the checks' results."""
    folder = Path(spool_dir) if spool_dir is not None else spool.default_spool()
    checks = [asdict(check) for check in self_check(folder)]
    with Meter(
        "prerun", spool_dir=folder, period_s=period_s, environment=environment, extra={"checks": checks}
    ) as meter:
        time.sleep(seconds)
    return meter.record


def self_check(spool_dir: Path) -> list[Check]:
    """What can be said about this host without metering anything."""
    return [_spool(spool_dir), _codecarbon(), _rapl(), *_gpus()]


def _spool(folder: Path) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        spool.write_json(folder / "check.json", {"checked": True})
        took = time.monotonic() - began
        (folder / "check.json").unlink()
        free = shutil.disk_usage(folder).free
    except (OSError, SpoolError) as error:
        return Check("spool", False, f"{folder} cannot be written: {error}; name another with STAGEMETER_SPOOL")
    if free < LITTLE_SPACE_BYTES:
        return Check("spool", False, f"{folder} has {free / 2**20:.0f} MiB left")
    if took > SLOW_SYNC_S:
        return Check("spool", False, f"writing to {folder} takes {took:.1f} s; use a local disk")
    return Check("spool", True, f"{folder} takes a record in {1000 * took:.0f} ms, {free / 2**30:.0f} GiB free")


def _codecarbon() -> Check:
    try:
        version = metadata.version("codecarbon")
    except metadata.PackageNotFoundError:
        return Check(
            "cpu",
            False,
            "codecarbon is not installed, so CPU and RAM cannot be metered; install stagemeter[codecarbon]",
        )
    return Check("cpu", True, f"CPU and RAM are metered by codecarbon {version} in process mode")


def _rapl() -> Check:
    counters = list(Path("/sys/class/powercap").glob("intel-rapl:*/energy_uj"))
    if any(os.access(path, os.R_OK) for path in counters):
        return Check("rapl", True, "RAPL can be read: CPU energy is measured, of the whole processor")
    reason = "may not be read by this user" if counters else "is not offered by this host"
    return Check("rapl", None, f"RAPL {reason}: CPU energy is estimated from CPU time")


def _gpus() -> list[Check]:
    sensor, reason = open_nvml(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if sensor is None:
        return [Check("gpu", False if gpu_nodes() else None, f"no GPU is metered: {reason}")]
    ticks = tick_periods(sensor, 0.5)
    checks = []
    for device in sensor.devices:
        tick = ticks.get(device.uuid)
        if not device.has_counter:
            text = "has no energy counter; sampled power is integrated"
        elif tick is None:
            text = "has an energy counter that was not seen to move in 0.5 s"
        else:
            text = f"has an energy counter that moves every {1000 * tick:.0f} ms"
        checks.append(Check("gpu", device.has_counter or None, f"{device.name} ({device.uuid}) {text}"))
        checks += [Check("gpu", None, f"{device.name}: {remark['message']}") for remark in device.flags]
    sensor.close()
    return checks
