"""GPU energy and power from NVML, by UUID, for the devices a stage may use.

`pynvml` is imported here and only when asked for. A host without the library, the driver or a visible
device has no GPU sensor; then no GPU energy is expected of it. A device that cannot be opened (it fell off the bus) is
listed as unreadable; where the stage may use it, GPU energy is expected and not known.
"""

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagemeter.sensors import Device, Reading, flag

# Readings beyond this multiple of the enforced limit are no power but garbage (a 32-bit driver library has
# reported megawatts with a code of success).
SANE_MULTIPLE = 1.5
POWER_AVERAGE_S = 1.0  # what NVML documents for the average field
AMPERE = 7  # NVML_DEVICE_ARCH_AMPERE


def gpu_nodes() -> bool:
    """Whether this host has NVIDIA device files, so that a missing NVML would be a hole and not an absence."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def select(visible: str | None, uuids: Sequence[str]) -> list[int]:
    """Indices of the devices that `CUDA_VISIBLE_DEVICES` leaves visible, by CUDA's own rules.

    `None` is every device; an empty text or -1 is none; entries are indices or UUID prefixes; CUDA ignores
    everything from the first entry it does not know. MIG entries are resolved by the caller. The UUID of a device that
    cannot be opened is empty here, and an entry that fits no other device is taken to mean it.
    """
    if visible is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in visible.split(",")):
        index = _index_of(entry, uuids, chosen)
        if index is None or index in chosen:
            break
        chosen.append(index)
    return chosen


def _index_of(entry: str, uuids: Sequence[str], chosen: Collection[int]) -> int | None:
    if entry.isdecimal():
        return int(entry) if int(entry) < len(uuids) else None
    matches = [i for i, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
    if not matches and entry.startswith(("GPU-", "MIG-")):
        return next((i for i, uuid in enumerate(uuids) if not uuid and i not in chosen), None)
    return matches[0] if len(matches) == 1 else None


def may_see_a_gpu(visible: str | None) -> bool:
    """Whether `CUDA_VISIBLE_DEVICES` may leave any device visible, as far as that can be told without the driver."""
    first = None if visible is None else visible.partition(",")[0].strip()
    return first is None or first.isdecimal() or first.startswith(("GPU-", "MIG-"))


@dataclass(frozen=True)
class Unreadable:
    """A GPU that the driver counts and would not open. `visible`: the stage may use it."""

    index: int
    reason: str
    visible: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, for the log's header."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """What NVML shows: the sensor over what is visible and can be read; without one, `reason` is the sentence why.

    `expected` is whether GPU energy is due. It is not where no device is visible.
    """

    sensor: "NvmlSensor | None" = None
    reason: str = ""
    unreadable: tuple[Unreadable, ...] = ()
    expected: bool = False
    simulated: bool = False

    @property
    def missing(self) -> tuple[Unreadable, ...]:
        """The unreadable ones that the stage may use: without them GPU energy is not known."""
        return tuple(card for card in self.unreadable if card.visible)


def open_nvml(visible: str | None) -> Gpus:
    """The sensor over the visible devices, and what could not be read. Never raises for a device or driver."""
    due = gpu_nodes() and may_see_a_gpu(visible)
    try:
        import pynvml
    except ImportError:
        return Gpus(reason="the module pynvml is not installed; install stagemeter[nvml]", expected=due)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Gpus(reason=f"NVML could not be opened: {error}", expected=due)
    try:
        sensor = NvmlSensor(pynvml, visible)
    except pynvml.NVMLError as error:
        pynvml.nvmlShutdown()
        return Gpus(reason=f"the driver would not list its GPUs: {error}", expected=due)
    lost = [card for card in sensor.unreadable if card.visible]
    if sensor.devices:
        return Gpus(sensor=sensor, unreadable=sensor.unreadable, expected=True, simulated=sensor.simulated)
    sensor.close()
    reason = "no GPU is visible to this process (CUDA_VISIBLE_DEVICES)"
    if lost:
        reason = f"GPU {lost[0].index} could not be opened: {lost[0].reason}"
    return Gpus(reason=reason, unreadable=sensor.unreadable, expected=bool(lost), simulated=sensor.simulated)


@dataclass(frozen=True)
class _Card:
    """A device that the driver counts. One that could not be opened has no UUID, no name and no handle."""

    index: int
    uuid: str = ""
    name: str = ""
    handle: Any = None
    reason: str = ""


class NvmlSensor:
    """Reads the counters of the visible devices. Made by `open_nvml`."""

    def __init__(self, nvml: Any, visible: str | None) -> None:
        self._nvml = nvml
        self._driver = str(self._optional(nvml.nvmlSystemGetDriverVersion) or "")
        self._fields = [nvml.NVML_FI_DEV_POWER_AVERAGE, nvml.NVML_FI_DEV_POWER_INSTANT]
        self._cuda = _cuda_version(self._optional(nvml.nvmlSystemGetCudaDriverVersion))
        found = [self._card(i) for i in range(nvml.nvmlDeviceGetCount())]
        cards = [card for card in found if card is not None]  # what CUDA counts
        uuids = [card.uuid for card in cards]
        resolved, sliced = self._resolve_mig(visible, uuids)
        chosen = [cards[i] for i in select(resolved, uuids)]
        readable = [card for card in chosen if not card.reason]
        doubt = _doubtful_order(visible, cards, chosen)
        self._handles = {card.uuid: card.handle for card in readable}
        self.devices = tuple(self._device(card, sliced=card.uuid in sliced, doubt=doubt) for card in readable)
        self.unreadable = tuple(Unreadable(card.index, card.reason, card in chosen) for card in cards if card.reason)
        names = [card.name.lower() for card in cards]
        self.simulated = "simulated" in self._driver.lower() or any("simulated" in name for name in names)

    def _card(self, index: int) -> _Card | None:
        """The device, or why it cannot be opened; `None` where this user may not, as then CUDA passes it over too."""
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            uuid, name = self._nvml.nvmlDeviceGetUUID(handle), self._nvml.nvmlDeviceGetName(handle)
        except self._nvml.NVMLError_NoPermission:
            return None
        except self._nvml.NVMLError as error:
            return _Card(index, reason=str(error))
        return _Card(index, str(uuid), str(name), handle)

    def _resolve_mig(self, visible: str | None, uuids: Sequence[str]) -> tuple[str | None, set[str]]:
        """`visible` with every MIG slice replaced by its card, once per card, and the UUIDs of those cards."""
        if visible is None or "MIG-" not in visible:
            return visible, set()
        entries: list[int] = []
        sliced: set[str] = set()
        for entry in (part.strip() for part in visible.split(",")):
            parent = (self._optional(self._parent_of, entry) or _named_parent(entry)) if _is_slice(entry) else None
            index = _index_of(parent or entry, uuids, entries)
            if index is None:
                break
            if parent:
                sliced.add(parent)
            if index not in entries:
                entries.append(index)
        return ",".join(str(index) for index in entries), sliced

    def _parent_of(self, mig_uuid: str) -> str:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByUUID(mig_uuid)
        return str(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)))

    def _device(self, card: _Card, *, sliced: bool, doubt: str) -> Device:
        handle, name = card.handle, card.name
        limit = self._optional(self._nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        missing = self._no_counter(name, handle)
        flags = []
        now, *_pending = self._optional(self._nvml.nvmlDeviceGetMigMode, handle) or [0]
        if sliced or now == self._nvml.NVML_DEVICE_MIG_ENABLE:
            flags.append(flag("mig_parent", "the stage uses a MIG slice; the energy is that of the whole card"))
        fields = self._optional(self._nvml.nvmlDeviceGetFieldValues, handle, self._fields)
        average, instant = (None, None) if fields is None else (_field(fields[0]), _field(fields[1]))
        if missing:
            flags.append(missing)
        if doubt:
            flags.append(flag("device_order", doubt))
        return Device(
            uuid=card.uuid,
            index=card.index,
            name=name,
            power_limit_w=None if limit is None else limit / 1000,
            driver=self._driver,
            cuda=self._cuda,
            has_counter=missing is None,
            has_instant=instant is not None,
            power_window_s=self._power_window_s(handle, average),
            scope="mig-parent" if any(f["code"] == "mig_parent" for f in flags) else "gpu",
            flags=tuple(flags),
        )

    def _power_window_s(self, handle: Any, average: float | None) -> float | None:
        """Over how long the driver's power is a mean: since Ampere a second, also where the field is not offered."""
        if average is None and (self._optional(self._nvml.nvmlDeviceGetArchitecture, handle) or AMPERE) < AMPERE:
            return None
        return POWER_AVERAGE_S

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


