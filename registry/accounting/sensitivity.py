"""What one setting does: cost and quality against it, everything else alike. Figures 4, 5 and 6 of the paper."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registry.accounting.outlook import Spot, place

# Of a spec, what is no setting: who is trained by whom, and what replicates and workloads differ in.
NO_SETTINGS = ("seed", "pipeline")
NO_GROUPS = ("student.", "teacher.", "evaluation.", "dataset.id", "dataset.revision")
MOST_CURVES = 40

Facts = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One student with everything but the setting held: (value, spot) by value. `label` says what is held apart."""

    student: str
    label: str
    points: tuple[tuple[object, Spot], ...]


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """One setting of one pipeline. Spots are placed among those of the same student and workload."""

    pipeline: str
    setting: str
    curves: tuple[Curve, ...]
    left_out: int = 0  # curves beyond what a chart can show


def sensitivities(spots: Sequence[Spot], facts: Mapping[str, Facts]) -> tuple[Sensitivity, ...]:
    """Every setting that varies within a pipeline while all others stay, as curves of two values or more.

    `facts` are the flattened settings by point; a spot without any is left out, since nobody knows what it varies.
    """
    known = [spot for spot in spots if facts.get(spot.point.key) and spot.cost is not None and spot.quality is not None]
    found = []
    for pipeline in dict.fromkeys(spot.point.pipeline for spot in known):
        here = _placed([spot for spot in known if spot.point.pipeline == pipeline])
        for setting in _varying([facts[spot.point.key] for spot in here]):
            curves = _curves(here, facts, setting)
            if curves:
                kept, left = curves[:MOST_CURVES], len(curves[MOST_CURVES:])
                found.append(Sensitivity(pipeline=pipeline, setting=setting, curves=tuple(kept), left_out=left))
    return tuple(found)


def _placed(spots: list[Spot]) -> list[Spot]:
    """Each spot's place among the settings of its own student and workload."""
    groups: dict[tuple[str, tuple[str, ...], str], list[Spot]] = {}
    for spot in spots:
        groups.setdefault((spot.point.student, spot.point.workloads, spot.point.hardware), []).append(spot)
    return [spot for group in groups.values() for spot in place(group)]


def _varying(facts: Iterable[Facts]) -> list[str]:
    values: dict[str, set[str]] = {}
    for known in facts:
        for name, value in known.items():
            if name not in NO_SETTINGS and not name.startswith(NO_GROUPS):
                values.setdefault(name, set()).add(repr(value))
    return [name for name, seen in values.items() if len(seen) > 1]


def _curves(spots: list[Spot], facts: Mapping[str, Facts], setting: str) -> list[Curve]:
    groups: dict[tuple[str, ...], list[Spot]] = {}
    for spot in spots:
        known = facts[spot.point.key]
        held = sorted(f"{n}={v!r}" for n, v in known.items() if n not in (setting, *NO_SETTINGS))
        workload = ", ".join(spot.point.workloads)
        groups.setdefault((spot.point.student, spot.point.hardware, workload, *held), []).append(spot)
    swept = [group for group in groups.values() if len({repr(facts[s.point.key].get(setting)) for s in group}) > 1]
    apart = _apart(swept, facts, setting)
    return [_curve(group, facts, setting, apart) for group in swept]


def _apart(groups: list[list[Spot]], facts: Mapping[str, Facts], setting: str) -> list[str]:
    """The other settings in which curves of one student differ; they go into the label."""
    firsts = [facts[group[0].point.key] for group in groups]
    return [name for name in _varying(firsts) if name != setting]


def _curve(group: list[Spot], facts: Mapping[str, Facts], setting: str, apart: list[str]) -> Curve:
    first = group[0].point
    held = [f"{name.rpartition('.')[2].replace('_', ' ')} {facts[first.key].get(name)}" for name in apart]
    pairs = [(facts[spot.point.key].get(setting), spot) for spot in group]
    return Curve(
        student=first.student,
        label=", ".join([first.student, *held]),
        points=tuple(sorted(pairs, key=lambda pair: _order(pair[0]))),
    )


def _order(value: object) -> tuple[int, float, str]:
    """Numbers by size before everything else by its text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (0, float(value), "")
    return (1, 0.0, str(value))
