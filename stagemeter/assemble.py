"""From what lies in a spool folder to one StageRecord: the same for a stage that ended and for one that was killed."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from stagemeter.integrate import DISAGREEMENT, Energy, Sampling, Window, cpu_energy, gpu_energy, sampling
from stagemeter.records import TOKEN_KINDS, StageRecord
from stagemeter.samplelog import SampleLog
from stagemeter.sensors import flag

LOW_COVERAGE = 0.95
CLOCK_STEP_S = 2.0


def assemble(
    start: dict[str, Any],
    log: SampleLog,
    *,
    end_t: float,
    status: str,
    progress: dict[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    flags: Sequence[dict[str, str]] = (),
) -> StageRecord:
    """One record from `start.json`, the samples and the progress. `end_t` is the stage's end in monotonic seconds."""
    window = Window(start=start["t"], end=max(end_t, start["t"]), period_s=start["period_s"])
    progress = progress or {}
    tokens = progress.get("tokens", {})
    per_device = _per_device(log, window)
    gpu = _sum_of_devices(log, [energy for _, energy in per_device])
    cpu, ram = cpu_energy(log, window)
    quality = sampling(log.times, window)
    began = datetime.fromisoformat(start["started_at"])
    idle = {"idle_power_w": _mean_power(log, window, gpu, cpu, ram)} if start["kind"] == "prerun" else {}
    parts = {"parts": progress["parts"]} if progress.get("parts") else {}
    return StageRecord(
        **{name: start[name] for name in _FROM_START} | idle,
        status=status,
        started_at=began,
        ended_at=began + timedelta(seconds=window.duration_s),
        duration_s=window.duration_s,
        components=("gpu", "cpu", "ram") if log.gpu_expected else ("cpu", "ram"),
        **_energy_fields("gpu", gpu),
        gpu_power_energy_j=gpu.cross_check_j,
        **_energy_fields("cpu", cpu),
        **_energy_fields("ram", ram),
        sample_period_s=window.period_s,
        samples=quality.samples,
        coverage=quality.coverage,
        longest_gap_s=quality.longest_gap_s,
        **{f"{kind}_tokens": tokens.get(kind) for kind in TOKEN_KINDS},
        devices=tuple(_device_entry(device, energy) for device, energy in per_device),
        meter=_meter(log, start),
        flags=(*flags, *_flags(log, quality, cpu), *_prefixed(per_device)),
        simulated=log.simulated,
        extra={**start.get("extra", {}), **parts, **(extra or {})},
    )


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
    "idle_power_w",
    "environment",
)


def _mean_power(log: SampleLog, window: Window, gpu: Energy, cpu: Energy, ram: Energy) -> float | None:
    """What the host drew at rest, over all components; `None` while one of them is not known."""
    total = _sum([energy.value_j for energy in ([gpu, cpu, ram] if log.gpu_expected else [cpu, ram])])
    return total / window.duration_s if total is not None and window.duration_s else None


def _energy_fields(component: str, energy: Energy) -> dict[str, Any]:
    return {
        f"{component}_energy_j": energy.value_j,
        f"{component}_energy_lower_j": energy.lower_j,
        f"{component}_energy_upper_j": energy.upper_j,
        f"{component}_method": energy.method,
    }


def _per_device(log: SampleLog, window: Window) -> list[tuple[dict[str, Any], Energy]]:
    ticks: dict[str, float] = {}
    for header in log.headers:
        ticks |= header.get("tick_s", {})
    found = []
    for device in log.devices:
        uuid = device["uuid"]
        points, moved = log.gpu.get(uuid, []), log.ticks.get(uuid, [])
        found.append((device, gpu_energy(points, window, device, tick_s=ticks.get(uuid), ticks=moved)))
    return found


def _sum_of_devices(log: SampleLog, energies: Sequence[Energy]) -> Energy:
    """All devices together; `None` as soon as one is not known."""
    if not log.gpu_expected or not energies:
        return Energy(value_j=None)
    methods = {energy.method for energy in energies}
    value = _sum([energy.value_j for energy in energies])
    return Energy(
        value_j=value,
        lower_j=None if value is None else _sum([energy.lower_j for energy in energies]),
        upper_j=None if value is None else _sum([energy.upper_j for energy in energies]),
        method=methods.pop() if len(methods) == 1 else "nvml_mixed",
        cross_check_j=_sum([energy.cross_check_j for energy in energies]),
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
        "power_against_counter": apart if energy.method == "nvml_counter" else None,
        "flags": [*device["flags"], *energy.flags],
    }


def _meter(log: SampleLog, start: dict[str, Any]) -> dict[str, Any]:
    """Versions and constants behind the figures."""
    ticks = {uuid: tick for header in log.headers for uuid, tick in header.get("tick_s", {}).items()}
    cpu: dict[str, Any] = next((header["cpu"] for header in log.headers if header["cpu"]), {})
    return {
        "stagemeter": start["stagemeter"],
        "disagreement_threshold": DISAGREEMENT,
        "samplers": len(log.headers),
        **({"counter_tick_s": ticks} if ticks else {}),
        **cpu,
    }


def _prefixed(per_device: Sequence[tuple[dict[str, Any], Energy]]) -> list[dict[str, str]]:
    """The devices' remarks, each naming its device."""
    remarks = []
    for device, energy in per_device:
        for remark in [*device["flags"], *energy.flags]:
            remarks.append(flag(remark["code"], f"{device['name']} ({device['uuid']}): {remark['message']}"))
    return remarks


def _flags(log: SampleLog, quality: Sampling, cpu: Energy) -> list[dict[str, str]]:
    """Remarks on the record as a whole."""
    remarks = [remark for header in log.headers[-1:] for remark in header["flags"]]
    remarks += cpu.flags
    if not log.headers:
        remarks.append(flag("no_samples", "the sampler left no log; nothing was measured"))
    if len(log.headers) > 1:
        remarks.append(flag("sampler_replaced", f"the sampler died and was replaced {len(log.headers) - 1} times"))
    if quality.coverage < LOW_COVERAGE:
        share, gap = 100 * quality.coverage, quality.longest_gap_s
        text = f"{share:.0f} % of the stage is backed by samples; the longest gap is {gap:.1f} s"
        remarks.append(flag("low_coverage", text))
    if log.damaged_lines:
        remarks.append(flag("log_damaged", f"{log.damaged_lines} lines of the sample log could not be read"))
    for uuid, pids in log.strangers.items():
        text = f"{uuid} was also used by {len(pids)} processes outside of this stage; its energy is the whole card's"
        remarks.append(flag("shared_gpu", text))
    for uuid, error in log.errors.items():
        remarks.append(flag("gpu_read_error", f"{uuid}: {error}"))
    return remarks
