"""Where and with what a stage ran: facts a figure cannot be compared without.

The host is a class and not a name: no host name and no user goes into a record. Nothing heavy is imported;
versions come from package metadata.
"""

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

# Libraries whose version changes what a stage costs or how it is measured.
LIBRARIES = (
    "stagemeter",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "safetensors",
    "vllm",
    "flash-attn",
    "bitsandbytes",
    "lm-eval",
    "numpy",
    "codecarbon",
    "nvidia-ml-py",
)


def collect(directory: Path | None = None) -> dict[str, Any]:
    """All facts about this host and this process, as JSON types. `directory` is the code's, for its git commit."""
    return {**_host(), **_process(), "git": git_state(directory or Path.cwd())}


@lru_cache(maxsize=1)
def _host_facts() -> Mapping[str, Any]:
    import psutil

    return {
        "host_class": host_class(),
        "cpu_model": cpu_model(),
        "cpu_cores": psutil.cpu_count(logical=False),
        "cpu_threads": psutil.cpu_count(),
        "ram_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "os": platform.system(),
        "architecture": platform.machine(),
        **gpus(),
    }


def _host() -> dict[str, Any]:
    return dict(_host_facts())


def _process() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu_threads_usable": usable,
        "cpu_quota": cpu_quota(),
        "python": platform.python_version(),
        "libraries": library_versions(),
    }


def host_class() -> str:
    """A name for this machine that is stable and says nothing about its owner: a hash of its machine id."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        text = _read(path)
        if text:
            return hashlib.sha256(f"stagemeter:{text}".encode()).hexdigest()[:16]
    import psutil

    facts = f"{cpu_model()}|{psutil.cpu_count()}|{psutil.virtual_memory().total}"
    return hashlib.sha256(f"stagemeter:{facts}".encode()).hexdigest()[:16]


def cpu_model() -> str:
    """The processor's name as the kernel gives it."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def cpu_quota() -> float | None:
    """How many cores' worth of time a container may use; `None` without a limit."""
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def library_versions() -> dict[str, str]:
    """Versions of those of `LIBRARIES` that are installed."""
    from importlib import metadata

    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gpus() -> dict[str, Any]:
    """Visible GPUs: name, UUID, power limit, driver, CUDA; an empty list without any. Names what cannot be opened."""
    from stagemeter.sensors.nvml import open_nvml

    found = open_nvml(os.environ.get("CUDA_VISIBLE_DEVICES"))
    lost = {"gpus_unreadable": [card.to_dict() for card in found.unreadable]} if found.unreadable else {}
    if found.sensor is None:
        return {"gpus": [], **lost}
    keys, devices = ("uuid", "name", "power_limit_w"), found.sensor.devices
    found.sensor.close()
    known = [{key: device.to_dict()[key] for key in keys} for device in devices]
    return {"gpus": known, "driver": devices[0].driver, "cuda": devices[0].cuda, **lost}


def git_state(directory: Path) -> dict[str, Any] | None:
    """Commit and dirtiness of the work tree at `directory`; `None` outside of one."""
    commit = _git(directory, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(directory: Path, *arguments: str) -> str | None:
    import subprocess

    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
