"""What the paper says about totals and stages."""

from decimal import Decimal
from itertools import pairwise

from registry.accounting.claims.tables import (
    DISTILLED,
    EVALUATION,
    NAMES,
    PREPROCESS,
    TRAINING,
    Tables,
    makes_artifact,
    name,
    names,
)
from registry.accounting.claims.verdicts import (
    CONDITIONAL,
    HOLDS,
    UNSUPPORTED,
    Claim,
    by_count,
    number,
    percent,
    words,
)
from registry.accounting.stages import KD, SFT, SYNTHETIC_SFT
from registry.accounting.units import JOULES_PER_KWH

GPU_HOURS, GPU_KW, CLOSE = Decimal(2000), Decimal("0.65"), Decimal("0.05")
HALF_CENT = Decimal("0.005")  # half a unit of the last printed digit


def totals(tables: Tables) -> Claim:
    """Table 2 against the sums of table 3."""
    equal = [tables.summed(cell) == row.energy_kwh for cell, row in tables.totals.items()]
    return Claim(
        key="totals",
        section="table 2",
        statement="Totals exclude prerun validation.",
        verdict=by_count(equal),
        because=f"{sum(equal)} of {len(equal)} totals of table 2 are, to the last digit, the sums of the stages of "
        "table 3 without the prerun.",
        figures=(
            number("totals that equal their sums", Decimal(sum(equal)), digits=0),
            number("prerun, left out", tables.prerun_kwh, "kWh"),
        ),
    )


def joules_per_token(tables: Tables) -> Claim:
    """Every J/token of table 2 against one divisor."""
    spans = [
        (
            row.energy_kwh * JOULES_PER_KWH / (row.j_per_token + HALF_CENT),
            row.energy_kwh * JOULES_PER_KWH / (row.j_per_token - HALF_CENT),
        )
        for row in tables.totals.values()
    ]
    low, high = max(span[0] for span in spans), min(span[1] for span in spans)
    one = low <= high
    return Claim(
        key="joules-per-token",
        section="6.1, table 2",
        statement="Joules per token (J/tok) normalized by tokens processed.",
        verdict=CONDITIONAL if one else HOLDS,
        because="One number of tokens gives all nine rows to the printed digit, whatever pipeline and size processed: "
        "the column is the kWh column in another unit."
        if one
        else "The nine rows have token counts of their own.",
        figures=(
            number("smallest divisor that gives all rows", low / 10**6, "M tokens"),
            number("largest", high / 10**6, "M tokens"),
            number("J/token for each kWh, at 30.0 M tokens", Decimal(JOULES_PER_KWH) / (30 * 10**6)),
        ),
    )


def charged_and_burnt(tables: Tables) -> Claim:
    """What the nine cells are charged against what was burnt once."""
    charged = sum((row.energy_kwh for row in tables.totals.values()), Decimal(0))
    again = sum((tables.teacher((p, size)) for p in DISTILLED for size in tables.sizes[1:]), Decimal(0))
    return Claim(
        key="charged-and-burnt",
        section="3.3.2, table 2",
        statement="This generation pass is run once per dataset, and the resulting synthetic corpora are reused across "
        "student sizes.",
        verdict=CONDITIONAL if again else HOLDS,
        because="Each total of table 2 is charged a whole teacher pass all the same; as totals of nine separate runs "
        "they hold, as what the grid burnt they count each pass once too often for every further size.",
        figures=(
            number("charged to the nine cells", charged, "kWh", digits=1),
            number("burnt, each teacher artifact made once", charged - again, "kWh", digits=1),
            number("charged again", again, "kWh", digits=1),
        ),
    )


def gpu_hours(tables: Tables) -> Claim:
    """Appendix D's hours against the grid."""
    implied = GPU_HOURS * GPU_KW
    charged = sum((row.energy_kwh for row in tables.totals.values()), Decimal(0))
    close = [
        abs(repeats * workloads * charged - implied) <= CLOSE * implied for repeats in (2, 3) for workloads in (1, 3)
    ]
    return Claim(
        key="gpu-hours",
        section="appendix D",
        statement="≈2,000 H100 GPU-hours (about 83 GPU-days), from the summed measured kWh at ≈0.65 kW.",
        verdict=HOLDS if any(close) else UNSUPPORTED,
        because="The core grid three times over is about half of it; the rest would be sweeps, whose energy no table "
        "prints, or further workloads, which table 2 averages away.",
        figures=(
            number("2,000 h at 0.65 kW", implied, "kWh", digits=0),
            number("days", GPU_HOURS / 24, digits=1, stated="83"),
            number("core grid, three times", 3 * charged, "kWh", digits=0),
            number("left for everything else", implied - 3 * charged, "kWh", digits=0),
        ),
    )


