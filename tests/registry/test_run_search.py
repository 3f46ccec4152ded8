"""Runs by the words that name them."""

import pytest
from django.contrib.auth.models import AnonymousUser

from registry.models import Run, RunKind, RunNameWord
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


@pytest.mark.parametrize(
    ("text", "meet"),
    [
        ("1B code", True),
        ("codeforces tulu", False),
        ("tulu codefor", False),
        ("nobody", False),
        ("cluster codeforces tulu", False),
        ("cluster codeforces", True),
        ("codeforces 000", True),
        ("codeforces 7", True),
        ("tulu clus", True),
    ],
)
def test_words_on_no_run_together_are_told_by_the_kinds_of_runs(rows, monkeypatch, text, meet):
    assert words._never_meet(words.words_of(text)) is not meet
    with_kinds = found(rows, text)
    monkeypatch.setattr(words, "_never_meet", lambda words: False)
    assert with_kinds == found(rows, text)


def test_what_a_run_becomes_is_found_too(rows):
    assert found(rows, "codeforces tulu") == found(rows, "sft codeforces") == []
    rows.filter(external_id="cluster-run-000").update(pipeline="sft")
    assert found(rows, "sft codeforces") == ["cluster-run-000"]
    rows.filter(external_id="cluster-run-001").update(external_id="codeforces-again")
    assert found(rows, "codeforces tulu") == ["codeforces-again"]
    kinds, names = RunKind.objects.count(), RunNameWord.objects.count()
    rows.filter(external_id="cluster-run-002").update(seed=4)
    assert (kinds, names) == (RunKind.objects.count(), RunNameWord.objects.count()) == (3, 4)
