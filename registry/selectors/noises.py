"""What was drawn for studies with too many configurations for a page to wait for: kept in the cache, never stale.

The key holds the study's version, the assumptions and the figures drawn from: whatever changes them changes it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.core.cache import cache

from registry.accounting.assumptions import Assumptions
from registry.accounting.axes import Axes, Prices
from registry.accounting.outlook import Outlook
from registry.accounting.uncertainty import Interval, Noise, Sureness
from registry.models import Study
from registry.selectors.large import KEPT_FOR_S, version


def key_of(study: Study, seen: Outlook, assumed: Assumptions) -> str:
    """Names the draws over these figures under these assumptions; begins with the study's version."""
    figures = [(spot.point.key, spot.point.run_ids, spot.cost, spot.quality) for spot in seen.standing]
    told = json.dumps([study.suite, study.average_workloads, as_json(assumed), figures], sort_keys=True)
    return f"{version(study)}-{hashlib.sha256(told.encode()).hexdigest()}"


def current(study: Study, key: str) -> bool:
    """Whether the study is still what it was when the key was made."""
    return key.partition("-")[0] == version(study)


def found(study: Study, key: str) -> Noise | None:
    """What was drawn, if it has been."""
    text = cache.get(_place(study, key))
    return None if text is None else _read(json.loads(text))


def keep(study: Study, key: str, drawn: Noise) -> None:
    """Keep it for a day."""
    cache.set(_place(study, key), json.dumps(asdict(drawn)), KEPT_FOR_S)


def asked(study: Study, key: str, seconds: int) -> bool:
    """Whether somebody has asked for it within so many seconds; now somebody has."""
    return not cache.add(f"{_place(study, key)}:asked", 1, seconds)


def as_json(assumed: Assumptions) -> dict[str, Any]:
    """Assumptions as JSON types."""
    return asdict(assumed)


def from_json(given: Mapping[str, Any]) -> Assumptions:
    """Assumptions out of `as_json`."""
    lower, upper = given["reference"]
    axes = Axes(**{**given["axes"], "prices": Prices(**given["axes"]["prices"])})
    return Assumptions(**{**given, "axes": axes, "reference": (lower, upper)})


def _place(study: Study, key: str) -> str:
    return f"study:{study.pk}:noise:{key}"


def _read(kept: Mapping[str, Any]) -> Noise:
    of = {name: Sureness(**{**sure, **_intervals(sure)}) for name, sure in kept["of"].items()}
    sources, assumed, unstated = (tuple(kept[name]) for name in ("sources", "assumed", "unstated"))
    return Noise(draws=kept["draws"], sources=sources, assumed=assumed, unstated=unstated, of=of)


def _intervals(sure: Mapping[str, Any]) -> dict[str, Interval | None]:
    return {name: Interval(**sure[name]) if sure[name] else None for name in ("cost", "quality")}
