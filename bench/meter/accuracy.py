"""How far off the energy of a short block is, in virtual time: ours, and the rules of others, over the same blocks.

    python -m bench.meter.accuracy                        # 500 random phases a cell, about two minutes
    python -m bench.meter.accuracy --windows 2000 --profiles hopper ideal --waves square --free
    python -m bench.meter.accuracy --rule mymodule:gpu_energy   # another integrator over the same logs

Every cell draws blocks of one length at random phases of one waveform, polls a virtual GPU around each as the sampler
would, and hands the log to `stagemeter.integrate.gpu_energy`. The truth is the exact integral over the block. By
default waveform and counter start at the same instant, as in the simulated library, so edges of the waves may fall on
ticks; `--free` shifts the wave at random against the ticks, which is harder.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np

from bench.meter import report
from bench.meter.polling import CONSTANT, DEFAULT, Scheme, poll
from bench.meter.rules import PEERS
from bench.meter.virtual import POWER_LIMIT_W, PROFILES, WAVES, Profile, VirtualGpu, Wave, truth_j
from stagemeter.integrate import Window

LENGTHS_S = (0.2, 1.0, 5.0, 20.0)
SCHEMES = (CONSTANT, DEFAULT)
WANTED = {
    ("50 Hz", "square"): (12, 1.5, 0.3, 0.05),
    ("default", "square"): (27, 3.3, 0.7, 0.05),
    ("50 Hz", "burst10"): (20, 6, 1.5, 0.3),
    ("50 Hz", "ramps"): (20, 6, 1.5, 0.3),
}
Integrator = Callable[..., Any]


@dataclass(frozen=True)
class Cell:
    """Errors of one method in % of the truth, and how its bounds did where it gives some."""

    method: str
    profile: str
    wave: str
    length_s: float
    windows: int
    median: float
    p95: float
    max: float
    bias: float
    covered: float | None = None  # share of windows whose bounds held the truth, in %
    width: float | None = None  # half the distance between the bounds, mean, in % of the truth
    width_p95: float | None = None


@dataclass
class Tally:
    """What one method said, window by window, in % of the truth."""

    errors: list[float]
    widths: list[float]
    covered: int = 0

    def add(self, truth: float, value: float, lower: float | None = None, upper: float | None = None) -> None:
        """One window."""
        self.errors.append(100 * (value / truth - 1))
        if lower is not None and upper is not None:
            self.widths.append(100 * (upper - lower) / 2 / truth)
            self.covered += lower <= truth <= upper

    def cell(self, method: str, profile: str, wave: str, length_s: float) -> Cell | None:
        """Its figures; `None` if the method had nothing to say."""
        if not self.errors:
            return None
        n, size = len(self.errors), np.abs(self.errors)
        bounds: dict[str, float] = {}
        if self.widths:
            bounds = {
                "covered": 100 * self.covered / len(self.widths),
                "width": float(np.mean(self.widths)),
                "width_p95": float(np.percentile(self.widths, 95)),
            }
        middle, p95 = (float(x) for x in np.percentile(size, (50, 95)))
        figures = {"median": middle, "p95": p95, "max": float(size.max()), "bias": float(np.mean(self.errors))}
        return Cell(method, profile, wave, length_s, n, **figures, **bounds)


def integrator(name: str) -> Integrator:
    """`module:function`, with the signature of `stagemeter.integrate.gpu_energy`."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def ours(integrate: Integrator, gpu: VirtualGpu, scheme: Scheme, window: Window, rng: np.random.Generator) -> Any:
    """What our integrator makes of the log around the block."""
    points = poll(gpu, scheme, window.start, window.end, rng)
    device = {"power_limit_w": POWER_LIMIT_W, "power_window_s": gpu.profile.usage_s or None}
    return integrate(points, window, device)


def cells(
    integrate: Integrator, profile: Profile, wave_name: str, length_s: float, windows: int, *, free: bool, seed: int
) -> Iterator[Cell]:
    """Every method over the same random blocks."""
    rng = np.random.default_rng([seed, *wave_name.encode(), round(1000 * length_s)])
    tallies = {name: Tally([], []) for name in (*(scheme.name for scheme in SCHEMES), *PEERS)}
    for _ in range(windows):
        wave = Wave(WAVES[wave_name], shift_s=rng.uniform(0, 0.1) if free else 0.0)
        gpu = VirtualGpu(wave, profile, rng)
        start = 1000 + rng.uniform(0, 10 * wave.period_s)
        truth = truth_j(wave, start, start + length_s)
        for scheme in SCHEMES:
            window = Window(start=start, end=start + length_s, period_s=scheme.period_s)
            energy = ours(integrate, gpu, scheme, window, rng)
            if energy.value_j is not None:
                tallies[scheme.name].add(truth, energy.value_j, energy.lower_j, energy.upper_j)
        for name, rule in PEERS.items():
            value = rule(gpu, start, start + length_s)
            if value is not None:
                tallies[name].add(truth, value)
    for name, tally in tallies.items():
        cell = tally.cell(name, profile.name, wave_name, length_s)
        if cell:
            yield cell


