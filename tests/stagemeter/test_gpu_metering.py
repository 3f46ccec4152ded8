"""Against a simulated NVML whose energy is known exactly."""

import os
import time

import pytest

from stagemeter.meter import Meter

pytestmark = pytest.mark.usefixtures("gpu_host")
TICK_J = 600 * 0.1  # what one tick of the counter can hide at either edge


def metered(spool_dir, seconds, *, meanwhile=None, **options):
    """A record over a block of sleep, and the block's own edges. `meanwhile` happens half a second into it."""
    with Meter("student_training", spool_dir=spool_dir, environment={}, **options) as meter:
        start = time.monotonic()
        if meanwhile:
            time.sleep(0.5)
            meanwhile()
        time.sleep(seconds)
        end = time.monotonic()
    return meter.record, start, end


def codes(record):
    return {flag["code"] for flag in record.flags}


def test_counter_energy_equals_the_known_integral_within_a_tick(gpu_host, spool_dir):
    record, start, end = metered(spool_dir, 3.2)
    truth = gpu_host.truth_j(start, end)
    assert record.gpu_method == "nvml_counter"
    assert record.gpu_energy_j == pytest.approx(truth, abs=TICK_J)
    edges_j = 600 * 0.005  # the block is a little shorter than the stage
    assert record.gpu_energy_lower_j - edges_j <= truth <= record.gpu_energy_upper_j + edges_j


def test_a_fine_counter_gives_the_integral_to_a_percent(gpu_host, spool_dir):
    gpu_host.set(TICK=0.001)
    record, start, end = metered(spool_dir, 2.0, period_s=0.05)
    truth = gpu_host.truth_j(start, end)
    edges_j = 600 * 0.005  # the block is a little shorter than the stage
    assert record.gpu_energy_lower_j - edges_j <= truth <= record.gpu_energy_upper_j + edges_j
    # On a busy machine the sampler reads later; then the record itself says by how much it may be off.
    doubt_j = record.gpu_energy_upper_j - record.gpu_energy_lower_j
    assert record.gpu_energy_j == pytest.approx(truth, abs=max(0.03 * truth, doubt_j))
    # Far below the 100 ms of the other tests' counter, however busy the machine.
    assert record.meter["counter_tick_s"]["GPU-00000000-5151-5151-5151-515151515151"] < 0.06


def test_the_counters_tick_is_measured(gpu_host, spool_dir):
    record, _, _ = metered(spool_dir, 0.2)
    assert next(iter(record.meter["counter_tick_s"].values())) == pytest.approx(0.1, abs=0.03)


def test_energy_from_a_simulation_is_marked_simulated(spool_dir):
    record, _, _ = metered(spool_dir, 0.2)
    assert record.simulated
    assert record.components == ("gpu", "cpu", "ram")


def test_power_is_integrated_as_a_cross_check(gpu_host, spool_dir):
    gpu_host.waveform(((0.0, 300.0), (1.0, 300.0)))
    record, start, end = metered(spool_dir, 1.5)
    assert record.gpu_power_energy_j == pytest.approx(300 * (end - start), rel=0.02)


def test_only_visible_devices_are_counted(gpu_host, spool_dir):
    gpu_host.set(DEVICES=3)
    gpu_host.visible("1")
    record, start, end = metered(spool_dir, 2.0)
    assert [device["index"] for device in record.devices] == [1]
    assert record.gpu_energy_j == pytest.approx(2 * gpu_host.truth_j(start, end), abs=2 * TICK_J)


def test_devices_are_summed_and_each_has_its_share(gpu_host, spool_dir):
    gpu_host.set(DEVICES=2)
    record, _, _ = metered(spool_dir, 1.0)
    shares = [device["energy_j"] for device in record.devices]
    assert sum(shares) == pytest.approx(record.gpu_energy_j)
    assert shares[1] == pytest.approx(2 * shares[0], rel=0.05)


def test_a_process_that_sees_no_device_expects_no_gpu_energy(gpu_host, spool_dir):
    gpu_host.visible("")
    record, _, _ = metered(spool_dir, 0.2)
    assert record.components == ("cpu", "ram")
    assert record.gpu_energy_j is None


def test_a_counter_that_starts_over_is_flagged_and_followed(gpu_host, spool_dir):
    gpu_host.waveform(((0.0, 300.0), (1.0, 300.0)))
    gpu_host.will_suffer("reset")
    record, start, end = metered(spool_dir, 2.5, meanwhile=gpu_host.strike)
    assert "counter_reset" in codes(record)
    assert record.gpu_method == "nvml_counter"
    assert record.gpu_energy_j == pytest.approx(300 * (end - start), rel=0.05)
    edges_j = 300 * 0.005  # the block is a little shorter than the stage
    assert record.gpu_energy_lower_j - edges_j <= 300 * (end - start) <= record.gpu_energy_upper_j + edges_j


