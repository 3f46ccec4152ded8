"""Studies, their frontier and factors over REST."""

from datetime import date

import pytest

from registry.models import Factor, Study
from tests import scenes

STUDY = {"slug": "our-cluster", "name": "Our cluster", "suite": ["gsm8k", "ifeval"]}


def test_a_study_is_created_listed_and_read(api, project):
    created = api.post("studies/", STUDY | {"average_workloads": True, "citation": "Somebody, 2026"})
    assert created.status_code == 201
    assert created.json() == api.get("studies/our-cluster/").json()
    assert created.json() in api.get("studies/", project=project.slug).json()["results"]
    assert (created.json()["suite"], created.json()["average_workloads"]) == (["gsm8k", "ifeval"], True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slug": "Has Spaces"}, "slug"),
        ({"slug": "s" * 81}, "slug"),
        ({"slug": 5}, "slug"),
        ({"name": None}, "name"),
        ({"suite": []}, "suite"),
        ({"suite": ["a", "a"]}, "suite"),
        ({"suite": "gsm8k"}, "suite"),
        ({"suite": [1]}, "suite.0"),
        ({"average_workloads": "yes"}, "average_workloads"),
        ({"colour": "blue"}, "colour"),
        ({"project": "no-such-project"}, "project"),
    ],
)
def test_bad_input_is_refused_by_field_and_changes_nothing(api, project, changes, field):
    response = api.post("studies/", STUDY | changes)
    assert response.status_code == 400, response.content
    assert field in response.json()["error"]["fields"]
    assert not Study.objects.exists()


def test_a_slug_that_is_taken_is_refused(api, study):
    assert "taken" in api.post("studies/", STUDY | {"slug": study.slug}).json()["error"]["fields"]["slug"][0]


@pytest.fixture
def distilled(study):
    scenes.distilled_study(study)
    return study


def frontier(api, study, **query):
    response = api.get(f"studies/{study.slug}/frontier/", **query)
    assert response.status_code == 200, response.content
    return response.json()


def test_the_frontier_has_a_point_per_configuration(api, distilled):
    answer = frontier(api, distilled)
    assert (answer["study"], answer["scope"], answer["n"], len(answer["points"])) == (distilled.slug, "full", "1", 6)
    point = next(p for p in answer["points"] if (p["pipeline"], p["student"]) == ("sft", "12 layers"))
    assert point["energy_kwh"] == pytest.approx(3120 / 3.6e6)
    assert point["q"] == pytest.approx(0.6)
    assert len(point["run_ids"]) == 1
    assert point["on_frontier"] is True


def test_the_scope_changes_what_a_run_is_charged(api, distilled):
    def energy(**query):
        points = frontier(api, distilled, **query)["points"]
        return next(p["energy_kwh"] for p in points if (p["pipeline"], p["student"]) == ("kd", "20 layers"))

    full, alone = energy(scope="full"), energy(scope="student_only")
    assert full - alone == pytest.approx(9000 / 3.6e6)
    assert energy(scope="amortised", n=9) - alone == pytest.approx(1000 / 3.6e6)
    assert energy(scope="amortised", n="reused") - alone == pytest.approx(4500 / 3.6e6)
    assert energy(scope="made_to_measure") == pytest.approx(full)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"scope": "free"}, "scope"),
        ({"scope": ""}, "scope"),
        ({"scope": "amortised", "n": "0"}, "n"),
        ({"scope": "amortised", "n": "-3"}, "n"),
        ({"scope": "amortised", "n": "1.5"}, "n"),
        ({"scope": "full", "n": "many"}, "n"),
        ({"scope": "amortised", "n": "9" * 400}, "n"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_scope_or_n_that_is_none_is_refused(api, study, query, field):
    response = api.get(f"studies/{study.slug}/frontier/", **query)
    assert response.status_code == 400
    assert field in response.json()["error"]["fields"]


def test_one_class_of_hardware_is_kept_on_request(api, distilled):
    scenes.add_run(distilled, hardware_class="H100")
    assert frontier(api, distilled)["hardware"] == ["Xeon Gold 6442Y", "H100"]
    assert len(frontier(api, distilled, hardware="H100")["points"]) == 1


def test_simulated_runs_are_left_out_counted_and_had_alone(api, distilled):
    simulated = distilled.runs.get(pipeline="sft", student_size="12 layers")
    scenes.add_stage(simulated, "evaluation", 1.0, simulated=True)
    answer = frontier(api, distilled)
    assert (answer["simulated"], answer["left_out_runs"], len(answer["points"])) == (False, 1, 5)
    assert str(simulated.pk) not in str(answer)
    (point,) = frontier(api, distilled, simulated="true")["points"]
    assert (point["run_ids"], point["simulated"], point["on_frontier"]) == ([str(simulated.pk)], True, True)
    assert frontier(api, distilled, simulated="false") == answer
    assert api.get(f"runs/{simulated.pk}/").json()["simulated"] is True
    refused = api.get(f"studies/{distilled.slug}/frontier/", simulated="perhaps")
    assert refused.status_code == 400
    assert "true or false" in refused.json()["error"]["fields"]["simulated"][0]


def test_a_frontier_takes_a_constant_number_of_queries(api, distilled, django_assert_max_num_queries):
    with django_assert_max_num_queries(16):
        frontier(api, distilled)


def test_factors_are_everybodys_or_of_a_project_one_may_see(api, project, outsider):
    for owner, region in ((None, "World"), (project, "Ours")):
        Factor.objects.create(
            project=owner, kind="grid", region=region, value=0.4, source="S", valid_from=date(2026, 1, 1)
        )
    assert [row["region"] for row in api.get("factors/", kind="grid").json()["results"]] == ["Ours", "World"]
    assert [row["region"] for row in outsider.get("factors/").json()["results"]] == ["World"]