def _is_slice(entry: str) -> bool:
    return entry.startswith("MIG-")


def _named_parent(entry: str) -> str:
    """The card in a slice's name as drivers before R470 gave them: MIG-GPU-<uuid>/<GPU instance>/<compute instance>."""
    return entry.removeprefix("MIG-").partition("/")[0] if entry.startswith("MIG-GPU-") else ""


def _field(value: Any) -> int | None:
    """A power field in mW; `None` where the device does not offer it."""
    return int(value.value.uiVal) if value.nvmlReturn == 0 else None


def _cuda_version(number: int | None) -> str:
    return "" if number is None else f"{number // 1000}.{number % 1000 // 10}"


def _doubtful_order(visible: str | None, cards: Sequence[_Card], chosen: Sequence[_Card]) -> str:
    """Why indices may mean other cards to CUDA than to NVML; empty where they cannot.

    They mean the same where all cards are alike and open, all are used, or PCI order is set.
    """
    if visible is None or not any(part.strip().isdecimal() for part in visible.split(",")) or len(chosen) == len(cards):
        return ""
    lost = next((card for card in cards if card.reason), None)
    if lost is not None and any(card.index > lost.index for card in chosen):
        return (
            f"CUDA_VISIBLE_DEVICES names indices, and GPU {lost.index} before them could not be opened: CUDA may count "
            "without it; name UUIDs"
        )
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({card.name for card in cards if card.name}) < 2:
        return ""
    return (
        "CUDA_VISIBLE_DEVICES names indices on a host with different GPUs, where CUDA may count in another "
        "order; set CUDA_DEVICE_ORDER=PCI_BUS_ID or name UUIDs"
    )
