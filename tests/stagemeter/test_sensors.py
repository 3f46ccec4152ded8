"""One source at a time."""

import sys

import pytest

from stagemeter.checks import _gpus
from stagemeter.environment import gpus
from stagemeter.sampler import gpu_remarks, header
from stagemeter.sensors.nvml import open_nvml, select

UUIDS = ["GPU-aaaa", "GPU-aabb", "GPU-bbbb"]


@pytest.mark.parametrize(
    ("visible", "chosen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("0,7,1", [0]),  # CUDA ignores what follows an entry it does not know
        ("1,1", [1]),
        ("GPU-b", [2]),
        ("GPU-a", []),  # two cards begin like that
        ("NoDevFiles", []),
    ],
)
def test_visible_devices_are_read_by_cudas_rules(visible, chosen):
    assert select(visible, UUIDS) == chosen


def test_an_entry_that_fits_no_open_device_means_the_one_that_cannot_be_opened():
    uuids = ["GPU-aaaa", "", "GPU-bbbb"]
    assert select("GPU-cccc,GPU-b", uuids) == [1, 2]
    assert select("GPU-cccc,GPU-dddd,GPU-b", uuids) == [1]  # there is only one that it can be
    assert select("void", uuids) == []


def test_a_lost_gpu_that_the_stage_does_not_use_is_named_and_changes_nothing(nvml):
    nvml.set(DEVICES=3, FAULT="lost", FAULT_DEVICE=2)
    found = open_nvml("0,1")
    assert [device.index for device in found.sensor.devices] == [0, 1]
    assert [(card.index, card.reason, card.visible) for card in found.unreadable] == [(2, "GPU is lost", False)]
    assert (found.expected, found.missing, gpu_remarks(found)) == (True, (), [])
    assert [device.flags for device in found.sensor.devices] == [(), ()]


@pytest.mark.parametrize("visible", [None, "1", "0,1", "GPU-00000001", "GPU-00000001-5151"])
def test_a_lost_gpu_of_the_stage_leaves_gpu_energy_due_and_unknown(nvml, visible):
    nvml.set(DEVICES=2, FAULT="lost", FAULT_DEVICE=1)
    found = open_nvml(visible)
    assert found.expected
    assert [card.index for card in found.missing] == [1]
    (remark,) = gpu_remarks(found)
    assert remark["code"] == "gpu_unreadable"
    assert "GPU 1 is the stage's and could not be opened (GPU is lost)" in remark["message"]
    assert header(found, None, pid=1, period_s=0.1)["unreadable"] == [
        {"index": 1, "reason": "GPU is lost", "visible": True}
    ]


def test_a_lost_sole_gpu_is_no_error(nvml):
    nvml.set(FAULT="lost")
    found = open_nvml(None)
    assert (found.sensor, found.expected, found.simulated) == (None, True, True)
    assert [remark["code"] for remark in gpu_remarks(found)] == ["gpu_unreadable"]
    assert [(check.ok, check.name) for check in _gpus()] == [(False, "gpu")]
    assert gpus() == {"gpus": [], "gpus_unreadable": [{"index": 0, "reason": "GPU is lost", "visible": True}]}


def test_indices_after_a_lost_gpu_may_mean_others_to_cuda(nvml):
    nvml.set(DEVICES=3, FAULT="lost", FAULT_DEVICE=0)
    (device,) = open_nvml("1").sensor.devices
    (remark,) = device.flags
    assert remark["code"] == "device_order"
    assert "GPU 0 before them could not be opened" in remark["message"]
    assert open_nvml("GPU-00000001").sensor.devices[0].flags == ()


def test_a_gpu_that_this_user_may_not_open_is_passed_over_as_cuda_does(nvml):
    nvml.set(DEVICES=3, FAULT="hidden", FAULT_DEVICE=0)
    found = open_nvml("0")
    assert [device.index for device in found.sensor.devices] == [1]
    assert found.unreadable == ()


@pytest.mark.parametrize("visible", ["", "-1", "-1,0", "NoDevFiles", "all", "7", "GPU-99999999"])
def test_where_no_device_is_visible_no_gpu_energy_is_due(nvml, monkeypatch, visible):
    monkeypatch.setattr("stagemeter.sensors.nvml.gpu_nodes", lambda: True)
    found = open_nvml(visible)
    assert (found.sensor, found.expected, gpu_remarks(found)) == (None, False, [])
    assert "CUDA_VISIBLE_DEVICES" in found.reason


@pytest.mark.parametrize(
    ("visible", "expected"), [(None, True), ("0", True), ("GPU-1", True), ("NoDevFiles", False), ("-1,0", False)]
)
def test_without_a_driver_gpu_energy_is_due_where_a_device_may_be_visible(monkeypatch, visible, expected):
    monkeypatch.setattr("stagemeter.sensors.nvml.gpu_nodes", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # cannot be imported
    found = open_nvml(visible)
    assert found.expected is expected
    assert [remark["code"] for remark in gpu_remarks(found)] == ["gpu_unreadable"] * expected


@pytest.mark.parametrize("mode", [1, 2])
def test_a_card_in_slices_is_flagged_also_while_their_end_is_pending(nvml, mode):
    nvml.set(MIG=mode)
    (device,) = open_nvml("0").sensor.devices
    assert device.scope == "mig-parent"
    assert [remark["code"] for remark in device.flags] == ["mig_parent"]


def test_a_slice_of_a_lost_card_leaves_gpu_energy_due_and_unknown(nvml):
    nvml.set(DEVICES=2, MIG=1, FAULT="lost", FAULT_DEVICE=1)
    found = open_nvml("MIG-0-a,MIG-1-a")
    assert [device.index for device in found.sensor.devices] == [0]
    assert [card.index for card in found.missing] == [1]


def test_a_slice_named_as_older_drivers_did_is_its_cards(nvml):
    nvml.set(DEVICES=2, MIG=1)
    (device,) = open_nvml("MIG-GPU-00000001-5151-5151-5151-515151515151/1/0").sensor.devices
    assert (device.index, device.scope) == (1, "mig-parent")
