"""The ledger of the paper's claims: each verdict, the numbers beside it, and that other tables change it."""

import csv
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from registry.accounting.claims import CLAIMS, CONDITIONAL, HOLDS, UNSUPPORTED, VERDICTS, Tables, Total, ledger
from registry.accounting.claims.reuse import frontier_by_n
from tests.accounting import paper


def tables() -> Tables:
    """The paper's tables from the tests' own copy."""
    decimals = {
        cell: dict(zip(paper.SUITE, map(Decimal, map(str, row)), strict=True)) for cell, row in paper.TABLE_4.items()
    }
    return Tables(
        sizes=paper.SIZES,
        totals={
            cell: Total(energy_kwh=Decimal(kwh), j_per_token=Decimal(rate), q=Decimal(q))
            for cell, (kwh, rate, q) in paper.TABLE_2.items()
        },
        stages={cell: _stages(*cell) for cell in paper.CELLS},
        prerun_kwh=Decimal("0.12"),
        scores=decimals,
        teacher_scores=dict(zip(paper.SUITE, map(Decimal, map(str, paper.TEACHER_SCORES)), strict=True)),
        inferred="mt_bench_101",
        inference_j_per_token={size: Decimal(value) for size, value in paper.INFERENCE_J_PER_TOKEN.items()},
    )


def _stages(pipeline, size):
    teacher = {"kd": "logit_caching", "synthetic_sft": "teacher_generation"}.get(pipeline)
    return {
        "preprocess": Decimal(paper.PREPROCESS),
        **({teacher: Decimal(paper.TEACHER[pipeline])} if teacher else {}),
        "student_training": Decimal(paper.TRAINING[pipeline, size]),
        "evaluation": Decimal(paper.EVALUATION[size]),
    }


TABLES = tables()
FOUND = {claim.key: claim for claim in ledger(TABLES)}


def changed(cell, **values):
    """The tables with other totals of one cell."""
    totals = {**TABLES.totals, cell: replace(TABLES.totals[cell], **values)}
    return replace(TABLES, totals=totals)


def with_stage(cell, **kwh):
    """The tables with other stages of one cell."""
    found = {kind: Decimal(energy) for kind, energy in kwh.items()}
    return replace(TABLES, stages={**TABLES.stages, cell: {**TABLES.stages[cell], **found}})


def shown(key):
    return {figure.label: figure.shown for figure in FOUND[key].figures}


@pytest.mark.parametrize(
    ("key", "verdict"),
    {
        "q-from-scores": CONDITIONAL,
        "totals": HOLDS,
        "joules-per-token": CONDITIONAL,
        "charged-and-burnt": CONDITIONAL,
        "scaling": UNSUPPORTED,
        "diminishing-returns": HOLDS,
        "fixed-overhead": HOLDS,
        "one-off-frontier": CONDITIONAL,
        "dearer-at-the-smallest": HOLDS,
        "strict-dominance": HOLDS,
        "instruction-following": UNSUPPORTED,
        "emissions": CONDITIONAL,
        "baseline-training": HOLDS,
        "kd-split": HOLDS,
        "generation-dominates": CONDITIONAL,
        "small-stages": HOLDS,
        "driver-by-size": HOLDS,
        "cheaper-training": HOLDS,
        "convergence": UNSUPPORTED,
        "break-even": CONDITIONAL,
        "sooner-for-the-large": CONDITIONAL,
        "largest-by-reuse": CONDITIONAL,
        "sweeps": UNSUPPORTED,
        "inference-by-size": CONDITIONAL,
        "no-substitute": HOLDS,
        "inference-formula": CONDITIONAL,
        "reuse-inverts": CONDITIONAL,
        "higher-quality-targets": UNSUPPORTED,
        "dearer-for-modest-gains": CONDITIONAL,
        "gpu-hours": UNSUPPORTED,
        "task-gains": CONDITIONAL,
    }.items(),
)
def test_each_claim_has_its_verdict(key, verdict):
    assert FOUND[key].verdict == verdict


def test_every_claim_is_named_once_and_has_numbers():
    assert len(FOUND) == len(CLAIMS)
    assert all(claim.verdict in VERDICTS and claim.figures and claim.because for claim in FOUND.values())


