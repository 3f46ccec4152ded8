"""What the paper says about Q, the scores behind it, and serving a smaller student."""

from decimal import Decimal

from registry.accounting.breakeven import NO_SUBSTITUTE, InferenceBreakEven, inference_break_even
from registry.accounting.claims.tables import Cell, Tables, name, names
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
from registry.accounting.stages import KD, SFT
from registry.accounting.units import joules

PENNY = Decimal("0.01")
PUE_AND_GRID = 1.2 * 0.475  # any other positive number would do
TOLERANCE = 0.02  # of Q, within which a student is a substitute
INSTRUCTIONS = ("alpaca_eval_2_lc", "ifeval")
SHORT = {
    "alpaca_eval_2_lc": "AlpacaEval 2 LC",
    "ifeval": "IFEval",
    "gsm8k": "GSM8K",
    "mmlu": "MMLU",
    "mt_bench_101": "MT-Bench-101",
}


def q_from_scores(tables: Tables) -> Claim:
    """Table 2's Q from table 4's scores."""
    agree = [round(tables.q_from_scores(cell), 2) == row.q for cell, row in tables.totals.items()]
    values = _fitting(tables)
    return Claim(
        key="q-from-scores",
        section="5.2, table 4",
        statement="Q is the equally weighted mean of student score over teacher score on five benchmarks; MT-Bench-101 "
        "of the teacher was measured under our protocol.",
        verdict=UNSUPPORTED if not all(agree) else CONDITIONAL,
        because=f"{sum(agree)} of {len(agree)} values of Q come back to two decimals, given scores of the teacher that "
        "the paper does not print: four published with the model, and the fifth inferred.",
        figures=(
            number("rows that come back", Decimal(sum(agree)), digits=0),
            number("teacher's MT-Bench-101 used", tables.teacher_scores[tables.inferred]),
            number("smallest value that gives all nine rows", values[0]),
            number("largest", values[-1]),
        )
        if values
        else (number("rows that come back", Decimal(sum(agree)), digits=0),),
    )


def task_gains(tables: Tables) -> Claim:
    """Single benchmarks, distilled against the baseline of the same size."""
    gains = {
        (cell, benchmark): tables.scores[cell][benchmark] - tables.scores[SFT, cell[1]][benchmark]
        for cell in tables.distilled()
        for benchmark in tables.teacher_scores
    }
    better = {key: gain for key, gain in gains.items() if gain > 0}
    worse = sum(gain < 0 for gain in gains.values())
    sizes = sorted({cell[1] for cell, _ in better}, key=tables.sizes.index)
    return Claim(
        key="task-gains",
        section="appendix E",
        statement="The per-benchmark scores show that distillation can provide modest task-specific gains.",
        verdict=UNSUPPORTED if not better else CONDITIONAL if len(sizes) < len(tables.sizes) else HOLDS,
        because=f"{len(better)} of {len(gains)} scores are above the baseline of their size, {worse} below; the gains "
        f"are at {' and '.join(sizes)} alone.",
        figures=tuple(
            number(f"{SHORT.get(benchmark, benchmark)}, {name(cell)}", gain, "points more", digits=1)
            for (cell, benchmark), gain in better.items()
        ),
    )


def instruction_following(tables: Tables) -> Claim:
    """The two benchmarks of instruction following."""
    gains = {
        (cell, benchmark): tables.scores[cell][benchmark] - tables.scores[SFT, cell[1]][benchmark]
        for cell in tables.distilled()
        for benchmark in INSTRUCTIONS
    }
    better = [gain > 0 for gain in gains.values()]
    return Claim(
        key="instruction-following",
        section="6.1",
        statement="Reuse moves KD and synthetic SFT toward the frontier, particularly for instruction-following "
        "objectives.",
        verdict=by_count(better),
        because=f"On AlpacaEval 2 and IFEval {sum(better)} of {len(better)} distilled scores are above the baseline of "
        f"their size, and {sum(gain < 0 for gain in gains.values())} below: reuse makes them cheaper, never better.",
        figures=tuple(
            number(f"{SHORT[benchmark]}, {name(cell)}", gain, "points", digits=0)
            for (cell, benchmark), gain in gains.items()
        ),
    )


def no_substitute(tables: Tables) -> Claim:
    """Distilled students against larger baselines."""
    short = {pair: _shortfall(tables, pair) for pair in _pairs(tables)}
    closest = min(short, key=lambda pair: short[pair])
    return Claim(
        key="no-substitute",
        section="6.5",
        statement="We do not observe cross-size equivalence: no smaller distilled model substitutes for a larger "
        "baseline at comparable quality.",
        verdict=by_count([gap > 0 for gap in short.values()]),
        because=f"The closest pair is {name(closest[0])} for {name(closest[1])}, short by {short[closest]} of Q.",
        figures=tuple(number(f"{name(one)} for {name(other)}: Q short by", gap) for (one, other), gap in short.items()),
    )


