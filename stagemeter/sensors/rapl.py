"""The processor's own energy registers (RAPL), one reading per zone, from Linux's powercap files.

A zone is a part of the processor with a register that counts microjoules up to `max_energy_range_uj` and then begins
again. Read here are

- `package-N`: a whole processor, cores, caches and graphics included,
- `package-N/dram`: the memory that belongs to it, where the processor meters it.

Not read, because it would count twice: `core` and `uncore` lie inside their package, `psys` is the whole board with
the packages in it, `intel-rapl-mmio` shows a package a second time, and on some processors the dies of one package
all show the register of the whole (recognised by equal readings). Since 2020 the files belong to root alone.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POWERCAP = "/sys/class/powercap"
# More than any zone draws: the largest server processors take 500 W, and short peaks of them a little over twice that.
# It tells a register that began again from one that was reset, and says how long a gap may be to count its turns.
CEILING_W = 1200.0
# Zones are read one after the other, so that two views of one register differ by what it counted in between.
SAME_UJ = 1_000_000


@dataclass(frozen=True, slots=True)
class Zone:
    """One register."""

    name: str
    kind: str  # package | dram
    path: Path
    range_uj: int

    @property
    def wraps_after_s(self) -> float:
        """How long it takes to come round at the highest power thinkable."""
        return self.range_uj / 1e6 / CEILING_W


class RaplSensor:
    """Reads the zones that count. Made by `open_rapl`."""

    def __init__(self, zones: list[Zone], facts: dict[str, Any]) -> None:
        self._zones, self.facts = zones, facts

    def read(self) -> dict[str, int]:
        """Microjoules by zone; one that cannot be read now is missing."""
        found = {zone.name: _number(zone.path / "energy_uj") for zone in self._zones}
        return {name: value for name, value in found.items() if isinstance(value, int)}


def open_rapl() -> RaplSensor | None:
    """The sensor, or `None` where no zone can be read; `rapl_facts` says why."""
    zones, facts = _look()
    return RaplSensor(zones, facts) if zones else None


def rapl_facts() -> dict[str, Any]:
    """Which zones there are, which of them count, and why the others do not."""
    return _look()[1]


def _look() -> tuple[list[Zone], dict[str, Any]]:
    zones: dict[str, Zone] = {}
    unreadable: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, kind, path in _found():
        if kind not in ("package", "dram"):
            left_out[name] = _WHY_NOT[kind]
            continue
        if name in zones:
            left_out[f"{name} ({path.name})"] = "shows the same zone a second time"
            continue
        energy, span = _number(path / "energy_uj"), _number(path / "max_energy_range_uj")
        problem = energy if isinstance(energy, str) else span if isinstance(span, str) else ""
        if problem or span == 0:
            unreadable[name] = problem or "gives no range"
        else:
            zones[name] = Zone(name, kind, path, int(span))
            unreadable.pop(name, None)
    _drop_mirrors(zones, left_out)
    facts = {
        "zones": {zone.name: {"kind": zone.kind, "range_uj": zone.range_uj} for zone in zones.values()},
        "unreadable": unreadable,
        "left_out": left_out,
        "ceiling_w": CEILING_W,
    }
    return list(zones.values()), facts


_WHY_NOT = {
    "psys": "the whole board, packages included",
    "part": "lies inside its package",
    "other": "is not known here",
}


def _found() -> Iterator[tuple[str, str, Path]]:
    """Name, kind and folder of every zone, registers of the processor itself before their copies."""
    root = Path(os.environ.get("STAGEMETER_POWERCAP", POWERCAP))
    paths = sorted(root.glob("intel-rapl*:*"), key=lambda path: ("mmio" in path.name, path.name))
    names = {path.name: _text(path / "name") for path in paths}
    for path in paths:
        name = names[path.name]
        parent = names.get(path.name.rpartition(":")[0], "")
        yield f"{parent}/{name}" if parent else name, _kind(name), path


def _kind(name: str) -> str:
    if name.startswith("package"):
        return "package"
    return {"dram": "dram", "psys": "psys", "core": "part", "uncore": "part"}.get(name, "other")


def _drop_mirrors(zones: dict[str, Zone], left_out: dict[str, str]) -> None:
    """Leave out zones that show another one's register."""
    seen: list[tuple[str, str, int]] = []
    for zone in list(zones.values()):
        value = _number(zone.path / "energy_uj")
        if not isinstance(value, int) or value == 0:
            continue
        twin = next((name for name, kind, uj in seen if kind == zone.kind and abs(uj - value) <= SAME_UJ), None)
        if twin is None:
            seen.append((zone.name, zone.kind, value))
        else:
            left_out[zone.name] = f"shows the register of {twin}"
            del zones[zone.name]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | str:
    """The number in the file, or why there is none."""
    try:
        return int(path.read_text())
    except PermissionError:
        return "may not be read by this user"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        return "holds no number"
