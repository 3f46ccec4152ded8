"""When the teacher's mass beyond the top k is too much to distil over k tokens."""

from dataclasses import replace

import pytest

from registry.accounting.presets import paper
from registry.accounting.tail import tail_warning


def spec(temperature, pipeline="kd"):
    wanted = paper("1B", pipeline)
    return replace(wanted, distillation=replace(wanted.distillation, temperature=temperature))


def test_what_was_measured_decides_where_it_is_known():
    assert tail_warning(spec(4.0), measured=0.2) == ""
    assert "At T = 1 21% of the teacher's mass lies beyond its top 100 tokens" in tail_warning(spec(1.0), measured=0.21)


@pytest.mark.parametrize(("temperature", "likely"), [(1.0, ""), (2.0, "53%"), (4.0, "96%")])
def test_before_anything_was_measured_a_high_temperature_is_warned_of(temperature, likely):
    text = tail_warning(spec(temperature))
    assert bool(text) == bool(likely)
    assert likely in text


def test_only_distillation_from_logits_has_a_tail():
    assert tail_warning(spec(4.0, "sft"), measured=0.9) == ""
