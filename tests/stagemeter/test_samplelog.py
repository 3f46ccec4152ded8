"""The log as it is written on a bad disk, and as it is read whatever stands in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stagemeter.assemble import measure, remarks
from stagemeter.energy import Window
from stagemeter.samplelog import LOG_NAME, read_log
from stagemeter.sampler import Log, strangers

UUID = "GPU-a"
DEVICE = {"uuid": UUID, "name": "card", "index": 0, "power_limit_w": 700.0, "driver": "", "cuda": "", "scope": "gpu"}
DEVICE |= {"has_counter": True, "has_instant": False, "power_window_s": None, "flags": []}
WINDOW = Window(start=1.0, end=2.0, period_s=0.1)


def header(metered=1, *, flags=(), device_flags=(), **values):
    device = {**DEVICE, "flags": list(device_flags)}
    facts = {"schema": 2, "metered": metered, "gpu_expected": True, "devices": [device], "simulated": False, "rapl": {}}
    return {"kind": "header", "t": 0.0, "wall": 0.0, "flags": list(flags), **facts, **values}


def sample(t, cpu_s, **values):
    tree = {"t": t, "cpu_s": cpu_s, "rss": 1, "busy_s": None, "ram_used": None}
    gpu = [[0, 0, round(100_000 * t), 100_000, None, 0]]
    return {"kind": "sample", "t": t, "wall": t, "gpu": gpu, "tree": tree, **values}


def written(folder, *lines):
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (folder / LOG_NAME).write_text(text)
    return folder


def codes(folder, window=WINDOW):
    return {remark["code"] for remark in remarks(measure(folder, window))}


class FailingLog(Log):
    """Takes of each line as many bytes as `takes` says next; `None` is all."""

    takes: tuple[int | None, ...] = ()

    def _write(self, line):
        if not self.takes:
            return super()._write(line)
        count, *self.takes = self.takes
        return super()._write(line if count is None else line[:count]) if count != 0 else 0


def test_lines_that_the_disk_refused_are_counted_once_and_said_with_the_next(tmp_path):
    log = FailingLog(tmp_path / LOG_NAME)
    log.append(**header())
    log.takes = (0, 0, 9, 0, 12, None, None)
    for i in range(7):
        log.append("fast", t=float(i), gpu=[[0, 0, i, None, None, 0]])
    log.append(**sample(9.0, 1.0))
    log.close()
    found = read_log(tmp_path)
    assert found.lost_lines == 3
    assert found.damaged_lines == 2
    assert [point.mj for point in found.gpu[UUID]] == [5, 6, 900_000]


def test_a_full_disk_under_both_log_and_error_output_does_not_end_the_sampler():
    program = (
        "from pathlib import Path\nfrom stagemeter.sampler import Log\n"
        "log = Log(Path('/dev/full'))\n"
        "for _ in range(3): log.append('sample')\n"
        "print(log.lost, log.trouble)"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, text=True, check=True
        )
    assert done.stdout.strip() == "3 [Errno 28] No space left on device"


def sampler(folder):
    words = [sys.executable, "-m", "stagemeter.sampler", str(folder), "--pid", str(os.getpid())]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30)


def test_a_disk_that_is_full_when_a_stage_begins_is_said(tmp_path):
    (tmp_path / LOG_NAME).symlink_to("/dev/full")
    done = sampler(tmp_path)
    assert done.returncode == 1
    assert done.stdout.strip().endswith("samples.jsonl cannot be written: [Errno 28] No space left on device")


def test_a_second_sampler_does_not_write_into_the_same_log(tmp_path):
    log = Log(tmp_path / LOG_NAME)
    log.claim()
    done = sampler(tmp_path)
    log.close()
    assert done.returncode == 1
    assert "another sampler writes" in done.stdout
    assert (tmp_path / LOG_NAME).read_text() == ""


def test_what_a_sampler_of_another_process_wrote_is_left_out(tmp_path):
    mine, others = sample(1.0, 5.0), sample(1.5, 500.0, mark="end:x")
    written(tmp_path, header(1), mine, header(2), others, header(1), sample(2.0, 6.0))
    found = read_log(tmp_path)
    assert [point.cpu_s for point in found.tree] == [5.0, 6.0]
    assert len(found.headers) == 2
    assert found.marks == {}


@pytest.mark.parametrize("first", ["", '{"kind":"header","t":0.0\n', '{"kind":"header","devices":[]}\n', "\0\0\0\n"])
def test_a_log_without_a_readable_header_does_not_say_that_there_was_no_gpu(tmp_path, first):
    written(tmp_path, first, sample(1.0, 0.0), sample(2.0, 1.0))
    found = measure(tmp_path, WINDOW)
    assert found.log.gpu_expected
    assert found.gpu.value_j is None
    assert "header_lost" in codes(tmp_path)
    assert [point.cpu_s for point in found.log.tree] == [0.0, 1.0]


def test_remarks_of_every_header_and_device_are_kept_once(tmp_path):
    one, two, of_device = ({"code": code, "message": code} for code in ("one", "two", "of_device"))
    written(tmp_path, header(flags=[one], device_flags=[of_device]), sample(1.0, 0.0), header(flags=[one, two]))
    said = [remark["code"] for remark in remarks(measure(tmp_path, WINDOW))]
    assert [said.count(code) for code in ("one", "two", "of_device")] == [1, 1, 1]


def test_processes_whose_numbers_do_not_exist_here_are_said_and_not_counted_as_strangers(tmp_path):
    class Gpu:
        def processes(self):
            return {UUID: [os.getpid(), os.getppid(), 2**22 + 1]}

    assert strangers(Gpu(), os.getpid()) == ({UUID: [os.getppid()]}, {UUID: [2**22 + 1]})
    written(tmp_path, header(), sample(1.0, 0.0, unseen={UUID: [2**22 + 1]}))
    assert "strangers_unknown" in codes(tmp_path)
    assert "shared_gpu" not in codes(tmp_path)
