"""RunSpec: one student, one pipeline, one configuration, one workload, one seed. The paper's defaults.

`RunSpec.from_dict` is the only reader: it refuses unknown keys and bad values with a sentence per
field (dotted, such as `training.learning_rate`), so a form, the REST layer and a worker agree.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Self, get_args, get_origin, get_type_hints

from registry.accounting.stages import PIPELINES, TEACHER_REFERENCE

# log Z(T) costs a pass over logits that are there anyway, so every cache keeps it for these: one cache serves a sweep.
TEMPERATURE_GRID = (1.0, 2.0, 4.0)
# Of cached logits, and how much each keeps: 8 bits a logit (u8z is the same, compressed), half or full precision.
ENCODINGS = {"u8": 0, "u8z": 0, "fp16": 1, "fp32": 2}


class SpecError(ValueError):
    """A spec that cannot be run. `problems` maps each dotted field to a sentence."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(f"{name}: {text}" for name, text in self.problems.items()))


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model by id and revision. `drop_layers` cuts a contiguous block out of it: "10-19" drops ten layers."""

    id: str
    revision: str = "main"
    precision: str = "bf16"  # bf16 | fp32 | auto (bf16 where the processor is fast at it)
    drop_layers: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Rows by dataset id and revision, split by `split_seed`. Over-long rows are dropped and counted, never cut."""

    id: str
    revision: str = "main"
    train_rows: int = 7000
    validation_rows: int = 256
    evaluation_rows: int = 512
    split_seed: int = 0
    max_length: int = 1024  # tokens of prompt and answer together
    # Where they stand in a dataset that nobody here knows; empty: under a usual name, or in a chat's messages.
    prompt_column: str = ""
    answer_column: str = ""
    configuration: str = ""  # of a hub dataset that has several


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """Paper section 5.1. Steps are optimiser steps; `max_steps` is the global budget and the cosine's horizon."""

    optimizer: str = "adafactor"
    learning_rate: float = 5e-5
    schedule: str = "cosine"
    warmup_steps: int = 100
    batch_size: int = 4
    accumulation_steps: int = 16
    clip_norm: float = 1.0
    precision: str = "bf16"  # of the products
    weights: str = "fp32"  # fp32 | stochastic (bf16, rounded at random) | nearest (bf16, as the paper's harness)
    padding: str = "longest"  # longest (of a batch of like lengths) | max_length (as the paper's harness)
    gradient_checkpointing: str = "off"  # off | on (as the paper's harness)
    max_steps: int = 2000
    evaluate_every: int = 100
    early_stopping_delta: float = 2e-3
    early_stopping_patience: int = 3


@dataclass(frozen=True, kw_only=True)
class DistillationSpec:
    """Logit distillation: L = ce_weight·CE + (1 − ce_weight)·T²·KL. `temperatures` are asked of the cache."""

    k: int = 100
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)
    temperature: float = 1.0
    ce_weight: float = 0.5
    encoding: str = "u8"
    tail: str = "bucket"  # bucket (the rest of the vocabulary as one more token) | truncated (as the paper's harness)

    @property
    def kept_temperatures(self) -> tuple[float, ...]:
        """What a cache made for this holds: the usual grid, and whatever else is asked for."""
        return tuple(sorted({*TEMPERATURE_GRID, *self.temperatures}))


@dataclass(frozen=True, kw_only=True)
class DecodingSpec:
    """How the teacher answers. Each prompt's randomness comes from (seed, prompt digest) alone."""

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0  # 0 = no limit
    max_new_tokens: int = 512
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """The study's suite, by benchmark name."""

    suite: tuple[str, ...] = ("token_accuracy", "choice", "exact_match")


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that determines a run. Hardware is not in it: that is measured."""

    pipeline: str
    teacher: ModelSpec
    student: ModelSpec
    dataset: DatasetSpec
    training: TrainingSpec = field(default_factory=TrainingSpec)
    distillation: DistillationSpec = field(default_factory=DistillationSpec)
    decoding: DecodingSpec = field(default_factory=DecodingSpec)
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values no worker could run."""
        problems = check(self)
        if problems:
            raise SpecError(problems)

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON types; `from_dict` reads it back to an equal spec."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a spec from JSON types. Raises `SpecError` naming every bad field."""
        problems: dict[str, str] = {}
        values = _read(cls, data, "", problems)
        if problems:
            raise SpecError(problems)
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _read(cls: type, data: object, prefix: str, problems: dict[str, str]) -> dict[str, Any]:
    """Values for `cls` out of `data`, typed; each problem is put into `problems` under its dotted name."""
    if not isinstance(data, Mapping):
        problems[prefix.rstrip(".") or "spec"] = f"{data!r} is not an object"
        return {}
    hints = get_type_hints(cls)
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}
    for key in data.keys() - known.keys():
        problems[f"{prefix}{key}"] = f"unknown field; known here: {', '.join(known)}"
    values: dict[str, Any] = {}
    for name, spec_field in known.items():
        if name in data:
            values[name] = _value(hints[name], data[name], f"{prefix}{name}", problems)
        elif spec_field.default is MISSING and spec_field.default_factory is MISSING:
            problems[f"{prefix}{name}"] = "this field is required"
    return values


def _value(hint: Any, value: object, name: str, problems: dict[str, str]) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        before = len(problems)
        values = _read(hint, value, f"{name}.", problems)
        return hint(**values) if len(problems) == before else None
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            problems[name] = f"{value!r} is not a list"
            return ()
        return tuple(_scalar(get_args(hint)[0], item, name, problems) for item in value)
    return _scalar(hint, value, name, problems)


