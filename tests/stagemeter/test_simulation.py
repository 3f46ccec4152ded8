"""The simulated GPU against the exact integral of its waveform, read through the unmodified pynvml."""

import itertools
import json
import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagemeter.errors import MeterError
from stagemeter.simulation import PROFILES, Waveform, build, environment

SQUARE = Waveform(((0.0, 100.0), (0.4, 100.0), (0.4, 700.0), (0.8, 700.0)))
RAMPS = Waveform(((0.0, 700.0), (0.13, 700.0), (0.2, 100.0), (0.31, 150.0), (0.31, 400.0), (0.5, 700.0)), phase_s=0.071)
MILLIJOULE = MILLIWATT = 1.001  # what is lost where a driver reports whole numbers
COUNTER, POWER, PROCESSES = (
    f"nvml.nvmlDeviceGet{name}({{}})" for name in ("TotalEnergyConsumption", "PowerUsage", "ComputeRunningProcesses")
)
AVERAGE, INSTANT, FIELD_COUNTER = "fields({}, 185)", "fields({}, 186)", "fields({}, 83)"
UUID = "GPU-{:08d}-5151-5151-5151-515151515151"

# Opens NVML anew for every line it reads, with that line's settings, and evaluates its expressions in turn.
PROBE = """
import json, os, sys, time
import pynvml as nvml

def card(index): return nvml.nvmlDeviceGetHandleByIndex(index)
def uuid(text): return nvml.nvmlDeviceGetHandleByUUID(text)
def parent(handle): return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
def fields(handle, *ids):
    found = nvml.nvmlDeviceGetFieldValues(handle, ids)
    return [[f.nvmlReturn, f.value.uiVal if f.valueType == 1 else f.value.ullVal, f.timestamp] for f in found]

for line in sys.stdin:
    order = json.loads(line)
    for name in [name for name in os.environ if name.startswith("SIM_NVML_")]: del os.environ[name]
    os.environ.update(order["settings"])
    rounds = []
    try:
        nvml.nvmlInit()
        for _ in range(order["times"]):
            row = []
            for expression in order["ask"]:
                before, used = time.monotonic(), time.thread_time()
                try: value, error = eval(expression), None
                except nvml.NVMLError as e: value, error = None, str(e)
                row.append(dict(before=before, after=time.monotonic(), cpu_s=time.thread_time() - used,
                                value=value, error=error))
            rounds.append(row)
            time.sleep(order["every"])
        answer = rounds
    except nvml.NVMLError as e:
        answer = str(e)
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """One process that reads the simulated library for all tests: `ask(*expressions, times, every, **settings)`."""
    folder = build(tmp_path_factory.mktemp("nvml")).parent
    errors = folder / "errors"
    with errors.open("w") as stderr, subprocess.Popen(
        [sys.executable, "-c", PROBE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
    ) as process:  # fmt: skip

        def ask(*expressions, wave=SQUARE, times=1, every=0.0, **wanted):
            order = {"settings": environment(folder, wave, **wanted), "ask": expressions}
            process.stdin.write(json.dumps({**order, "times": times, "every": every}) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            if isinstance(answer, str):
                raise MeterError(f"{answer}: {errors.read_text()}")
            rows = [[SimpleNamespace(**reading) for reading in row] for row in answer]
            return rows if times > 1 or len(expressions) > 1 else rows[0][0]

        yield ask
        process.stdin.close()


def column(rows, index):
    return [row[index] for row in rows]


def ticks(reading, period, shift=0.0):
    """Every moment of publication that may stand behind a reading."""
    if not period:
        return [reading.before, reading.after]
    first, last = (math.floor((t - shift) / period) for t in (reading.before, reading.after))
    return [n * period + shift for n in range(first - 1, last + 1)]


def is_counter(reading, period, wave=SQUARE, multiple=1, offset_mj=0.0):
    """Whether a counter's value is the exact integral at its last tick."""
    found = [multiple * wave.energy_j(t) * 1000 + offset_mj for t in ticks(reading, period)]
    return is_one_of(reading.value, found, period, MILLIJOULE)


