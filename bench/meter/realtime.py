"""How far off the energy of a short block is, in real time: the meter as it is, beside the peers as they are.

    python -m bench.meter.realtime [--quick] [--free] [--period 0.02]

A `Meter`, a `ZeusMonitor`, a CodeCarbon tracker (started and stopped around each block, in process mode) and the
paper's half-second rule (from the meter's own log, by `integrate.power_energy`, so with both edges) each do blocks of
0.2, 1, 5 and 20 s on a simulated host. Its cards draw the same wave, each at another phase, so that a block gives one
figure for each. A meter's truth is the exact integral of the wave between the two seconds its own block began and ended
at; the bounds are held against the record's own window, which is some microseconds wider. CodeCarbon gives one sum for
all cards, so it sees one card. Short blocks are done by one meter at a time, long ones by all of them at once.

As in the virtual bench waves begin on a tick; `--free` shifts them at random against the ticks.
"""

import argparse
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.meter import report
from bench.meter.host import OURS, Answer, Host, Program, host, peer, waveform
from stagemeter.simulation import Waveform

LENGTHS_S = (0.2, 1.0, 5.0, 20.0)
BLOCKS = {0.2: 12, 1.0: 8, 5.0: 3, 20.0: 1}
QUICK_BLOCKS = {0.2: 2, 1.0: 1}
TOGETHER_FROM_S = 5.0
CARDS = 4
TICK_S = 0.1
WAVES = ("square", "burst10", "ramps")
PROFILES = ("hopper", "ideal")
WANTED = {
    ("hopper", "square"): (27, 3.3, 0.7, 0.05),
    ("hopper", "burst10"): (None, None, None, None),
    ("hopper", "ramps"): (None, None, None, None),
}
EXACT_MAX = 0.3  # % at 0.2 s with a counter that has no ticks
PAPER = "paper"


@dataclass
class Errors:
    """What one method said of blocks of one length, in % of the truth."""

    values: list[float] = field(default_factory=list)
    bounded: int = 0
    covered: int = 0
    failed: int = 0

    def add(self, truth_j: float, value_j: float | None) -> None:
        """One figure."""
        if value_j is None:
            self.failed += 1
        else:
            self.values.append(100 * (value_j / truth_j - 1))

    def bound(self, truth_j: float, lower_j: float | None, upper_j: float | None) -> None:
        """The bounds of one figure."""
        if lower_j is not None and upper_j is not None:
            self.bounded += 1
            self.covered += lower_j <= truth_j <= upper_j

    def row(self) -> dict[str, Any] | None:
        """The figures; `None` without any."""
        if not self.values:
            return None
        size = np.abs(self.values)
        middle, p95 = (float(x) for x in np.percentile(size, (50, 95)))
        return {
            "figures": len(self.values),
            "median": middle,
            "p95": p95,
            "max": float(size.max()),
            "bounded": self.bounded,
            "covered": self.covered,
            "failed": self.failed,
        }


Table = dict[tuple[str, float], Errors]  # by method and length


def phases(period_s: float, count: int, *, free: bool, rng: random.Random) -> tuple[float, ...]:
    """How far ahead each card is in the wave: whole ticks, or anything."""
    if free:
        return tuple(rng.uniform(0, period_s) for _ in range(count))
    whole = list(range(int(period_s / TICK_S)))
    return tuple(TICK_S * rng.choice(whole) for _ in range(count))


def programs(stack: ExitStack, where: Host, wave: Waveform, settings: dict[str, Any]) -> dict[str, Program]:
    """Every meter that is here, running."""
    environ = where.environment(wave, devices=CARDS, multiples=1, **settings)
    alone = where.environment(wave, devices=1, multiples=1, **{**settings, "phase": settings["phase"][0]})
    commands = {"ours": (OURS, environ), "zeus": (peer("zeus"), environ), "codecarbon": (peer("codecarbon"), alone)}
    return {name: stack.enter_context(Program(*how)) for name, how in commands.items() if how[0]}


def book(table: Table, name: str, length_s: float, answer: Answer, waves: Sequence[Waveform]) -> None:
    """Hold one answer against the truth of each card."""
    errors = table.setdefault((name, length_s), Errors())
    if "error" in answer:
        errors.failed += len(waves)
        return
    truths = [wave.between_j(answer["begin"], answer["end"]) for wave in waves]
    for truth, value in zip(truths, answer["joules"], strict=False):
        errors.add(truth, value)
    if name == "ours":
        for wave, lower, upper in zip(waves, answer["lower"], answer["upper"], strict=True):
            errors.bound(wave.between_j(answer["since"], answer["until"]), lower, upper)
        for truth, value in zip(truths, answer["paper"], strict=True):
            table.setdefault((PAPER, length_s), Errors()).add(truth, value)


