"""The published study leaves the house in the paper's own form."""

import csv
import io

import pytest

from frontend import latex
from registry.models import Run
from tests.accounting import paper
from tests.frontend.test_reference import SLUG, published  # noqa: F401 (a fixture)

ADDRESS = f"/studies/{SLUG}/tables"


def body(answer):
    return (b"".join(answer) if answer.streaming else answer.content).decode()


def test_tables_2_3_and_4_come_out_as_latex_to_the_printed_digit(published, db, client):  # noqa: F811
    totals, stages, scores = (body(client.get(f"{ADDRESS}/{name}.tex")) for name in ("totals", "stages", "scores"))
    for (pipeline, size), (kwh, rate, q) in paper.TABLE_2.items():
        assert f"{size} & {kwh} & {rate} & {q}" in totals
        assert paper.TRAINING[pipeline, size] in stages
    assert "Logit caching & 11.00 & 11.00 & 11.00" in stages
    assert "Baseline SFT & 7B & 12 & 70 & 74 & 69 & 7.6" in scores
    for text in (totals, stages, scores):
        assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1


def test_the_same_tables_as_csv(published, db, client):  # noqa: F811
    read = list(csv.DictReader(io.StringIO(body(client.get(f"{ADDRESS}/totals.csv")))))
    assert {(row["pipeline"], row["student"]): f"{float(row['energy_kwh']):.2f}" for row in read} == {
        cell: kwh for cell, (kwh, _, _) in paper.TABLE_2.items()
    }
    assert client.get(f"{ADDRESS}/totals.doc").status_code == client.get(f"{ADDRESS}/other.csv").status_code == 404


def test_the_citation_names_the_study(published, db, client):  # noqa: F811
    text = body(client.get(f"/studies/{SLUG}/cite.bib"))
    assert text.startswith(f"@misc{{{SLUG},") and text.count("{") == text.count("}") and "arXiv:2605.13981" in text


def test_a_model_card_states_emissions_only_under_a_grid(published, db, client):  # noqa: F811
    key = Run.objects.get(study__slug=SLUG, pipeline="kd", student_size="1B").pk
    bare = client.get(f"/runs/{key}/model-card.json").json()
    assert "co2_eq_emissions" not in bare and len(bare["model-index"][0]["results"]) == 5
    card = client.get(f"/runs/{key}/model-card.json", {"intensity": "0.5", "pue": "1.2"}).json()
    assert card["co2_eq_emissions"]["emissions"] == pytest.approx(16.90 * 1.2 * 0.5 * 1000)
    assert client.get(f"/runs/{key}/model-card.json", {"pue": "0.5"}).status_code == 400


def test_what_a_name_holds_is_no_latex():
    assert latex.escaped("50% of $x_1 {a} \\input") == r"50\% of \$x\_1 \{a\} \textbackslash{}input"


def test_strangers_get_nothing(study, client, stranger):
    client.force_login(stranger)
    assert client.get(f"/studies/{study.slug}/tables/totals.csv").status_code == 404
    assert client.get(f"/studies/{study.slug}/cite.bib").status_code == 404
