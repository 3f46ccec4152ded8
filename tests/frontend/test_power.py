"""The power of a run on its page: the chart's figures for a stretch, and the table."""

import base64
import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.urls import reverse

from registry.models import Trace
from tests import scenes

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
GPUS = [{"uuid": "GPU-a", "name": "H100", "energy_j": None}, {"uuid": "GPU-b", "name": "H100", "energy_j": None}]


def stage_at(run, kind, start_s, duration_s=60.0, **changes):
    times = {
        "started_at": NOON + timedelta(seconds=start_s),
        "ended_at": NOON + timedelta(seconds=start_s + duration_s),
    }
    return scenes.add_stage(run, kind, 100.0, duration_s=duration_s, **times, **changes)


@pytest.fixture
def run(study):
    """A data stage without a trace, then an attempt that died at its training, and one that did not."""
    study.project.public = True
    study.project.save()
    run = scenes.add_run(study)
    stage_at(run, "preprocess", 0)
    readings = [(*gpu, i / 10, 300.0 + i, i) for i in range(600) for gpu in (("gpu", "GPU-a"), ("gpu", "GPU-b"))]
    scenes.add_trace(stage_at(run, "student_training", 100, status="lost", devices=GPUS), readings)
    scenes.add_trace(stage_at(run, "student_training", 200, devices=GPUS), [*readings, ("cpu", "", 1.0, 40.0, None)])
    return run


@pytest.fixture
def ask(client, run):
    def get(**query):
        return client.get(reverse("run_power", args=[run.pk]), query)

    return get


def seconds(line):
    """A line's times, in seconds since noon."""
    at_ms = np.frombuffer(base64.b64decode(line["x"]["bdata"]), line["x"]["dtype"])
    return at_ms / 1000 - NOON.timestamp()


def test_all_stages_stand_one_after_the_other_on_the_run_s_time(ask):
    figure = ask().json()
    ranges = {(line["hovertemplate"].split("<extra>")[1], *seconds(line)[[0, -1]].round(3)) for line in figure["data"]}
    assert ranges == {
        ("GPU 0, student training (lost)</extra>", 100.0, 159.9),
        ("GPU 1, student training (lost)</extra>", 100.0, 159.9),
        ("GPU 0, student training</extra>", 200.0, 259.9),
        ("GPU 1, student training</extra>", 200.0, 259.9),
        ("CPU, student training</extra>", 201.0, 201.0),
    }
    assert figure["layout"]["meta"]["origin_ms"] == NOON.timestamp() * 1000
    assert [shape["label"]["text"] for shape in figure["layout"]["shapes"]] == [
        "preprocess",
        "student training (lost)",
        "student training",
    ]


def test_a_lost_attempt_has_its_own_colour(ask):
    colours = {line["hovertemplate"].split("<extra>")[1]: line["line"]["color"] for line in ask().json()["data"]}
    assert colours["GPU 0, student training (lost)</extra>"] == colours["GPU 1, student training (lost)</extra>"]
    assert colours["GPU 0, student training (lost)</extra>"] != colours["GPU 0, student training</extra>"]


def test_a_stretch_brings_only_its_own_samples(ask):
    figure = ask(**{"from": "210", "to": "211"}).json()
    assert {line["hovertemplate"].split(",")[0].split(">")[-1] for line in figure["data"]} >= {"GPU 0", "GPU 1"}
    assert seconds(figure["data"][0]).round(3).tolist() == [209.9, *np.arange(210, 211.05, 0.1).round(3), 211.1]
    assert [shape["label"]["text"] for shape in figure["layout"]["shapes"]] == ["student training"]
    assert figure["layout"]["xaxis"]["range"] == ["2026-01-31 12:03:30.000000", "2026-01-31 12:03:31.000000"]


def test_a_narrow_chart_has_fewer_points(ask):
    assert len(seconds(ask(width=100).json()["data"][0])) < 100 < len(seconds(ask(width=2000).json()["data"][0]))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "5", "to": "5"}, "to"),
        ({"from": "nan"}, "from"),
        ({"to": "1e12"}, "to"),
        ({"width": "-3"}, "width"),
        ({"from": "noon"}, "from"),
    ],
)
def test_a_stretch_that_is_none_is_refused(ask, query, field):
    response = ask(**query)
    assert (response.status_code, list(response.json()["errors"])) == (400, [field])


def test_the_power_of_a_private_run_is_for_its_members(ask, run, client, stranger, member):
    run.project.public = False
    run.project.save()
    found = [ask().status_code]
    for person in (stranger, member):
        client.force_login(person)
        found.append(ask().status_code)
    assert found == [404, 404, 200]


def test_a_run_without_a_trace_has_neither_chart_nor_table(client, study):
    study.project.public = True
    study.project.save()
    run = scenes.add_run(study)
    scenes.add_stage(run, "preprocess", 5.0, extra={"power_curve": [[0.0, 20.0], "anything"]})
    assert client.get(reverse("run_power", args=[run.pk])).status_code == 404
    assert client.get(reverse("run_power", args=[uuid.uuid4()])).status_code == 404
    page = client.get(run.get_absolute_url())
    assert (page.status_code, "chart-power" in page.content.decode()) == (200, False)


def test_the_table_has_every_line_in_figures_and_the_file(client, run):
    page = client.get(run.get_absolute_url()).content.decode()
    table = page[page.index('id="power-table"') :]
    table = table[: table.index("</table>")]
    assert table.count("<tr>") == 1 + 2 + 3
    assert table.count("H100") == 4
    for trace in Trace.objects.all():
        assert f"/api/v1/stage-records/{trace.stage_id}/trace/?format=parquet" in table


def test_the_page_opens_no_trace(client, run):
    Trace.objects.update(storage_key="0" * 32)
    assert client.get(run.get_absolute_url()).status_code == 200


def test_a_trace_that_is_gone_is_said_in_its_stage_s_band(ask, run):
    Trace.objects.filter(stage__status="lost").update(storage_key="0" * 32)
    figure = ask(width=2000).json()
    assert "student training (lost): its trace cannot be read" in [
        s["label"]["text"] for s in figure["layout"]["shapes"]
    ]
    assert len(figure["data"]) == 3
