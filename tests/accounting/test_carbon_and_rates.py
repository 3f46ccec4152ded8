import pytest

from registry.accounting.carbon import FactorError, co2e_kg
from registry.accounting.rates import elapsed_s, stage_rate


def test_co2e_is_energy_times_pue_times_grid_factor():
    assert co2e_kg(36_000_000.0, pue=1.2, grid_kg_per_kwh=0.4) == pytest.approx(4.8)


def test_unknown_energy_has_unknown_emissions():
    assert co2e_kg(None, pue=1.2, grid_kg_per_kwh=0.4) is None


@pytest.mark.parametrize(("pue", "grid"), [(0.9, 0.4), (float("nan"), 0.4), (1.2, -0.1), (1.2, float("inf"))])
def test_impossible_factors_are_refused(pue, grid):
    with pytest.raises(FactorError, match="cannot be"):
        co2e_kg(1.0, pue=pue, grid_kg_per_kwh=grid)


def rate(kind, energy_j=100.0, duration_s=10.0, **tokens):
    return stage_rate(kind, energy_j=energy_j, duration_s=duration_s, tokens=tokens)


def test_a_rate_names_the_tokens_it_is_over():
    found = rate("student_training", trained=50, padding=1000, evaluated=20)
    assert (found.joules_per_token, found.tokens_per_second, found.denominator) == (2.0, 5.0, "trained")


def test_generation_is_measured_by_what_it_generated():
    assert rate("teacher_generation", prompt=1000, generated=10).denominator == "generated"


def test_an_unknown_kind_falls_back_to_what_it_counted():
    assert rate("reranking", prompt=10).denominator == "prompt"


@pytest.mark.parametrize("tokens", [{}, {"trained": 0}, {"trained": None}, {"padding": 10}])
def test_without_tokens_there_is_no_rate_rather_than_a_division(tokens):
    found = rate("student_training", **tokens)
    assert (found.joules_per_token, found.tokens_per_second, found.denominator, found.tokens) == (None, None, "", None)


def test_each_half_of_a_rate_can_be_missing_alone():
    assert rate("evaluation", energy_j=None, evaluated=10).tokens_per_second == 1.0
    assert rate("evaluation", duration_s=0.0, evaluated=10).tokens_per_second is None
    assert rate("evaluation", duration_s=None, evaluated=10).joules_per_token == 10.0


def test_ranks_of_one_attempt_run_at_the_same_time():
    assert elapsed_s([(("a", "student_training"), 90.0), (("a", "student_training"), 100.0), (("r",), 10.0)]) == 110.0


def test_a_duration_that_is_not_stated_leaves_no_sum():
    assert elapsed_s([("a", 90.0), ("b", None)]) is None
    assert elapsed_s([]) is None
