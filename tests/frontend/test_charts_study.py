"""The charts of a study over any axes: what is drawn, dimmed, ringed and left to the table."""

import json
import math

import pytest

from frontend.charts_study import (
    FloorBar,
    SplitBar,
    StageLine,
    floor_chart,
    outlook_chart,
    overlay_chart,
    sensitivity_chart,
    split_chart,
)
from registry.accounting.axes import Axes, Prices
from registry.accounting.outlook import outlook
from registry.accounting.sensitivity import sensitivities
from registry.accounting.uncertainty import noise
from tests.accounting import paper
from tests.accounting.test_advice import swept
from tests.accounting.test_outlook import GRID, seen

TOLD = noise(seen(), suite=paper.SUITE, assumed_points=1.0)
(SWEPT,) = sensitivities(*swept((1.0, 0.5, 5.0, 0.7), (2.0, 0.5, 5.1, 0.6)))
BARS = [SplitBar(label="KD <1B>", parts={"student_training": 1.8e7, "evaluation": None}, lost=3.6e6)]
EVERY_FIGURE = {
    "outlook": outlook_chart(seen(), TOLD),
    "split": split_chart(BARS),
    "sensitivity": sensitivity_chart(SWEPT, cost_title="Energy", unit="kWh", scale=1.0),
    "overlay": overlay_chart([StageLine(run="a", device="GPU", seconds=[0, 1, 5], power_w=[1, 2, 3], gaps_s=[(1, 5)])]),
    "floor": floor_chart([FloorBar(label="KD", energy_j=3.6e7, floor_j=3.6e6)]),
}


def trace(figure, name):
    return next(t for t in figure.data if t.name == name)


@pytest.mark.parametrize("figure", EVERY_FIGURE.values(), ids=EVERY_FIGURE)
def test_a_figure_has_no_background_and_no_colour_of_text(figure):
    layout = json.loads(figure.to_json())["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert "font" not in layout


def test_undecided_spots_are_ringed_and_beaten_ones_dimmed():
    kd = trace(EVERY_FIGURE["outlook"], "KD")
    assert list(kd.text) == ["1B", "7B", "13B"]
    assert list(kd.marker.line.width) == [2.5, 0, 0]
    assert list(kd.marker.opacity) == [0.45, 0.45, 0.45]
    assert "Not decided: on the frontier in" in kd.hovertext[0]


def test_labels_name_the_pipeline_where_a_colour_does_not_and_stay_inside_on_the_right():
    (one,) = [t for t in outlook_chart(seen(), TOLD, colours={}).data if t.text]
    assert {"SFT 1B", "KD 1B", "Synthetic SFT 1B"} <= set(one.text)
    assert not [at for x, at in zip(one.x, one.textposition, strict=True) if x > 40 and "right" in at]


def test_bars_are_the_intervals_of_the_draws_and_absent_without_any():
    sft = trace(EVERY_FIGURE["outlook"], "SFT")
    assert sft.error_y.visible
    assert min(sft.error_y.array) > 0
    assert not sft.error_x.visible
    assert not trace(outlook_chart(seen(), noise(seen())), "SFT").error_y.visible


def test_the_axis_says_what_it_holds_and_small_energies_are_in_watt_hours():
    dear = outlook(GRID, Axes(cost="co2e", prices=Prices(grid_kg_per_kwh=0.5)))
    figure = outlook_chart(dear, noise(dear))
    assert figure.layout.xaxis.title.text == "CO2e (kg)"
    assert trace(figure, "SFT").x[0] == pytest.approx(3.5)


def test_lost_attempts_are_a_part_of_their_own_and_shares_add_up():
    lost = trace(split_chart(BARS, shares=True), "Attempts that failed or died")
    done = trace(split_chart(BARS, shares=True), "Student training")
    assert lost.y[0] + done.y[0] == pytest.approx(100)
    assert lost.marker.color != done.marker.color
    assert "KD &lt;1B&gt;" in done.hovertext[0]


def test_a_setting_that_another_beats_is_open():
    figure = EVERY_FIGURE["sensitivity"]
    assert list(figure.data[0].marker.symbol) == ["circle", "circle-open"]
    assert [t.yaxis for t in figure.data] == [None, "y2"]


def test_nothing_bridges_a_gap_between_samples():
    (line,) = EVERY_FIGURE["overlay"].data
    assert [math.isnan(value) for value in line.y] == [False, False, True, False]


def test_a_floor_and_what_is_above_it_make_up_the_energy():
    figure = EVERY_FIGURE["floor"]
    assert [t.x[0] for t in figure.data] == [1.0, 9.0]
