"""Every table of a page is to be had as CSV, JSON and Parquet, to every digit and under the view's parameters."""

import csv
import io
import json

import pytest
from django.urls import reverse
from pyarrow import parquet

from frontend import tables
from registry.importers import paper
from registry.models import Run
from tests import scenes
from tests.accounting import paper as printed
from tests.frontend.test_exports import body
from tests.frontend.test_study_pages import sweep

BASE = f"/studies/{paper.SLUG}"
OF_STUDY = [*tables.STUDY, *tables.ADVICE, *tables.TRANSFER, *tables.CLAIMS]


@pytest.fixture(scope="module")
def published(module_db):
    """The study, loaded once for this module."""
    return paper.load()


def json_of(answer):
    return json.loads(body(answer))


@pytest.mark.parametrize("name", OF_STUDY)
def test_each_table_of_a_study_has_rows(published, db, client, name):
    rows = json_of(client.get(f"{BASE}/tables/{name}.json"))
    assert bool(rows) == (name != "partial")


@pytest.mark.parametrize("name", ["claims", "partial"])
def test_a_table_says_the_same_in_every_format(published, db, client, name):
    answers = {form: client.get(f"{BASE}/tables/{name}.{form}") for form in ("csv", "json", "parquet")}
    rows = json_of(answers["json"])
    flat = list(csv.DictReader(io.StringIO(body(answers["csv"]))))
    packed = parquet.read_table(io.BytesIO(b"".join(answers["parquet"])))
    assert len(flat) == len(rows) == packed.num_rows
    assert not rows or list(flat[0]) == list(rows[0]) == packed.column_names


def test_the_figures_are_those_of_the_page(published, db, client):
    rows = json_of(client.get(f"{BASE}/tables/break-even.json"))
    assert {(row["distilled_pipeline"], row["distilled_student"]): row["n_star"] for row in rows}["kd", "7B"] == 6
    points = json_of(client.get(f"{BASE}/tables/points.json", {"cost": "co2e", "intensity": "0.5"}))
    kwh = {(row["pipeline"], row["student"]): row for row in points}
    for cell, (energy, _rate, _q) in printed.TABLE_2.items():
        assert kwh[cell]["cost"] == pytest.approx(float(energy) * 0.5, abs=0.003)
    moved = json_of(client.get(f"{BASE}/tables/transferred.json", {"teacher": "2"}))
    assert any(row["transferred_kwh"] == pytest.approx(row["energy_kwh"] + 11) for row in moved)
    page = client.get(f"{BASE}/", {"error": "1"}).content.decode()
    assert f'href="{BASE}/tables/amortised.parquet?error=1"' in page


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (f"{BASE}/tables/points.xls", 404),
        (f"{BASE}/tables/settings.tex", 404),
        (f"{BASE}/tables/nothing.csv", 404),
        (f"{BASE}/tables/points.csv?pue=0", 400),
        (f"{BASE}/tables/settings.csv?n=-1", 400),
        (f"{BASE}/tables/candidates.csv?students=0", 400),
        (f"{BASE}/tables/transferred.csv?teacher=x", 400),
        (f"{BASE}/tables/claims.csv?verdict=maybe", 404),
        ("/artifacts/export.csv?kind=%00", 400),
        ("/artifacts/export.json?shape=round", 400),
        ("/runs/compare/tables/comparison.csv?" + "&".join(f"run={n}" for n in range(21)), 400),
    ],
)
def test_what_cannot_be_is_refused(published, db, client, address, status):
    assert client.get(address).status_code == status


def test_runs_artifacts_and_settings_have_theirs(study, member, stranger, client):
    sweep(study)
    runs = scenes.distilled_study(study)
    run = runs["kd 12 layers"]
    scenes.add_trace(run.stages.get(kind="student_training"))
    artifact = run.uses.get().artifact
    addresses = {
        reverse("study_table", args=[study.slug, "settings", "json"]): 4,
        reverse("study_table", args=[study.slug, "workloads", "json"]): 0,
        reverse("run_table", args=[run.pk, "power", "json"]): 2,
        reverse("run_table", args=[run.pk, "records", "json"]): run.stages.count(),
        reverse("run_table", args=[run.pk, "scores", "json"]): len(study.suite),
        reverse("artifact_table", args=[artifact.pk, "uses", "json"]): 2,
        reverse("artifact_table", args=[artifact.pk, "per-use", "json"]): 2,
        reverse("artifact_table", args=[artifact.pk, "break-even", "json"]): 2,
        reverse("artifact_table", args=[artifact.pk, "attempts", "json"]): 0,
        reverse("artifacts_export", args=["json"]) + "?kind=logit_cache": 5,
    }
    client.force_login(member)
    assert {address: len(json_of(client.get(address))) for address in addresses} == addresses
    (trained,) = [row for row in json_of(client.get(list(addresses)[3])) if row["stage"] == "student_training"]
    assert trained["cpu_energy_j"] == trained["energy_j"] and trained["gpu_energy_j"] is None
    client.force_login(stranger)
    assert {client.get(address).status_code for address in list(addresses)[:-1]} == {404}
    assert len(json_of(client.get(list(addresses)[-1]))) == 1  # that of the published study


def test_no_cell_and_no_heading_is_a_formula(study, member, client):
    scenes.distilled_study(study)
    Run.objects.update(student_size="=1+1", pipeline="@cmd", workload="-2")
    client.force_login(member)
    keys = [str(run.pk) for run in Run.objects.all()[:2]]
    compared = client.get(reverse("compare_table", args=["csv"]), {"run": keys, "all": "1"})
    points = client.get(reverse("study_table", args=[study.slug, "points", "csv"]))
    cells = [cell for answer in (compared, points) for row in csv.reader(io.StringIO(body(answer))) for cell in row]
    assert "'@cmd =1+1 (1)" in cells and "'=1+1" in cells
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@")]
