"""What the paper prints, and what a check of it found."""

import csv
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from registry.accounting.breakeven import amortised_series, inference_break_even, reuse_break_even
from registry.accounting.figures import burnt, charge
from registry.accounting.frontier import frontier, points
from registry.accounting.quality import quality
from registry.accounting.rates import stage_rate
from registry.accounting.units import joules, kwh
from tests.accounting import paper

REFERENCE = Path(__file__).parents[2] / "registry" / "importers" / "reference"
SFT_FOUR = {"sft 1B", "synthetic_sft 1B", "sft 7B", "sft 13B"}


def on_frontier(scope, n=1):
    return {p.point.configuration for p in frontier(points(paper.RUNS, scope, n)) if p.on_frontier}


@pytest.mark.parametrize(("pipeline", "size"), paper.CELLS)
def test_the_total_of_table_2_is_the_sum_of_table_3_without_prerun(pipeline, size):
    parts = [paper.PREPROCESS, paper.TRAINING[pipeline, size], paper.EVALUATION[size], paper.TEACHER.get(pipeline, "0")]
    assert sum(map(Decimal, parts)) == Decimal(paper.TABLE_2[pipeline, size][0])
    assert kwh(charge(paper.run(pipeline, size), "full").energy_j) == float(paper.TABLE_2[pipeline, size][0])


@pytest.mark.parametrize(("pipeline", "size"), paper.CELLS)
def test_joules_per_token_of_table_2_come_from_thirty_million_nominal_tokens(pipeline, size):
    energy_kwh, j_per_token, _ = paper.TABLE_2[pipeline, size]
    assert abs(Decimal(energy_kwh) * Decimal("0.12") - Decimal(j_per_token)) <= Decimal("0.005")
    point = points([paper.run(pipeline, size)], "full")[0]
    assert point.j_per_token == pytest.approx(float(j_per_token), abs=0.005)
    assert point.tokens_nominal


def test_a_nominal_rate_says_so():
    rate = stage_rate(
        "student_training",
        energy_j=joules(6.3),
        duration_s=None,
        tokens={"trained": paper.NOMINAL_TOKENS},
        nominal=True,
    )
    assert (rate.joules_per_token, rate.tokens_per_second, rate.denominator, rate.nominal) == (
        0.756,
        None,
        "trained",
        True,
    )


@pytest.mark.parametrize(
    ("pipeline", "size", "exact", "count"),
    [
        ("kd", "1B", "10.00", 10),
        ("kd", "7B", "5.24", 6),
        ("kd", "13B", "3.55", 4),
        ("synthetic_sft", "1B", "11.16", 12),
        ("synthetic_sft", "7B", "5.73", 6),
        ("synthetic_sft", "13B", "2.36", 3),
    ],
)
@pytest.mark.parametrize(
    "unit", [Decimal, float, lambda text: joules(float(text))], ids=["kWh", "float kWh", "float J"]
)
def test_the_reuse_that_breaks_even(pipeline, size, exact, count, unit):
    found = reuse_break_even(
        teacher_j=unit(paper.TEACHER[pipeline]),
        baseline_student_j=unit(paper.TRAINING["sft", size]),
        distilled_student_j=unit(paper.TRAINING[pipeline, size]),
    )
    assert (found.verdict, found.count) == ("breaks_even", count)
    assert round(found.exact, 2) == Decimal(exact)


def test_the_frontier_of_table_2_holds_synthetic_sft_1b_beside_the_baselines():
    assert on_frontier("full") == SFT_FOUR


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((1, 2), SFT_FOUR),
        ((3, 4, 5), SFT_FOUR | {"kd 1B"}),
        ((6, 7, 8, 9), SFT_FOUR | {"kd 1B", "kd 7B", "synthetic_sft 7B"}),
        ((10, 11, 50), (SFT_FOUR | {"kd 1B", "kd 7B", "synthetic_sft 7B"}) - {"sft 1B"}),
    ],
)
def test_the_frontier_under_amortisation(counts, expected):
    for n in counts:
        assert on_frontier("amortised", n) == expected, n


