"""A study under its reader's assumptions, over REST."""

import pytest

from registry.models import EvaluationScore, Factor
from tests import scenes


@pytest.fixture
def distilled(study):
    scenes.distilled_study(study)
    return study


def look(api, study, status=200, **query):
    response = api.get(f"studies/{study.slug}/outlook/", **query)
    assert response.status_code == status, response.content
    return response.json()


def by_name(answer):
    return {(point["pipeline"], point["student"]): point for point in answer["points"]}


def test_the_plain_outlook_is_the_frontier(api, distilled):
    plain = api.get(f"studies/{distilled.slug}/frontier/").json()
    answer = look(api, distilled)
    assert {p["key"]: (p["cost"], p["quality"]) for p in answer["points"]} == {
        p["key"]: (pytest.approx(p["energy_kwh"]), p["q"]) for p in plain["points"]
    }
    assert (answer["cost"], answer["cost_unit"], answer["quality"]) == ("energy", "kWh", "q")


def test_recorded_standard_errors_make_draws_and_intervals(api, distilled):
    answer = look(api, distilled)
    assert (answer["draws"], answer["noise"], answer["unstated_errors"]) == (2000, ["benchmark standard errors"], [])
    point = by_name(answer)["sft", "12 layers"]
    assert point["quality_interval"][0] < point["quality"] < point["quality_interval"][1]
    assert 0 <= point["probability"] <= 1
    assert look(api, distilled) == answer


def test_an_error_nobody_recorded_is_assumed_only_when_the_reader_does(api, distilled):
    EvaluationScore.objects.filter(run__study=distilled).update(stderr=None)
    silent = look(api, distilled)
    assert (silent["draws"], len(silent["unstated_errors"])) == (0, 3)
    assert {point["probability"] for point in silent["points"]} == {None}
    told = look(api, distilled, error="1")
    assert (told["draws"], len(told["assumed_errors"])) == (2000, 3)


def test_co2e_takes_a_regions_newest_factor_or_the_readers(api, distilled):
    for year, value in ((2020, 0.5), (2024, 0.25)):
        Factor.objects.create(kind="grid", region="Examplia", value=value, source="x", valid_from=f"{year}-01-01")
    own = by_name(look(api, distilled, cost="co2e", intensity="0.25", pue="1.5"))
    found = by_name(look(api, distilled, cost="co2e", region="Examplia", pue="1.5"))
    assert own == found
    assert own["sft", "12 layers"]["cost"] == pytest.approx(3120 / 3.6e6 * 1.5 * 0.25)


def test_hours_and_hire_follow_the_records_durations(api, distilled):
    hours = by_name(look(api, distilled, cost="time", scope="student_only"))["sft", "12 layers"]["cost"]
    hire = by_name(look(api, distilled, cost="cost", price_hour="2", scope="student_only"))
    assert hours > 0
    assert hire["sft", "12 layers"]["cost"] == pytest.approx(2 * hours)


def test_an_artifact_without_records_has_no_hours_and_says_so(api, distilled):
    point = by_name(look(api, distilled, cost="time"))["kd", "12 layers"]
    assert (point["cost"], point["complete"]) == (None, False)
    assert point["missing"] == ["wall time of logit_cache of smollm2-135m-instruct"]


def test_inference_energy_is_that_of_evaluation_over_its_tokens(api, distilled):
    points = by_name(look(api, distilled, cost="inference"))
    assert points["sft", "12 layers"]["cost"] == pytest.approx(100 / 30_000)


def test_a_single_benchmark_and_weights_change_the_quality(api, distilled):
    single = by_name(look(api, distilled, quality="choice"))["sft", "12 layers"]
    assert single["quality"] == pytest.approx(0.75 * 0.6)
    weighted = look(api, distilled, quality="weighted", **{"w.choice": "3", "w.exact_match": "0"})
    assert by_name(weighted)["sft", "12 layers"]["quality"] == pytest.approx(0.6)


def test_a_scope_moves_the_frontier_and_a_reference_the_volume(api, distilled):
    assert look(api, distilled, scope="student_only")["hypervolume"] != look(api, distilled)["hypervolume"]
    given = look(api, distilled, ref_cost="1", ref_quality="0")
    assert (given["reference"], given["reference_given"]) == ([1.0, 0.0], True)


