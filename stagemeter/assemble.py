"""From what lies in a spool folder to one StageRecord: the same for a stage that ended and for one that was killed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from stagemeter.baseline import Idle, resolve
from stagemeter.cpu_energy import cpu_energy, cpu_facts
from stagemeter.energy import Energy, Window
from stagemeter.integrate import DISAGREEMENT, Coverage, DeviceFold, Sampling
from stagemeter.records import TOKEN_KINDS, StageRecord
from stagemeter.samplelog import GpuPoint, LogReader, SampleLog
from stagemeter.sensors import flag

LOW_COVERAGE = 0.95


@dataclass(frozen=True)
class Measured:
    """What a log says about one window: by device with the counter's tick in seconds, CPU, RAM, and how well."""

    log: SampleLog
    window: Window
    devices: list[tuple[dict[str, Any], Energy, float | None]]
    cpu: Energy
    ram: Energy
    sampling: Sampling

    @property
    def gpu(self) -> Energy:
        """All devices together."""
        return _sum_of_devices(self.log, [energy for _, energy, _ in self.devices])


def measure(folder: Path, window: Window, *, since: int = 0) -> Measured:
    """Integrate the log in `folder` over `window`, holding none but the readings around its edges.

    `since` is how many bytes the log held when the window began.
    """
    folds: dict[str, DeviceFold] = {}
    coverage = Coverage(window)
    reader = LogReader(take_time=coverage.add)

    def take(uuid: str, point: GpuPoint) -> None:
        fold = folds.get(uuid)
        if fold is None:
            device = next(device for device in reader.log.devices if device["uuid"] == uuid)
            fold = folds[uuid] = DeviceFold(window, device)
        fold.add(point)

    reader.take = take
    log = reader.read(folder, since=since)
    devices = []
    for device in log.devices:
        fold = folds.get(device["uuid"]) or DeviceFold(window, device)
        devices.append((device, *fold.figures()))
    cpu, ram = cpu_energy(log, window)
    return Measured(log, window, devices, cpu, ram, coverage.result())


