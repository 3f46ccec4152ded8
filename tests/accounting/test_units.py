from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from registry.accounting.units import decimal_of, joules, kwh


def test_a_kilowatt_hour_is_three_point_six_million_joules():
    assert joules(1.0) == 3_600_000
    assert kwh(3_600_000.0) == 1.0


def test_a_decimal_stays_exact():
    assert joules(Decimal("6.30")) == Decimal("22680000")
    assert kwh(Decimal("22680000")) == Decimal("6.3")


def test_a_float_is_read_as_the_decimal_that_names_it():
    assert 16.9 * 3_600_000 != 60_840_000  # the binary neighbour
    assert joules(16.9) == 60_840_000
    assert decimal_of(0.1) == Decimal("0.1")


@given(st.integers(0, 10**9))
def test_hundredths_of_a_kilowatt_hour_survive_the_round_trip(hundredths):
    figure = hundredths / 100
    assert kwh(joules(figure)) == figure