def is_power(reading, period, window, value_mw, wave=SQUARE):
    """Whether a power is the exact mean over `window` up to its last publication."""
    found = [(wave.mean_w(t - window, t) if window else wave.power_w(t)) * 1000 for t in ticks(reading, period)]
    return is_one_of(value_mw, found, period, MILLIWATT)


def is_one_of(value, candidates, period, tolerance):
    if period:
        return any(abs(value - candidate) <= tolerance for candidate in candidates)
    return min(candidates) - tolerance <= value <= max(candidates) + tolerance


def test_a_waveform_knows_its_integral():
    wave = Waveform(((0, 100), (1, 100), (1, 300), (2, 300), (4, 100)))
    assert wave.energy_j(1) == 100
    assert wave.energy_j(4) == 100 + 300 + 400
    assert wave.energy_j(9) == 2 * 800 + 100
    assert wave.between_j(1, 9) == 1600
    assert wave.mean_w(0, 2) == 200
    assert wave.power_w(3) == 200
    assert wave.power_w(1) == 300
    ahead = Waveform(wave.points, phase_s=1)
    assert ahead.power_w(2) == 200
    assert ahead.between_j(0, 1) == 300


@given(st.floats(0, 50), st.floats(0, 50))
def test_energy_between_two_moments_lies_between_the_waveforms_extremes(a, b):
    wave = Waveform(((0, 100), (0.4, 100), (0.4, 700), (0.8, 650)))
    start, end = sorted((a, b))
    energy = wave.between_j(start, end)
    assert 100 * (end - start) - 1e-6 <= energy <= 700 * (end - start) + 1e-6


@pytest.mark.parametrize("points", [(), ((0, 1),), ((1, 1), (2, 1)), ((0, 1), (2, 1), (1, 1)), ((0, 1), (0, 2))])
def test_a_waveform_without_an_order_is_refused(points):
    with pytest.raises(MeterError, match="in order"):
        Waveform(points)


# Seconds: counter; power and its mean; the field's mean; instant power and its mean. None: not supported.
SENSORS = {
    "ideal": (0, (0, 0), (0, 0), (0, 0)),
    "hopper": (0.1, (0.1, 1.0), (0.1, 1.0), (0.1, 0.025)),
    "ampere": (0.1, (0.1, 0.025), (0.1, 1.0), (0.1, 0.025)),
    "prevolta": (None, (0.02, 0.01), None, None),
}


@pytest.mark.parametrize("wave", [SQUARE, RAMPS], ids=["square", "ramps"])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_sensor_of_a_profile_is_exact_about_what_it_shows(probe, profile, wave):
    tick, power, average, instant = SENSORS[profile]
    asked = [text.format("card(0)") for text in (COUNTER, POWER, AVERAGE, INSTANT, FIELD_COUNTER)]
    for counted, drawn, mean, now, again in probe(*asked, times=15, every=0.021, wave=wave, profile=profile):
        if tick is None:
            assert counted.error == "Not Supported"
            assert again.value[0][0] == mean.value[0][0] == now.value[0][0] == 3
        else:
            assert is_counter(counted, tick, wave)
            again.value = again.value[0][1]
            assert is_counter(again, tick, wave)
            assert is_power(mean, *average, mean.value[0][1], wave)
            assert is_power(now, *instant, now.value[0][1], wave)
        if profile == "ideal":  # between two reads a square wave may jump, and then any value is right
            assert 100_000 - 1 <= drawn.value <= 700_000 + 1
        else:
            assert is_power(drawn, *power, drawn.value, wave)


