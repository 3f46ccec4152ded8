"""The idle baseline of a host: what it draws at rest, taken by a prerun and kept for the stages that follow.

It lies in `<spool>/hosts/<host class>.json`, one measured and one simulated. A later meter that was told no idle power
takes it from there, if it is comparable: taken on this hardware since it was started, at most seven days ago, of all
the GPUs that the stage uses, and by the same methods. Else the record says why it was not used.

Net energy is gross energy minus idle power × duration, so idle power is like for like: the GPUs at rest, and CPU and
RAM as they are booked for a process that sleeps.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from stagemeter import environment
from stagemeter.sensors import flag

MAX_AGE_DAYS = 7.0
STEADY_SPREAD = 0.1  # largest minus smallest power over the mean: up to this a host is at rest
STEADY_W = 2.0  # whatever the share
KINDS = ("measured", "simulated")


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What a host drew at rest, in watts; `None` is not measured."""

    record_id: str
    taken_at: str  # ISO 8601
    boot: str
    hardware: str
    seconds: float
    gpu_w: dict[str, float]  # by UUID
    cpu_w: float | None
    ram_w: float | None
    cpu_method: str
    ram_method: str
    spread: float | None  # of the power over parts of the time: (largest - smallest) ÷ mean
    spread_w: float | None  # None: a part had no figure
    simulated: bool

    @property
    def is_steady(self) -> bool:
        """Whether the host was at rest while it was taken, as far as known."""
        if self.spread is None or self.spread_w is None:
            return False
        return self.spread <= STEADY_SPREAD or self.spread_w <= STEADY_W

    def age_s(self, now: datetime) -> float:
        """Seconds since it was taken."""
        return (now - datetime.fromisoformat(self.taken_at)).total_seconds()

    def power_w(self, gpus: Sequence[str]) -> float | None:
        """Of CPU, RAM and these GPUs; `None` while one of them is not known."""
        parts = [self.cpu_w, self.ram_w, *(self.gpu_w.get(uuid) for uuid in gpus)]
        known = [part for part in parts if part is not None]
        return math.fsum(known) if len(known) == len(parts) else None

    @classmethod
    def from_dict(cls, data: object) -> Self | None:
        """From JSON types; `None` for what is no baseline, as an older release or another hand may have left it."""
        if not isinstance(data, Mapping) or {f.name for f in fields(cls)} - data.keys():
            return None
        try:
            found = cls(**{f.name: data[f.name] for f in fields(cls)})
            found.age_s(datetime.now(UTC))
            found.power_w(list(found.gpu_w))
            _ = found.is_steady
        except (TypeError, ValueError, AttributeError):
            return None
        return found


def save(spool_dir: Path, taken: Baseline) -> None:
    """Keep it for the stages that follow on this host."""
    from stagemeter.spool import write_json

    path = _path(spool_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {kind: asdict(found) for kind, found in stored(spool_dir).items()}
    write_json(path, kept | {KINDS[taken.simulated]: asdict(taken)})


def stored(spool_dir: Path) -> dict[str, Baseline]:
    """What is kept of this host, by kind: `measured`, `simulated`. A file that cannot be understood is none."""
    from stagemeter.errors import SpoolError
    from stagemeter.spool import read_json

    try:
        data = read_json(_path(spool_dir))
    except SpoolError:
        return {}
    found = {kind: Baseline.from_dict(data.get(kind)) for kind in KINDS}
    return {kind: baseline for kind, baseline in found.items() if baseline is not None}


def of_kind(spool_dir: Path, *, simulated: bool) -> Baseline | None:
    """The measured or the simulated one, if it is kept."""
    return stored(spool_dir).get(KINDS[simulated])


def is_usable(taken: Baseline | None, gpus: Sequence[str]) -> bool:
    """Whether it says something about a stage that begins on this machine now, with these GPUs."""
    return taken is not None and not why_stale(taken) and taken.power_w(gpus) is not None


def _path(spool_dir: Path) -> Path:
    return spool_dir / "hosts" / f"{environment.host_class()}.json"


def boot_id() -> str:
    """Names the time since this machine was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def hardware_id() -> str:
    """Names what this machine is made of, apart from its GPUs, which are known by UUID."""
    import psutil

    facts = f"{environment.cpu_model()}|{psutil.cpu_count()}|{psutil.virtual_memory().total}"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def why_stale(taken: Baseline) -> str:
    """Why it says nothing about this machine now, as the rest of a sentence; empty if it does."""
    if taken.hardware != hardware_id():
        return "was taken on other hardware"
    if taken.boot != boot_id():
        return "was taken before this machine was last started"
    days = taken.age_s(datetime.now(UTC)) / 86_400
    if not -1 < days <= MAX_AGE_DAYS:
        return f"is {days:.0f} days old, and up to {MAX_AGE_DAYS:.0f} are believed"
    return ""


def for_start(spool_dir: Path) -> dict[str, Any]:
    """What a stage that begins now has to keep: the baselines, and why one cannot be used."""
    found = stored(spool_dir)
    return {kind: {**asdict(baseline), "stale": why_stale(baseline)} for kind, baseline in found.items()}


@dataclass(frozen=True, kw_only=True)
class Idle:
    """The idle power of a stage in watts, where it is from, and remarks."""

    power_w: float | None = None
    meter: dict[str, Any] | None = None
    flags: tuple[dict[str, str], ...] = ()


def resolve(
    kept: Mapping[str, Any], *, began: datetime, gpus: Sequence[str], methods: Mapping[str, str], simulated: bool
) -> Idle:
    """The idle power of a stage that began with `kept` (see `for_start`) and used these GPUs.

    `methods` are those by which its `cpu` and `ram` were got; an empty one says that they were not.
    """
    entry = kept.get(KINDS[simulated])
    taken = Baseline.from_dict(entry)
    if taken is None or entry is None:
        return Idle()
    problem = str(entry.get("stale") or "") or _why_not_comparable(taken, gpus, methods)
    if problem:
        text = f"the stored idle baseline {problem}; no net energy is given. Run `stagemeter prerun` again"
        return Idle(flags=(flag("baseline_unused", text),))
    facts: dict[str, Any] = {
        "prerun": taken.record_id,
        "taken_at": taken.taken_at,
        "age_s": round(taken.age_s(began), 1),
    }
    facts["spread"] = None if taken.spread is None else round(taken.spread, 4)
    remarks = () if taken.is_steady else (flag("baseline_unsteady", _why_unsteady(taken)),)
    return Idle(power_w=taken.power_w(gpus), meter={"idle": facts}, flags=remarks)


def _why_unsteady(taken: Baseline) -> str:
    if taken.spread_w is None:
        return "how steady idle power was is not known, as parts of the rest had no figure; so net energy is uncertain"
    return (
        f"the host was not at rest: its idle power varied by {taken.spread_w:.1f} W, and net energy is that uncertain"
    )


def _why_not_comparable(taken: Baseline, gpus: Sequence[str], methods: Mapping[str, str]) -> str:
    """Why it says nothing about a stage on these GPUs by these methods; empty if it does."""
    unknown = [uuid for uuid in gpus if uuid not in taken.gpu_w]
    if unknown:
        return f"does not cover the GPU {unknown[0]}"
    for component, method in methods.items():
        other = getattr(taken, f"{component}_method")
        if method and method != other:
            return f"has its {component.upper()} power by {other or 'no method'}, and this stage by {method}"
    return "" if taken.power_w(gpus) is not None else "has no CPU or no RAM power"
