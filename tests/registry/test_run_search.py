"""Runs by the words that name them."""

import pytest
from django.contrib.auth.models import AnonymousUser

from registry.models import Run
from registry.selectors import words
from tests import scenes

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows(study):
    study.project.public = True
    study.project.save()
    for n in range(12):
        scenes.add_run(
            study,
            "kd",
            external_id=f"cluster-run-{n:03d}",
            student="allenai/OLMo-2-0425-1B",
            workload="codeforces" if n == 0 else "tulu-3",
        )
    return Run.objects.visible_to(AnonymousUser())


def found(rows, text, page=50, below=""):
    page_of = words.runs_matching(rows, text, below=below, page=page).order_by("-pk")[:page]
    return [run.external_id for run in page_of]


def test_words_of_ids_are_found_by_how_they_begin(rows):
    assert found(rows, "run-003") == ["cluster-run-003"]
    assert len(found(rows, "OLMo 2 042")) == 12
    assert found(rows, "code") == ["cluster-run-000"]
    assert found(rows, "codeforces 999") == []
    assert found(rows, "&|!") == []
    assert len(found(rows, " ")) == 12


@pytest.mark.parametrize("recent", [1, 4, 1000])
def test_the_newest_are_looked_at_first_and_nothing_is_lost(rows, monkeypatch, recent):
    monkeypatch.setattr(words, "RECENT", recent)
    newest = [f"cluster-run-{n:03d}" for n in range(11, -1, -1)]
    assert found(rows, "tulu") == newest[:-1]
    assert found(rows, "cluster", page=3) == newest[:3]
    third = str(rows.get(external_id=newest[2]).pk)
    below = rows.filter(pk__lt=third)
    assert found(below, "cluster", page=3, below=third) == newest[3:6]
    assert found(rows, "codeforces", page=3) == ["cluster-run-000"]


def test_both_doors_search(rows, client):
    page = client.get("/runs/", {"q": "codeforces"})
    assert [row.run.external_id for row in page.context["rows"]] == ["cluster-run-000"]
    body = client.get("/api/v1/runs/", {"search": "codeforces"}).json()
    assert [run["external_id"] for run in body["results"]] == ["cluster-run-000"]
    first = client.get("/api/v1/runs/", {"search": "tulu", "limit": 5}).json()
    second = client.get(first["next"]).json()
    assert len(first["results"]) == len(second["results"]) == 5
    back = client.get(second["previous"]).json()
    assert back["results"] == first["results"]
