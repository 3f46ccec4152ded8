"""Where figures come from: one file per source, and the shape they share."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Device:
    """One GPU as the sampler sees it."""

    uuid: str
    index: int
    name: str
    power_limit_w: float | None = None
    driver: str = ""
    cuda: str = ""
    has_counter: bool = True
    scope: str = "gpu"  # "mig-parent": a slice was asked for, but energy is known of the whole card alone
    flags: tuple[dict[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The device as JSON types, for the log's header."""
        return {**asdict(self), "flags": list(self.flags)}


class GpuSensor(Protocol):
    """Energy counters (mJ) and power (W) of the devices a stage may use."""

    devices: tuple[Device, ...]
    simulated: bool

    def read(self) -> dict[str, dict[str, Any]]:
        """One reading per UUID: `t` (monotonic s), `mj` and `w` where they could be read, else `error`."""

    def processes(self) -> dict[str, list[int]]:
        """Process ids that compute on each device now, as far as the driver says."""

    def counters(self) -> dict[str, tuple[float, int]]:
        """The counters alone, as quickly as can be: monotonic s and mJ per UUID that has one."""

    def close(self) -> None:
        """Let go of the driver."""


def flag(code: str, message: str) -> dict[str, str]:
    """A remark on a figure: a code for programs and one sentence for people."""
    return {"code": code, "message": message}
