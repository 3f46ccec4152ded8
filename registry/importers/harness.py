"""The run folders of the paper's harness (StellarLuminosity/Energy), packed as zip or tar.

Folders get renamed by hand, so a file is known by what stands in it. Of one stage (its id and start) the final record
is taken, else the one in the summary, else the snapshot with the largest step, else the power log, integrated anew.
Snapshots are cumulative and never added up. Which stage it was, and of which pipeline, its names do not say.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from registry.accounting.units import joules
from registry.importers import private
from registry.importers.findings import (
    NO_GPU,
    Findings,
    FoundStage,
    ImportRefused,
    count,
    flag,
    measured,
    moment,
    number,
)
from registry.importers.powerlog import ENOUGH, Power, integrate
from registry.importers.source import Member, Source
from registry.importers.tables import parse, rows

FORMAT = "paper_harness"
WANTED = (".json", ".csv", ".csv.bak", ".bak")
APART = 0.005
_STEP = re.compile(r"__step_(\d+)\.json$")
# Fields that a record has a place for; every other one is kept in its `extra`.
_USED = {
    "start_time",
    "end_time",
    "duration_seconds",
    "tokens_processed",
    "gpu_energy_joules",
    "gpu_power_samples",
    "cpu_energy_joules",
    "nvml_poll_interval_ms",
}


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """One JSON record of a stage, from wherever it stood. `rank`: 0 final, 1 summary, 2 snapshot."""

    rank: int
    step: int
    folder: str
    path: str
    sha256: str
    values: dict[str, Any]
    samples: int | None


@dataclass
class _Tree:
    """What the archive held, by what it was."""

    readings: dict[tuple[str, float], list[_Reading]] = field(default_factory=dict)
    logs: dict[str, "array[float]"] = field(default_factory=dict)  # folder → seconds and watts in turn
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)  # folder of the run → its id
    tracked: set[str] = field(default_factory=set)  # stages that CodeCarbon has a row of
    flags: list[dict[str, str]] = field(default_factory=list)


def read(source: Source, *, redact: bool = True) -> Findings:
    """The stages of every run folder in the archive. Raises `ImportRefused`."""
    tree = _Tree()
    for member in source.members(WANTED):
        _take(member, tree)
    stages = [_stage(key, found, tree, redact=redact) for key, found in tree.readings.items()]
    claimed = {reading.folder for found in tree.readings.values() for reading in found}
    stages += [
        stage for folder in tree.logs if folder not in claimed and (stage := _from_log(folder, tree)) is not None
    ]
    if not stages:
        raise ImportRefused(f"{source.name} holds no stage records of the harness, no snapshots and no power logs")
    lost = sorted(tree.tracked - {stage.label for stage in stages})
    tree.flags += [
        flag("no_stage_record", f"CodeCarbon has a row of {name!r}, and no stage record has") for name in lost
    ]
    zero = any(remark["code"] == "gpu_zero" for stage in stages for remark in stage.facts["flags"])
    return Findings(
        format=FORMAT,
        groups={name: {} for name in dict.fromkeys(stage.group for stage in stages)},
        stages=tuple(stages),
        questions=(NO_GPU,) if zero else (),
        flags=tuple(tree.flags[:50]),
        source=source.facts,
    )


def _take(member: Member, tree: _Tree) -> None:
    path = PurePosixPath(member.path)
    try:
        if path.name == "power_log.csv":
            tree.logs[str(path.parent)] = _power(member)
        elif ".csv" in path.name and path.name.startswith("emissions"):
            tree.tracked |= {row["project_name"] for row in rows(member.content, path.name) if row.get("project_name")}
        elif path.suffix == ".json":
            _take_json(parse(member.content, path.name), path, member, tree)
    except ImportRefused as error:  # a crash leaves half a file; the others still hold
        tree.flags.append(flag("unreadable", f"{member.path[-120:]}: {error}"))


def _take_json(value: Any, path: PurePosixPath, member: Member, tree: _Tree) -> None:
    if not isinstance(value, dict):
        return
    folder = str(path.parent)
    if isinstance(value.get("stages"), dict) and "experiment_id" in value:
        run = _run_folder(folder)
        tree.experiments.setdefault(run, str(value["experiment_id"])[:180])
        for stage in value["stages"].values():
            if isinstance(stage, dict):
                _add(stage, 1, folder, member, tree)
    elif "stage_id" in value and "gpu_energy_joules" in value:
        _add(value, 2 if value.get("snapshot") or _STEP.search(path.name) else 0, folder, member, tree)
    elif isinstance(value.get("git_info"), dict):
        tree.environments[folder] = value


def _add(value: dict[str, Any], rank: int, folder: str, member: Member, tree: _Tree) -> None:
    start = number(value.get("start_time"))
    if start is None or start <= 0:
        tree.flags.append(flag("no_start", f"{member.path[-120:]}: a stage without a start_time"))
        return
    named = _STEP.search(member.path)
    step = number(value.get("snapshot_step"))
    samples = value.get("gpu_power_samples")
    reading = _Reading(
        rank=rank,
        step=int(step) if step is not None else int(named[1]) if named else -1,
        folder=_run_folder(folder) if rank == 1 else folder,
        path=member.path,
        sha256=member.sha256,
        values={key: item for key, item in value.items() if key != "gpu_power_samples"},
        samples=len(samples) if isinstance(samples, list) and samples else None,
    )
    found = tree.readings.setdefault((str(value.get("stage_id", ""))[:200], start), [])
    if (rank, member.sha256) not in {(other.rank, other.sha256) for other in found}:
        found.append(reading)


def _power(member: Member) -> "array[float]":
    """Seconds and watts of all GPUs in turn. A row without a total is the sum of its columns, if none is empty."""
    found = array("d")
    for row in rows(member.content, member.path, most=None):
        t, watts = number(row.get("timestamp")), number(row.get("total_power_w"))
        if watts is None:
            parts = [number(value) for name, value in row.items() if re.fullmatch(r"gpu_\d+_power_w", name)]
            watts = sum(p for p in parts if p is not None) if parts and None not in parts else None
        if t is not None and watts is not None:
            found.extend((t, watts))
    return found


def _run_folder(folder: str) -> str:
    """The run's own folder: what lies above `stages` or `codecarbon`."""
    parts = PurePosixPath(folder).parts
    for name in ("stages", "codecarbon"):
        if name in parts:
            return str(PurePosixPath(*parts[: parts.index(name)]))
    return folder