def measure(where: Host, profile: str, wave_name: str, blocks: dict[float, int], options: argparse.Namespace) -> Table:
    """Blocks of every length, by every meter, of one wave on one kind of card."""
    rng = random.Random(f"{options.seed}{profile}{wave_name}")  # noqa: S311 - phases, no secrets
    wave = waveform(wave_name)
    ahead = phases(wave.period_s, CARDS, free=options.free, rng=rng)
    waves = [waveform(wave_name, phase_s) for phase_s in ahead]
    spool, table = str(where.spool()), Table()
    with ExitStack() as stack:
        running = programs(stack, where, wave, {"profile": profile, "phase": ahead})
        for length_s, count in blocks.items():
            for _ in range(count):
                seconds = length_s + rng.uniform(0, 0.02)
                wanted = {"spool": spool, "seconds": seconds, "period_s": options.period}
                if length_s < TOGETHER_FROM_S:
                    answers = {name: _ask(program, name, wanted) for name, program in running.items()}
                else:
                    for name, program in running.items():
                        program.begin(**_wanted(name, wanted))
                    answers = {name: program.answer() for name, program in running.items()}
                for name, answer in answers.items():
                    book(table, name, length_s, answer, waves)
    return table


def _wanted(name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """A sampling period is set for ours alone: the peers keep their own."""
    return wanted if name == "ours" else {"seconds": wanted["seconds"]}


def _ask(program: Program, name: str, wanted: dict[str, Any]) -> Answer:
    return program.ask(**_wanted(name, wanted))


def show(profile: str, wave: str, table: Table) -> None:
    """The table of one wave, with ratios to ours."""
    lengths = sorted({length for _, length in table})
    methods = list(dict.fromkeys(name for name, _ in table))
    found = {key: errors.row() for key, errors in table.items()}
    rows = [[name, *(_cell(found.get((name, length))) for length in lengths)] for name in methods]
    for name in methods:
        if name != "ours":
            pairs = [(found.get((name, n)), found.get(("ours", n))) for n in lengths]
            ratios = [report.ratio(theirs and theirs["p95"], mine and mine["p95"]) for theirs, mine in pairs]
            rows.append([f"{name} ÷ ours", *ratios])
    title = f"{profile}, {wave}, real time: |error| in %, median / p95 / max (figures); ratios of the p95"
    report.table(title, ["", *(f"{length:g} s" for length in lengths)], rows)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"{row['median']:.2f} / {row['p95']:.2f} / {row['max']:.1f} ({row['figures']})"


def hold(checks: report.Checks, tables: dict[tuple[str, str], Table]) -> None:
    """Against the wanted figures of the adaptive default. Few figures make a rough p95: it is their second largest."""
    bounded = covered = 0
    for (profile, wave), table in tables.items():
        for length_s, limit in zip(LENGTHS_S, WANTED.get((profile, wave), (None,) * 4), strict=True):
            row = table[("ours", length_s)].row() if ("ours", length_s) in table else None
            if row and limit is not None:
                checks.most(f"real time {profile} {wave} {length_s:g} s, p95", row["p95"], limit, " %")
            if row and profile == "ideal" and length_s == LENGTHS_S[0]:
                checks.most(f"real time exact counter {wave} {length_s:g} s, max", row["max"], EXACT_MAX, " %")
        for (name, _), errors in table.items():
            if name == "ours":
                bounded, covered = bounded + errors.bounded, covered + errors.covered
    if bounded:
        checks.least("real time, bounds cover", 100 * covered / bounded, 95, " %")


def run(options: argparse.Namespace, checks: report.Checks) -> dict[str, Any]:
    """Measure, print, and hold against what is wanted."""
    blocks = QUICK_BLOCKS if options.quick else BLOCKS
    tables: dict[tuple[str, str], Table] = {}
    with host() as where:
        for profile in options.profiles:
            for wave in options.waves:
                tables[profile, wave] = measure(where, profile, wave, blocks, options)
                show(profile, wave, tables[profile, wave])
    if not peer("zeus"):
        print("\nThe peers are not installed; bench/meter/peers.sh installs them.")
    hold(checks, tables)
    cells = [
        {"profile": profile, "wave": wave, "method": name, "length_s": length_s, **(errors.row() or {})}
        for (profile, wave), table in tables.items()
        for (name, length_s), errors in table.items()
    ]
    return {"free": options.free, "period_s": options.period, "cells": cells}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES))
    parser.add_argument("--waves", nargs="+", choices=WAVES, default=list(WAVES))
    parser.add_argument("--free", action="store_true", help="shift the waves at random against the ticks")
    parser.add_argument("--period", type=float, default=0.1, help="seconds between our samples")
    parser.add_argument("--seed", type=int, default=1)


if __name__ == "__main__":
    raise SystemExit(report.program("realtime", __doc__, add_options, run))
