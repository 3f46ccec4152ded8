"""What cannot be true of a record, and what is hardly true.

The impossible is refused at the door. The implausible is kept, doubted, and kept off the frontier until somebody who
may accepts it with a reason. Every bound is generous: no device known today passes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from stagemeter.records import StageRecord

AHEAD_S = 300.0  # clocks that are synchronised at all differ by less
LATEST = timedelta(days=1)  # a stage that ends after tomorrow has not been run
OVER_LIMIT = 1.05  # of the power limit: boards overshoot for moments, not for a stage
# The most that is drawn, in watts: one GPU whose limit is not stated, a host's processors, its memory.
MOST_W = {"gpu": 3_000.0, "cpu": 5_000.0, "ram": 3_000.0, "reported": 10_000_000.0}
# The most tokens a second of one device, or of a host without any. Reading and padding is copying, the rest arithmetic.
MOST_PER_S = {"prompt": 1e8, "padding": 1e8, "generated": 2e6, "trained": 1e7, "evaluated": 1e7}
CLOCKS_S, CLOCKS_SHARE = 5.0, 0.01  # how far wall time and monotonic time may be apart


@dataclass(frozen=True)
class Doubt:
    """Why a record is hardly true: a code for programs, a sentence for people."""

    code: str
    message: str


def impossible(record: StageRecord, now: datetime) -> dict[str, str]:
    """Reasons to refuse the record, by field, beside those that the record itself knows."""
    if record.ended_at > now + LATEST:
        return {
            "ended_at": f"{record.ended_at.isoformat()} lies in the future; set the clock of the host that measured"
        }
    return {}


def doubts(record: StageRecord, now: datetime) -> tuple[Doubt, ...]:
    """Everything about the record, taken alone, that is hardly true."""
    return (*_clock(record, now), *_power(record), *_tokens(record))


def _clock(record: StageRecord, now: datetime) -> Iterable[Doubt]:
    ahead_s = (record.ended_at - now).total_seconds()
    if ahead_s > AHEAD_S:
        yield Doubt("clock_ahead", f"It ends {ahead_s:,.0f} s after it was sent: a clock is wrong.")
    wall_s = (record.ended_at - record.started_at).total_seconds()
    if record.duration_s is None:  # nobody says how long it took, as with a figure out of a table
        return
    apart_s = abs(wall_s - record.duration_s)
    if apart_s > max(CLOCKS_S, CLOCKS_SHARE * record.duration_s):
        yield Doubt(
            "clocks_disagree",
            f"It lasted {record.duration_s:,.1f} s by its own clock and {wall_s:,.1f} s from start to end.",
        )


def _power(record: StageRecord) -> Iterable[Doubt]:
    """Energy against duration times what can be drawn: E ≤ t · Σ P_limit."""
    for component in record.components:
        energy_j = getattr(record, f"{component}_energy_j")
        if energy_j is None or record.duration_s is None:
            continue
        most_w, why = _most_w(record, component)
        if energy_j > most_w * record.duration_s:
            mean = f"{energy_j / record.duration_s:,.0f} W" if record.duration_s else "no time at all"
            yield Doubt(
                "energy_above_power", f"{component} {energy_j:,.0f} J in {mean} is above {most_w:,.0f} W, {why}."
            )


def _most_w(record: StageRecord, component: str) -> tuple[float, str]:
    if component != "gpu" or not record.devices:
        return MOST_W[component] * (64 if component == "gpu" else 1), "more than any host draws"
    limits = [device.get("power_limit_w") for device in record.devices]
    known = [limit for limit in limits if isinstance(limit, int | float) and limit > 0]
    if len(known) == len(limits):
        return OVER_LIMIT * sum(known), "the power limit of its devices"
    return MOST_W["gpu"] * len(limits), "more than such devices draw"


def _tokens(record: StageRecord) -> Iterable[Doubt]:
    if record.duration_s is None:
        return
    for kind, most in MOST_PER_S.items():
        tokens = getattr(record, f"{kind}_tokens")
        most_here = most * max(len(record.devices), record.world_size, 1)
        if tokens and tokens > most_here * record.duration_s:
            yield Doubt(
                "tokens_against_time", f"{tokens:,} {kind} tokens in {record.duration_s:,.1f} s cannot be done."
            )