def _stage(key: tuple[str, float], found: list[_Reading], tree: _Tree, *, redact: bool) -> FoundStage:
    ended = [reading for reading in found if (number(reading.values.get("end_time")) or 0) >= key[1]]
    best = min(ended or found, key=lambda reading: (reading.rank, -reading.step))
    snapshots = [reading for reading in found if reading.rank == 2]
    start = key[1]
    end = max(number(best.values.get("end_time")) or 0.0, start)
    log = _log_of(found, tree)
    power = integrate(_pairs(log), start, end) if log and end > start else None
    environment = _environment_of(found, tree)
    energy, flags = _energy(best, power, snapshots)
    flags += _doubts(best, environment, end > start)
    sampling = _sampling(best, power, end - start)
    coverage = sampling.get("coverage")
    if coverage is not None and coverage < ENOUGH:
        flags.append(flag("low_coverage", f"{coverage:.1%} of it is backed by samples; the harness bridged the rest"))
    run = _run_folder(best.folder)
    extra = {name: value for name, value in best.values.items() if name not in _USED}
    facts = {
        "name": key[0],
        "started_at": moment(start),
        "ended_at": moment(end),
        "duration_s": end - start,
        "status": "completed" if best.rank < 2 and end > start else "lost",
        "tokens": count(best.values.get("tokens_processed")),
        "environment": _environment(environment, redact=redact),
        "flags": flags,
        "extra": {
            "format": FORMAT,
            "file": PurePosixPath(best.path).name[:200],
            "file_sha256": best.sha256,
            **(private.redact(extra) if redact else extra),
        },
        **energy,
        **sampling,
    }
    return FoundStage(key=f"{key[0]}/{start!r}", group=_group(run, tree), label=key[0], facts=facts)