def test_every_parameter_of_a_profile_can_be_changed(probe):
    asked = [text.format("card(0)") for text in (COUNTER, POWER, AVERAGE, INSTANT)]
    changed = {"power_tick": 0.03, "power_window": 0.2, "average_window": 0.3, "instant_tick": 0.05}
    rows = probe(*asked, times=8, every=0.02, tick=0.04, instant_window=0.05, **changed)
    for counted, drawn, mean, now in rows:
        assert is_counter(counted, 0.04)
        assert is_power(drawn, 0.03, 0.2, drawn.value)
        assert is_power(mean, 0.03, 0.3, mean.value[0][1])
        assert is_power(now, 0.05, 0.05, now.value[0][1])
    without = probe(*asked, no_counter=1, no_fields=1)[0]
    assert without[0].error == "Not Supported"
    assert without[2].value[0][0] == 3
    assert probe("nvml.nvmlDeviceGetEnforcedPowerLimit(card(1))", devices=2, limit=300).value == 600_000


@st.composite
def waveforms(draw):
    steps = draw(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 1000)), min_size=2, max_size=30))
    times = list(itertools.accumulate((step for step, _ in steps[1:]), initial=0.0))
    times[-1] += 0.01  # no waveform takes no time
    points = tuple(zip(times, (watts for _, watts in steps), strict=True))
    return Waveform(points, phase_s=draw(st.floats(0, 3)))


@settings(max_examples=60, deadline=None)
@given(waveforms())
def test_the_counter_of_any_waveform_is_its_integral(probe, wave):
    reading = probe(COUNTER.format("card(0)"), wave=wave, profile="ideal")
    assert is_counter(reading, 0, wave)


def test_sixteen_devices_draw_multiples_each_with_its_own_phase(probe):
    count = "nvml.nvmlDeviceGetCount()"
    asked = [COUNTER.format(f"card({i})") for i in range(16)]
    for i, reading in enumerate(probe(*asked, devices=16)[0]):
        assert is_counter(reading, 0.1, multiple=i + 1)
    first, second, third = probe(*asked[:3], devices=3, multiples=(2, 0.5), phase=(0, 0.3))[0]
    ahead = Waveform(SQUARE.points, phase_s=0.3)
    assert is_counter(first, 0.1, multiple=2)
    assert is_counter(second, 0.1, ahead, multiple=0.5)  # the last of a list holds for all devices after it
    assert is_counter(third, 0.1, ahead, multiple=0.5)
    assert probe(count, devices=16).value == 16
    assert probe("card(2)", devices=2).error == "Invalid Argument"


def test_devices_are_found_by_uuid_and_say_that_they_are_simulated(probe):
    names = "[str(nvml.nvmlDeviceGetName(card(i))) for i in range(3)]"
    assert probe(f"nvml.nvmlDeviceGetUUID(uuid({UUID.format(1)!r}))", devices=2).value == UUID.format(1)
    assert probe(f"nvml.nvmlDeviceGetIndex(uuid({UUID.format(1)!r}))", devices=2).value == 1
    for absent in (UUID.format(2), "GPU-1", UUID.format(1) + "0", "MIG-0-a"):
        assert probe(f"nvml.nvmlDeviceGetUUID(uuid({absent!r}))", devices=2).error == "Not Found"
    assert probe(names, devices=3).value == ["Simulated H100"] * 3
    assert probe(names, devices=3, names="A,B").value == ["Simulated A", "Simulated B", "Simulated B"]
    assert probe(names, devices=3, profile="ampere").value == ["Simulated A100"] * 3
    assert "simulated" in probe("str(nvml.nvmlSystemGetDriverVersion())").value


def test_ticks_can_be_shifted_and_late(probe):
    rows = probe(COUNTER.format("card(1)"), times=12, every=0.02, devices=2, multiples=1, shift=(0, 0.037))
    for (reading,) in rows:
        found = [SQUARE.energy_j(t) * 1000 for t in ticks(reading, 0.1, shift=0.037)]
        assert is_one_of(reading.value, found, 0.1, MILLIJOULE)
    flat = Waveform(((0, 1000), (1, 1000)))  # its counter tells the time of its tick
    late = set()
    for (reading,) in probe(COUNTER.format("card(0)"), wave=flat, times=30, every=0.01, tick=0.02, jitter=0.015):
        at = reading.value / 1e6
        assert at <= reading.after + 1e-5
        late.add(round((at + 1e-6) % 0.02, 4))
    assert max(late) <= 0.0151
    assert len(late) > 3


