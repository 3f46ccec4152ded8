"""The books on a process tree: in a world where the truth is known, and on real processes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagemeter.sensors.tree import LinuxSource, Process, ProcessTree, PsutilSource, TreeSeconds, busy_seconds

ROOT = 1


@dataclass
class Life:
    parent: int
    own_s: float = 0.0
    waited_s: float = 0.0


@dataclass
class World:
    """Processes that work, fork and end, as a kernel books them."""

    alive: dict[int, Life] = field(default_factory=lambda: {ROOT: Life(0)})
    worked_s: float = 0.0
    next_pid: int = 2

    def work(self, pid, seconds):
        self.alive[pid].own_s += seconds
        self.worked_s += seconds

    def fork(self, pid):
        self.alive[self.next_pid] = Life(pid)
        self.next_pid += 1

    def end(self, pid, *, waited):
        """It ends; its children go to init. Its parent waits for it, or has asked not to have to."""
        gone = self.alive.pop(pid)
        if waited and gone.parent in self.alive:
            self.alive[gone.parent].waited_s += gone.own_s + gone.waited_s
        for child in self.alive.values():
            if child.parent == pid:
                child.parent = 0

    def snapshot(self, hidden=None):
        return {
            (pid, 0.0): Process(life.parent, 0.0, life.own_s, life.waited_s, 0)
            for pid, life in self.alive.items()
            if pid != hidden
        }


steps = st.lists(
    st.tuples(
        st.sampled_from(["work", "fork", "end", "vanish", "look", "end while looking"]),
        st.integers(0, 30),
        st.integers(1, 50),
    ),
    max_size=40,
)


def lived(steps):
    """The world after the steps, the seconds it lost sight of, and the books on it."""
    world, books, lost = World(), TreeSeconds(), 0.0
    books.update(world.snapshot())
    seen = {ROOT: 0.0}
    for name, choice, amount in steps:
        pids = sorted(world.alive)
        pid = pids[choice % len(pids)]
        if name == "work":
            world.work(pid, float(amount))
        elif name == "fork":
            world.fork(pid)
        elif pid == ROOT or name == "look":
            books.update(world.snapshot())
            seen = {p: life.own_s + life.waited_s for p, life in world.alive.items()}
        elif name == "end while looking":  # its parent was read before it waited
            snapshot = world.snapshot(hidden=pid)
            if world.alive[pid].parent not in world.alive:
                lost += world.alive[pid].own_s + world.alive[pid].waited_s - seen.get(pid, 0.0)
            world.end(pid, waited=True)
            books.update(snapshot)
            seen = {p: process.seconds for (p, _), process in snapshot.items()}
        else:
            waited = name == "end" and world.alive[pid].parent in world.alive
            if not waited:  # nobody will ever tell what it used since it was last looked at
                lost += world.alive[pid].own_s + world.alive[pid].waited_s - seen.get(pid, 0.0)
            world.end(pid, waited=waited)
    books.update(world.snapshot())
    return world, lost, books


@given(steps.filter(lambda s: all(name != "vanish" for name, _, _ in s)))
@settings(max_examples=300)
def test_no_second_is_lost_or_counted_twice_while_every_ended_child_is_waited_for(steps):
    world, lost, books = lived(steps)
    assert books.total == pytest.approx(world.worked_s - lost)


@given(steps)
@settings(max_examples=300)
def test_of_children_nobody_waits_for_only_what_they_used_unseen_is_lost(steps):
    world, _, books = lived(steps)
    assert books.total <= world.worked_s + 1e-9


def test_a_child_that_nobody_waited_for_stays_in_the_sum():
    world, books = World(), TreeSeconds()
    world.fork(ROOT)
    world.work(2, 5.0)
    books.update(world.snapshot())
    world.end(2, waited=False)
    for _ in range(4):
        books.update(world.snapshot())
    world.work(ROOT, 1.0)
    assert books.update(world.snapshot()) == 6.0


def test_a_samplers_seconds_are_not_counted_even_once_it_was_waited_for():
    world, books = World(), TreeSeconds()
    world.fork(ROOT)
    books.update(world.snapshot(), without=[(2, 0.0)])
    world.work(2, 3.0)
    assert books.update(world.snapshot(), without=[(2, 0.0)]) == 0
    world.end(2, waited=True)
    assert books.update(world.snapshot()) == 0


SPIN = "import time\nwhile time.process_time() < {}: pass\n"


@pytest.fixture(params=[LinuxSource, PsutilSource], ids=["linux", "psutil"])
def source(request):
    return request.param()


def test_a_tree_keeps_the_time_of_children_that_have_ended(source):
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPIN.format(0.3)!r}])\nprint(1, flush=True)"
    words = [sys.executable, "-c", f"{code}\nsys.stdin.read()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        tree = ProcessTree(process.pid, without=-1, source=source)
        process.stdout.readline()
        assert tree.cpu_times().user >= 0.25  # the kernel counts in ticks of 10 ms
        assert tree.rss > 2**20
        before = tree.seconds
        process.kill()
        process.wait()
        assert tree.cpu_times().user == before  # nothing more is known of a process that is gone
        assert tree.rss == 0


LOADING = """
import multiprocessing, os, sys, time
from stagemeter.sensors.tree import LinuxSource, ProcessTree, PsutilSource

