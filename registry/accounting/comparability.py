"""What must be alike for energies to be compared, and what in a set of runs is not."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HARDWARE, SOFTWARE, DATASET, TEACHER = "hardware", "software", "dataset", "teacher"
# What of an environment makes energies differ: the device, its limit, and what runs on it.
_LIBRARIES = ("torch", "transformers", "accelerate", "vllm")
_LONGEST = 160


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Runs by one fingerprint, in words; more than one makes the study mixed in that. "" is not stated."""

    what: str  # hardware | software | dataset | teacher
    runs_of: Mapping[str, tuple[str, ...]]

    @property
    def mixed(self) -> bool:
        """Whether the runs differ in it."""
        return len(self.runs_of) > 1


def fingerprint(environment: Mapping[str, Any], what: str) -> str:
    """The part of a run's environment that decides whether its energy compares, as words; "" where nothing says."""
    return _WORDS[what](environment)[:_LONGEST]


def mixes(runs: Iterable[tuple[str, Mapping[str, str]]]) -> tuple[Mix, ...]:
    """(run, its fingerprints by what) → for each what, the runs by fingerprint, commonest first."""
    found: dict[str, dict[str, list[str]]] = {}
    for run, prints in runs:
        for what, words in prints.items():
            found.setdefault(what, {}).setdefault(words, []).append(run)
    return tuple(
        Mix(what=what, runs_of={w: tuple(r) for w, r in sorted(by.items(), key=lambda pair: (-len(pair[1]), pair[0]))})
        for what, by in found.items()
    )


def _hardware(environment: Mapping[str, Any]) -> str:
    gpus = environment.get("gpus")
    named = [_gpu(gpu) for gpu in gpus if isinstance(gpu, Mapping)] if isinstance(gpus, list) else []
    counted = [f"{named.count(name)} × {name}" for name in dict.fromkeys(named)]
    return " + ".join([*counted, *_texts(environment, "cpu_model")])


def _gpu(gpu: Mapping[str, Any]) -> str:
    limit = gpu.get("power_limit_w")
    name = str(gpu.get("name", "GPU"))
    return f"{name} at {limit:g} W" if isinstance(limit, int | float) else name


def _software(environment: Mapping[str, Any]) -> str:
    libraries = environment.get("libraries")
    held = libraries if isinstance(libraries, Mapping) else {}
    known = [f"{name} {held[name]}" for name in _LIBRARIES if name in held]
    python = [f"Python {text}" for text in _texts(environment, "python")]
    cuda = [f"CUDA {text}" for text in _texts(environment, "cuda")]
    return ", ".join([*known, *python, *cuda])


def _texts(environment: Mapping[str, Any], name: str) -> list[str]:
    value = environment.get(name)
    return [str(value)] if value else []


def _given(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda facts: str(facts.get(name) or "")


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    HARDWARE: _hardware,
    SOFTWARE: _software,
    DATASET: _given("dataset"),
    TEACHER: _given("teacher"),
}
