"""Settings and workloads of a study, and what it advises, as pages without JavaScript."""

import pytest
from django.urls import reverse

from tests import scenes
from tests.conftest import make_spec


@pytest.fixture
def page(client, member, study):
    """`page(name, **query)` → the answer of one of the study's pages."""
    client.force_login(member)

    def get(name, **query):
        return client.get(reverse(name, args=[study.slug]), query)

    return get


def sweep(study, workload="tour-facts"):
    reference = scenes.add_reference(study)
    for temperature, joules, factor in ((1.0, 3000.0, 0.6), (2.0, 3100.0, 0.7), (4.0, 3300.0, 0.5)):
        spec = make_spec("kd", distillation={"temperature": temperature}).to_dict()
        run = scenes.complete_run(
            study,
            "kd",
            reference,
            training_j=joules,
            factor=factor,
            spec=spec,
            configuration=f"T{temperature}",
            workload=workload,
        )
        scenes.add_artifact(run)


def test_a_swept_setting_has_a_chart_and_the_same_in_a_table(page, study):
    sweep(study)
    answer = page("study_settings")
    ((_, _, found, figure),) = answer.context["found"]
    assert (found.setting, len(found.curves)) == ("distillation.temperature", 1)
    assert [trace["x"] for trace in figure["data"]] == [[1.0, 2.0, 4.0]] * 2
    assert answer.content.decode().count('class="dominated"') == 1


def test_workloads_stand_beside_their_mean(page, study):
    study.average_workloads = True
    study.save()
    reference = scenes.add_reference(study)
    for workload, joules in (("math", 1000.0), ("code", 3000.0)):
        scenes.complete_run(study, "sft", reference, training_j=joules, factor=0.5, workload=workload)
    answer = page("study_settings")
    assert answer.context["workloads"] == ("code", "math")
    (row,) = answer.context["rows"]
    assert [spot.point.energy_j for spot in row.by_workload] == [3120.0, 1120.0]
    assert row.mean.point.energy_j == 2120.0


def test_a_study_without_a_sweep_says_what_it_takes(page, study):
    assert "No setting varies here" in page("study_settings").content.decode()


def test_advice_shows_its_arithmetic(page, study):
    scenes.distilled_study(study)
    answer = page("study_advice", q_floor="0.65", students="100", size="12 layers")
    choice = answer.context["advice"].choice
    assert (choice.spot.point.pipeline, choice.spot.point.student) == ("kd", "12 layers")
    assert choice.training_kwh == pytest.approx((20 + 2200 + 100 + 90) / 3.6e6)
    assert "÷ 100" in answer.content.decode()


def test_a_size_without_measurements_is_answered_with_no_measured_basis(page, study):
    scenes.distilled_study(study)
    answer = page("study_advice", other="70 layers")
    assert "No measured basis for 70 layers" in answer.content.decode()
    assert answer.context["advice"].choice is None


@pytest.mark.parametrize("query", [{"students": "0"}, {"q_floor": "much"}])
def test_a_wish_that_cannot_be_is_refused_at_its_field(page, study, query):
    answer = page("study_advice", **query)
    assert answer.status_code == 400
    assert next(iter(query)) in answer.content.decode()


@pytest.mark.parametrize("name", ["study_settings", "study_advice"])
def test_a_stranger_sees_neither(client, stranger, study, name):
    client.force_login(stranger)
    assert client.get(reverse(name, args=[study.slug])).status_code == 404


def test_software_is_kept_by_a_link_and_stays_when_a_control_changes(page, study):
    reference = scenes.add_reference(study)
    for torch in ("2.6.0", "2.13.0"):
        environment = scenes.ENVIRONMENT | {"libraries": {"torch": torch}}
        scenes.complete_run(
            study, "sft", reference, training_j=1.0, factor=0.5, environment=environment, configuration=torch
        )
    both, kept = page("study"), page("study", software="torch 2.6.0, Python 3.11.2")
    assert (len(both.context["rows"]), len(kept.context["rows"])) == (2, 1)
    assert [{line.n for line in answer.context["rates"]} for answer in (both, kept)] == [{2}, {1}]
    assert 'href="?software=torch+2.6.0%2C+Python+3.11.2"' in both.content.decode()
    assert '<input type="hidden" name="software" value="torch 2.6.0, Python 3.11.2"' in kept.content.decode()
    assert 'id="only-software"' in kept.content.decode()
    assert page("study", software="\x00").status_code == 400
    assert page("study", dataset="another").context["rows"] == []


def test_the_amortisation_draws_the_sizes_that_were_chosen(page, study):
    scenes.distilled_study(study)
    answer = page("study", curve=["20 layers"])
    assert {point.student for point, _energies in answer.context["amortised"]} == {"20 layers"}
    names = [trace["name"] for trace in answer.context["charts"]["amortisation"]["data"]]
    assert names and all("20 layers" in name for name in names)
    assert page("study", curve=["70B"]).status_code == 400
    assert {p.distilled.student for p in answer.context["break_evens"]} == {"12 layers", "20 layers"}


@pytest.mark.parametrize("query", [{"j_student": "-1"}, {"j_reference": "much"}])
def test_rates_that_cannot_be_are_refused(page, study, query):
    assert page("study", **query).status_code == 400


def test_a_studys_page_says_how_many_runs_it_has(page, study):
    scenes.add_reference(study)
    assert "1 run</a>" in page("study").content.decode()
