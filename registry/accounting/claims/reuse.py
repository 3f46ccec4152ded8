"""What the paper says about the frontier and about reusing the teacher's work."""

from collections.abc import Callable
from decimal import Decimal
from itertools import groupby

from registry.accounting.breakeven import ReuseBreakEven, reuse_break_even
from registry.accounting.claims.tables import DISTILLED, NAMES, Cell, Tables, name, names
from registry.accounting.claims.verdicts import (
    CONDITIONAL,
    HOLDS,
    UNSUPPORTED,
    Claim,
    Figure,
    by_count,
    number,
    words,
)
from registry.accounting.stages import KD, SFT, SYNTHETIC_SFT

LARGEST_N = 10**9  # as good as for ever
TRIED = 100  # counts of students one by one
# The paper's table of N*, by pipeline, from small to large: lowest and highest count it names.
STATED = {KD: ((10, 10), (5, 6), (4, 4)), SYNTHETIC_SFT: ((11, 11), (6, 6), (2, 3))}


def one_off_frontier(tables: Tables) -> Claim:
    """Who stands on the frontier when nothing is reused."""
    standing = tables.on_frontier()
    baselines = [cell for cell in tables.totals if cell[0] == SFT]
    others = [cell for cell in standing if cell[0] != SFT]
    all_there = all(cell in standing for cell in baselines)
    return Claim(
        key="one-off-frontier",
        section="6.1",
        statement="Under one-off full-pipeline accounting, baseline SFT defines the energy-dominant frontier.",
        verdict=UNSUPPORTED if not all_there else CONDITIONAL if others else HOLDS,
        because=f"All baselines stand on it, and {names(others)} too: more energy than SFT of that size, and more Q."
        if all_there and others
        else f"On it stand {names(standing)}.",
        figures=(words("on the frontier", names(standing)), *_extra(tables, others)),
    )


def dearer_at_the_smallest(tables: Tables) -> Claim:
    """2.4 times the energy at the smallest size for a little more Q."""
    small = tables.sizes[0]
    ratio = {p: tables.totals[p, small].energy_kwh / tables.totals[SFT, small].energy_kwh for p in DISTILLED}
    holds = [round(ratio[p], 1) == Decimal("2.4") and tables.gain((p, small)) > 0 for p in DISTILLED]
    return Claim(
        key="dearer-at-the-smallest",
        section="6.1",
        statement="At the 1B scale, KD and synthetic SFT obtain slightly higher aggregate Q than baseline SFT, but "
        "require roughly 2.4× more end-to-end energy.",
        verdict=by_count(holds),
        because="Both hold, read as 2.4 times as much; the gain in Q is of the size of the last printed digit, and no "
        "table prints a spread."
        if all(holds)
        else "Not for every pipeline.",
        figures=tuple(
            figure
            for p in DISTILLED
            for figure in (
                number(f"{NAMES[p]}: energy over SFT", ratio[p], "×", stated="2.4"),
                number(f"{NAMES[p]}: ΔQ", tables.gain((p, small))),
            )
        ),
    )


def strict_dominance(tables: Tables) -> Claim:
    """The baseline against the distilled students above the smallest size."""
    cells = [cell for cell in tables.distilled() if cell[1] != tables.sizes[0]]
    beaten = [_beats(tables, (SFT, cell[1]), cell) for cell in cells]
    return Claim(
        key="strict-dominance",
        section="6.1",
        statement="At 7B and 13B, baseline SFT strictly dominates both distillation pipelines in the aggregate "
        "energy–quality plane.",
        verdict=by_count(beaten),
        because=f"Less energy and more Q than {sum(beaten)} of {len(beaten)} cells, one-off.",
        figures=tuple(
            figure
            for cell in cells
            for figure in (
                number(
                    f"{name(cell)}: energy beyond SFT",
                    tables.totals[cell].energy_kwh - tables.totals[SFT, cell[1]].energy_kwh,
                    "kWh",
                ),
                number(f"{name(cell)}: ΔQ", tables.gain(cell)),
            )
        ),
    )


def dearer_for_modest_gains(tables: Tables) -> Claim:
    """More energy everywhere, more quality where?"""
    cells = tables.distilled()
    dearer = [cell for cell in cells if tables.totals[cell].energy_kwh > tables.totals[SFT, cell[1]].energy_kwh]
    better = [cell for cell in dearer if tables.gain(cell) > 0]
    return Claim(
        key="dearer-for-modest-gains",
        section="9",
        statement="Both KD and synthetic SFT often consume more end-to-end energy than a strong SFT baseline for "
        "modest quality gains.",
        verdict=by_count([cell in better for cell in cells]),
        because=f"Dearer in {len(dearer)} of {len(cells)} cells, but better only for {names(better)}; elsewhere Q is "
        "lost, not gained.",
        figures=tuple(number(f"ΔQ of {name(cell)}", tables.gain(cell)) for cell in cells),
    )


