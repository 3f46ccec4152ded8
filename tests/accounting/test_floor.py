"""The floor: operations by formula, against the paper's grid worked out by hand, and what is known of a record."""

import pytest

from registry.accounting.floor import (
    DEVICES,
    PAPER_SHAPES,
    ModelShape,
    Work,
    decoding_work,
    device_named,
    efficiency,
    floor,
    forward_flops,
    paper_floor,
    training_flops,
)
from registry.accounting.units import JOULES_PER_KWH

TINY = ModelShape(parameters=100, layers=2, attention_width=8, vocabulary=10, width=4)
H100 = "NVIDIA H100 80GB HBM3"


def test_operations_add_up_term_by_term():
    """Two sequences of 3 and 5: weights, attention (QK and AV over half a square, in 2 layers), head at 4 positions."""
    read = {"positions": 8, "squared_lengths": 9.0 + 25.0, "head_positions": 4}
    assert forward_flops(TINY, **read) == 2 * 100 * 8 + 2 * (2 * 8 * 34 / 2 + 2 * 8 * 34 / 2) + 2 * 10 * 4 * 4
    assert training_flops(TINY, **read) == 3 * forward_flops(TINY, **read)


@pytest.mark.parametrize(("size", "flops"), [("1B", 2.63e9), ("7B", 1.40e10), ("13B", 2.68e10), ("32B", 6.41e10)])
def test_a_position_of_the_papers_models_takes_this_much(size, flops):
    got = forward_flops(PAPER_SHAPES[size], positions=1024, squared_lengths=1024.0**2, head_positions=1024) / 1024
    assert got == pytest.approx(flops, rel=5e-3)


@pytest.mark.parametrize(
    ("stage", "size", "kwh"),
    [
        ("logit_caching", "7B", 0.70),
        ("student_training", "1B", 0.108),
        ("student_training", "7B", 0.46),
        ("student_training", "13B", 0.88),
    ],
)
def test_the_papers_stages_have_these_floors(stage, size, kwh):
    assert paper_floor(stage, size).energy_j / JOULES_PER_KWH == pytest.approx(kwh, rel=0.01)


def test_a_stage_without_a_formula_has_no_floor():
    assert paper_floor("preprocess", "7B") is None


def test_decoding_is_bound_by_memory_in_small_batches_and_by_arithmetic_in_large_ones():
    device = device_named(H100)
    alone, many = (
        floor(decoding_work(PAPER_SHAPES["7B"], prompt=200, answer=500, batch=n, bytes_per_weight=2), device)
        for n in (1, 4096)
    )
    assert (alone.bound, many.bound) == ("memory", "compute")
    assert alone.energy_j > 20 * many.energy_j


def test_the_floor_grows_with_work_and_falls_with_the_share():
    device = DEVICES[0]
    one = floor(Work(flops=1e15), device, share=0.5)
    assert floor(Work(flops=2e15), device, share=0.5).energy_j == pytest.approx(2 * one.energy_j)
    assert floor(Work(flops=1e15), device, share=1.0).energy_j == pytest.approx(one.energy_j / 2)
    two = floor(Work(flops=1e15), device, share=0.5, devices=2)
    assert (two.energy_j, two.duration_s) == (one.energy_j, one.duration_s / 2)
    with pytest.raises(ValueError, match="is not above 0"):
        floor(Work(flops=1.0), device, share=0.0)


@pytest.mark.parametrize(
    ("name", "found"),
    [(H100, "H100"), ("NVIDIA H100 PCIe", "H100 PCIe"), ("NVIDIA A100-SXM4-80GB", "A100"), ("NVIDIA H200", "H200")],
)
def test_devices_are_found_by_what_the_driver_calls_them(name, found):
    assert device_named(name).name == found


def test_an_unknown_device_has_no_floor_and_says_so():
    assert device_named("NVIDIA GeForce RTX 4090") is None
    found = efficiency([{"flops": 1e15}], energy_j=100.0, duration_s=2.0, gpus=("Acme X",))
    assert (found.flops_per_s, found.times_the_floor, found.floor) == (5e14, None, None)
    assert "Acme X" in found.reason


def test_a_record_with_its_work_is_put_beside_the_floor():
    found = efficiency([{"flops": 1e15}, {"flops": 3e15}], energy_j=26_000.0, duration_s=40.0, gpus=(H100,))
    ideal = 4e15 / (0.5 * 989e12) * 650
    assert found.flops_per_s == 1e14
    assert found.times_the_floor == pytest.approx(26_000 / ideal)


def test_energy_that_was_not_measured_leaves_the_ratio_open():
    found = efficiency([{"flops": 1e15}], energy_j=None, duration_s=2.0, gpus=(H100,))
    assert found.floor is not None
    assert found.times_the_floor is None


@pytest.mark.parametrize(
    "works",
    [[], [None], [{"flops": 1e9}, None], [{"flops": "many"}], [{"flops": True}], [{"flops": float("nan")}], ["x"]],
)
def test_a_hole_in_the_work_is_no_work(works):
    found = efficiency(works, energy_j=1.0, duration_s=1.0, gpus=(H100,))
    assert (found.flops, found.times_the_floor, found.reason) == (None, None, "no work was counted")