def test_a_part_time_counter_takes_the_end_of_a_tick_for_all_of_it(probe):
    wave = Waveform(((0.0, 100.0), (0.05, 100.0), (0.05, 700.0), (0.13, 700.0), (0.24, 100.0)))
    readings = column(probe(COUNTER.format("card(0)"), wave=wave, times=25, every=0.02, ctr_parttime=1), 0)
    values = sorted({reading.value for reading in readings})
    assert len(values) >= 4
    first, last = math.floor(readings[0].before / 0.1) - 1, math.floor(readings[-1].after / 0.1) + 1
    sums = [0.0]
    for n in range(first, last + 1):
        sums.append(sums[-1] + 100 * wave.mean_w(n * 0.1 - 0.025, n * 0.1))
    steps = {round(b - a) for a, b in itertools.combinations(sums, 2)}
    for a, b in itertools.pairwise(values):
        assert any(abs(b - a - step) <= 2 for step in steps)


def test_noise_is_bounded_and_the_same_for_the_same_seed(probe):
    frozen = {"power_tick": 1e6, "power_window": 1.0, "noise": 2}  # one publication for ever
    first, again, other = (probe(POWER.format("card(0)"), **frozen, seed=seed).value for seed in (1, 1, 2))
    assert first == again != other
    flat = Waveform(((0, 300), (1, 300)))
    asked = [text.format("card(0)") for text in (POWER, INSTANT)]
    rows = probe(*asked, wave=flat, times=40, every=0.001, profile="ideal", noise=2)
    drawn = [reading.value for reading in column(rows, 0)] + [r.value[0][1] for r in column(rows, 1)]
    assert all(298_000 <= value <= 302_000 for value in drawn)
    assert max(drawn) - min(drawn) > 2000


def test_a_read_of_the_counter_takes_its_time_and_is_of_its_middle(probe):
    flat = Waveform(((0, 1000), (1, 1000)))
    asked = [text.format("card(0)") for text in (COUNTER, POWER)]
    used_s = []
    for busy in (0, 1):
        slow, quick = probe(*asked, wave=flat, profile="ideal", read_cost=0.03, read_busy=busy)[0]
        assert slow.after - slow.before >= 0.03
        assert slow.before + 0.015 <= slow.value / 1e6 <= slow.after - 0.015 + 1e-5
        assert quick.cpu_s < 0.01  # power costs nothing
        used_s.append(slow.cpu_s)
    assert used_s[1] > 3 * used_s[0]  # how much of the 30 ms it gets depends on who else computes


def test_field_values_carry_the_moment_that_is_asked_for(probe):
    clock = time.time() - time.monotonic()
    asked = INSTANT.format("card(0)")
    tick, read, none = (probe(asked, timestamp=kind) for kind in ("tick", "read", "none"))
    stamped = tick.value[0][2] / 1e6 - clock
    assert any(abs(stamped - at) < 0.005 for at in ticks(tick, 0.1))
    assert read.before - 0.005 <= read.value[0][2] / 1e6 - clock <= read.after + 0.005
    assert none.value[0][2] == 0
    # A field that is not there fails alone; so does another scope than the card's.
    assert [code for code, _, _ in probe("fields(card(0), 186, 82, (185, 1))").value] == [0, 3, 3]


def test_slices_lead_to_their_card_and_know_no_energy(probe):
    slice_ = "uuid('MIG-1-b')"
    mode = "list(nvml.nvmlDeviceGetMigMode(card(0)))"
    assert probe(mode, mig=1).value == [1, 1]
    assert probe(mode).value == [0, 0]
    assert probe(f"nvml.nvmlDeviceGetUUID({slice_})", devices=2, mig=1).value == "MIG-1-b"
    assert probe(f"nvml.nvmlDeviceGetUUID(parent({slice_}))", devices=2, mig=1).value == UUID.format(1)
    by_index = "nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetMigDeviceHandleByIndex(card(0), 2))"
    assert probe(by_index, mig=1).value == "MIG-0-c"
    assert probe(COUNTER.format(slice_), devices=2, mig=1).error == "Not Supported"
    assert probe(POWER.format(slice_), devices=2, mig=1).error == "Not Supported"