def scaling(tables: Tables) -> Claim:
    """From the smallest student to the largest."""
    small, large = tables.sizes[0], tables.sizes[-1]
    factor = {p: tables.totals[p, large].energy_kwh / tables.totals[p, small].energy_kwh for p in NAMES}
    gain = {p: tables.totals[p, large].q - tables.totals[p, small].q for p in NAMES}
    fivefold = [p for p in NAMES if round(factor[p]) == 5]
    bounded = [p for p in NAMES if gain[p] <= Decimal("0.20")]
    both = [p in fivefold and p in bounded for p in NAMES]
    return Claim(
        key="scaling",
        section="6.1",
        statement="Moving from 1B to 13B roughly quintuples total energy while improving Q by at most ~0.15–0.2.",
        verdict=by_count(both),
        because=f"Energy quintuples for {_pipelines(fivefold)} alone; Q gains at most 0.2 for {_pipelines(bounded)}: "
        f"{'no pipeline does both' if not any(both) else 'both at once hold for some'}.",
        figures=tuple(
            figure
            for p in NAMES
            for figure in (
                number(f"{NAMES[p]}: energy, {large} over {small}", factor[p], "×", digits=1, stated="≈ 5"),
                number(f"{NAMES[p]}: ΔQ", gain[p], stated="at most 0.15–0.2"),
            )
        ),
    )


def diminishing(tables: Tables) -> Claim:
    """Q gained per further kWh, step by step."""
    slopes = {p: _slopes(tables, p) for p in NAMES}
    falling = [all(one > other for one, other in pairwise(found)) and min(found) > 0 for found in slopes.values()]
    steps = [f"{one} to {other}" for one, other in pairwise(tables.sizes)]
    return Claim(
        key="diminishing-returns",
        section="6.1, 7",
        statement="Larger students consume more energy and achieve higher quality with diminishing returns.",
        verdict=by_count(falling),
        because=f"Each step up gains Q, and less of it for a further kWh than the step before, in {sum(falling)} of "
        f"{len(falling)} pipelines.",
        figures=tuple(
            number(f"{NAMES[p]}: Q for 10 kWh more, {step}", 10 * slope, digits=3)
            for p in NAMES
            for step, slope in zip(steps, slopes[p], strict=True)
        ),
    )


def baseline_training(tables: Tables) -> Claim:
    """Where the baseline's energy goes."""
    shares = {size: tables.share((SFT, size), TRAINING) for size in tables.sizes}
    return Claim(
        key="baseline-training",
        section="6.2",
        statement="For baseline SFT, the vast majority of energy is consumed by student training.",
        verdict=by_count([share >= Decimal("0.9") for share in shares.values()]),
        because="Training takes nine tenths of the baseline or more at every size."
        if min(shares.values()) >= Decimal("0.9")
        else "At some size training takes less than nine tenths of the baseline.",
        figures=tuple(percent(f"training, SFT {size}", share) for size, share in shares.items()),
    )


def kd_split(tables: Tables) -> Claim:
    """KD's budget between caching and training."""
    parts = {size: (_teacher_share(tables, KD, size), tables.share((KD, size), TRAINING)) for size in tables.sizes}
    split = [sum(pair) >= Decimal("0.9") and min(pair) >= Decimal("0.2") for pair in parts.values()]
    return Claim(
        key="kd-split",
        section="6.2",
        statement="KD splits its budget between teacher logit caching and student training.",
        verdict=by_count(split),
        because="The two take nine tenths or more together, neither less than a fifth, at "
        f"{sum(split)} of {len(split)} sizes.",
        figures=tuple(
            figure
            for size, (teacher, training) in parts.items()
            for figure in (percent(f"logit caching, {size}", teacher), percent(f"training, {size}", training))
        ),
    )


def generation_dominates(tables: Tables) -> Claim:
    """Whether generating is most of synthetic SFT."""
    cells = [(SYNTHETIC_SFT, size) for size in tables.sizes]
    where = [cell for cell in cells if tables.teacher(cell) > tables.training(cell)]
    elsewhere = [cell for cell in cells if cell not in where]
    return Claim(
        key="generation-dominates",
        section="6.2, 7",
        statement="Synthetic SFT is dominated by teacher-side synthetic data generation.",
        verdict=by_count([cell in where for cell in cells]),
        because=f"Only at {_sizes(where)}; at {_sizes(elsewhere)} training the student takes more."
        if elsewhere
        else "At every size.",
        figures=tuple(
            figure
            for cell in cells
            for figure in (
                number(f"generation, {cell[1]}", tables.teacher(cell), f"of {tables.summed(cell)} kWh"),
                number(f"training, {cell[1]}", tables.training(cell), "kWh"),
            )
        ),
    )