def test_mixed_software_is_named(api, study):
    reference = scenes.add_reference(study)
    for torch in ("2.6.0", "2.13.0"):
        environment = scenes.ENVIRONMENT | {"libraries": {"torch": torch}}
        scenes.complete_run(
            study, "sft", reference, training_j=1.0, factor=0.5, environment=environment, configuration=torch
        )
    assert look(api, study)["mixed"] == {
        "software": {"torch 2.13.0, Python 3.11.2": 1, "torch 2.6.0, Python 3.11.2": 1}
    }
    kept = look(api, study, software="torch 2.6.0, Python 3.11.2")
    assert (len(kept["points"]), kept["mixed"]) == (1, {})
    assert len(look(api, study, dataset="tour-facts")["points"]) == 2
    assert look(api, study, teacher="not stated")["points"] == []
    plain = api.get(f"studies/{study.slug}/frontier/", software="torch 2.6.0, Python 3.11.2").json()
    assert [point["key"] for point in plain["points"]] == [point["key"] for point in kept["points"]]
    assert api.get(f"studies/{study.slug}/frontier/", teacher="not stated").json()["points"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"cost": "joy"}, "cost"),
        ({"cost": "co2e"}, "cost"),
        ({"cost": "cost"}, "cost"),
        ({"pue": "0.5"}, "pue"),
        ({"error": "nan"}, "error"),
        ({"n": "0"}, "n"),
        ({"scope": "half"}, "scope"),
        ({"quality": "weighted", "w.choice": "-1"}, "w.choice"),
        ({"region": "Atlantis"}, "region"),
        ({"region": "\x00"}, "region"),
        ({"weather": "fine"}, "weather"),
    ],
)
def test_an_assumption_that_cannot_be_is_refused_by_name(api, study, query, field):
    assert field in look(api, study, status=400, **query)["error"]["fields"]


def test_a_strangers_study_is_not_there(outsider, distilled):
    assert outsider.get(f"studies/{distilled.slug}/outlook/").status_code == 404


def read(api, study, name, status=200, **query):
    response = api.get(f"studies/{study.slug}/{name}/", **query)
    assert response.status_code == status, response.content
    return response.json()


def test_break_evens_hold_n_star_and_substitutes(api, distilled):
    answer = read(api, distilled, "break-evens", tolerance="1", tokens_per_day="1000")
    kd = next(row for row in answer["reuse"] if row["distilled"]["pipeline"] == "kd")
    assert (kd["n_star"], kd["n_star_lower"], kd["never_share"]) == (12, None, None)
    assert kd["rest_kwh"] == pytest.approx(2320 / 3.6e6)
    assert answer["serving"] == []  # both sizes cost the same per token


def test_the_breakdown_splits_lost_attempts_and_states_sci(api, study):
    run = scenes.complete_run(study, "sft", scenes.add_reference(study), training_j=3000.0, factor=0.5)
    scenes.add_stage(run, "student_training", 500.0, status="failed")
    answer = read(api, study, "breakdown", intensity="0.5")
    (point,) = answer["points"]
    assert point["parts"]["student"]["lost_kwh"] == pytest.approx(500 / 3.6e6)
    assert point["parts"]["student"]["energy_kwh"] == pytest.approx(3500 / 3.6e6)
    assert point["sci_kg"] == pytest.approx(3620 / 3.6e6 * 0.5)
    assert (answer["embodied"], answer["unit"]) == (False, "student")


def test_workloads_and_settings_are_read_as_on_the_page(api, distilled):
    answer = read(api, distilled, "workloads")
    assert answer["workloads"] == ["tour-facts"]
    assert {p["mean"]["cost"] for p in answer["points"]} == {
        p["by_workload"]["tour-facts"]["cost"] for p in answer["points"]
    }
    assert read(api, distilled, "sensitivity")["settings"] == []


def test_advice_answers_with_its_arithmetic_or_no_basis(api, distilled):
    answer = read(api, distilled, "advice", q_floor="0.65", students="100", size="12 layers")
    assert answer["choice"] == answer["candidates"][0]["key"]
    assert answer["candidates"][0]["training_kwh"] == pytest.approx(2410 / 3.6e6)
    assert read(api, distilled, "advice", size="70B") == {
        "study": distilled.slug,
        "choice": None,
        "without_basis": ["70B"],
        "candidates": [],
    }


@pytest.mark.parametrize(
    "query", [{"students": "1.5"}, {"students": "0"}, {"tokens": "nan"}, {"q_floor": "x"}, {"mood": "1"}]
)
def test_a_wish_that_cannot_be_is_refused_by_name(api, study, query):
    assert next(iter(query)) in read(api, study, "advice", status=400, **query)["error"]["fields"]
