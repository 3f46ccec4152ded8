"""GPU energy and power from NVML, by UUID, for the devices a stage may use.

`pynvml` is imported here and only when asked for. A host without the library, the driver or a visible
device has no GPU sensor; then no GPU energy is expected of it.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stagemeter.sensors import Device, Reading, flag

# Readings beyond this multiple of the enforced limit are no power but garbage (a 32-bit driver library has
# reported megawatts with a code of success).
SANE_MULTIPLE = 1.5
POWER_AVERAGE_S = 1.0  # what NVML documents for the average field


def gpu_nodes() -> bool:
    """Whether this host has NVIDIA device files, so that a missing NVML would be a hole and not an absence."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def select(visible: str | None, uuids: Sequence[str]) -> list[int]:
    """Indices of the devices that `CUDA_VISIBLE_DEVICES` leaves visible, by CUDA's own rules.

    `None` is every device; an empty text or -1 is none; entries are indices or UUID prefixes; CUDA ignores
    everything from the first entry it does not know. MIG entries are resolved by the caller.
    """
    if visible is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in visible.split(",")):
        index = _index_of(entry, uuids)
        if index is None or index in chosen:
            break
        chosen.append(index)
    return chosen


def _index_of(entry: str, uuids: Sequence[str]) -> int | None:
    if entry.isdecimal():
        return int(entry) if int(entry) < len(uuids) else None
    matches = [i for i, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def open_nvml(visible: str | None) -> tuple["NvmlSensor | None", str]:
    """The sensor over the visible devices, or `None` with the reason in a sentence."""
    try:
        import pynvml
    except ImportError:
        return None, "the module pynvml is not installed; install stagemeter[nvml]"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"NVML could not be opened: {error}"
    sensor = NvmlSensor(pynvml, visible)
    if not sensor.devices:
        sensor.close()
        return None, "no GPU is visible to this process (CUDA_VISIBLE_DEVICES)"
    return sensor, ""


class NvmlSensor:
    """Reads the counters of the visible devices. Made by `open_nvml`."""

    def __init__(self, nvml: Any, visible: str | None) -> None:
        self._nvml = nvml
        self._driver = str(nvml.nvmlSystemGetDriverVersion())
        self._fields = [nvml.NVML_FI_DEV_POWER_AVERAGE, nvml.NVML_FI_DEV_POWER_INSTANT]
        self._cuda = _cuda_version(self._optional(nvml.nvmlSystemGetCudaDriverVersion))
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        uuids = [str(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        names = [str(nvml.nvmlDeviceGetName(handle)) for handle in handles]
        resolved, sliced = self._resolve_mig(visible, uuids)
        chosen = select(resolved, uuids)
        self._handles = {uuids[i]: handles[i] for i in chosen}
        ambiguous = _order_is_ambiguous(visible, names, len(chosen))
        self.devices = tuple(
            self._device(i, uuids[i], names[i], handles[i], sliced=uuids[i] in sliced, ambiguous=ambiguous)
            for i in chosen
        )
        self.simulated = "simulated" in self._driver.lower() or any("simulated" in name.lower() for name in names)

    def _resolve_mig(self, visible: str | None, uuids: Sequence[str]) -> tuple[str | None, set[str]]:
        """`visible` with every MIG slice replaced by its card, once per card, and the UUIDs of those cards."""
        if visible is None or "MIG-" not in visible:
            return visible, set()
        entries: list[str] = []
        sliced: set[str] = set()
        for entry in (part.strip() for part in visible.split(",")):
            uuid = self._optional(self._parent_of, entry) if entry.startswith("MIG-") else entry
            if uuid is None:
                break
            if entry.startswith("MIG-"):
                sliced.add(uuid)
            index = _index_of(uuid, uuids)
            if index is not None and str(index) not in entries:
                entries.append(str(index))
        return ",".join(entries), sliced

    def _parent_of(self, mig_uuid: str) -> str:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByUUID(mig_uuid)
        return str(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)))

    def _device(self, index: int, uuid: str, name: str, handle: Any, *, sliced: bool, ambiguous: bool) -> Device:
        limit = self._optional(self._nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        missing = self._no_counter(name, handle)
        flags = []
        if sliced or self._optional(self._nvml.nvmlDeviceGetMigMode, handle) == [1, 1]:
            flags.append(flag("mig_parent", "the stage uses a MIG slice; the energy is that of the whole card"))
        fields = self._optional(self._nvml.nvmlDeviceGetFieldValues, handle, self._fields)
        average, instant = (None, None) if fields is None else (_field(fields[0]), _field(fields[1]))
        if missing:
            flags.append(missing)
        if ambiguous:
            flags.append(
                flag(
                    "device_order",
                    "CUDA_VISIBLE_DEVICES names indices on a host with different GPUs, where CUDA may count in another "
                    "order; set CUDA_DEVICE_ORDER=PCI_BUS_ID or name UUIDs",
                )
            )
        return Device(
            uuid=uuid,
            index=index,
            name=name,
            power_limit_w=None if limit is None else limit / 1000,
            driver=self._driver,
            cuda=self._cuda,
            has_counter=missing is None,
            has_instant=instant is not None,
            power_window_s=None if average is None else POWER_AVERAGE_S,
            scope="mig-parent" if any(f["code"] == "mig_parent" for f in flags) else "gpu",
            flags=tuple(flags),
        )

    def _no_counter(self, name: str, handle: Any) -> dict[str, str] | None:
        """Why the counter cannot be used; `None` if it can. One that only failed just now may answer the next time."""
        try:
            self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except self._nvml.NVMLError_NotSupported:
            return flag("no_counter", f"{name} has no energy counter; sampled power is integrated instead")
        except self._nvml.NVMLError_NoPermission as error:
            text = f"this user may not read the energy counter of {name} ({error}); sampled power is integrated instead"
            return flag("no_permission", text)
        except self._nvml.NVMLError:
            return None
        return None

    def _optional(self, function: Any, *arguments: Any) -> Any:
        """What `function` answers, or `None` where the device or driver does not offer it."""
        try:
            return function(*arguments)
        except self._nvml.NVMLError:
            return None

    def read(self) -> list[Reading]:
        """One reading per device; one that fell off the bus answers with `error`."""
        return [self._read(device, power=True) for device in self.devices]

    def read_fast(self) -> list[Reading]:
        """The counters and instant powers alone, as quickly as can be."""
        return [self._read(device, power=False) for device in self.devices]

    def _read(self, device: Device, *, power: bool) -> Reading:
        handle = self._handles[device.uuid]
        before = time.monotonic()
        reading = Reading(before)
        if device.has_counter:
            try:
                reading.mj = int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
            except self._nvml.NVMLError as error:
                reading.error = f"the energy counter could not be read: {error}"
            after = time.monotonic()
            reading.t, reading.doubt_s = (before + after) / 2, (after - before) / 2
        try:
            self._read_power(device, handle, reading, power=power or not device.has_counter)
        except self._nvml.NVMLError as error:
            reading.error = reading.error or f"power could not be read: {error}"
        return reading

    def _read_power(self, device: Device, handle: Any, reading: Reading, *, power: bool) -> None:
        """Average and instant power: one call where the driver offers both as fields."""
        if device.has_instant:
            average, instant = self._nvml.nvmlDeviceGetFieldValues(handle, self._fields)
            reading.inst_mw = _field(instant)
            if instant.timestamp > 0:
                reading.age_s = max(0.0, time.time() - instant.timestamp / 1e6)
            if power and _field(average) is not None:
                reading.mw = _field(average)
                return
        if power:
            reading.mw = int(self._nvml.nvmlDeviceGetPowerUsage(handle))

    def processes(self) -> dict[str, list[int]]:
        """Process ids that compute on each device now, as far as the driver says."""
        ask = self._nvml.nvmlDeviceGetComputeRunningProcesses
        found = {uuid: self._optional(ask, handle) or [] for uuid, handle in self._handles.items()}
        return {uuid: [int(process.pid) for process in processes] for uuid, processes in found.items()}

    def close(self) -> None:
        """Let go of the driver."""
        self._nvml.nvmlShutdown()


def _field(value: Any) -> int | None:
    """A power field in mW; `None` where the device does not offer it."""
    return int(value.value.uiVal) if value.nvmlReturn == 0 else None


def _cuda_version(number: int | None) -> str:
    return "" if number is None else f"{number // 1000}.{number % 1000 // 10}"


def _order_is_ambiguous(visible: str | None, names: Sequence[str], chosen: int) -> bool:
    """Indices mean what NVML means by them only where all cards are alike, all are used, or PCI order is set."""
    by_index = visible is not None and any(part.strip().isdecimal() for part in visible.split(","))
    in_pci_order = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    return by_index and not in_pci_order and len(set(names)) > 1 and chosen < len(names)
