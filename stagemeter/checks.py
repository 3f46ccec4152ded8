"""Can this host be metered? What can be said before metering, and what a metered prerun shows about the sensors."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from stagemeter import spool
from stagemeter.assemble import Measured
from stagemeter.cpu_energy import rising
from stagemeter.energy import Energy
from stagemeter.errors import SpoolError
from stagemeter.integrate import DISAGREEMENT
from stagemeter.sensors.nvml import open_nvml
from stagemeter.sensors.rapl import rapl_facts

LITTLE_SPACE_BYTES = 100 * 2**20
SLOW_SYNC_S = 1.0
BUSY_SHARE = 0.1  # of the machine's cores: others at work disturb a baseline
LOST_SHARE = 0.2  # of the burn-in's CPU seconds


@dataclass(frozen=True)
class Check:
    """One thing a host needs. `ok` is `None` for what is neither good nor bad."""

    name: str
    ok: bool | None
    message: str


def before(spool_dir: Path) -> list[Check]:
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
    facts = rapl_facts()
    zones, unreadable = sorted(facts["zones"]), facts["unreadable"]
    if unreadable:
        name, reason = next(iter(unreadable.items()))
        return Check("rapl", None, f"RAPL: {name} {reason}; CPU energy is estimated from CPU time")
    if not zones:
        return Check("rapl", None, "RAPL is not offered by this host: CPU energy is estimated from CPU time")
    return Check("rapl", True, f"RAPL gives {', '.join(zones)}; a stage is charged its share of them")


def _gpus() -> list[Check]:
    found = open_nvml(os.environ.get("CUDA_VISIBLE_DEVICES"))
    lost = [
        Check(
            "gpu",
            False if card.visible else None,
            f"GPU {card.index} could not be opened: {card.reason}"
            + ("; stages here have no GPU figure" if card.visible else "; it is not visible to this process"),
        )
        for card in found.unreadable
    ]
    if found.missing and found.sensor is None:
        return lost
    if found.sensor is None:
        return [*lost, Check("gpu", False if found.expected else None, f"no GPU is metered: {found.reason}")]
    checks = [
        Check("gpu", True, f"{device.name} ({device.uuid}), limit {device.power_limit_w or float('nan'):.0f} W")
        for device in found.sensor.devices
    ]
    found.sensor.close()
    return [*checks, *lost]


def after(whole: Measured, rest: Measured, burnt: Measured | None, burn_in: dict[str, Any]) -> list[Check]:
    """What a prerun shows: `whole` of it, the part at rest and the part under load."""
    checks = [_metering(rest), *_quiet(rest)]
    for device, energy, tick_s in whole.devices:
        checks += _device(device, energy, tick_s)
    checks += [Check("cpu", None, f"{remark['message']}") for remark in whole.cpu.flags if remark["code"] in _SAID]
    if burnt is not None:
        checks += _under_load(rest, burnt, burn_in)
    return checks


_SAID = ("cpu_unmeasured", "codecarbon_failed", "cpu_bridged", "cpu_figures_disagree", "rapl_incomplete")


def _metering(rest: Measured) -> Check:
    powers = {name: _watts(rest, name) for name in ("gpu", "cpu", "ram") if name != "gpu" or rest.log.gpu_expected}
    missing = [name for name, watts in powers.items() if watts is None]
    seconds = rest.window.duration_s
    if missing:
        return Check("metering", False, f"{seconds:.0f} s were sampled: no {', '.join(missing)} figure")
    said = ", ".join(f"{name.upper()} {watts:.1f} W" for name, watts in powers.items())
    return Check("metering", True, f"{seconds:.0f} s at rest were sampled: {said}")


def _watts(measured: Measured, component: str) -> float | None:
    energy: Energy = getattr(measured, component)
    seconds = measured.window.duration_s
    return energy.value_j / seconds if energy.value_j is not None and seconds else None


def _quiet(rest: Measured) -> list[Check]:
    """Whether others were at work while the host was to be at rest."""
    points = [p for p in rest.log.tree if rest.window.start - 1 <= p.t <= rest.window.end + 1 and p.busy_s is not None]
    if len(points) < 2:
        return []
    first, last = points[0], points[-1]
    busy = (last.busy_s or 0.0) - (first.busy_s or 0.0) - (last.cpu_s - first.cpu_s)
    cores = busy / (last.t - first.t)
    if cores <= BUSY_SHARE * (os.cpu_count() or 1):
        return []
    return [Check("rest", None, f"other processes kept {cores:.1f} cores busy; take the baseline when they are done")]


def _device(device: dict[str, Any], energy: Energy, tick_s: float | None) -> Iterator[Check]:
    """One GPU's sensors: does the counter move, how often, do its witnesses agree, are readings absurd."""
    name = f"{device['name']} ({device['uuid']})"
    for remark in device["flags"]:
        yield Check("gpu", None, f"{device['name']}: {remark['message']}")
    if device["has_counter"]:
        yield _counter(name, energy, tick_s)
    if energy.method == "nvml_counter":
        yield from _witnesses(name, energy)
    if not device.get("has_instant"):
        yield Check("gpu", None, f"{name} gives no instant power; stage edges are less sharp")
    for remark in energy.flags:
        if remark["code"] not in ("counter_power_disagree", "instant_alias", "power_gap"):
            yield Check("gpu", False, f"{name}: {remark['message']}")


def _counter(name: str, energy: Energy, tick_s: float | None) -> Check:
    if energy.method != "nvml_counter":
        return Check("gpu", False, f"{name} has an energy counter that cannot be used; sampled power is")
    if not energy.value_j:
        return Check("gpu", False, f"{name} has an energy counter that does not move")
    pace = "at every read" if not tick_s else f"every {1000 * tick_s:.0f} ms"
    return Check("gpu", True, f"{name} has an energy counter that moves {pace}")


def _witnesses(name: str, energy: Energy) -> Iterator[Check]:
    """Counter against both powers. Over a few seconds with a load in them they differ, as averages lag behind."""
    for label, joules in (("average", energy.cross_check_j), ("instant", energy.instant_j)):
        if joules is None or not energy.value_j:
            continue
        apart = joules / energy.value_j - 1
        agree = abs(apart) <= DISAGREEMENT
        text = f"{name}: {label} power is {100 * apart:+.1f} % from the counter"
        yield Check("gpu", True if agree else None, text)


def _under_load(rest: Measured, burnt: Measured, burn_in: dict[str, Any]) -> Iterator[Check]:
    """Whether the sensors saw the load."""
    seen = rising((point.t, point.cpu_s) for point in burnt.log.tree).over(burnt.window)
    wanted = float(burn_in.get("cpu_s", 0.0))
    complete = abs(seen - wanted) <= LOST_SHARE * wanted + 0.2
    text = f"under load {seen:.1f} CPU seconds were counted, {wanted:.1f} were used"
    yield Check("cpu", complete, text)
    gpu = burn_in.get("gpu") or {}
    if "problem" in gpu:
        yield Check("gpu", None, f"no GPU was loaded: {gpu['problem']}")
    elif gpu:
        before_w, under_w = _watts(rest, "gpu"), _watts(burnt, "gpu")
        if before_w is not None and under_w is not None:
            rose = under_w > before_w
            yield Check("gpu", rose, f"under load {under_w:.0f} W were drawn, {before_w:.0f} W at rest")
