"""Runs exported from an MLflow server as JSON: one stage per run, its metrics as scores to choose from.

Read are the answers of `runs/get` and `runs/search`, and `run.json` of mlflow-export-import, which holds the history of
each metric. Energy comes from the history of the system metrics `system/gpu_<i>_power_usage_watts`, integrated by the
trapezoid rule and split at gaps; a last value alone gives none.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from registry.importers import private
from registry.importers.findings import Findings, FoundScore, FoundStage, ImportRefused, flag, moment, number
from registry.importers.powerlog import Power, integrate
from registry.importers.source import Source
from registry.importers.tables import parse

FORMAT = "mlflow"
METHOD = "mlflow_system_metrics"
_POWER = re.compile(r"system/gpu_(\d+)_power_usage_watts")
_STATUS = {"FINISHED": "completed", "FAILED": "failed", "KILLED": "failed"}
Points = list[tuple[float, float]]  # milliseconds since 1970, value


def is_document(value: object) -> bool:
    """Whether a JSON value holds runs of MLflow."""
    return any(True for _ in _runs(value))


def read(source: Source, *, redact: bool = True) -> Findings:
    """The runs of the file. Raises `ImportRefused`."""
    return findings(list(_runs(parse(source.content(), source.name))), source.facts, redact=redact)


def findings(answers: Iterable[Any], facts: Mapping[str, Any], *, redact: bool = True) -> Findings:
    """What MLflow's own answers about runs hold; `facts` are of where they were read. Raises `ImportRefused`."""
    runs = [run for answer in answers for run in _runs(answer)]
    groups: dict[str, dict[str, Any]] = {}
    stages, scores = [], []
    for run in runs:
        info, metrics = run["info"], _histories(run)
        name = str(info.get("run_name") or info["run_id"])[:180]
        group = name if name not in groups else f"{name} ({str(info['run_id'])[:8]})"
        params = _pairs(run.get("params"))
        groups[group] = _says(params)
        stages.append(_stage(group, info, metrics, run, redact=redact))
        scores += [
            FoundScore(group=group, values={"benchmark": key[:100], "value": points[-1][1]})
            for key, points in metrics.items()
            if not key.startswith("system/") and points
        ]
    return Findings(
        format=FORMAT, groups=groups, stages=tuple(stages), scores=tuple(scores), chosen=True, source=dict(facts)
    )


def _runs(value: Any) -> Iterator[dict[str, Any]]:
    """Every run as `{"info", "params", "metrics", "tags"}`, whatever it was wrapped in."""
    if isinstance(value, list):
        for item in value:
            yield from _runs(item)
    if not isinstance(value, Mapping):
        return
    if isinstance(value.get("info"), Mapping):
        info = dict(value["info"])
        info.setdefault("run_id", info.get("run_uuid"))
        if info["run_id"]:
            data = value.get("data")
            yield {**(data if isinstance(data, Mapping) else value), "info": info}
        return
    for key in ("runs", "run", "mlflow"):
        if key in value:
            yield from _runs(value[key])


def _pairs(value: Any) -> dict[str, str]:
    """Parameters or tags: an object, or a list of keys and values."""
    if isinstance(value, Mapping):
        return {str(key): str(item) for key, item in value.items()}
    return {str(item["key"]): str(item.get("value", "")) for item in _items(value) if "key" in item}


def _histories(run: Mapping[str, Any]) -> dict[str, Points]:
    """Metric → its points in order of time."""
    found: dict[str, Points] = {}
    metrics = run.get("metrics")
    if isinstance(metrics, Mapping):
        listed = [{"key": key, **point} for key, points in metrics.items() for point in _items(points)]
        listed += [{"key": key, "value": value} for key, value in metrics.items() if number(value) is not None]
    else:
        listed = [dict(item) for item in _items(metrics)]
    for point in listed:
        value = number(point.get("value"))
        if value is not None and "key" in point:
            found.setdefault(str(point["key"]), []).append((number(point.get("timestamp")) or 0.0, value))
    return {key: sorted(points, key=lambda point: point[0]) for key, points in found.items()}


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _says(params: Mapping[str, str]) -> dict[str, Any]:
    names = {"student": ("student", "model_name_or_path", "model_name", "_name_or_path"), "teacher": ("teacher",)}
    found: dict[str, Any] = {}
    for field, keys in names.items():
        known = next((params[key] for key in keys if params.get(key)), "")
        if known:
            found[field] = private.redact(known)[:200]
    seed = params.get("seed", "")
    return found | ({"seed": int(seed)} if seed.isdecimal() and len(seed) < 19 else {})


def _stage(
    group: str, info: Mapping[str, Any], metrics: dict[str, Points], run: Mapping[str, Any], *, redact: bool
) -> FoundStage:
    start, end = number(info.get("start_time")), number(info.get("end_time"))
    if start is None:
        raise ImportRefused(f"run {str(info['run_id'])[:40]} has no start_time")
    flags = []
    if end is None:
        times = [points[-1][0] for points in metrics.values() if points]
        end = max([start, *times])
        flags.append(flag("no_end", "the run has no end; it is taken to have ended with its last metric"))
    power = {m[1]: points for key, points in metrics.items() if (m := _POWER.fullmatch(key))}
    energy, remarks = _energy(power, start / 1000, end / 1000)
    extra = {"params": _pairs(run.get("params")), "tags": _pairs(run.get("tags"))}
    run_id = str(info["run_id"])
    facts = {
        "name": group,
        "status": _STATUS.get(str(info.get("status")), "lost"),
        "started_at": moment(start / 1000),
        "ended_at": moment(end / 1000),
        "duration_s": max(0.0, (end - start) / 1000),
        "flags": [*flags, *remarks],
        "extra": {"format": FORMAT, "run_id": run_id, **(private.redact(extra) if redact else extra)},
        **energy,
    }
    return FoundStage(key=run_id, group=group, label=group, facts=facts)


def _energy(power: dict[str, Points], start_s: float, end_s: float) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """GPU energy in joules out of the power each GPU drew; `None` as soon as one has no history."""
    if not power:
        return {"components": ["gpu"], "gpu_energy_j": None}, [flag("no_power", "no system metric of power is in it")]
    found: dict[str, Power | None] = {
        index: integrate([(t / 1000, w) for t, w in points], start_s, end_s) for index, points in power.items()
    }
    devices = [{"index": index, "energy_j": None if p is None else p.energy_j} for index, p in found.items()]
    known = [p for p in found.values() if p is not None]
    facts: dict[str, Any] = {"components": ["gpu"], "devices": devices}
    if len(known) < len(found):
        lacking = ", ".join(index for index, p in found.items() if p is None)
        text = f"GPU {lacking} has no history of power, only a last value; export the metrics' history"
        return facts | {"gpu_energy_j": None}, [flag("no_history", text)]
    facts |= {
        "gpu_energy_j": sum(p.energy_j for p in known),
        "gpu_method": METHOD,
        "coverage": min(p.coverage for p in known),
        "samples": sum(p.samples for p in known),
        "sample_period_s": max(p.period_s for p in known),
        "longest_gap_s": max(p.longest_gap_s for p in known),
    }
    flags = [flag("gpu_alone", "only GPUs were metered: CPU and memory are not in its total")]
    return facts, [*flags, *(remark for p in known for remark in p.flags)][:5]