def driver_by_size(tables: Tables) -> Claim:
    """Teacher first for the small, student first for the large."""
    more = {cell: tables.teacher(cell) > tables.training(cell) for cell in tables.distilled()}
    small = [more[p, tables.sizes[0]] for p in DISTILLED]
    large = [not more[p, size] for p in DISTILLED for size in tables.sizes[1:]]
    return Claim(
        key="driver-by-size",
        section="6.2",
        statement="For larger students, student training dominates, while for smaller students, teacher artifact "
        "creation can be the primary driver of total energy.",
        verdict=by_count([*small, *large]),
        because=f"The teacher takes more than training for {names(cell for cell in more if more[cell])}, and less for "
        f"{names(cell for cell in more if not more[cell])}.",
        figures=tuple(
            number(f"teacher ÷ training, {name(cell)}", tables.teacher(cell) / tables.training(cell)) for cell in more
        ),
    )


def cheaper_training(tables: Tables) -> Claim:
    """Training energy of distilled students against the baseline."""
    saved = {cell: tables.training((SFT, cell[1])) - tables.training(cell) for cell in tables.distilled()}
    return Claim(
        key="cheaper-training",
        section="6.2",
        statement="Student-side training energy is consistently lower under KD and synthetic SFT than under baseline "
        "SFT at the same scale.",
        verdict=by_count([saving > 0 for saving in saved.values()]),
        because=f"Lower in {sum(saving > 0 for saving in saved.values())} of {len(saved)} cells.",
        figures=tuple(number(f"saved by {name(cell)}", saving, "kWh") for cell, saving in saved.items()),
    )


def convergence(tables: Tables) -> Claim:
    """The reason given for it."""
    counted = sorted({kind for found in tables.stages.values() for kind in found if "step" in kind})
    return Claim(
        key="convergence",
        section="6.2",
        statement="This is a convergence effect, with distilled pipelines reaching the early-stopping criterion in "
        "fewer optimization steps.",
        verdict=HOLDS if counted else UNSUPPORTED,
        because="No table prints steps, tokens trained or durations; the one token count behind J/token is the same "
        "for all rows. Fewer steps, or cheaper ones, would give the same energies.",
        figures=(number("tables with a count of steps", Decimal(len(counted)), digits=0),),
    )


def fixed_overhead(tables: Tables) -> Claim:
    """The teacher's part at every size."""
    sets = {p: {tables.teacher((p, size)) for size in tables.sizes} for p in DISTILLED}
    return Claim(
        key="fixed-overhead",
        section="6.1, 7",
        statement="The teacher acts as a near-fixed overhead.",
        verdict=by_count([len(found) == 1 for found in sets.values()]),
        because="Table 3 charges one figure at every size, as one artifact served them all.",
        figures=tuple(
            number(f"{NAMES[p]}, every size", energy, "kWh") for p, found in sets.items() for energy in sorted(found)
        ),
    )


def small_stages(tables: Tables) -> Claim:
    """Preprocessing and evaluation."""
    shares = {cell: tables.share(cell, PREPROCESS, EVALUATION) for cell in tables.totals}
    largest = max(shares, key=lambda cell: shares[cell])
    return Claim(
        key="small-stages",
        section="6.2",
        statement="Dataset preprocessing and evaluation remain relatively small in all regimes.",
        verdict=by_count([share <= Decimal("0.10") for share in shares.values()]),
        because=f"At most {100 * shares[largest]:.0f} % of any cell, most for {name(largest)}.",
        figures=(
            percent(f"largest, {name(largest)}", shares[largest]),
            percent("smallest", min(shares.values())),
        ),
    )


def sweeps(tables: Tables) -> Claim:
    """What is said of T, α and max_new_tokens."""
    alike = len(tables.totals) == len(NAMES) * len(tables.sizes)
    return Claim(
        key="sweeps",
        section="6.4",
        statement="Temperature is a second-order knob; α more directly controls the tradeoff; max_new_tokens grows "
        "energy nonlinearly with diminishing returns.",
        verdict=UNSUPPORTED if alike else CONDITIONAL,
        because="Every pipeline and size stands in the tables with one setting. The sweeps are drawn in figures 4 and "
        "6 without numbers, and figure 5 is modelled, not measured.",
        figures=(words("settings per pipeline and size", "1" if alike else "several"),),
    )


def _slopes(tables: Tables, pipeline: str) -> list[Decimal]:
    """ΔQ over ΔkWh from each size to the next."""
    rows = [tables.totals[pipeline, size] for size in tables.sizes]
    return [(large.q - small.q) / (large.energy_kwh - small.energy_kwh) for small, large in pairwise(rows)]


def _teacher_share(tables: Tables, pipeline: str, size: str) -> Decimal:
    cell = (pipeline, size)
    return tables.share(cell, *(kind for kind in tables.stages[cell] if makes_artifact(kind)))


def _pipelines(found: list[str]) -> str:
    return " and ".join(NAMES[p] for p in found) or "none"


def _sizes(cells: list[tuple[str, str]]) -> str:
    return " and ".join(size for _, size in cells) or "none"
