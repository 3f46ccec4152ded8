"""StageRecord: one shape in memory, on the wire and in the table.

A record says what one execution of one stage measured. It is written once and never changed; whoever
judges it later (a flag accepted, a withdrawal) writes a row beside it.

`None` means "not measured" and is never zero.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, get_type_hints

from stagemeter.errors import RecordError

SCHEMA_VERSION = 1
LARGEST_FIGURE = 1e18  # joules, watts or seconds: more than mankind burns in half a day; sums beyond overflow

COMPONENTS = ("gpu", "cpu", "ram", "reported")
ROLES = ("data", "teacher", "student", "evaluation", "prerun")
ROLE_OF_KIND: dict[str, str] = {
    "preprocess": "data",
    "teacher_generation": "teacher",
    "logit_caching": "teacher",
    "filtering": "data",
    "student_training": "student",
    "evaluation": "evaluation",
    "teacher_evaluation": "evaluation",
    "prerun": "prerun",
}
TOKEN_KINDS = ("prompt", "generated", "trained", "padding", "evaluated")
STATUSES = ("completed", "failed", "lost")


def new_record_id() -> str:
    """A UUIDv7: unique everywhere, and ordered by time."""
    from uuid6 import uuid7

    return str(uuid7())


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What one attempt at one stage measured. Energies in joules, powers in watts, times in seconds.

    `components` lists what a total needs: `("gpu", "cpu", "ram")` on a GPU host, `("cpu", "ram")`
    without one, `("reported",)` for a published figure. Use `total_energy` for the total.
    """

    record_id: str = field(default_factory=new_record_id)
    schema_version: int = SCHEMA_VERSION
    # What was metered.
    kind: str
    role: str = ""  # filled from the kind where the kind is known
    name: str = ""
    run_id: str | None = None
    attempt_id: str | None = None
    parent_id: str | None = None  # a nested part names its parent; only roots are summed
    rank: int = 0
    world_size: int = 1
    status: str = "completed"
    started_at: datetime
    ended_at: datetime
    duration_s: float | None  # by the monotonic clock; None only for a reported total that comes without one
    # Energy per component: the figure, its bounds, and how it was got.
    components: tuple[str, ...]
    gpu_energy_j: float | None = None
    gpu_energy_lower_j: float | None = None
    gpu_energy_upper_j: float | None = None
    gpu_method: str = ""  # nvml_counter | nvml_power
    gpu_power_energy_j: float | None = None  # the cross-check: sampled power, trapezoid rule
    cpu_energy_j: float | None = None
    cpu_energy_lower_j: float | None = None
    cpu_energy_upper_j: float | None = None
    cpu_method: str = ""  # codecarbon_process | rapl | tdp_estimate
    ram_energy_j: float | None = None
    ram_energy_lower_j: float | None = None
    ram_energy_upper_j: float | None = None
    ram_method: str = ""
    reported_energy_j: float | None = None
    reported_energy_lower_j: float | None = None
    reported_energy_upper_j: float | None = None
    reported_method: str = ""
    idle_power_w: float | None = None  # of the host, from its prerun
    # How well it was sampled.
    sample_period_s: float | None = None
    samples: int | None = None
    coverage: float | None = None  # share of the duration backed by samples no further apart than two periods
    longest_gap_s: float | None = None
    # Work done, by kind. Each count is of tokens.
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    trained_tokens: int | None = None
    padding_tokens: int | None = None
    evaluated_tokens: int | None = None
    tokens_nominal: bool = False  # a round figure somebody stated, not a count
    # Where and with what.
    devices: tuple[dict[str, Any], ...] = ()  # one per GPU: uuid, name, energy_j, method, flags
    environment: dict[str, Any] = field(default_factory=dict)
    meter: dict[str, Any] = field(default_factory=dict)  # versions and constants of the metering itself
    flags: tuple[dict[str, str], ...] = ()  # {"code": …, "message": one sentence}
    simulated: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be true, naming the field, the value and the way out."""
        if not self.role:
            object.__setattr__(self, "role", ROLE_OF_KIND.get(self.kind, ""))
        problems = _problems(self)
        if problems:
            raise RecordError(problems)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON types: times as ISO 8601 in UTC, tuples as lists. Nested values are the record's own."""
        data = dict(vars(self))  # `asdict` copies every nested value, which costs more than reading the record did
        data["started_at"] = self.started_at.isoformat()
        data["ended_at"] = self.ended_at.isoformat()
        for key in ("components", "devices", "flags"):
            data[key] = list(data[key])
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a record from JSON types. Unknown keys are an error; `RecordError` names each bad field."""
        if not isinstance(data, Mapping):
            raise RecordError({"record": f"{_short(data)} is not an object"})
        problems = {
            key: f"unknown field {_short(key)}; put foreign values into 'extra'" for key in data.keys() - _TYPES.keys()
        }
        required = [n for n in ("kind", "started_at", "ended_at", "duration_s", "components") if n not in data]
        problems |= dict.fromkeys(required, "this field is required")
        values = {key: value for key, value in data.items() if key in _TYPES}
        problems |= _convert(values)
        if problems:
            raise RecordError(problems)
        return cls(**values)


def total_energy(record: StageRecord) -> tuple[float | None, tuple[str, ...]]:
    """Total energy in joules over exactly the components the record expects, and the components missing.

    A total with a hole is not a total: if one expected component is `None`, the total is `None`.
    """
    missing = tuple(c for c in record.components if getattr(record, f"{c}_energy_j") is None)
    if missing:
        return None, missing
    return math.fsum(getattr(record, f"{c}_energy_j") for c in record.components), ()


_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode
_TYPES = get_type_hints(StageRecord)
_NUMBERS = tuple(n for n, t in _TYPES.items() if t in (float, float | None))
_COUNTS = tuple(n for n, t in _TYPES.items() if t in (int, int | None))
_BOUNDED = {c: (f"{c}_energy_j", f"{c}_energy_lower_j", f"{c}_energy_upper_j") for c in COMPONENTS}
_TEXTS = tuple(n for n, t in _TYPES.items() if t in (str, str | None))


def _convert(values: dict[str, Any]) -> dict[str, str]:
    """Bring JSON types into the record's types in place; return the problems by field."""
    problems: dict[str, str] = {}
    for name in ("started_at", "ended_at"):
        if name in values:
            try:
                values[name] = _time(values[name])
            except (TypeError, ValueError, OverflowError):
                problems[name] = (
                    f"{_short(values[name])} is not an ISO 8601 time with a zone, such as 2026-01-31T12:00:00Z"
                )
    for name in ("components", "devices", "flags"):
        if name in values:
            if not isinstance(values[name], list | tuple):
                problems[name] = f"{_short(values[name])} is not a list"
            else:
                values[name] = tuple(values[name])
    return problems


