"""The page of the published study says what the paper's tables say."""

import csv
from decimal import Decimal
from pathlib import Path

import pytest
from django.urls import reverse

from registry.importers import paper
from registry.models import User
from registry.selectors import studies

REFERENCE = Path(paper.__file__).parent / "reference"
ADDRESS = "/studies/arxiv-2605-13981/"


@pytest.fixture(scope="module")
def published(module_db):
    """The study, loaded once for this module."""
    return paper.load()


def table(name):
    with (REFERENCE / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def page(client, **query):
    return client.get(ADDRESS, query)


def points(answer):
    return {(row.placement.point.pipeline, row.placement.point.student): row for row in answer.context["rows"]}


def test_anybody_may_read_it(published, db, client):
    assert page(client).status_code == 200


def test_it_shows_table_2_to_the_printed_digit(published, db, client):
    shown = points(page(client))
    for line in table("table2"):
        point = shown[line["pipeline"], line["size"]].placement.point
        assert f"{point.energy_j / 3.6e6:.2f}" == line["energy_kwh"]
        assert f"{point.j_per_token:.2f}" == line["j_per_token"]
        assert f"{point.q:.2f}" == line["q"]


def test_it_shows_table_3_by_role(published, db, client):
    role = {"preprocess": "data", "student_training": "student", "evaluation": "evaluation"}
    shown = points(page(client))
    for line in table("table3"):
        if line["stage"] == "prerun":
            continue
        for size in ("1B", "7B", "13B"):
            parts = shown[line["pipeline"], size].placement.point.by_role_j
            joules = parts[role.get(line["stage"], "teacher")]
            assert joules == pytest.approx(float(line[f"kwh_{size}"]) * 3.6e6)


def test_it_states_the_papers_break_even_points(published, db, client):
    found = {(p.distilled.pipeline, p.distilled.student): p.result for p in page(client).context["break_evens"]}
    assert {key: result.count for key, result in found.items()} == {
        ("kd", "1B"): 10,
        ("kd", "7B"): 6,
        ("kd", "13B"): 4,
        ("synthetic_sft", "1B"): 12,
        ("synthetic_sft", "7B"): 6,
        ("synthetic_sft", "13B"): 3,
    }
    assert found["synthetic_sft", "1B"].exact.quantize(Decimal("0.01")) == Decimal("11.16")


@pytest.mark.parametrize(
    ("query", "standing"),
    [
        ({}, {"sft 1B", "synthetic_sft 1B", "sft 7B", "sft 13B"}),
        ({"scope": "amortised", "n": "2"}, {"sft 1B", "synthetic_sft 1B", "sft 7B", "sft 13B"}),
        ({"scope": "amortised", "n": "4"}, {"sft 1B", "kd 1B", "synthetic_sft 1B", "sft 7B", "sft 13B"}),
    ],
)
def test_its_frontier_is_the_one_the_tables_give(published, db, client, query, standing):
    rows = page(client, **query).context["rows"]
    found = {f"{r.placement.point.pipeline} {r.placement.point.student}" for r in rows if r.placement.on_frontier}
    assert found == standing


def test_it_says_what_was_really_burnt(published, db, client):
    answer = page(client)
    assert answer.context["view"].burnt.energy_j / 3.6e6 == pytest.approx(191.3)
    charged = sum(row.placement.point.energy_j for row in answer.context["rows"])
    assert charged / 3.6e6 == pytest.approx(234.5)


def test_nominal_token_counts_are_marked(published, db, client):
    body = page(client).content.decode()
    assert "nominal token count" in body
    assert "(nominal)" in body


def test_published_energy_is_not_counted_as_metered_here(published, db, client):
    home = client.get(reverse("home")).context["home"]
    assert (home.metered.energy_j, home.spared.uses) == (None, 0)


def test_figures_are_the_same_for_any_reader(published, db):
    reader = User.objects.create_user("reader")
    assert len(studies.figures(published, reader)) == 9


def test_a_benchmark_error_of_one_point_leaves_kd_1b_and_synthetic_1b_open(published, db, client):
    silent, told = page(client), page(client, error="1")
    assert "a place says nothing of how sure it is" in silent.content.decode()
    verdicts = {key: row.sure.verdict for key, row in points(told).items()}
    assert {key for key, verdict in verdicts.items() if verdict == "not_decided"} == {
        ("kd", "1B"),
        ("synthetic_sft", "1B"),
    }
    assert told.content.decode().count("not decided</span>") == 2


def test_a_plain_form_asks_for_other_axes_and_the_address_holds_them(published, db, client):
    query = {"cost": "co2e", "intensity": "0.5", "quality": "weighted", "w.mmlu": "0", "w.gsm8k": "2"}
    answer = page(client, **query)
    row = points(answer)["sft", "7B"]
    assert row.spot.cost == pytest.approx(19.5 * 0.5)
    assert row.spot.quality == pytest.approx((12 / 16.9 + 70 / 72.4 + 2 * 74 / 78.4 + 7.6 / 7.85) / 5)
    assert 'value="2"' in answer.content.decode()


@pytest.mark.parametrize(("query", "words"), [({"cost": "co2e"}, "needs a grid"), ({"cost": "time"}, "wall time of")])
def test_an_axis_that_cannot_be_had_says_what_it_lacks(published, db, client, query, words):
    assert words in page(client, **query).content.decode()


def test_its_break_even_table_has_no_interval_without_replicates_and_the_amortised_energies_beside_it(
    published, db, client
):
    answer = page(client)
    assert {row.interval for row in answer.context["paybacks"]} == {None}
    amortised = {(p.pipeline, p.student): energies for p, energies in answer.context["amortised"]}
    kd_7b = amortised["kd", "7B"]
    assert [energy / 3.6e6 for energy in kd_7b] == pytest.approx(
        [28.4, 22.9, 19.6, 18.5, 17.4 + 11 / 30, 17.51, 17.411, 17.4]
    )


def test_no_student_of_it_is_a_substitute_until_the_reader_tolerates_a_fifth_of_q(published, db, client):
    strict = page(client).context["substitutes"]
    assert {row.against_large.verdict for row, _ in strict} == {"no_substitute"}
    tolerant = page(client, tolerance="0.2", tokens_per_day="1e6")
    days = {
        (r.small.point.pipeline, r.small.point.student, r.large.point.student): d
        for r, d in tolerant.context["substitutes"]
    }
    assert days["kd", "1B", "7B"] == pytest.approx(86.9, rel=0.001)
    assert "No substitute" in page(client).content.decode()


def test_co2e_is_per_the_unit_that_is_chosen_and_says_that_it_is_a_lower_bound(published, db, client):
    answer = page(client, intensity="0.5", unit="1000_tokens")
    assert points(answer)["sft", "1B"].sci.kg == pytest.approx(7.0 * 0.5 / 30_000)
    assert "operational only here, a lower bound" in answer.content.decode()
    unknown = page(client, intensity="0.5", embodied="0.03")
    assert points(unknown)["sft", "1B"].sci.missing == ("device-hours",)


def test_the_download_holds_the_axes_of_the_page(published, db, client):
    rows = client.get(f"{ADDRESS}points.json", {"quality": "gsm8k", "error": "1"}).json()["points"]
    row = next(row for row in rows if (row["pipeline"], row["student"]) == ("kd", "7B"))
    assert (row["quality"], row["verdict"]) == (76, "not_decided")


def test_its_stages_stand_above_the_floor_of_its_nominal_tokens(published, db, client):
    answer = page(client)
    placements = {(p.point.pipeline, p.point.student): p.point.key for p in answer.context["view"].placements}
    parts = answer.context["splits"][placements["kd", "7B"]]
    assert len(answer.context["splits"]) == 9
    assert parts["teacher"].floor_j / 3.6e6 == pytest.approx(0.70, abs=0.01)
    assert parts["student"].floor_j / 3.6e6 == pytest.approx(0.46, abs=0.01)
    assert parts["student"].times_the_floor == pytest.approx(16.35 / 0.46, rel=0.02)
    assert parts["evaluation"].floor_j is None
    assert answer.context["charged_j"] / 3.6e6 == pytest.approx(234.5)
    assert "191.3" in answer.content.decode()


def test_its_floors_follow_the_share_that_the_reader_takes_as_attainable(published, db, client):
    def floors(**query):
        splits = page(client, **query).context["splits"]
        kd = next(parts for parts in splits.values() if len(parts) == 4)
        return kd["student"].floor_j, kd["teacher"].floor_j

    usual, full = floors(), floors(share="1")
    assert (full[0] / usual[0], full[1] / usual[1]) == (pytest.approx(0.4), pytest.approx(0.5))  # 1B first
    assert "100" in page(client, share="1").content.decode().partition("its completed work took, at")[2][:40]
    assert page(client, share="0").status_code == 400
