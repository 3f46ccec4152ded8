"""Meters around functions, coroutines, ranks and each other."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import stagemeter
from stagemeter import Meter, MeterError, current, metered, spool
from stagemeter.ranks import Place, place

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_spool(spool_dir, monkeypatch):
    monkeypatch.setenv("STAGEMETER_SPOOL", str(spool_dir))
    return spool_dir


def test_a_decorated_function_is_a_stage_and_counts_its_tokens(own_spool):
    @metered("student_training", name="mine", environment={})
    def train(steps: int) -> str:
        current().add_tokens(trained=steps)
        return "done"

    assert train(3) == "done"
    (record,) = spool.pending(own_spool)
    assert (record.kind, record.name, record.trained_tokens) == ("student_training", "mine", 3)


def test_tasks_that_run_at_once_are_parts_of_the_stage_around_them(own_spool):
    @metered("evaluation", environment={})
    async def score(rows: int) -> None:
        current().add_tokens(evaluated=rows)
        await asyncio.sleep(0.05)

    async def both() -> Meter:
        with Meter("evaluation", environment={}, name="whole") as whole:
            await asyncio.gather(score(1), score(2))
            assert current() is whole
        return whole

    whole = asyncio.run(both())
    parts = [record for record in spool.pending(own_spool) if record.name != "whole"]
    assert {part.parent_id for part in parts} == {whole.record_id}
    assert {part.evaluated_tokens for part in parts} == {1, 2}
    assert whole.record.parent_id is None
    assert "overlapping_stages" not in {remark["code"] for remark in whole.record.flags}


def test_root_stages_of_two_tasks_at_once_are_flagged(own_spool):
    first = Meter("evaluation", environment={})
    second = Meter("student_training", environment={})

    async def one(meter: Meter, began: asyncio.Event, other: asyncio.Event) -> None:
        with meter:
            began.set()
            await other.wait()

    async def both() -> None:
        events = asyncio.Event(), asyncio.Event()
        await asyncio.gather(one(first, events[0], events[1]), one(second, events[1], events[0]))

    asyncio.run(both())
    codes = [{remark["code"] for remark in meter.record.flags} for meter in (first, second)]
    assert "overlapping_stages" in codes[0] | codes[1]


def test_no_meter_is_current_outside_of_one():
    with pytest.raises(MeterError, match="no meter is open"):
        current()


def test_a_generator_is_not_metered_by_its_call():
    with pytest.raises(MeterError, match="generator"):

        @metered("evaluation")
        def rows():
            yield 1


def test_a_stage_that_names_no_run_belongs_to_that_of_the_environment(own_spool, monkeypatch):
    monkeypatch.setenv("STAGEMETER_RUN", "run-1")
    with Meter("evaluation", environment={}) as meter:
        pass
    assert meter.record.run_id == "run-1"


RANK = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Place()),
        (RANK, Place(rank=5, world_size=8, gpus="1")),
        (RANK | {"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b,GPU-c,GPU-d"}, Place(rank=5, world_size=8, gpus="GPU-b")),
        (RANK | {"CUDA_VISIBLE_DEVICES": "0"}, Place(rank=5, world_size=8, gpus="")),
        (RANK | {"CUDA_VISIBLE_DEVICES": "0", "LOCAL_RANK": "0"}, Place(rank=5, world_size=8, gpus="0")),
        (RANK | {"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}, Place(rank=5, world_size=8)),
        ({"RANK": "x", "WORLD_SIZE": "8"}, Place()),
        ({"RANK": "8", "WORLD_SIZE": "8"}, Place()),
    ],
)
def test_a_rank_of_torchrun_meters_its_own_gpu(environment, expected):
    assert place(environment) == expected


def test_ranks_meter_disjoint_gpus_and_add_up_to_the_host(own_spool, gpu_host, monkeypatch):
    gpu_host.set(DEVICES=2)
    meters = []
    for local in (0, 1):
        for name, value in {"RANK": local, "WORLD_SIZE": 2, "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": 2}.items():
            monkeypatch.setenv(name, str(value))
        with Meter("student_training", environment={}) as meter:
            pass
        meters.append(meter.record)
    assert [(record.rank, record.world_size) for record in meters] == [(0, 2), (1, 2)]
    uuids = [{device["uuid"] for device in record.devices} for record in meters]
    assert [len(found) for found in uuids] == [1, 1]
    assert not uuids[0] & uuids[1]


def test_everything_public_is_there_and_typed():
    for name in stagemeter.__all__:
        assert getattr(stagemeter, name).__doc__


def test_importing_the_meter_loads_nothing_heavy():
    heavy = "httpx psutil uuid6 email.message ssl statistics subprocess codecarbon pynvml torch stagemeter.assemble"
    script = "import sys; from stagemeter import Meter; print(*(n for n in sys.argv[1:] if n in sys.modules))"
    command = [sys.executable, "-S", "-c", script, *heavy.split()]  # -S: without what .pth files of this one load
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
