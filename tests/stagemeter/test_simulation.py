"""The simulated GPU against the exact integral of its waveform, read through the unmodified pynvml."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagemeter.errors import MeterError
from stagemeter.simulation import Waveform


def test_a_waveform_knows_its_integral():
    wave = Waveform(((0, 100), (1, 100), (1, 300), (2, 300), (4, 100)))
    assert wave.energy_j(1) == 100
    assert wave.energy_j(4) == 100 + 300 + 400
    assert wave.energy_j(9) == 2 * 800 + 100
    assert wave.power_w(3) == 200


@given(st.floats(0, 50), st.floats(0, 50))
def test_energy_between_two_moments_lies_between_the_waveforms_extremes(a, b):
    wave = Waveform(((0, 100), (0.4, 100), (0.4, 700), (0.8, 650)))
    start, end = sorted((a, b))
    energy = wave.energy_j(end) - wave.energy_j(start)
    assert 100 * (end - start) - 1e-6 <= energy <= 700 * (end - start) + 1e-6


@pytest.mark.parametrize("points", [(), ((0, 1),), ((1, 1), (2, 1)), ((0, 1), (2, 1), (1, 1))])
def test_a_waveform_without_an_order_is_refused(points):
    with pytest.raises(MeterError, match="in order"):
        Waveform(points)