@pytest.mark.parametrize(
    ("key", "label", "number"),
    [
        ("totals", "totals that equal their sums", "9"),
        ("joules-per-token", "J/token for each kWh, at 30.0 M tokens", "0.12"),
        ("charged-and-burnt", "charged to the nine cells", "234.5"),
        ("charged-and-burnt", "burnt, each teacher artifact made once", "191.3"),
        ("scaling", "SFT: energy, 13B over 1B", "4.9"),
        ("scaling", "KD: energy, 13B over 1B", "2.5"),
        ("scaling", "synthetic SFT: energy, 13B over 1B", "2.4"),
        ("scaling", "SFT: ΔQ", "0.30"),
        ("scaling", "KD: ΔQ", "0.12"),
        ("scaling", "synthetic SFT: ΔQ", "0.14"),
        ("one-off-frontier", "on the frontier", "SFT 1B, synthetic SFT 1B, SFT 7B, SFT 13B"),
        ("dearer-at-the-smallest", "KD: energy over SFT", "2.41"),
        ("generation-dominates", "generation, 1B", "10.60"),
        ("break-even", "N*, KD 1B", "10.00"),
        ("break-even", "N*, KD 7B", "5.24"),
        ("break-even", "N*, KD 13B", "3.55"),
        ("break-even", "N*, synthetic SFT 1B", "11.16"),
        ("break-even", "N*, synthetic SFT 7B", "5.73"),
        ("break-even", "N*, synthetic SFT 13B", "2.36"),
        ("inference-formula", "KD 1B for SFT 7B, extra training against SFT 1B", "86.9"),
        ("q-from-scores", "rows that come back", "9"),
        ("q-from-scores", "smallest value that gives all nine rows", "7.78"),
        ("q-from-scores", "largest", "7.88"),
        ("gpu-hours", "2,000 h at 0.65 kW", "1,300"),
        ("gpu-hours", "core grid, three times", "704"),
        ("no-substitute", "synthetic SFT 1B for SFT 7B: Q short by", "0.19"),
        ("higher-quality-targets", "synthetic SFT 13B without its teacher", "30.10"),
    ],
)
def test_the_numbers_beside_a_claim(key, label, number):
    assert shown(key)[label] == number


def test_the_counts_of_students_beside_each_quotient():
    units = [figure.unit for figure in FOUND["break-even"].figures]
    assert units == [f"→ {n} students" for n in (10, 6, 4, 12, 6, 3)]


def test_the_frontier_by_n():
    spans = [(low, high, len(cells)) for low, high, cells in frontier_by_n(TABLES)]
    assert spans == [(1, 2, 4), (3, 5, 5), (6, 9, 7), (10, None, 6)]
    assert ("sft", "1B") not in frontier_by_n(TABLES)[-1][2]


def test_every_cross_size_pair_has_less_than_no_extra_training():
    values = [figure.value for figure in FOUND["inference-formula"].figures[:-1]]
    assert len(values) == 6 and max(values) < 0


@pytest.mark.parametrize(
    ("key", "change", "cell", "values", "verdict"),
    [
        ("totals", changed, ("kd", "7B"), {"energy_kwh": Decimal("28.41")}, CONDITIONAL),
        ("joules-per-token", changed, ("sft", "1B"), {"j_per_token": Decimal("0.90")}, HOLDS),
        ("scaling", changed, ("sft", "13B"), {"q": Decimal("0.88")}, CONDITIONAL),
        ("diminishing-returns", changed, ("sft", "7B"), {"q": Decimal("0.70")}, CONDITIONAL),
        ("one-off-frontier", changed, ("sft", "1B"), {"q": Decimal("0.71")}, HOLDS),
        ("strict-dominance", changed, ("kd", "7B"), {"q": Decimal("0.91")}, CONDITIONAL),
        ("dearer-at-the-smallest", changed, ("kd", "1B"), {"q": Decimal("0.69")}, CONDITIONAL),
        ("q-from-scores", changed, ("kd", "1B"), {"q": Decimal("0.75")}, UNSUPPORTED),
        ("no-substitute", changed, ("kd", "7B"), {"q": Decimal("0.99")}, CONDITIONAL),
        ("higher-quality-targets", changed, ("synthetic_sft", "13B"), {"q": Decimal("0.95")}, HOLDS),
        ("dearer-for-modest-gains", changed, ("kd", "13B"), {"q": Decimal("0.82")}, CONDITIONAL),
        ("generation-dominates", with_stage, ("synthetic_sft", "1B"), {"teacher_generation": "5.00"}, UNSUPPORTED),
        ("break-even", with_stage, ("sft", "1B"), {"student_training": "6.60"}, UNSUPPORTED),
        ("cheaper-training", with_stage, ("kd", "1B"), {"student_training": "6.30"}, CONDITIONAL),
        ("baseline-training", with_stage, ("sft", "1B"), {"evaluation": "1.33"}, CONDITIONAL),
        ("fixed-overhead", with_stage, ("kd", "7B"), {"logit_caching": "12.00"}, CONDITIONAL),
        ("driver-by-size", with_stage, ("kd", "1B"), {"logit_caching": "5.00"}, CONDITIONAL),
        ("small-stages", with_stage, ("kd", "1B"), {"evaluation": "3.00"}, CONDITIONAL),
    ],
)
def test_other_tables_give_other_verdicts(key, change, cell, values, verdict):
    claim = CLAIMS[list(FOUND).index(key)]
    assert claim(change(cell, **values)).verdict == verdict


def test_the_committed_tables_are_those_of_the_tests():
    folder = Path(__file__).parents[2] / "registry" / "importers" / "reference"
    with (folder / "inference.csv").open() as file:
        assert {row["size"]: row["j_per_token"] for row in csv.DictReader(file)} == paper.INFERENCE_J_PER_TOKEN
