"""A Hugging Face model card: its CO2 emissions and its results. Emissions are no energy, and stay what they are."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from registry.importers import private
from registry.importers.findings import (
    Findings,
    FoundScore,
    FoundStage,
    ImportRefused,
    Question,
    flag,
    measured,
    number,
)
from registry.importers.source import Source
from registry.importers.tables import text_of
from registry.importers.zeus import ENDED

FORMAT = "model_card"
_FRONT = re.compile(r"\A\s*---\r?\n(.*?)\r?\n---\s*(?:\r?\n|\Z)", re.S)
UNIT = Question(
    name="emissions_unit",
    text="Model cards state emissions in grams; this figure looks like kilograms. Which is it?",
    choices=("g", "kg"),
)
LEAST_GRAMS = 100.0  # less than this is an hour of one GPU at most, and no training of a language model


def is_one(content: bytes) -> bool:
    """Whether a file begins with a card's front matter."""
    return content.lstrip()[:3] == b"---"


def read(source: Source, *, redact: bool = True) -> Findings:
    """What the card states. Raises `ImportRefused`."""
    card = _front_matter(text_of(source.content(), source.name), source.name)
    model = _name(card, source)
    stages = _stages(card, model, source, redact=redact)
    scores = _scores(card, model)
    if not stages and not scores:
        raise ImportRefused(f"{source.name} states neither co2_eq_emissions nor results")
    doubtful = any(remark["code"] == "unit_doubtful" for stage in stages for remark in stage.facts["flags"])
    questions = [ENDED] if stages else []
    base = card.get("base_model")
    facts = {"student": model}
    if isinstance(base, str):
        facts["student"] = base[:200]
    return Findings(
        format=FORMAT,
        groups={model: facts},
        stages=tuple(stages),
        scores=tuple(scores),
        questions=tuple([*questions, UNIT] if doubtful else questions),
        source=source.facts,
    )


def _front_matter(text: str, name: str) -> Mapping[str, Any]:
    found = _FRONT.match(text)
    if not found:
        raise ImportRefused(f"{name} has no YAML front matter between two lines of ---")
    if re.search(r"(^|[\s\[{,:-])[&*][A-Za-z0-9]", found[1]):
        raise ImportRefused(f"{name}: anchors and aliases in its front matter are not read; write the values out")
    try:
        card = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ImportRefused(f"{name}: its front matter is no YAML: {str(error)[:200]}") from error
    if not isinstance(card, dict):
        raise ImportRefused(f"{name}: its front matter is no object")
    return card


def _name(card: Mapping[str, Any], source: Source) -> str:
    index = card.get("model-index")
    first = index[0] if isinstance(index, list) and index else {}
    named = first.get("name") if isinstance(first, Mapping) else None
    return str(named or card.get("model_name") or source.name.rpartition(".")[0] or source.name)[:200]


def _stages(card: Mapping[str, Any], model: str, source: Source, *, redact: bool) -> list[FoundStage]:
    stated = card.get("co2_eq_emissions")
    details = dict(stated) if isinstance(stated, Mapping) else {"emissions": stated}
    amount = measured(details.pop("emissions", None))
    if amount is None:
        return []
    kept = {str(key): _plain(value) for key, value in details.items()}
    flags = [
        flag("emissions_alone", "the card states emissions and no energy; without the grid's factor there is none"),
        flag("duration_unknown", "the card does not say how long it took"),
    ]
    if amount < LEAST_GRAMS or "kg" in str(details.get("source", "")).lower().split():
        flags.append(flag("unit_doubtful", f"{amount:g} g is less than a training emits; some cards mean kilograms"))
    facts = {
        "name": "model card",
        "duration_s": None,
        "components": ["reported"],
        "reported_method": "model card: emissions alone",
        "flags": flags,
        "environment": {"gpus": [{"name": str(details["hardware_used"])[:200]}]} if "hardware_used" in details else {},
        "extra": {
            "format": FORMAT,
            "file_sha256": source.sha256,
            "emissions": amount,
            "duration": "not stated",
            **(private.redact(kept) if redact else kept),
        },
    }
    return [FoundStage(key=source.sha256, group=model, label="training", facts=facts)]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)[:500]


def _scores(card: Mapping[str, Any], model: str) -> list[FoundScore]:
    found = []
    for entry in _list(card.get("model-index")):
        for result in _list(entry.get("results")):
            data = result.get("dataset")
            dataset = data if isinstance(data, Mapping) else {}
            benchmark = str(dataset.get("type") or dataset.get("name") or "").rpartition("/")[2][:100]
            for metric in _list(result.get("metrics")):
                value = number(metric.get("value"))
                if benchmark and value is not None:
                    name = str(metric.get("type") or metric.get("name") or "")[:100]
                    remark = flag("stated", "stated on a card; nothing says how many rows or shots")
                    values = {"benchmark": benchmark, "metric": name, "value": value}
                    found.append(FoundScore(group=model, values=values, flags=(remark,)))
    return found


def _list(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
