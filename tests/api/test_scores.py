"""Scores over REST."""

import pytest

from registry.models import EvaluationScore
from tests import scenes


@pytest.fixture
def run(study):
    return scenes.add_run(study, external_id="mine")


def score(**changes):
    return {"run_id": "mine", "benchmark": "gsm8k", "value": 0.5, "stderr": 0.01, "n": 100} | changes


def test_a_new_score_is_201_and_the_same_again_is_200(api, run):
    first, again = api.post("scores/", score()), api.post("scores/", score())
    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json()["run_id"], first.json()["value"]) == (str(run.pk), 0.5)
    assert EvaluationScore.objects.count() == 1


def test_another_value_under_the_same_score_id_is_409_and_names_it(api, run):
    api.post("scores/", score(score_id="s"))
    response = api.post("scores/", score(score_id="s", value=0.9))
    assert (response.status_code, response.json()["error"]["score_id"]) == (409, "s")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"value": "0.5"}, "value"),
        ({"value": None}, "value"),
        ({"value": True}, "value"),
        ({"stderr": -1}, "stderr"),
        ({"n": -1}, "n"),
        ({"n": 2**31}, "n"),
        ({"n": 1.5}, "n"),
        ({"shots": 2**15}, "shots"),
        ({"benchmark": ""}, "benchmark"),
        ({"benchmark": 5}, "benchmark"),
        ({"benchmark": "b" * 101}, "benchmark"),
        ({"score_id": "s" * 201}, "score_id"),
        ({"run_id": "nobody's"}, "run_id"),
        ({"run_id": None}, "run_id"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_bad_input_is_refused_by_field_and_changes_nothing(api, run, changes, field):
    response = api.post("scores/", score(**changes))
    assert response.status_code == 400, response.content
    assert field in response.json()["error"]["fields"]
    assert not EvaluationScore.objects.exists()


def test_a_list_books_the_good_ones_and_names_the_bad_ones(api, run):
    results = api.post("scores/", [score(score_id="a"), score(score_id="b", value="x")]).json()["results"]
    assert [(result["score_id"], result["status"]) for result in results] == [("a", "created"), ("b", "refused")]
    assert results[1]["error"]["fields"] == {"value": ["'x' is not a number"]}


def test_atomic_books_none_of_a_list_with_a_bad_one(api, run):
    assert api.post("scores/?atomic=1", [score(), score(benchmark="")]).status_code == 400
    assert not EvaluationScore.objects.exists()


def test_the_list_is_filtered(api, run, study):
    api.post("scores/", [score(), score(benchmark="mmlu")])
    assert [row["benchmark"] for row in api.get("scores/", run="mine").json()["results"]] == ["mmlu", "gsm8k"]
    assert len(api.get("scores/", benchmark="mmlu", study=study.slug).json()["results"]) == 1


def test_a_stranger_cannot_score_a_run(outsider, run, project):
    response = outsider.post("scores/", score(run_id=str(run.pk), project=project.slug))
    assert response.status_code == 400
    assert not EvaluationScore.objects.exists()