def test_processes_on_the_devices_are_listed(probe):
    pids = f"[process.pid for process in {PROCESSES.format('card(0)')}]"
    assert probe(pids).value == []
    assert probe(pids, stranger="12,345").value == [12, 345]


class Striking:
    """Asks around the moment of a fault: `at` is when it strikes."""

    def __init__(self, probe, path, *, strike_in_s=0.15, ends=""):
        self.probe, self.path = probe, path
        self.at = time.monotonic() + strike_in_s
        path.write_text(f"{self.at!r} {ends and self.at + ends}")

    def __call__(self, fault, *expressions, **wanted):
        """Rows before and after the strike."""
        rows = self.probe(*expressions, times=18, every=0.02, fault=fault, fault_file=self.path, **wanted)
        before = [row for row in rows if row[-1].after < self.at]
        after = [row for row in rows if row[0].before > self.at]
        assert after
        return before, after


def test_a_reset_counter_starts_from_zero(probe, tmp_path):
    strike = Striking(probe, tmp_path / "fault")
    before, after = strike("reset", COUNTER.format("card(0)"))
    assert all(is_counter(reading, 0.1) for (reading,) in before)
    loss = [-SQUARE.energy_j(math.floor(strike.at / 0.1) * 0.1) * 1000]
    assert all(is_counter(reading, 0.1, offset_mj=loss[0]) for (reading,) in after)


def test_a_counter_of_32_bits_wraps(probe, tmp_path):
    strike = Striking(probe, tmp_path / "fault")
    before, after = strike("wrap", COUNTER.format("card(0)"), tick=0.02)
    start = -SQUARE.energy_j(math.floor(strike.at / 0.02) * 0.02) * 1000
    assert all(is_counter(reading, 0.02, offset_mj=start + 2**32) for (reading,) in before)
    assert all(is_counter(reading, 0.02, offset_mj=start) for (reading,) in after)
    assert all(reading.value <= 2**32 for (reading,) in before)
    with pytest.raises(MeterError, match="before a counter can wrap"):
        probe(COUNTER.format("card(0)"), fault="wrap", fault_file=tmp_path / "absent")


def test_a_frozen_counter_stands_still_while_power_goes_on(probe, tmp_path):
    _, after = Striking(probe, tmp_path / "fault", strike_in_s=0.05)(
        "frozen", COUNTER.format("card(0)"), INSTANT.format("card(0)")
    )
    assert len({reading.value for reading, _ in after}) == 1
    assert all(is_power(now, 0.1, 0.025, now.value[0][1]) for _, now in after)


def test_a_lost_card_answers_nothing_and_the_others_go_on(probe, tmp_path):
    asked = [text.format("card(1)") for text in (COUNTER, POWER, INSTANT, PROCESSES)]
    before, after = Striking(probe, tmp_path / "fault")(
        "lost", COUNTER.format("card(0)"), *asked, devices=2, fault_device=1
    )
    assert all(reading.error is None for row in before for reading in row)
    assert all(is_counter(row[0], 0.1) for row in after)
    assert {reading.error for row in after for reading in row[1:]} == {"GPU is lost"}


def test_a_fault_can_pass(probe, tmp_path):
    strike = Striking(probe, tmp_path / "fault", strike_in_s=0.05, ends=0.1)
    _, after = strike("lost", COUNTER.format("card(0)"))
    assert after[0][0].error == "GPU is lost"
    assert after[-1][0].before > strike.at + 0.1 and is_counter(after[-1][0], 0.1)