def _group(run: str, tree: _Tree) -> str:
    return tree.experiments.get(run) or PurePosixPath(run).name or "run"


def _log_of(found: list[_Reading], tree: _Tree) -> "array[float] | None":
    return next((tree.logs[reading.folder] for reading in found if reading.folder in tree.logs), None)


def _pairs(log: "array[float]") -> Iterator[tuple[float, float]]:
    return zip(log[::2], log[1::2], strict=True)


def _environment_of(found: list[_Reading], tree: _Tree) -> dict[str, Any]:
    for reading in found:
        for folder in (reading.folder, _run_folder(reading.folder)):
            if folder in tree.environments:
                return tree.environments[folder]
    return {}


def _energy(
    best: _Reading, power: Power | None, snapshots: list[_Reading]
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    values, flags = best.values, []
    gpu, cpu = measured(values.get("gpu_energy_joules")), measured(values.get("cpu_energy_joules"))
    if gpu is None:
        text = "GPU energy 0 beside CPU energy" if cpu is not None else "GPU energy 0"
        flags.append(flag("gpu_zero", f"{text}: a host without NVML, or without a GPU, writes that"))
    if cpu is None:
        flags.append(flag("cpu_zero", "CPU energy 0 is no measurement"))
    total = measured(values.get("total_energy_joules"))
    known = (gpu or 0.0) + (cpu or 0.0)
    if total is not None and abs(total - known) > APART * total:
        flags.append(flag("total_mismatch", f"its total of {total:.0f} J is not its GPU and CPU energy, {known:.0f} J"))
    if best.rank == 2 and cpu is not None and _stale(cpu, snapshots):
        text = f"several snapshots hold the same CPU energy, {cpu:.0f} J: it is an earlier reading, and left out"
        flags.append(flag("cpu_stale", text))
        cpu = None
    facts: dict[str, Any] = {"components": ["gpu", "cpu"], "gpu_energy_j": gpu, "cpu_energy_j": cpu}
    if gpu is not None:
        facts["gpu_method"] = "nvml_power"
    if gpu is not None and power is not None:
        facts |= {"gpu_power_energy_j": power.energy_j, "gpu_energy_lower_j": min(gpu, power.energy_j)}
    if cpu is not None:
        facts["cpu_method"] = _cpu_method(values, cpu)
        if facts["cpu_method"] == "rapl":
            flags.append(flag("rapl_wraps", "RAPL was read twice a stage: a register that wrapped twice is too low"))
    return facts, flags


def _stale(cpu: float, snapshots: list[_Reading]) -> bool:
    return sum(number(reading.values.get("cpu_energy_joules")) == cpu for reading in snapshots) > 1


def _cpu_method(values: Mapping[str, Any], cpu_j: float) -> str:
    """CodeCarbon's, where the figure is its; the harness prefers the processor's registers."""
    kwh = measured(values.get("codecarbon_cpu_energy_kwh"))
    return "codecarbon_process" if kwh is not None and abs(joules(kwh) - cpu_j) <= 1e-6 * cpu_j else "rapl"


def _doubts(best: _Reading, environment: Mapping[str, Any], ended: bool) -> list[dict[str, str]]:
    flags = []
    if best.rank == 2:
        text = f"no end record: this is the snapshot of step {best.step}" if best.step >= 0 else "no end record"
        flags.append(flag("partial", f"{text}; what came after it is missing"))
    elif not ended:
        flags.append(flag("partial", "no end record: its end_time was never written"))
    tokens = count(best.values.get("tokens_processed"))
    text = "tokens 0: nobody counted them" if tokens is None else "its token count holds padding too"
    flags.append(flag("tokens_zero" if tokens is None else "pads_counted", text))
    git = environment.get("git_info")
    if isinstance(git, Mapping) and git.get("is_dirty"):
        flags.append(flag("dirty_git", "the code had changes that no commit holds"))
    return flags


def _sampling(best: _Reading, power: Power | None, duration_s: float) -> dict[str, Any]:
    """Coverage by the log, else by the number of samples that the record holds."""
    period_ms = measured(best.values.get("nvml_poll_interval_ms"))
    facts: dict[str, Any] = {"sample_period_s": period_ms / 1000 if period_ms else None}
    if power is not None:
        return facts | {
            "samples": power.samples,
            "coverage": power.coverage,
            "longest_gap_s": power.longest_gap_s,
        }
    if best.samples and period_ms and duration_s > 0:
        facts |= {"samples": best.samples, "coverage": min(1.0, best.samples * period_ms / 1000 / duration_s)}
    return facts


def _environment(found: Mapping[str, Any], *, redact: bool) -> dict[str, Any]:
    def part(name: str) -> Mapping[str, Any]:
        return value if isinstance(value := found.get(name), Mapping) else {}

    cpu, software, git, memory = part("cpu"), part("software"), part("git_info"), part("memory")
    gpus = found.get("gpus")
    listed = [gpu for gpu in gpus if isinstance(gpu, Mapping)] if isinstance(gpus, list) else []
    values = {
        "cpu_model": cpu.get("brand"),
        "cpu_threads": cpu.get("logical_cores"),
        "ram_gb": memory.get("total_gb"),
        "python": software.get("python_version"),
        "kernel": software.get("os_version"),
        "driver": next((gpu.get("driver_version") for gpu in listed), None),
        "cuda": next((gpu.get("cuda_version") for gpu in listed), None),
        "gpus": [{"name": gpu.get("name"), "power_limit_w": number(gpu.get("power_limit_watts"))} for gpu in listed],
        "libraries": {
            name: software[f"{key}_version"]
            for name, key in (("torch", "pytorch"), ("transformers", "transformers"))
            if software.get(f"{key}_version")
        },
        "git": {"commit": git.get("commit_hash"), "dirty": git.get("is_dirty")} if git else None,
    }
    kept = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    if not redact and found.get("hostname"):
        kept["host"] = str(found["hostname"])
    return kept


def _from_log(folder: str, tree: _Tree) -> FoundStage | None:
    """A stage of which nothing but its power log is left: GPU alone, and what lies in gaps is in no sum."""
    power = integrate(_pairs(tree.logs[folder]))
    if power is None:
        return None
    name = PurePosixPath(folder).name
    facts = {
        "name": name,
        "started_at": moment(power.started_s),
        "ended_at": moment(power.ended_s),
        "duration_s": power.ended_s - power.started_s,
        "status": "lost",
        "components": ["gpu", "cpu"],
        "gpu_energy_j": power.energy_j,
        "gpu_energy_lower_j": power.energy_j,
        "gpu_method": "nvml_power",
        "gpu_power_energy_j": power.energy_j,
        "cpu_energy_j": None,
        "samples": power.samples,
        "sample_period_s": power.period_s,
        "coverage": power.coverage,
        "longest_gap_s": power.longest_gap_s,
        "environment": {},
        "flags": [
            flag("partial", "no end record: integrated anew from its power log, GPUs alone, split at gaps"),
            *power.flags,
        ],
        "extra": {"format": FORMAT, "file": "power_log.csv"},
    }
    return FoundStage(
        key=f"{name}/power_log/{power.started_s!r}", group=_group(_run_folder(folder), tree), label=name, facts=facts
    )