def break_evens(tables: Tables) -> Claim:
    """The paper's table of N* against equation 4."""
    found = {cell: break_even(tables, cell) for cell in tables.distilled()}
    stated = {(p, size): pair for p in DISTILLED for size, pair in zip(tables.sizes, STATED[p], strict=True)}
    off = [cell for cell, result in found.items() if not stated[cell][0] <= (result.count or 0) <= stated[cell][1]]
    near = [cell for cell in off if round(found[cell].exact or 0) in stated[cell]]
    return Claim(
        key="break-even",
        section="6.3",
        statement="N* ≈ 10, ≈ 5–6, ≈ 4 for KD and ≈ 11, ≈ 6, ≈ 2–3 for synthetic SFT.",
        verdict=HOLDS if not off else CONDITIONAL if near == off else UNSUPPORTED,
        because=f"As quotients they hold. As whole students {names(off)} is off: "
        + ", ".join(_rounded_up(found[cell]) for cell in off)
        + "."
        if off
        else "Every quotient and every whole count is within what is stated.",
        figures=tuple(_break_even_figure(cell, found[cell], stated[cell]) for cell in found),
    )


def sooner_for_the_large(tables: Tables) -> Claim:
    """N* from size to size, and whether it brings anything."""
    exact = {p: [break_even(tables, (p, size)).exact for size in tables.sizes] for p in DISTILLED}
    falling = [None not in found and found == sorted(found, reverse=True) for found in exact.values()]  # type: ignore[type-var]
    losing = [cell for cell in tables.distilled() if tables.gain(cell) < 0]
    return Claim(
        key="sooner-for-the-large",
        section="6.3",
        statement="Larger students cross the break-even threshold sooner.",
        verdict=by_count(falling) if not losing else CONDITIONAL if all(falling) else UNSUPPORTED,
        because="N* falls with size, but equation 4 compares energy alone: past it "
        f"{names(losing)} cost less than SFT of their size and keep less quality.",
        figures=tuple(
            figure
            for p in DISTILLED
            for size, value in zip(tables.sizes, exact[p], strict=True)
            if value is not None
            for figure in (
                number(f"N*, {name((p, size))}", value),
                number(f"ΔQ, {name((p, size))}", tables.gain((p, size))),
            )
        ),
    )


def reuse_inverts(tables: Tables) -> Claim:
    """Who stands on the frontier as N grows."""
    stretches = frontier_by_n(tables)
    last = stretches[-1][2]
    gone = [cell for cell in tables.totals if cell[0] == SFT and cell not in last]
    joined = [cell for cell in last if cell[0] in DISTILLED and cell not in stretches[0][2]]
    kept = [cell for cell in last if cell[0] == SFT]
    return Claim(
        key="reuse-inverts",
        section="6.3, 7, 9",
        statement="Teacher reuse can invert the ranking: with reuse, KD can match or beat baseline SFT.",
        verdict=HOLDS if gone and not kept else CONDITIONAL if gone or joined else UNSUPPORTED,
        because=f"With reuse {names(joined)} join the frontier and {names(gone)} leaves it; {names(kept)} stay "
        "whatever N: there the distilled students are cheaper and worse, not better.",
        figures=tuple(words(f"on the frontier, {_span(low, high)}", names(cells)) for low, high, cells in stretches),
    )


def higher_quality_targets(tables: Tables) -> Claim:
    """Whether distillation is ever the cheapest way to a high Q."""
    at_best = max(tables.distilled(), key=lambda cell: tables.totals[cell].q)
    for_ever = tables.on_frontier(LARGEST_N)
    reached = [tables.totals[cell].q for cell in for_ever if cell[0] in DISTILLED]
    beats = [cell for cell in tables.totals if _beats(tables, cell, at_best, reused=True)]
    return Claim(
        key="higher-quality-targets",
        section="7, 9",
        statement="Synthetic SFT can become strictly more energy-efficient at higher quality targets; favor KD or "
        "synthetic SFT when reuse and quality demands are high.",
        verdict=HOLDS if at_best in for_ever else UNSUPPORTED,
        because=f"The best distilled student, {name(at_best)} (Q {tables.totals[at_best].q}), is beaten by "
        f"{names(beats)} even if its teacher cost nothing. No distilled cell above Q {max(reached, default=0)} is on "
        "the frontier for any N: reuse pays at low quality demands."
        if at_best not in for_ever
        else f"{name(at_best)} stands on the frontier once the teacher is shared widely enough.",
        figures=(
            words("on the frontier, teacher for nothing", names(for_ever)),
            number(f"{name(at_best)} without its teacher", _reused(tables, at_best), "kWh"),
            *(number(name(cell), tables.totals[cell].energy_kwh, f"kWh, Q {tables.totals[cell].q}") for cell in beats),
        ),
    )


