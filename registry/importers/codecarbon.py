"""CodeCarbon's `emissions.csv`, 2.x and 3.x: read by header, one stage per run_id, its last row.

Energies are in kWh there. CodeCarbon multiplies them by the PUE it was given; here they are the machine's own, so that
is taken out again. Rows that were flushed under one run_id are cumulative: the last one is the whole.
"""

from datetime import datetime, timedelta
from typing import Any

from registry.accounting.units import joules
from registry.importers import private
from registry.importers.findings import (
    NO_GPU,
    ZONE,
    Findings,
    FoundStage,
    ImportRefused,
    flag,
    measured,
    naive_or_aware,
    number,
    seconds,
)
from registry.importers.source import Source
from registry.importers.tables import rows

FORMAT = "codecarbon"
COMPONENTS = ("gpu", "cpu", "ram")
_NEEDED = {"timestamp", "duration", "emissions", "energy_consumed"}
_USED = {"timestamp", "duration", "cpu_energy", "gpu_energy", "ram_energy", "run_id", "codecarbon_version"}
APART = 0.005  # components and total further apart than this are said to be


def is_one(header: set[str]) -> bool:
    """Whether a CSV file with these columns is CodeCarbon's."""
    return header >= _NEEDED


def read(source: Source, *, redact: bool = True) -> Findings:
    """The stages of the file. Raises `ImportRefused`."""
    last: dict[str, dict[str, str]] = {}
    for row in rows(source.content(), source.name):
        key = row.get("run_id", "") or "/".join(row.get(n, "") for n in ("timestamp", "project_name", "duration"))
        last[key] = row
    if not last:
        raise ImportRefused(f"{source.name} holds no rows")
    stages = tuple(_stage(key, row, redact=redact) for key, row in last.items())
    zero = any("gpu_zero" in _codes(stage) for stage in stages)
    return Findings(
        format=FORMAT,
        groups={name: {} for name in dict.fromkeys(stage.group for stage in stages)},
        stages=stages,
        questions=(ZONE, NO_GPU) if zero else (ZONE,),
        source=source.facts,
    )


def component_facts(row: dict[str, Any], pue: float = 1.0) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Components, their energies in joules and methods out of a row, and what is doubtful about them."""
    version = str(row.get("codecarbon_version", "")).strip()
    method = f"codecarbon_{str(row.get('tracking_mode', '')).strip() or 'unknown'}"
    expected = [
        c for c in COMPONENTS if c != "gpu" or measured(row.get("gpu_count")) or measured(row.get("gpu_energy"))
    ]
    facts: dict[str, Any] = {"components": expected, "meter": {"codecarbon": version}}
    flags = []
    for component in expected:
        kwh = measured(row.get(f"{component}_energy"))
        facts[f"{component}_energy_j"] = None if kwh is None else joules(kwh) / pue
        facts[f"{component}_method"] = "" if kwh is None else method
        if kwh is None:
            flags.append(flag(f"{component}_zero", f"{component} energy is 0 or empty, which is no measurement"))
    if method == "codecarbon_machine":
        flags.append(flag("whole_machine", "tracked in machine mode: what other programs used is in it"))
    return facts, flags


def _stage(key: str, row: dict[str, str], *, redact: bool) -> FoundStage:
    duration_s = seconds(row.get("duration"))
    if duration_s is None:
        raise ImportRefused(f"run {key[:60]}: {row.get('duration')!r} is no duration in seconds")
    pue = measured(row.get("pue")) or 1.0
    facts, flags = component_facts(dict(row), pue)
    if pue != 1:
        flags.append(flag("pue_taken_out", f"the file's energies hold a PUE of {pue:g}, which was divided out"))
    flags += _mismatch(row)
    ended = naive_or_aware(row["timestamp"])
    extra = {name: value for name, value in row.items() if name not in _USED and value != ""}
    facts |= {
        "started_at": (datetime.fromisoformat(ended) - timedelta(seconds=duration_s)).isoformat(),
        "ended_at": ended,
        "duration_s": duration_s,
        "environment": _environment(row),
        "flags": flags,
        "extra": {"format": FORMAT, "run_id": key, **(private.redact(extra) if redact else extra)},
    }
    return FoundStage(key=key, group=row.get("project_name", "") or FORMAT, label=_label(row, key), facts=facts)


def _label(row: dict[str, str], key: str) -> str:
    return f"{row.get('project_name') or FORMAT} {row['timestamp'][:16]} ({key[:8]})"


def _mismatch(row: dict[str, str]) -> list[dict[str, str]]:
    total = measured(row.get("energy_consumed"))
    parts = [measured(row.get(f"{component}_energy")) for component in COMPONENTS]
    known = sum(part for part in parts if part is not None)
    if total is None or abs(known - total) <= APART * total:
        return []
    return [flag("total_mismatch", f"its total of {total:g} kWh is not its components' {known:g} kWh")]


def _environment(row: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "os": row.get("os"),
        "python": row.get("python_version"),
        "cpu_model": row.get("cpu_model"),
        "cpu_threads": int(number(row.get("cpu_count")) or 0),
        "ram_gb": number(row.get("ram_total_size")),
        "country": row.get("country_iso_code"),
        "region": row.get("region"),
    }
    if row.get("gpu_model"):
        found["gpus"] = [{"name": row["gpu_model"]}]
    return {name: value for name, value in found.items() if value}


def _codes(stage: FoundStage) -> set[str]:
    return {remark["code"] for remark in stage.facts["flags"]}