def show(profile: str, found: list[Cell]) -> None:
    """The tables of one profile."""
    at = {(c.method, c.wave, c.length_s): c for c in found}
    waves = list(dict.fromkeys(c.wave for c in found))
    methods = list(dict.fromkeys(c.method for c in found))
    lengths = list(dict.fromkeys(c.length_s for c in found))
    head = ["", *(f"{length:g} s" for length in lengths)]
    for wave in waves:
        rows = [[method, *(_errors(at.get((method, wave, length))) for length in lengths)] for method in methods]
        for scheme in SCHEMES:
            for peer in ("zeus", "paper"):
                pairs = [(at.get((peer, wave, n)), at.get((scheme.name, wave, n))) for n in lengths]
                cells_ = [report.ratio(a and a.p95, b and b.p95) for a, b in pairs]
                rows.append([f"{peer} ÷ {scheme.name}", *cells_])
        report.table(f"{profile}, {wave}: |error| in %, median / p95 / max; ratios of the p95", head, rows)
    rows = [
        [
            f"{c.method}, {c.wave}, {c.length_s:g} s",
            report.number(c.covered, 1),
            report.number(c.width, 3),
            report.number(c.width_p95, 3),
            report.number(c.p95, 3),
        ]
        for c in found
        if c.covered is not None
    ]
    report.table(f"{profile}: stated bounds", ["", "covered %", "half-width mean %", "p95 %", "error p95 %"], rows)


def _errors(cell: Cell | None) -> str:
    return "–" if cell is None else f"{cell.median:.2f} / {cell.p95:.2f} / {cell.max:.1f}"


def hold(checks: report.Checks, found: list[Cell]) -> None:
    """Against the wanted figures."""
    for (scheme, wave), limits in WANTED.items():
        for length, limit in zip(LENGTHS_S, limits, strict=True):
            for c in found:
                if (c.method, c.profile, c.wave, c.length_s) == (scheme, "hopper", wave, length):
                    checks.most(f"hopper {wave} {scheme} {length:g} s, p95", c.p95, limit, " %")
    for c in found:
        if c.profile == "ideal" and c.length_s == 0.2 and c.method in ("50 Hz", "default"):
            checks.most(f"exact counter {c.wave} {c.method} 0.2 s, max", c.max, 0.3, " %")
    for scheme in SCHEMES:
        for profile in dict.fromkeys(c.profile for c in found):
            for length in LENGTHS_S:
                group = [
                    c
                    for c in found
                    if (c.method, c.profile, c.length_s) == (scheme.name, profile, length) and c.covered is not None
                ]
                if group:
                    covered = sum(c.covered * c.windows for c in group) / sum(c.windows for c in group)
                    checks.least(f"{profile} {scheme.name} {length:g} s, bounds cover", covered, 95, " %")
                    # Errors below a thousandth are below what a counter in mJ and a clock in µs resolve.
                    wide = float(np.mean([c.width for c in group])) / max(float(np.mean([c.p95 for c in group])), 0.1)
                    checks.most(f"{profile} {scheme.name} {length:g} s, half-width ÷ p95", wide, 3, "×")


def main(arguments: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.meter.accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=500, help="random blocks a cell")
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=["hopper", "ideal"])
    parser.add_argument("--waves", nargs="+", choices=WAVES, default=list(WAVES))
    parser.add_argument("--lengths", nargs="+", type=float, default=list(LENGTHS_S))
    parser.add_argument("--free", action="store_true", help="shift the wave at random against the ticks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rule", default="stagemeter.integrate:gpu_energy")
    parser.add_argument("--json", action="store_true", help="print all figures as one line of JSON at the end")
    options = parser.parse_args(arguments)
    integrate, checks, found = integrator(options.rule), report.Checks(), []
    for name in options.profiles:
        of_profile = [
            cell
            for wave in options.waves
            for length in options.lengths
            for cell in cells(
                integrate, PROFILES[name], wave, length, options.windows, free=options.free, seed=options.seed
            )
        ]
        show(name, of_profile)
        found += of_profile
    hold(checks, found)
    results = {"free": options.free, "cells": [asdict(c) for c in found]}
    return report.finish("accuracy", results, checks, as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
