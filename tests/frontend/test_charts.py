import json
import math
import subprocess
import sys

import pytest

from frontend.charts import (
    AmortisationCurve,
    Band,
    Bar,
    PowerLine,
    amortisation_curves,
    crowded_frontier,
    energy_unit,
    frontier_chart,
    power_chart,
    stage_breakdown,
)
from registry.accounting.breakeven import amortised_series
from registry.accounting.figures import RunFigures
from registry.accounting.frontier import frontier, points
from registry.accounting.units import joules


def run(name, energy_kwh, q, **changes):
    values = {
        "run_id": name,
        "pipeline": "sft",
        "student": name,
        "configuration": name,
        "own_energy_j": {"data": joules(0.5), "student": joules(energy_kwh - 0.5)},
        "q": q,
    }
    return RunFigures(**(values | changes))


RUNS = [
    run("1B", 7.0, 0.69),
    run("7B", 19.5, 0.9),
    run("kd 1B", 16.9, 0.6, pipeline="kd"),
    run("unfinished", 9.0, 0.7, complete=False),
    run("unscored", 5.0, None),
]
PLACED = frontier(points(RUNS, "full"))
EVERY_FIGURE = {
    "frontier": frontier_chart(PLACED),
    "breakdown": stage_breakdown([Bar(label="1B", parts_j={"student_training": 1e7})]),
    "amortisation": amortisation_curves([AmortisationCurve(label="KD 7B", pipeline="kd", points=[(1, 1e7), (2, 5e6)])]),
    "power": power_chart(
        [PowerLine(name="GPU", component="gpu", stage="training", at_ms=[0, 1, 2], power_w=[1, 2, 3])],
        [Band(label="training", start_ms=0, end_ms=2)],
    ),
}


def trace(figure, name):
    return next(t for t in figure.data if t.name == name)