def test_a_counter_that_stands_still_under_load_is_not_believed(gpu_host, spool_dir):
    gpu_host.will_suffer("frozen")
    record, start, end = metered(spool_dir, 3.0, meanwhile=gpu_host.strike, period_s=0.1)
    assert "counter_frozen" in codes(record)
    assert record.gpu_energy_j == pytest.approx(gpu_host.truth_j(start, end), rel=0.15)


def test_a_device_without_a_counter_is_metered_by_power(gpu_host, spool_dir):
    gpu_host.set(NO_COUNTER=1)
    record, start, end = metered(spool_dir, 2.0, period_s=0.1)
    assert record.gpu_method == "nvml_power"
    assert "no_counter" in codes(record)
    assert record.gpu_energy_j == pytest.approx(gpu_host.truth_j(start, end), rel=0.2)


def test_a_lost_gpu_leaves_no_total_and_says_so(gpu_host, spool_dir):
    gpu_host.will_suffer("lost")
    record, _, _ = metered(spool_dir, 1.5, meanwhile=gpu_host.strike, period_s=0.1)
    assert record.gpu_energy_j is None
    assert "gpu_read_error" in codes(record)


def test_a_stage_whose_sole_gpu_is_lost_from_the_start_runs_and_has_no_gpu_figure(gpu_host, spool_dir):
    gpu_host.set(FAULT="lost")
    record, _, _ = metered(spool_dir, 0.1)
    assert (record.gpu_energy_j, record.components, record.simulated) == (None, ("gpu", "cpu", "ram"), True)
    assert "gpu_unreadable" in codes(record)


def test_one_of_two_gpus_lost_from_the_start_leaves_the_others_share_and_no_sum(gpu_host, spool_dir):
    gpu_host.set(DEVICES=2, FAULT="lost", FAULT_DEVICE=1)
    with Meter("student_training", spool_dir=spool_dir, environment={}) as meter:
        time.sleep(0.4)
        live = meter.live()
    assert (live.gpu_energy_j, live.energy_j) == (None, None)
    assert [device["energy_j"] > 0 for device in meter.record.devices] == [True]
    assert meter.record.gpu_energy_j is None
    assert "gpu_unreadable" in codes(meter.record)


def test_a_card_that_another_process_uses_is_flagged(gpu_host, spool_dir):
    gpu_host.set(STRANGER=os.getppid())
    record, _, _ = metered(spool_dir, 0.2)
    assert "shared_gpu" in codes(record)


def test_the_stages_own_processes_are_no_strangers(gpu_host, spool_dir):
    gpu_host.set(STRANGER=os.getpid())
    record, _, _ = metered(spool_dir, 0.2)
    assert "shared_gpu" not in codes(record)


def test_two_slices_of_one_card_count_the_card_once_and_say_so(gpu_host, spool_dir):
    gpu_host.set(DEVICES=2, MIG=1)
    gpu_host.visible("MIG-1-a,MIG-1-b")
    record, _, _ = metered(spool_dir, 0.3)
    assert [device["index"] for device in record.devices] == [1]
    assert record.devices[0]["scope"] == "mig-parent"
    assert "mig_parent" in codes(record)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("wrap", "counter_reset"),
        ("failing", "gpu_read_error"),
        ("garbage", "power_implausible"),
        ("garbage_counter", "counter_implausible"),
    ],
)
def test_each_fault_has_its_flag_and_the_figure_stays_right(gpu_host, spool_dir, fault, code):
    gpu_host.waveform(((0.0, 300.0), (1.0, 300.0)))
    gpu_host.will_suffer(fault, in_s=1.2)
    record, start, end = metered(spool_dir, 1.6)
    assert code in codes(record)
    assert record.gpu_method == "nvml_counter"
    assert record.gpu_energy_j == pytest.approx(300 * (end - start), rel=0.05)


def test_a_driver_that_lets_nobody_read_leaves_no_figure_and_says_so(gpu_host, spool_dir):
    gpu_host.will_suffer("no_permission", in_s=-1)
    record, _, _ = metered(spool_dir, 0.2)
    assert record.gpu_energy_j is None
    assert "gpu" in record.components
    assert "no_permission" in codes(record)
