"""Runs side by side: as a page without JavaScript, and over REST."""

import pytest

from registry.models import Run
from tests import scenes


@pytest.fixture
def pair(study):
    reference = scenes.add_reference(study)
    runs = [
        scenes.complete_run(study, "sft", reference, training_j=joules, factor=0.5, seed=seed, configuration="same")
        for seed, joules in ((0, 3000.0), (1, 3300.0))
    ]
    for run in runs:
        scenes.add_trace(run.stages.get(kind="student_training"))
    return runs


def names(answer):
    return {row.name for row in answer.context["rows"]}


def test_the_list_offers_runs_to_compare_and_the_page_shows_what_differs(client, member, pair):
    client.force_login(member)
    listed = client.get("/runs/").content.decode()
    assert all(f'value="{run.pk}"' in listed for run in pair)
    answer = client.get("/runs/compare/", {"run": [run.pk for run in pair]})
    assert answer.status_code == 200
    assert {"seed", "student_training: energy", "energy, full scope"} <= names(answer)
    assert "workload" not in names(answer)
    assert "SFT 12 layers (2)" in answer.content.decode()


def test_everything_can_be_shown_and_power_is_laid_over_by_stage(client, member, pair):
    client.force_login(member)
    answer = client.get("/runs/compare/", {"run": [run.pk for run in pair], "all": "1"})
    assert {"workload", "cpu_model", "training.learning_rate"} <= names(answer)
    ((kind, _, _, figure),) = answer.context["charts"]
    assert kind == "student_training"
    drawn = {trace["name"]: trace["x"] for trace in figure["data"]}
    assert drawn["SFT 12 layers (1), CPU"] == drawn["SFT 12 layers (2), CPU"]


def test_a_run_of_somebody_else_is_not_there(client, stranger, pair):
    client.force_login(stranger)
    answer = client.get("/runs/compare/", {"run": [pair[0].pk, "nonsense"]})
    assert answer.context["found"].runs == ()
    assert str(pair[0].pk) not in answer.content.decode()


def test_more_than_twenty_are_refused_with_the_limit(client, member, study):
    client.force_login(member)
    answer = client.get("/runs/compare/", {"run": [f"{n:032x}" for n in range(21)]})
    assert answer.status_code == 400
    assert "up to 20" in answer.content.decode()


def test_the_same_comes_over_rest(client, member, pair, token_for):
    headers = token_for(member)
    keys = [str(run.pk) for run in pair]
    answer = client.get("/api/v1/runs/compare/", {"run": [*keys, "nonsense"]}, **headers).json()
    assert (answer["runs"], answer["missing"]) == (keys, ["nonsense"])
    seeds = next(row for row in answer["rows"] if row["name"] == "seed")
    assert seeds["values"] == [0, 1]
    assert client.get("/api/v1/runs/compare/", **headers).status_code == 400
    Run.objects.filter(pk=keys[0]).update(seed=1)
    whole = client.get("/api/v1/runs/compare/", {"run": keys, "all": "true"}, **headers).json()
    assert {row["name"]: row["differs"] for row in whole["rows"]}["seed"] is False
