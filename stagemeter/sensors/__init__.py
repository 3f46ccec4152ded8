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
    has_instant: bool = False
    power_window_s: float | None = None  # over how long the driver averages power, where it says that it does
    scope: str = "gpu"  # "mig-parent": a slice was asked for, but energy is known of the whole card alone
    flags: tuple[dict[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The device as JSON types, for the log's header."""
        return {**asdict(self), "flags": list(self.flags)}


@dataclass(slots=True)
class Reading:
    """One reading of one GPU: monotonic second, counter in mJ, powers in mW; `None` where one could not be read.

    `doubt_s` is half the time that the counter's read took, `age_s` how old the driver says its instant power is.
    """

    t: float
    doubt_s: float = 0.0
    mj: int | None = None
    mw: int | None = None
    inst_mw: int | None = None
    age_s: float = 0.0
    error: str = ""

    def to_list(self, since: float) -> list[Any]:
        """The reading as a line of the log holds it, with times in µs relative to `since`."""
        offset, doubt, age = (round(1e6 * seconds) for seconds in (self.t - since, self.doubt_s, self.age_s))
        return [offset, doubt, self.mj, self.mw, self.inst_mw, age, *([self.error] if self.error else [])]


class GpuSensor(Protocol):
    """Energy counters and power of the devices a stage may use."""

    devices: tuple[Device, ...]
    simulated: bool

    def read(self) -> list[Reading]:
        """One reading per device, in order."""

    def read_fast(self) -> list[Reading]:
        """The counters and instant powers alone, as quickly as can be."""

    def processes(self) -> dict[str, list[int]]:
        """Process ids that compute on each device now, by UUID, as far as the driver says."""

    def close(self) -> None:
        """Let go of the driver."""


def flag(code: str, message: str) -> dict[str, str]:
    """A remark on a figure: a code for programs and one sentence for people."""
    return {"code": code, "message": message}