def work_on(batches):
    for _ in iter(batches.get, None):
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass

context = multiprocessing.get_context("fork")
batches = context.Queue()
sources = {"LinuxSource": LinuxSource, "PsutilSource": PsutilSource}
tree = ProcessTree(os.getpid(), without=-1, source=sources[sys.argv[1]]())
began, own = tree.read()["cpu_s"], time.process_time()
workers = [context.Process(target=work_on, args=(batches,), daemon=True) for _ in range(2)]
for worker in workers:
    worker.start()
for batch in (1, 2, 3, 4, None, None):
    batches.put(batch)
deadline = time.monotonic() + 30
while tree.read()["cpu_s"] - began < 0.3 and time.monotonic() < deadline:
    time.sleep(0.05)
alive = tree.seconds - began
for worker in workers:
    worker.join(timeout=30)
print(alive, tree.read()["cpu_s"] - began, time.process_time() - own)
"""


def test_workers_that_load_data_are_part_of_the_stage_while_they_live_and_after(source):
    # As a data loader does it: forked workers that take batches from a queue and are joined at the end.
    words = [sys.executable, "-c", LOADING, type(source).__name__]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    alive, used, own = (float(word) for word in done.stdout.split())
    assert alive > 0.29
    # Four batches of 0.1 s and what that process used, neither lost nor doubled when the workers were joined.
    assert used == pytest.approx(0.4 + own, abs=0.15)


def test_a_child_whose_parent_dies_stays_in_the_tree(source):
    grandchild = (
        "import subprocess, sys, time\np = subprocess.Popen([sys.executable, '-c', {!r}])\nprint(p.pid, flush=True)"
    )
    code = grandchild.format("import sys\nsys.stdin.read()") + "\ntime.sleep(60)"
    outer = "import subprocess, sys, time\np = subprocess.Popen([sys.executable, '-c', {!r}])\nprint(p.pid, flush=True)"
    words = [sys.executable, "-c", outer.format(code) + "\np.wait()\nprint('waited', flush=True)\ntime.sleep(60)"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        middle, last = int(process.stdout.readline()), int(process.stdout.readline())
        tree = ProcessTree(process.pid, without=-1, source=source)
        tree.read()
        os.kill(middle, signal.SIGKILL)
        assert process.stdout.readline() == b"waited\n"
        tree.read()
        assert last in {pid for pid, _ in tree._members}
        process.stdin.close()  # ends the grandchild
        process.kill()


def test_samplers_are_no_part_of_a_stage(source, tmp_path):
    (tmp_path / "stagemeter").mkdir()
    (tmp_path / "stagemeter" / "sampler.py").write_text(SPIN.format(0.2) + "print(1, flush=True)\ninput()")
    words = [sys.executable, "-m", "stagemeter.sampler"]
    tree = ProcessTree(os.getpid(), without=-1, source=source)
    with subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        began, own = tree.read()["cpu_s"], time.process_time()
        process.stdout.readline()
        tree.read()
        process.communicate(b"\n")
    tree.read()
    assert tree.read()["cpu_s"] - began == pytest.approx(time.process_time() - own, abs=0.1)


def test_a_machine_is_busy_for_at_least_as_long_as_one_process_spun():
    before = busy_seconds()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert busy_seconds() - before > 0.1