def _time(value: object) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment.astimezone(UTC)


def _problems(record: StageRecord) -> dict[str, str]:
    """Every reason to refuse the record, by field."""
    problems = _type_problems(record)
    if problems:
        return problems
    if record.schema_version != SCHEMA_VERSION:
        problems["schema_version"] = f"{record.schema_version} is not known here; this release writes {SCHEMA_VERSION}"
    if not record.record_id:
        problems["record_id"] = "is empty; leave the field out and one is made"
    if not record.kind:
        problems["kind"] = "a stage needs a kind, such as student_training"
    if record.role not in ROLES:
        problems["role"] = (
            f"{_short(record.kind)} is no known kind, so the record must name its role: one of {', '.join(ROLES)}"
        )
    elif ROLE_OF_KIND.get(record.kind, record.role) != record.role:
        problems["role"] = f"a {record.kind} stage has the role {ROLE_OF_KIND[record.kind]!r}, not {record.role!r}"
    if record.status not in STATUSES:
        problems["status"] = f"{_short(record.status)} is not one of {', '.join(STATUSES)}"
    if record.ended_at < record.started_at:
        problems["ended_at"] = (
            f"ends at {record.ended_at.isoformat()}, before it starts at {record.started_at.isoformat()}"
        )
    if record.duration_s is None and set(record.components) != {"reported"}:
        problems["duration_s"] = "only a reported total may come without a duration; a metered stage has one"
    return problems | _component_problems(record) | _bound_problems(record)


def _type_problems(record: StageRecord) -> dict[str, str]:
    problems = _number_problems(record) | _text_problems(record)
    for name in ("started_at", "ended_at"):
        moment = getattr(record, name)
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            problems[name] = f"{_short(moment)} is not a time with a zone, such as 2026-01-31T12:00:00Z"
    for name in ("tokens_nominal", "simulated"):
        if not isinstance(getattr(record, name), bool):
            problems[name] = f"{_short(getattr(record, name))} is not true or false"
    return problems | _json_problems(record)