def _scalar(hint: type, value: object, name: str, problems: dict[str, str]) -> Any:
    """A float, int or str; an int stands for a float, a bool for nothing."""
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return value
    if hint is str and isinstance(value, str) and len(value) <= 200 and "\x00" not in value:
        return value
    wanted = {float: "a finite number", int: "a whole number", str: "a text of at most 200 characters"}[hint]
    problems[name] = f"{value!r} is not {wanted}"
    return None


# name → (test, what it must be). One row per rule, so that adding a field means adding a row.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "pipeline": (lambda v: v in (*PIPELINES, TEACHER_REFERENCE), f"one of {', '.join(PIPELINES)}"),
    "teacher.id": (bool, "a model id"),
    "student.id": (bool, "a model id"),
    "dataset.id": (bool, "a dataset id"),
    # Stated, never "auto": the same request must mean the same artifact on every host.
    "teacher.precision": (lambda v: v in ("bf16", "fp32"), "bf16 or fp32"),
    "student.precision": (lambda v: v in ("bf16", "fp32", "auto"), "bf16, fp32 or auto"),
    "student.drop_layers": (lambda v: layer_block(v) is not False, 'empty or a block such as "10-19"'),
    "teacher.drop_layers": (lambda v: v == "", "empty: the teacher is taken whole"),
    "dataset.train_rows": (lambda v: 1 <= v <= 10**8, "between 1 and 100,000,000"),
    "dataset.validation_rows": (lambda v: 1 <= v <= 10**6, "between 1 and 1,000,000"),
    "dataset.evaluation_rows": (lambda v: 1 <= v <= 10**6, "between 1 and 1,000,000"),
    "dataset.max_length": (lambda v: 8 <= v <= 2**20, "between 8 and 1,048,576 tokens"),
    "training.optimizer": (
        lambda v: v in ("adafactor", "adafactor_scaled", "adamw"),
        "adafactor, adafactor_scaled or adamw",
    ),
    "training.learning_rate": (lambda v: 0 < v <= 1, "above 0 and at most 1"),
    "training.schedule": (lambda v: v in ("cosine", "constant"), "cosine or constant"),
    "training.warmup_steps": (lambda v: v >= 0, "0 or more"),
    "training.batch_size": (lambda v: 1 <= v <= 4096, "between 1 and 4,096"),
    "training.accumulation_steps": (lambda v: 1 <= v <= 4096, "between 1 and 4,096"),
    "training.clip_norm": (lambda v: v > 0, "above 0"),
    "training.precision": (lambda v: v in ("bf16", "fp32", "auto"), "bf16, fp32 or auto"),
    "training.weights": (lambda v: v in ("fp32", "stochastic", "nearest"), "fp32, stochastic or nearest"),
    "training.padding": (lambda v: v in ("longest", "max_length"), "longest or max_length"),
    "training.gradient_checkpointing": (lambda v: v in ("off", "on"), "off or on"),
    "training.max_steps": (lambda v: 1 <= v <= 10**7, "between 1 and 10,000,000"),
    "training.evaluate_every": (lambda v: v >= 1, "1 or more"),
    "training.early_stopping_delta": (lambda v: v >= 0, "0 or more"),
    "training.early_stopping_patience": (lambda v: v >= 1, "1 or more"),
    "distillation.k": (lambda v: 1 <= v <= 4096, "between 1 and 4,096"),
    "distillation.temperatures": (
        lambda v: v and all(0 < t <= 100 for t in v),
        "a list of temperatures above 0 and at most 100",
    ),
    "distillation.temperature": (lambda v: 0 < v <= 100, "above 0 and at most 100"),
    "distillation.ce_weight": (lambda v: 0 <= v <= 1, "between 0 and 1"),
    "distillation.encoding": (lambda v: v in ENCODINGS, f"one of {', '.join(ENCODINGS)}"),
    "distillation.tail": (lambda v: v in ("bucket", "truncated"), "bucket or truncated"),
    "decoding.temperature": (lambda v: 0 <= v <= 10, "between 0 (greedy) and 10"),
    "decoding.top_p": (lambda v: 0 < v <= 1, "above 0 and at most 1"),
    "decoding.top_k": (lambda v: v >= 0, "0 (no limit) or more"),
    "decoding.max_new_tokens": (lambda v: 1 <= v <= 2**17, "between 1 and 131,072"),
    "decoding.seed": (lambda v: v >= 0, "0 or more"),
    "evaluation.suite": (lambda v: v and len(set(v)) == len(v), "a list of benchmarks, each named once"),
    "seed": (lambda v: v >= 0, "0 or more"),
}


def check(spec: RunSpec) -> dict[str, str]:
    """Every reason no worker could run `spec`, by dotted field; empty when there is none."""
    problems: dict[str, str] = {}
    for name, (holds, wanted) in _RULES.items():
        value: Any = spec
        for part in name.split("."):
            value = getattr(value, part)
        if not holds(value):
            problems[name] = f"{value!r} must be {wanted}"
    held = spec.distillation.kept_temperatures if not problems else ()
    if spec.pipeline == "kd" and not problems and spec.distillation.temperature not in held:
        problems["distillation.temperature"] = (
            f"{spec.distillation.temperature} is not among the temperatures the cache holds, "
            f"{list(held)}; add it to distillation.temperatures"
        )
    return problems


def layer_block(text: str) -> tuple[int, int] | bool | None:
    """First and last layer of a block such as "10-19"; `None` when empty; `False` when it is no block."""
    if not text:
        return None
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        return False
    return int(first), int(last)
