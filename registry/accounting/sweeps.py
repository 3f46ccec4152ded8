"""Sweeps: a spec whose settings may be lists, and the runs it stands for.

A grid looks like a spec; any setting may hold a list of values instead of one (`"temperature": [1, 2, 4]`), and a
setting that is a list itself a list of lists. It stands for every combination.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, get_origin, get_type_hints

from registry.accounting.reuse import ArtifactRequest, size
from registry.accounting.spec import DatasetSpec, RunSpec, SpecError
from registry.accounting.stages import UNREAD_BY_PIPELINE

MOST_RUNS = 500  # in one sweep


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The runs that grids stand for, in their order, each once.

    `varied`: dotted names of the settings that differ between runs. `left_out`: how many combinations differ from
    others only in what their pipeline never reads.
    """

    specs: tuple[RunSpec, ...]
    varied: tuple[str, ...]
    left_out: int = 0

    def values(self, spec: RunSpec) -> dict[str, Any]:
        """What tells one run from the others: the varied settings that its pipeline reads."""
        unread = UNREAD_BY_PIPELINE.get(spec.pipeline, ())
        return {name: value_at(spec, name) for name in self.varied if name.partition(".")[0] not in unread}


def settings_of(cls: type = RunSpec, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, type, default or MISSING) of every setting of a run spec."""
    hints = get_type_hints(cls)
    for one in fields(cls):
        hint, name = hints[one.name], f"{prefix}{one.name}"
        if is_dataclass(hint) and isinstance(hint, type):
            yield from settings_of(hint, f"{name}.")
        else:
            yield name, hint, MISSING if one.default is MISSING else one.default


def value_at(spec: RunSpec, name: str) -> Any:
    """The value of a setting by its dotted name."""
    value: Any = spec
    for part in name.split("."):
        value = getattr(value, part)
    return value


def expand(grids: Sequence[Mapping[str, Any]]) -> Sweep:
    """Every run that the grids stand for. Raises `SpecError` naming each bad setting, or that they are too many."""
    if not grids:
        raise SpecError({"grids": "give at least one grid"})
    specs: dict[tuple[Any, ...], RunSpec] = {}
    combined = 0
    for place, grid in enumerate(grids):
        where = f"grids.{place}." if len(grids) > 1 else ""
        for values in _combinations(grid, where, MOST_RUNS):
            spec = _spec(values, where)
            combined += 1
            specs.setdefault(_read_of(spec), spec)
            if len(specs) > MOST_RUNS:
                raise SpecError({"grids": f"stand for more than {MOST_RUNS} runs; submit them in parts"})
    runs = tuple(specs.values())
    varied = tuple(name for name, _, _ in settings_of() if _varies(name, runs))
    return Sweep(specs=runs, varied=varied, left_out=combined - len(runs))


def lists_of(grid: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What a grid varies: dotted name → the values it holds."""
    return dict(_lists(grid, RunSpec, ""))


def _combinations(grid: Mapping[str, Any], where: str, most: int) -> Iterator[dict[str, Any]]:
    """One nested dict of single values per combination, the last setting changing fastest."""
    if not isinstance(grid, Mapping):
        raise SpecError({where.rstrip(".") or "grids": f"{grid!r} is not an object"})
    lists = lists_of(grid)
    if empty := [name for name, values in lists.items() if not values]:
        raise SpecError({f"{where}{name}": "is an empty list; give at least one value" for name in empty})
    # Not multiplied out before it is known to be a number of runs that anybody could want.
    count = 1
    for values in lists.values():
        count *= len(values)
        if count > 20 * most:
            raise SpecError({f"{where}grids".rstrip("."): f"stand for more than {most} runs; submit them in parts"})
    for chosen in itertools.product(*lists.values()):
        yield _with(grid, dict(zip(lists, chosen, strict=True)))


def _lists(grid: Mapping[str, Any], cls: type, prefix: str) -> Iterator[tuple[str, list[Any]]]:
    """(dotted name, values) of every setting that holds several."""
    hints = get_type_hints(cls)
    for key, value in grid.items():
        hint = hints.get(key)
        if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
            yield from _lists(value, hint, f"{prefix}{key}.")
        elif isinstance(value, list | tuple) and hint is not None and not is_dataclass(hint):
            several = any(isinstance(item, list | tuple) for item in value)
            if get_origin(hint) is not tuple or several:
                yield f"{prefix}{key}", list(value)


def _with(grid: Mapping[str, Any], chosen: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
        key: chosen[f"{prefix}{key}"]
        if f"{prefix}{key}" in chosen
        else (_with(value, chosen, f"{prefix}{key}.") if isinstance(value, Mapping) else value)
        for key, value in grid.items()
    }


def _spec(values: Mapping[str, Any], where: str) -> RunSpec:
    try:
        return RunSpec.from_dict(values)
    except SpecError as error:
        raise SpecError({f"{where}{name}": text for name, text in error.problems.items()}) from error


def _read_of(spec: RunSpec) -> tuple[Any, ...]:
    """What the spec's pipeline reads: two specs that agree in it are the same run."""
    unread = UNREAD_BY_PIPELINE.get(spec.pipeline, ())
    return tuple(value_at(spec, name) for name, _, _ in settings_of() if name.partition(".")[0] not in unread)


def _varies(name: str, specs: Sequence[RunSpec]) -> bool:
    return len({value_at(spec, name) for spec in specs}) > 1


def nominal_rows(dataset: DatasetSpec) -> tuple[str, ...]:
    """Names that stand for the training rows of a dataset nobody has read yet, one each.

    Under one seed, and with as many rows held out, a training set is a prefix of every larger one; so what covers what
    can be told before a row is read.
    """
    held_out = f"{dataset.validation_rows}+{dataset.evaluation_rows} held out"
    name = f"{dataset.id}@{dataset.revision}, seed {dataset.split_seed}, {held_out}"
    return tuple(f"{name}, row {place}" for place in range(dataset.train_rows))


def largest_first(requests: Mapping[int, ArtifactRequest]) -> list[int]:
    """Keys in an order in which nothing comes before what covers it; equals keep their order.

    Whoever decides in this order makes as little as possible: what comes later is cut out of what came before.
    """
    # What covers another is as large in every respect, so an order by one respect after the other will do.
    return sorted(requests, key=lambda key: [-part for part in size(requests[key])])