@pytest.mark.parametrize(("n", "size"), [(1, 4), (3, 5), (6, 7), (10, 6)])
def test_the_frontier_is_the_same_with_q_before_rounding(n, size):
    teacher = dict(zip(paper.SUITE, paper.TEACHER_SCORES, strict=True))
    exact = [
        replace(run, q=quality(dict(zip(paper.SUITE, paper.TABLE_4[cell], strict=True)), teacher, paper.SUITE).q)
        for run, cell in zip(paper.RUNS, paper.CELLS, strict=True)
    ]
    standing = {p.point.configuration for p in frontier(points(exact, "amortised", n)) if p.on_frontier}
    assert standing == on_frontier("amortised", n)
    assert len(standing) == size


def test_as_really_reused_by_three_students_is_the_frontier_at_three():
    assert on_frontier("amortised", "reused") == on_frontier("amortised", 3)


@pytest.mark.parametrize("n", [1, 3, 10, 100, 10**9])
def test_at_13b_distillation_stays_dominated_by_sft_7b(n):
    cells = {p.configuration: p for p in points(paper.RUNS, "amortised", n)}
    for pipeline in ("kd", "synthetic_sft"):
        large, baseline = cells[f"{pipeline} 13B"], cells["sft 7B"]
        assert baseline.energy_j < large.energy_j
        assert baseline.q > large.q


def test_a_dominated_cell_names_the_nearest_that_beats_it_and_by_how_much():
    placed = {p.point.configuration: p for p in frontier(points(paper.RUNS, "full"))}
    distilled = placed["kd 7B"]
    assert distilled.dominated_by.configuration == "sft 7B"
    assert kwh(distilled.energy_excess_j) == pytest.approx(8.9)
    assert distilled.q_shortfall == pytest.approx(0.12)


@pytest.mark.parametrize("mt_bench", [7.78, 7.85, 7.88])
@pytest.mark.parametrize("cell", paper.CELLS)
def test_q_of_table_2_follows_from_table_4(cell, mt_bench):
    teacher = dict(zip(paper.SUITE, (*paper.TEACHER_SCORES[:4], mt_bench), strict=True))
    found = quality(dict(zip(paper.SUITE, paper.TABLE_4[cell], strict=True)), teacher, paper.SUITE)
    assert f"{found.q:.2f}" == paper.TABLE_2[cell][2]


@pytest.mark.parametrize(
    ("pipeline", "delta_q", "factor"), [("sft", 0.30, 4.9), ("kd", 0.12, 2.5), ("synthetic_sft", 0.14, 2.4)]
)
def test_going_from_1b_to_13b(pipeline, delta_q, factor):
    small, large = (points([paper.run(pipeline, size)], "full")[0] for size in ("1B", "13B"))
    assert large.q - small.q == pytest.approx(delta_q)
    assert round(large.energy_j / small.energy_j, 1) == factor


def test_the_teacher_dominates_synthetic_sft_at_1b_only():
    by_role = {size: charge(paper.run("synthetic_sft", size), "full").by_role for size in paper.SIZES}
    assert [size for size in paper.SIZES if by_role[size]["teacher"] > by_role[size]["student"]] == ["1B"]


def test_the_nine_cells_charge_234_5_kwh_and_burnt_191_3():
    assert kwh(sum(charge(run, "full").energy_j for run in paper.RUNS)) == 234.5
    assert kwh(burnt(paper.RUNS).energy_j) == 191.3


def test_the_core_grid_three_times_is_704_kwh_and_appendix_d_speaks_of_1300():
    assert round(3 * kwh(sum(charge(run, "full").energy_j for run in paper.RUNS)) + 1e-9) == 704
    assert Decimal(2000) * Decimal("0.65") == 1300


