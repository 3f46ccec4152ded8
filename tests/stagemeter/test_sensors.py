"""One source at a time."""

import os
import subprocess
import sys

import pytest

from stagemeter.sensors.cpu import ProcessTree
from stagemeter.sensors.nvml import select

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


def test_a_process_tree_keeps_the_time_of_children_that_have_ended():
    child = "import time\nwhile time.process_time() < 0.4: pass"
    wait = "print(1, flush=True)\nsys.stdin.read()"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])\n{wait}"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        tree = ProcessTree(process.pid, without=-1)
        process.stdout.readline()
        assert tree.cpu_times().user >= 0.35  # the kernel counts in ticks of 10 ms
        before = tree.seconds
        process.kill()
        process.wait()
        assert tree.cpu_times().user == before  # nothing more is known of a process that is gone


class Tree(ProcessTree):
    """A tree whose kernel gives the queued totals."""

    def __init__(self, *totals):
        super().__init__(os.getpid(), without=-1)
        self.given = [self._read(total) for total in totals]

    def _read(self, total):
        self._advance(total)
        return self.seconds


def test_a_child_missing_in_one_reading_is_not_counted_twice_when_it_is_back():
    assert Tree(10, 4, 11).given == [10, 10, 11]


def test_a_child_that_left_for_good_stays_in_the_sum_and_later_seconds_still_count():
    assert Tree(10, 4, 4, 4, 5, 6).given == [10, 10, 10, 10, 11, 12]