def _number_problems(record: StageRecord) -> dict[str, str]:
    problems: dict[str, str] = {}
    values = vars(record)
    for name in _NUMBERS:
        value = values[name]
        if value is None:
            continue
        if not _is_number(value):
            problems[name] = f"{_short(value)} is not a finite number"
        elif value < 0:
            problems[name] = f"{_short(value)} is negative; leave the field out if it was not measured"
        elif value > LARGEST_FIGURE:
            problems[name] = f"{_short(value)} is above {LARGEST_FIGURE:g}, beyond any stage; mind the unit"
    for name in _COUNTS:
        value = values[name]
        if value is None and _TYPES[name] is not int:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            problems[name] = f"{_short(value)} is not a whole number of zero or more"
    return problems


def _text_problems(record: StageRecord) -> dict[str, str]:
    problems: dict[str, str] = {}
    values = vars(record)
    for name in _TEXTS:
        value = values[name]
        if value == "" or (value is None and _TYPES[name] is not str):
            continue
        if not isinstance(value, str) or len(value) > 500 or not _is_storable(value):
            problems[name] = f"{_short(value)} is not a text of at most 500 characters"
    return problems


def _json_problems(record: StageRecord) -> dict[str, str]:
    problems: dict[str, str] = {}
    for name in ("environment", "meter", "extra"):
        if not isinstance(getattr(record, name), dict):
            problems[name] = f"{_short(getattr(record, name))} is not an object"
    for name in ("devices", "flags"):
        if not all(isinstance(item, dict) for item in getattr(record, name)):
            problems[name] = "each item must be an object"
    if "devices" not in problems:
        problems |= _device_problems(record.devices)
    nested = {name: getattr(record, name) for name in ("environment", "meter", "extra", "devices", "flags")}
    if not problems and _is_storable(list(nested.values())):  # all in one go, as nearly every record passes
        return problems
    for name, value in nested.items():
        if name not in problems and not _is_storable(value):
            problems[name] = "holds something JSON cannot carry: NaN, an infinity, a null character or half a character"
    return problems


def _device_problems(devices: tuple[dict[str, Any], ...]) -> dict[str, str]:
    """A device's energy follows the rules of a component's: finite, not negative, `None` if not measured."""
    for device in devices:
        energy_j = device.get("energy_j")
        if energy_j is not None and not (_is_number(energy_j) and 0 <= energy_j <= LARGEST_FIGURE):
            return {"devices": f"an energy_j of {_short(energy_j)} is no number of joules from 0 to {LARGEST_FIGURE:g}"}
    return {}


def _short(value: object) -> str:
    """The value as a sentence names it; a number of ten thousand digits is not written out."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text[:80].encode("ascii", "backslashreplace").decode()


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _is_storable(value: object) -> bool:
    """Whether `value` survives as JSON in UTF-8 and in a database text."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and "\\" not in value:
        return True
    try:
        text = _encode(value)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return "\\u0000" not in text


def _component_problems(record: StageRecord) -> dict[str, str]:
    problems: dict[str, str] = {}
    unknown = [c for c in record.components if c not in COMPONENTS]
    if unknown or not record.components or len(set(record.components)) < len(record.components):
        allowed = ", ".join(COMPONENTS)
        return {"components": f"{_short(list(record.components))} must name one or more of {allowed}, each once"}
    if "reported" in record.components and len(record.components) > 1:
        problems["components"] = "a reported total stands alone; it would count the other components twice"
    for component in COMPONENTS:
        if component not in record.components and getattr(record, f"{component}_energy_j") is not None:
            problems[f"{component}_energy_j"] = f"is given, but {component!r} is not among the components"
    return problems


def _bound_problems(record: StageRecord) -> dict[str, str]:
    problems: dict[str, str] = {}
    for component in COMPONENTS:
        value, lower, upper = (getattr(record, name) for name in _BOUNDED[component])
        if lower is not None and (value is None or lower > value):
            problems[f"{component}_energy_lower_j"] = f"{lower!r} is above the figure {value!r}"
        if upper is not None and (value is None or upper < value):
            problems[f"{component}_energy_upper_j"] = f"{upper!r} is below the figure {value!r}"
    if record.coverage is not None and record.coverage > 1:
        problems["coverage"] = f"{record.coverage!r} is above 1"
    if record.parent_id == record.record_id:
        problems["parent_id"] = "a record is no part of itself, and its energy would be in no sum; leave it out"
    if record.rank >= record.world_size:
        problems["rank"] = f"{record.rank} is not below world_size {record.world_size}"
    return problems