def test_every_third_read_fails(probe):
    asked = [text.format("card(0)") for text in (COUNTER, POWER, INSTANT)]
    rows = probe(*asked, times=9, fault="failing")  # from the start, since no file says when
    for kind in (0, 1):
        errors = [reading.error for reading in column(rows, kind)]
        assert errors == [None, None, "Unknown Error"] * 3
    assert [r.value[0][0] for r in column(rows, 2)] == [0, 0, 999] * 3


def test_absurd_power_comes_with_a_code_of_success(probe):
    counted, drawn, now = probe(*[t.format("card(0)") for t in (COUNTER, POWER, INSTANT)], fault="garbage")[0]
    assert is_counter(counted, 0.1)
    assert drawn.value == now.value[0][1] == 3_700_000_000


def test_an_absurd_counter_comes_back(probe):
    rows = probe(COUNTER.format("card(0)"), times=6, fault="garbage_counter")
    for n, (reading,) in enumerate(rows, start=1):
        assert is_counter(reading, 0.1, offset_mj=0 if n % 3 else 2.0**40)


def test_power_of_nothing_comes_with_a_code_of_success(probe):
    values = [reading.value for (reading,) in probe(POWER.format("card(0)"), times=6, fault="zero_power")]
    assert values[2] == values[5] == 0
    assert min(values[:2] + values[3:5]) >= 100_000 - 1


def test_no_permission_is_an_error_of_each_reading(probe):
    asked = [text.format("card(0)") for text in (COUNTER, POWER, INSTANT)]
    counted, drawn, now = probe(*asked, fault="no_permission")[0]
    assert counted.error == drawn.error == "Insufficient Permissions"
    assert now.value[0][0] == 4


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"profile": "volta"}, "one of hopper, ideal, ampere, prevolta"),
        ({"fault": "fire"}, "names no fault"),
        ({"devices": 17}, "1 to 16"),
        ({"wave": SimpleNamespace(text="0:1,x", phase_s=0)}, "second:watt"),
        ({"wave": SimpleNamespace(text="0:1,2:1,1:1", phase_s=0)}, "begin with 0 and rise"),
        ({"tick": 0, "ctr_parttime": 1}, "needs a tick"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(probe, setting, sentence):
    with pytest.raises(MeterError, match=f"Invalid Argument[^$]*{sentence}"):
        probe("nvml.nvmlDeviceGetCount()", **setting)


def test_what_a_monitor_asks_besides_is_answered(probe):
    asked = ["MemoryInfo({}).total", "Temperature({}, 0)", "UtilizationRates({}).gpu", "ComputeMode({})"]
    asked += ["Architecture({})", "GraphicsRunningProcesses({})", "MaxMigDeviceCount({})"]
    (answers,) = probe(*[f"nvml.nvmlDeviceGet{text}".format("card(0)") for text in asked])
    assert [answer.error for answer in answers] == [None] * len(asked)
    assert probe("nvml.nvmlDeviceIsMigDeviceHandle(card(0)).value").value == 0


def test_a_host_without_a_compiler_is_told_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(MeterError, match=r"no C compiler.*apt-get install gcc"):
        build(tmp_path)


def test_a_compiler_that_fails_is_quoted_and_leaves_no_library(tmp_path, monkeypatch):
    script = tmp_path / "broken"
    script.write_text("#!/bin/sh\necho it cannot be >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(MeterError, match="it cannot be"):
        build(tmp_path / "library")
    assert list((tmp_path / "library").iterdir()) == []


def test_settings_become_variables(monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    found = environment("/here", RAMPS, profile="ampere", MULTIPLES=(1, 2.5), mig=True, fault=None)
    assert found["LD_LIBRARY_PATH"] == "/here:/elsewhere"
    assert found["SIM_NVML_PHASE"] == "0.071"
    assert (found["SIM_NVML_PROFILE"], found["SIM_NVML_MULTIPLES"], found["SIM_NVML_MIG"]) == ("ampere", "1,2.5", "1")
    assert "SIM_NVML_FAULT" not in found