def inference_formula(tables: Tables) -> Claim:
    """Equation 5 on every pair of the tables."""
    extra = {(one, other): _extra_kwh(tables, one, other) for one, other in _pairs(tables)}
    negative = [pair for pair, energy in extra.items() if energy < 0]
    substitutes = [pair for pair in extra if _served(tables, *pair).verdict != NO_SUBSTITUTE]
    return Claim(
        key="inference-formula",
        section="6.5",
        statement="For a quality-equivalent substitute, the inference break-even is T* = E_extra-train / (j_ref − "
        "j_student).",
        verdict=HOLDS if not negative else CONDITIONAL,
        because=f"It needs two guards. Against the larger baseline extra training is negative for {len(negative)} of "
        f"{len(extra)} pairs (cheaper to train as well), {len(substitutes)} of them a substitute; at one size its "
        "denominator is zero.",
        figures=(
            *(number(f"{name(o)} for {name(r)}: extra training", e, "kWh") for (o, r), e in extra.items()),
            _against_same_size(tables),
        ),
    )


def same_size_inference(tables: Tables) -> Claim:
    """Inference at one size."""
    known = tables.inference_j_per_token
    return Claim(
        key="inference-by-size",
        section="6.5",
        statement="Inference takes 0.27 J/token at 1B, 0.68 at 7B and 1.44 at 13B; same-size comparisons have the same "
        "inference energy.",
        verdict=CONDITIONAL if len(known) == len(tables.sizes) else UNSUPPORTED,
        because="The paper prints one figure a size, from forward passes of evaluation and not from generation, so "
        "that pipelines of one size cannot differ; no table holds the tokens behind it.",
        figures=tuple(number(f"J/token, {size}", value) for size, value in known.items()),
    )


def emissions(tables: Tables) -> Claim:
    """The frontier in CO2e."""
    return Claim(
        key="emissions",
        section="6.1, appendix A",
        statement="The frontier can be read equivalently as an emissions–quality frontier.",
        verdict=CONDITIONAL if tables.on_frontier() == tables.on_frontier(factor=PUE_AND_GRID) else UNSUPPORTED,
        because="CO2e is kWh times one positive number, which keeps every order, as long as all stages ran on one grid "
        "under one PUE; a teacher artifact made elsewhere has a factor of its own.",
        figures=(words("on it, whatever the factor", names(tables.on_frontier())),),
    )


def _fitting(tables: Tables) -> list[Decimal]:
    """Scores of the teacher on the inferred benchmark, in steps of 0.01, that give Q of table 2 in every row."""
    middle = tables.teacher_scores[tables.inferred]
    tried = [middle + PENNY * step for step in range(-100, 101)]
    return [
        score
        for score in tried
        if all(round(tables.q_from_scores(cell, score), 2) == row.q for cell, row in tables.totals.items())
    ]


def _pairs(tables: Tables) -> list[tuple[Cell, Cell]]:
    """Every distilled cell with every baseline of a larger size."""
    place = tables.sizes.index
    return [(cell, (SFT, size)) for cell in tables.distilled() for size in tables.sizes if place(size) > place(cell[1])]


def _shortfall(tables: Tables, pair: tuple[Cell, Cell]) -> Decimal:
    return tables.totals[pair[1]].q - tables.totals[pair[0]].q


def _extra_kwh(tables: Tables, one: Cell, other: Cell) -> Decimal:
    return tables.totals[one].energy_kwh - tables.totals[other].energy_kwh


def _served(tables: Tables, one: Cell, other: Cell, extra_kwh: Decimal | None = None) -> InferenceBreakEven:
    """Equation 5 for serving `one` in the place of `other`."""
    return inference_break_even(
        extra_training_j=joules(_extra_kwh(tables, one, other) if extra_kwh is None else extra_kwh),
        reference_j_per_token=tables.inference_j_per_token[other[1]],
        student_j_per_token=tables.inference_j_per_token[one[1]],
        reference_q=float(tables.totals[other].q),
        student_q=float(tables.totals[one].q),
        tolerance=TOLERANCE,
    )


def _against_same_size(tables: Tables) -> Figure:
    """KD of the smallest size for the next one's inference, its extra training counted against SFT of its own size."""
    one, other = (KD, tables.sizes[0]), (SFT, tables.sizes[1])
    tokens = _served(tables, one, other, _extra_kwh(tables, one, (SFT, one[1]))).formula or Decimal(0)
    label = f"{name(one)} for {name(other)}, extra training against SFT {one[1]}"
    return number(label, tokens / 10**6, "M tokens", digits=1)
