"""Joules inside, kilowatt-hours only where a person reads.

Figures that people wrote down as decimals (6.30 kWh) stay exact: a float is read as the shortest decimal that
names it, never as its binary neighbour.
"""

from decimal import Decimal
from typing import TypeVar

JOULES_PER_KWH = 3_600_000

Number = int | float | Decimal
Real = TypeVar("Real", float, Decimal)


def decimal_of(value: Number) -> Decimal:
    """The decimal that a person would write for `value`: `decimal_of(6.3)` is 6.3, not 6.29999…"""
    return value if isinstance(value, Decimal) else Decimal(repr(value))


def joules(energy_kwh: Real) -> Real:
    """Joules of a figure in kWh: 1 kWh = 3.6e6 J. A Decimal stays a Decimal, a float is exact to its last digit."""
    exact = decimal_of(energy_kwh) * JOULES_PER_KWH
    return exact if isinstance(energy_kwh, Decimal) else float(exact)


def kwh(energy_j: Real) -> Real:
    """Kilowatt-hours of a figure in joules. A Decimal stays a Decimal, an int becomes a float."""
    return energy_j / JOULES_PER_KWH
