"""Which rank this process is, where torchrun started it: each rank meters the GPU it works on, and no other."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Place:
    """Rank, ranks in all, and the GPU to meter as `CUDA_VISIBLE_DEVICES` names it; `None`: all that are seen."""

    rank: int = 0
    world_size: int = 1
    gpus: str | None = None


def place(environment: Mapping[str, str] | None = None) -> Place:
    """From `RANK`, `WORLD_SIZE`, `LOCAL_RANK` and `LOCAL_WORLD_SIZE`, as torchrun sets them.

    Local rank i works on the i-th device that is visible. Where there are fewer devices than ranks, all ranks share
    them, which no meter can tell apart: rank 0 of the host then meters all of them, and the others none.
    """
    values = os.environ if environment is None else environment
    rank, size = _whole(values, "RANK"), _whole(values, "WORLD_SIZE")
    if rank is None or size is None or rank >= size:
        return Place()
    local, beside = _whole(values, "LOCAL_RANK"), _whole(values, "LOCAL_WORLD_SIZE")
    if local is None or beside is None or beside < 2:
        return Place(rank=rank, world_size=size)
    visible = values.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return Place(rank=rank, world_size=size, gpus=str(local))
    devices = [name.strip() for name in visible.split(",") if name.strip()]
    if len(devices) >= beside:
        return Place(rank=rank, world_size=size, gpus=devices[local])
    return Place(rank=rank, world_size=size, gpus=visible if local == 0 else "")


def beside(environment: Mapping[str, str] | None = None) -> int:
    """Ranks of this run on this host, this one among them; 1 where torchrun started none."""
    values = os.environ if environment is None else environment
    local = _whole(values, "LOCAL_WORLD_SIZE")
    return local if local and _whole(values, "LOCAL_RANK") is not None else 1


def _whole(values: Mapping[str, str], name: str) -> int | None:
    text = values.get(name, "")
    return int(text) if text.isdecimal() else None