@pytest.mark.parametrize("figure", EVERY_FIGURE.values(), ids=EVERY_FIGURE)
def test_a_figure_has_no_background_and_no_colour_of_text(figure):
    layout = json.loads(figure.to_json())["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert "font" not in layout
    assert "white" not in figure.to_json().lower()
    assert "#fff" not in figure.to_json().lower()


@pytest.mark.parametrize("draw", [frontier_chart, stage_breakdown, amortisation_curves, power_chart])
def test_nothing_to_draw_is_an_empty_figure(draw):
    assert json.loads(draw([]).to_json())["layout"]


def test_the_frontier_is_a_step_line_through_its_points_alone():
    line = trace(frontier_chart(PLACED), "Frontier")
    assert (list(line.x), list(line.y), line.line.shape) == ([7.0, 19.5], [0.69, 0.9], "hv")


def test_dominated_points_are_dimmed_and_partial_ones_open():
    figure = frontier_chart(PLACED)
    assert list(trace(figure, "SFT").marker.opacity) == [1.0, 1.0, 0.45]
    assert list(trace(figure, "SFT").marker.symbol) == ["circle", "circle", "circle-open"]
    assert list(trace(figure, "KD").marker.opacity) == [0.45]


def test_a_point_without_q_is_left_to_the_table():
    assert "unscored" not in frontier_chart(PLACED).to_json()


def test_the_hover_splits_the_energy_by_role_and_says_what_dominates():
    hover = trace(frontier_chart(PLACED), "KD").hovertext[0]
    assert hover.split("<br>") == [
        "<b>KD kd 1B</b>",
        "16.9 kWh · Q 0.600 · n = 1",
        "Data: 0.5 kWh",
        "Student: 16.4 kWh",
        "Dominated by SFT 1B: 9.9 kWh more, Q 0.090 less",
    ]


def test_the_hover_of_a_partial_point_says_what_is_missing():
    assert "Partial: stages that have not finished missing" in trace(frontier_chart(PLACED), "SFT").hovertext[2]


def test_replicates_have_error_bars():
    runs = [run("a", 10.0, 0.5, configuration="c"), run("b", 14.0, 0.7, configuration="c")]
    cloud = trace(frontier_chart(frontier(points(runs, "full"))), "SFT")
    assert cloud.error_x.array[0] == pytest.approx(8**0.5)
    assert cloud.error_y.visible


def test_markup_in_a_name_stays_text():
    figure = frontier_chart(frontier(points([run("<a href='x'>1B</a>", 7.0, 0.7)], "full")))
    assert trace(figure, "SFT").text[0] == "&lt;a href='x'&gt;1B&lt;/a&gt;"
    assert "<a href" not in trace(figure, "SFT").hovertext[0]


def test_a_pipeline_keeps_its_colour_whatever_else_is_drawn():
    alone = frontier_chart(frontier(points(RUNS[2:3], "full")))
    assert trace(alone, "KD").marker.color == trace(frontier_chart(PLACED), "KD").marker.color


def test_small_energies_are_drawn_in_watt_hours():
    assert energy_unit([joules(0.05), None]) == ("Wh", 3600)
    assert energy_unit([joules(0.1)]) == ("kWh", 3_600_000)
    assert frontier_chart(frontier(points([run("tiny", 0.6, 0.5)], "full"))).layout.xaxis.title.text == "Energy (kWh)"


def test_bars_are_stacked_in_the_order_of_the_stages():
    bar = Bar(
        label="KD", parts_j={"evaluation": joules(1.0), "student_training": joules(5.0), "logit_caching": joules(11.0)}
    )
    figure = stage_breakdown([bar])
    assert figure.layout.barmode == "stack"
    assert [t.name for t in figure.data[:3]] == ["Logit caching", "Student training", "Evaluation"]
    assert figure.data[3].text[0] == "17"


def test_two_bars_of_one_name_stand_side_by_side():
    figure = stage_breakdown(
        [Bar(label="KD", parts_j={"evaluation": 1.0}), Bar(label="KD", parts_j={"evaluation": 2.0})]
    )
    assert list(figure.data[0].x) == [0, 1]
    assert list(figure.layout.xaxis.ticktext) == ["KD", "KD"]


def test_a_bar_with_a_hole_shows_no_total():
    figure = stage_breakdown([Bar(label="KD", parts_j={"student_training": joules(5.0), "logit_caching": None})])
    assert figure.data[-1].text[0] == "incomplete"
    assert list(trace(figure, "Logit caching").y) == [None]


def test_amortisation_draws_the_baseline_dashed_and_marks_where_it_is_met():
    kd = AmortisationCurve(
        label="KD 7B", pipeline="kd", points=amortised_series(joules(11.0), joules(17.4), range(1, 13)), break_even=6
    )
    sft = AmortisationCurve(label="SFT 7B", pipeline="sft", points=[(n, joules(19.5)) for n in range(1, 13)])
    figure = amortisation_curves([sft, kd])
    assert figure.layout.xaxis.dtick == 1
    assert trace(figure, "SFT 7B").line.dash == "dash"
    assert [n for n, s in zip(range(1, 13), trace(figure, "KD 7B").marker.symbol, strict=True) if s == "star"] == [6]
    assert trace(figure, "KD 7B").y[0] == pytest.approx(28.4)


def power(name="GPU", component="gpu", **changes):
    values = {"stage": "training", "at_ms": [0.0, 1000.0, 2000.0], "power_w": [300.0] * 3}
    return PowerLine(name=name, component=component, **(values | changes))


def test_a_gap_in_the_power_samples_is_shaded_and_never_bridged():
    line = power(at_ms=[0, 1000, 2000, 43_000, 44_000], power_w=[300.0] * 5, gaps_ms=[(2000, 43_000)])
    figure = power_chart([line], shown_ms=(0, 44_000))
    drawn = list(figure.data[0].y)
    assert (drawn[:3], drawn[4:], math.isnan(drawn[3])) == ([300.0] * 3, [300.0] * 2, True)
    assert list(figure.data[0].x) == [0, 1000, 2000, 2000, 43_000, 44_000]
    assert figure.data[0].connectgaps is False
    (shade,) = figure.layout.shapes
    assert (shade.x0, shade.x1) == ("1970-01-01 00:00:02.000000", "1970-01-01 00:00:43.000000")


def test_a_device_keeps_its_colour_and_its_one_line_in_the_legend_through_all_stages():
    lines = [power(stage="caching"), power("CPU", "cpu"), power(stage="training"), power("GPU 1")]
    figure = power_chart(lines)
    assert figure.data[0].line.color == figure.data[2].line.color
    assert len({figure.data[place].line.color for place in (0, 1, 3)}) == 3
    assert [drawn.showlegend for drawn in figure.data] == [True, True, False, True]


def test_every_gpu_of_a_large_host_is_told_from_the_others():
    figure = power_chart([power(f"GPU {i}") for i in range(16)])
    assert len({(drawn.line.color, drawn.line.dash) for drawn in figure.data}) == 16


def test_an_attempt_that_died_has_a_colour_and_a_legend_of_its_own():
    figure = power_chart([power(lost=True), power("CPU", "cpu", lost=True), power()])
    lost, also, good = figure.data
    assert lost.line.color == also.line.color != good.line.color
    assert [drawn.name for drawn in figure.data if drawn.showlegend] == ["attempt that failed or died", "GPU"]


def test_a_stage_is_a_band_with_its_name_where_the_name_has_room():
    bands = [Band(label="preprocess", start_ms=0, end_ms=10), Band(label="training", start_ms=10, end_ms=10_000)]
    whole = power_chart([power()], bands, shown_ms=(0, 10_000)).layout.shapes
    assert [shape.label.text for shape in whole] == [None, "training"]
    near = power_chart([power()], bands, shown_ms=(0, 10), width_px=200).layout.shapes
    assert near[0].label.text == "preprocess"


def test_a_band_is_named_in_its_visible_part():
    band = Band(label="training", start_ms=0, end_ms=100_000)
    (shape,) = power_chart([power()], [band], shown_ms=(40_000, 60_000)).layout.shapes
    assert (shape.x0, shape.x1) == ("1970-01-01 00:00:40.000000", "1970-01-01 00:01:00.000000")


def test_the_highest_line_leaves_room_for_the_names_of_the_stages():
    low, high = power_chart([power(), power("GPU 1", power_w=[10.0, 700.0, 20.0])]).layout.yaxis.range
    assert (low, high) == (0, pytest.approx(805))


def test_ten_thousand_gaps_are_not_ten_thousand_shades():
    gaps = [(i * 1000.0, i * 1000.0 + 900.0) for i in range(10_000)]
    wide = [(2e7, 3e7)]
    line = power(at_ms=[0.0, 3e7], power_w=[1.0, 1.0], gaps_ms=gaps + wide)
    assert len(power_chart([line], shown_ms=(0, 3e7)).layout.shapes) == 1
    assert len(power_chart([line], shown_ms=(0, 400_000)).layout.shapes) <= 100


def test_drawing_needs_no_django():
    code = "import sys, frontend.charts; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_crowd_is_drawn_alike_but_for_the_names_of_its_points():
    drawn, crowd = json.loads(frontier_chart(PLACED).to_json()), crowded_frontier(PLACED)
    for trace in drawn["data"]:
        trace.pop("text", None)
        trace["mode"] = trace["mode"].removesuffix("+text")
    assert json.loads(json.dumps(crowd)) == drawn
