"""Zeus: windows of GPU energy, from its CSV log or from measurements written as JSON.

The log has `start_time, window_name, elapsed_time, gpu<i>_energy…`, a measurement `time`, `gpu_energy {index: J}`,
`cpu_energy` and `dram_energy`. Windows may lie inside of each other, so those of one run may not overlap.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from registry.importers.findings import (
    ZONE,
    Findings,
    FoundStage,
    ImportRefused,
    Question,
    flag,
    measured,
    moment,
    naive_or_aware,
    number,
    seconds,
)
from registry.importers.source import Source
from registry.importers.tables import parse, rows

FORMAT = "zeus"
METHOD = "zeus"
_GPU = re.compile(r"gpu_?(\d+)_energy")
_CSV = {"start_time", "window_name", "elapsed_time"}
ENDED = Question(name="ended_at", text="The file says how long it took and not when: when did it end, with the zone?")


def is_table(header: set[str]) -> bool:
    """Whether a CSV file with these columns is a log of Zeus."""
    return header >= _CSV


def is_document(value: object) -> bool:
    """Whether a JSON value is a measurement of Zeus, or a list or an object of them."""
    found = _measurements(value)
    return bool(found) and all(isinstance(m, dict) and "time" in m and "gpu_energy" in m for m in found.values())


def read(source: Source, *, redact: bool = True) -> Findings:  # noqa: ARG001 - it names nobody
    """The windows of the file. Raises `ImportRefused`."""
    content = source.content()
    windows = _from_json(content, source) if content.lstrip()[:1] in (b"{", b"[") else _from_csv(content, source)
    if not windows:
        raise ImportRefused(f"{source.name} holds no windows")
    questions = [ENDED] if any("started_at" not in window.facts for window in windows) else []
    if any("+" not in window.facts.get("started_at", "+") for window in windows):
        questions.append(ZONE)
    return Findings(
        format=FORMAT,
        groups={source.name.rpartition(".")[0] or source.name: {}},
        stages=tuple(windows),
        questions=tuple(questions),
        exclusive=True,
        source=source.facts,
    )


def _from_csv(content: bytes, source: Source) -> list[FoundStage]:
    seen: Counter[str] = Counter()
    found = []
    for row in rows(content, source.name):
        start, name = row.get("start_time", ""), row.get("window_name", "")
        key = f"{start}/{name}/{row.get('elapsed_time', '')}"
        seen[key] += 1
        energies = {m[1]: value for column, value in row.items() if (m := _GPU.fullmatch(column))}
        cpus = {column: value for column, value in row.items() if re.fullmatch(r"cpu_?\d+_energy", column)}
        facts = _facts(row.get("elapsed_time"), energies, cpus or None, None, name)
        epoch = number(start)
        begin = moment(epoch) if epoch is not None else naive_or_aware(start)
        facts |= {"started_at": begin}
        facts["extra"] |= {name: v for name, v in row.items() if name not in _CSV and not name.endswith("_energy")}
        found.append(_window(f"{key}/{seen[key]}", name, facts, source))
    return found


def _from_json(content: bytes, source: Source) -> list[FoundStage]:
    found = []
    windows = _measurements(parse(content, source.name))
    for name, window in windows.items():
        dram = window.get("dram_energy")
        facts = _facts(window["time"], window["gpu_energy"], window.get("cpu_energy"), dram, name)
        known = ("time", "gpu_energy", "cpu_energy", "dram_energy")
        facts["extra"] |= {key: value for key, value in window.items() if key not in known}
        if len(windows) > 1:
            text = "the file does not say when: where one window lies inside of another, a sum counts twice"
            facts["flags"].append(flag("may_overlap", text))
        found.append(_window(f"{source.sha256}/{name}", name, facts, source))
    return found


def _measurements(value: Any) -> dict[str, Any]:
    """By name: a single one, a list, or an object of named ones."""
    if isinstance(value, list):
        return {f"window {number}": item for number, item in enumerate(value, 1)}
    if isinstance(value, dict):
        return {"window 1": value} if "gpu_energy" in value else value
    return {}


def _window(key: str, name: str, facts: dict[str, Any], source: Source) -> FoundStage:
    group = source.name.rpartition(".")[0] or source.name
    return FoundStage(key=key, group=group, label=name or "window", facts=facts)


def _facts(elapsed: Any, gpus: Any, cpus: Any, dram: Any, name: str) -> dict[str, Any]:
    duration_s = seconds(elapsed)
    if duration_s is None:
        raise ImportRefused(f"window {name!r}: {elapsed!r} is no time in seconds")
    flags: list[dict[str, str]] = []
    facts: dict[str, Any] = {"duration_s": duration_s, "name": name, "components": [], "extra": {"format": FORMAT}}
    for component, energies in (("gpu", gpus), ("cpu", cpus), ("ram", dram)):
        if isinstance(energies, Mapping) and energies:
            value, remarks = _sum(component, energies)
            flags += remarks
            facts["components"].append(component)
            facts |= {f"{component}_energy_j": value, f"{component}_method": METHOD if value is not None else ""}
    if not facts["components"]:
        raise ImportRefused(f"window {name!r} holds no energy")
    if facts["components"] == ["gpu"]:
        flags.append(flag("gpu_alone", "only GPUs were metered: CPU and memory are not in its total"))
    devices = (
        [{"index": index, "energy_j": measured(j)} for index, j in gpus.items()] if isinstance(gpus, Mapping) else []
    )
    return facts | {"flags": flags, "devices": devices}


def _sum(component: str, energies: Mapping[str, Any]) -> tuple[float | None, list[dict[str, str]]]:
    """Joules over all devices; `None` as soon as one has none."""
    known = {index: measured(value) for index, value in energies.items()}
    lacking = [index for index, value in known.items() if value is None]
    if lacking:
        return None, [flag(f"{component}_zero", f"{component} {', '.join(lacking)}: 0 or nothing is no measurement")]
    return sum(value for value in known.values() if value is not None), []