def serving(student, reference, tolerance):
    """T* of the distilled `student` cell against the baseline of size `reference`."""
    return inference_break_even(
        extra_training_j=Decimal(paper.TABLE_2[student][0]) * 3_600_000
        - Decimal(paper.TABLE_2["sft", reference][0]) * 3_600_000,
        reference_j_per_token=Decimal(paper.INFERENCE_J_PER_TOKEN[reference]),
        student_j_per_token=Decimal(paper.INFERENCE_J_PER_TOKEN[student[1]]),
        reference_q=float(paper.TABLE_2["sft", reference][2]),
        student_q=float(paper.TABLE_2[student][2]),
        tolerance=tolerance,
    )


CROSS_SIZE = [
    ((pipeline, small), large)
    for pipeline in ("kd", "synthetic_sft")
    for small, large in [("1B", "7B"), ("1B", "13B"), ("7B", "13B")]
]


@pytest.mark.parametrize(("student", "reference"), CROSS_SIZE)
def test_every_cross_size_quotient_is_negative_and_no_student_is_a_substitute(student, reference):
    found = serving(student, reference, tolerance=0.05)
    assert found.formula < 0
    assert (found.verdict, found.tokens) == ("no_substitute", None)
    assert found.sentence.startswith("No substitute: ΔQ = -0.")


@pytest.mark.parametrize(("student", "reference"), CROSS_SIZE)
def test_were_it_a_substitute_it_would_be_cheaper_from_the_first_token(student, reference):
    assert (serving(student, reference, tolerance=1.0).verdict) == "at_once"


@pytest.mark.parametrize("pipeline", ["kd", "synthetic_sft"])
def test_against_the_same_size_the_denominator_is_zero(pipeline):
    found = serving((pipeline, "1B"), "1B", tolerance=0.05)
    assert (found.formula, found.verdict, found.tokens) == (None, "never", None)


def test_kd_1b_in_place_of_7b_inference_pays_back_after_86_9_million_tokens():
    found = inference_break_even(
        extra_training_j=joules(Decimal("16.90") - Decimal("7.00")),
        reference_j_per_token=Decimal("0.68"),
        student_j_per_token=Decimal("0.27"),
        reference_q=0.90,
        student_q=0.70,
        tolerance=0.20,
    )
    assert round(found.tokens / 1_000_000, 1) == Decimal("86.9")
    assert found.sentence == "Cheaper after 86,926,829 tokens served."


def test_figure_3_the_energy_per_student_at_7b_crosses_the_baseline_at_six():
    baseline = joules(19.5)
    series = dict(amortised_series(joules(11.0), joules(17.4), range(1, 13)))
    assert next(n for n, energy_j in series.items() if energy_j <= baseline) == 6
    assert series[1] == joules(28.4)


def rows(name):
    with (REFERENCE / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_reference_files_hold_the_tables():
    table_2 = {(r["pipeline"], r["size"]): (r["energy_kwh"], r["j_per_token"], r["q"]) for r in rows("table2")}
    assert table_2 == paper.TABLE_2
    table_4 = {(r["model"], r["size"]): tuple(float(r[name]) for name in paper.SUITE) for r in rows("table4")}
    assert table_4.pop(("teacher", "32B")) == paper.TEACHER_SCORES
    assert table_4 == paper.TABLE_4
    assert {r["size"]: r["j_per_token"] for r in rows("inference")} == paper.INFERENCE_J_PER_TOKEN


def test_the_reference_file_of_stages_holds_table_3():
    table_3 = {(r["pipeline"], r["stage"], size): r[f"kwh_{size}"] for r in rows("table3") for size in paper.SIZES}
    for pipeline, size in paper.CELLS:
        assert table_3[pipeline, "preprocess", size] == paper.PREPROCESS
        assert table_3[pipeline, "student_training", size] == paper.TRAINING[pipeline, size]
        assert table_3[pipeline, "evaluation", size] == paper.EVALUATION[size]
    for pipeline, stage in (("kd", "logit_caching"), ("synthetic_sft", "teacher_generation")):
        assert {table_3[pipeline, stage, size] for size in paper.SIZES} == {paper.TEACHER[pipeline]}
    assert {table_3["any", "prerun", size] for size in paper.SIZES} == {"0.12"}