def assemble(
    start: dict[str, Any],
    folder: Path,
    *,
    end_t: float,
    status: str,
    progress: dict[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    flags: Sequence[dict[str, str]] = (),
) -> StageRecord:
    """One record from `start.json`, the logs in `folder` and the progress. `end_t` is its end in monotonic s."""
    window = Window(start=start["t"], end=max(end_t, start["t"]), period_s=start["period_s"])
    measured = measure(folder, window, since=start.get("log_bytes", 0))
    progress = progress or {}
    tokens = progress.get("tokens", {})
    gpu, cpu, ram = measured.gpu, measured.cpu, measured.ram
    quality = measured.sampling
    began = datetime.fromisoformat(start["started_at"])
    idle = _idle(start, measured, began)
    parts = {name: progress[name] for name in ("parts", "work") if progress.get(name)}
    return StageRecord(
        **{name: start[name] for name in _FROM_START},
        idle_power_w=idle.power_w,
        status=status,
        started_at=began,
        ended_at=began + timedelta(seconds=window.duration_s),
        duration_s=window.duration_s,
        components=_components(measured.log),
        **_energy_fields("gpu", gpu),
        gpu_power_energy_j=gpu.cross_check_j,
        **_energy_fields("cpu", cpu),
        **_energy_fields("ram", ram),
        sample_period_s=window.period_s,
        samples=quality.samples,
        coverage=quality.coverage,
        longest_gap_s=quality.longest_gap_s,
        **{f"{kind}_tokens": tokens.get(kind) for kind in TOKEN_KINDS},
        devices=tuple(_device_entry(device, energy) for device, energy, _ in measured.devices),
        meter=_meter(measured, start) | (idle.meter or {}),
        flags=(*start.get("flags", []), *flags, *remarks(measured), *idle.flags),
        simulated=measured.log.simulated,
        extra={**start.get("extra", {}), **parts, **(extra or {})},
    )


def _components(log: SampleLog) -> tuple[str, ...]:
    return ("gpu", "cpu", "ram") if log.gpu_expected else ("cpu", "ram")


_FROM_START = (
    "record_id",
    "kind",
    "role",
    "name",
    "run_id",
    "attempt_id",
    "parent_id",
    "rank",
    "world_size",
    "environment",
)


def _idle(start: dict[str, Any], measured: Measured, began: datetime) -> Idle:
    """The host's idle power: what the meter was told, else this host's baseline where that is comparable."""
    if start["idle_power_w"] is not None:
        return Idle(power_w=start["idle_power_w"])
    methods = {"cpu": measured.cpu.method, "ram": measured.ram.method}
    gpus = [device["uuid"] for device, _, _ in measured.devices]
    kept = start.get("baseline", {})
    return resolve(kept, began=began, gpus=gpus, methods=methods, simulated=measured.log.simulated)


def _energy_fields(component: str, energy: Energy) -> dict[str, Any]:
    return {
        f"{component}_energy_j": energy.value_j,
        f"{component}_energy_lower_j": energy.lower_j,
        f"{component}_energy_upper_j": energy.upper_j,
        f"{component}_method": energy.method,
    }


def _sum_of_devices(log: SampleLog, energies: Sequence[Energy]) -> Energy:
    """All devices together; `None` as soon as one is not known."""
    if not log.gpu_expected or log.gpu_missing or not energies:
        return Energy(value_j=None)
    methods = {energy.method for energy in energies}
    value = _sum([energy.value_j for energy in energies])
    return Energy(
        value_j=value,
        lower_j=None if value is None else _sum([energy.lower_j for energy in energies]),
        upper_j=None if value is None else _sum([energy.upper_j for energy in energies]),
        method=methods.pop() if len(methods) == 1 else "nvml_mixed",
        cross_check_j=_sum([energy.cross_check_j for energy in energies]),
        instant_j=_sum([energy.instant_j for energy in energies]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None


def _device_entry(device: dict[str, Any], energy: Energy) -> dict[str, Any]:
    """One GPU's share of the record."""
    apart = None
    if energy.value_j and energy.cross_check_j is not None:
        apart = (energy.cross_check_j - energy.value_j) / energy.value_j
    return {
        **{key: device[key] for key in ("uuid", "name", "index", "power_limit_w", "driver", "cuda", "scope")},
        "energy_j": energy.value_j,
        "energy_lower_j": energy.lower_j,
        "energy_upper_j": energy.upper_j,
        "method": energy.method,
        "power_energy_j": energy.cross_check_j,
        "instant_energy_j": energy.instant_j,
        "power_against_counter": apart if energy.method == "nvml_counter" else None,
        "flags": [*device["flags"], *energy.flags],
    }


def _meter(measured: Measured, start: dict[str, Any]) -> dict[str, Any]:
    """Versions and constants behind the figures."""
    log = measured.log
    ticks = {device["uuid"]: tick for device, _, tick in measured.devices if tick is not None}
    return {
        "stagemeter": start["stagemeter"],
        "disagreement_threshold": DISAGREEMENT,
        "samplers": len(log.headers),
        **({"counter_tick_s": ticks} if ticks else {}),
        **cpu_facts(log, measured.cpu),
    }


def _prefixed(devices: Sequence[tuple[dict[str, Any], Energy, float | None]]) -> list[dict[str, str]]:
    """The devices' remarks, each naming its device."""
    return [
        flag(remark["code"], f"{device['name']} ({device['uuid']}): {remark['message']}")
        for device, energy, _ in devices
        for remark in [*device["flags"], *energy.flags]
    ]


def remarks(measured: Measured) -> list[dict[str, str]]:
    """Remarks on what was measured as a whole, and on each device."""
    log, quality = measured.log, measured.sampling
    found = _once(remark for header in log.headers for remark in header["flags"])
    found += measured.cpu.flags
    found += [remark for remark in measured.ram.flags if remark not in measured.cpu.flags]
    if not log.headers and (log.tree or log.damaged_lines):
        text = "the log's header cannot be read: which GPUs the stage used is not known, so it has no GPU figure"
        found.append(flag("header_lost", text))
    elif not log.headers:
        found.append(flag("no_samples", "the sampler left no log; nothing was measured"))
    if len(log.headers) > 1:
        found.append(flag("sampler_replaced", f"the sampler died and was replaced {len(log.headers) - 1} times"))
    if quality.coverage < LOW_COVERAGE:
        share, gap = 100 * quality.coverage, quality.longest_gap_s
        text = f"{share:.0f} % of the stage is backed by samples; the longest gap is {gap:.1f} s"
        found.append(flag("low_coverage", text))
    if log.damaged_lines or log.lost_lines:
        text = f"{log.damaged_lines} lines of the sample log could not be read, {log.lost_lines} could not be written"
        found.append(flag("log_damaged", text))
    for uuid, pids in log.strangers.items():
        text = f"{uuid} was also used by {len(pids)} processes outside of this stage; its energy is the whole card's"
        found.append(flag("shared_gpu", text))
    for uuid, pids in log.unseen.items():
        text = (
            f"{uuid} was used by {len(pids)} processes whose numbers do not exist here (a container): whether they are "
            "this stage's or others' is not known; the energy is the whole card's"
        )
        found.append(flag("strangers_unknown", text))
    for uuid, errors in log.errors.items():
        text = f"{uuid}: {log.failed_reads[uuid]} readings failed: {errors[-1]}"
        found.append(flag("gpu_read_error", text))
    return [*found, *_prefixed(measured.devices)]


def _once(remarks: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return list({(remark["code"], remark["message"]): remark for remark in remarks}.values())