def largest_stay_dominated(tables: Tables) -> Claim:
    """13B, in the terms of the paper's own figure 3."""
    large = tables.sizes[-1]
    beaten = {(p, large): _beaten_by(tables, (p, large)) for p in DISTILLED}
    return Claim(
        key="largest-by-reuse",
        section="6.1, 7",
        statement="Reuse amortizes the teacher-side energy, moving KD and synthetic SFT toward the Pareto frontier.",
        verdict=by_count([not found for found in beaten.values()] + [bool(_joins(tables))]),
        because=f"True for {names(_joins(tables))}. At {large} they stay dominated for every N, by "
        + " and ".join(sorted({names(found) for found in beaten.values()}))
        + ".",
        figures=tuple(
            number(f"{name(cell)} without its teacher", _reused(tables, cell), f"kWh, Q {tables.totals[cell].q}")
            for cell in beaten
        ),
    )


def frontier_by_n(tables: Tables) -> list[tuple[int, int | None, tuple[Cell, ...]]]:
    """(from N, to N or `None` for ever, the cells on the frontier), over N = 1, 2, … and without end."""
    grouped = groupby([*range(1, TRIED + 1), LARGEST_N], key=lambda n: frozenset(tables.on_frontier(n)))
    spans = [(list(group), cells) for cells, group in grouped]
    return [
        (counts[0], None if counts[-1] == LARGEST_N else counts[-1], tables.on_frontier(counts[0]))
        for counts, _ in spans
    ]


def break_even(tables: Tables, cell: Cell) -> ReuseBreakEven:
    """N* of one distilled cell against the baseline of its size."""
    return reuse_break_even(
        teacher_j=tables.teacher(cell),
        baseline_student_j=tables.training((SFT, cell[1])),
        distilled_student_j=tables.training(cell),
    )


def _rounded_up(result: ReuseBreakEven) -> str:
    return "never" if result.exact is None else f"{result.exact:.2f} takes {result.count}"


def _break_even_figure(cell: Cell, result: ReuseBreakEven, stated: tuple[int, int]) -> Figure:
    low, high = stated
    text = f"≈ {low}" if low == high else f"≈ {low}–{high}"
    if result.exact is None:
        return words(f"N*, {name(cell)}", "never", stated=text)
    return number(f"N*, {name(cell)}", result.exact, f"→ {result.count} students", stated=text)


def _reused(tables: Tables, cell: Cell) -> Decimal:
    """kWh of the cell if its teacher's work cost nothing."""
    return tables.summed(cell) - tables.teacher(cell)


def _beats(tables: Tables, one: Cell, other: Cell, *, reused: bool = False) -> bool:
    """Whether `one` has strictly less energy and more Q; `reused`: with both their teachers for nothing."""
    energy: Callable[[Cell], Decimal] = (
        (lambda cell: _reused(tables, cell)) if reused else (lambda cell: tables.totals[cell].energy_kwh)
    )
    return energy(one) < energy(other) and tables.totals[one].q > tables.totals[other].q


def _beaten_by(tables: Tables, cell: Cell) -> list[Cell]:
    """Baselines that beat the cell even with its teacher for nothing."""
    return [one for one in tables.totals if one[0] == SFT and _beats(tables, one, cell, reused=True)]


def _joins(tables: Tables) -> list[Cell]:
    """Distilled cells that reuse brings onto the frontier."""
    first, last = tables.on_frontier(), tables.on_frontier(LARGEST_N)
    return [cell for cell in last if cell[0] in DISTILLED and cell not in first]


def _span(low: int, high: int | None) -> str:
    return f"N from {low} on" if high is None else f"N = {low}" if low == high else f"N = {low} to {high}"


def _extra(tables: Tables, others: list[Cell]) -> list[Figure]:
    """What each distilled cell on the frontier costs beyond the baseline of its size, and gains."""
    return [
        figure
        for cell in others
        for figure in (
            number(
                f"{name(cell)} beyond SFT",
                tables.totals[cell].energy_kwh - tables.totals[SFT, cell[1]].energy_kwh,
                "kWh",
            ),
            number(f"{name(cell)}: ΔQ", tables.gain(cell)),
        )
    ]
