"""CPU and RAM energy by CodeCarbon in process mode, of a process that is not this one.

CodeCarbon follows the process it runs in. So that the figures outlive a killed stage, its offline tracker runs in a
process of its own and is adapted in six points, all in this file (written against codecarbon 3.3):

1. its CPU and RAM readers look at the metered process's tree, with children that have ended and without samplers;
2. the processor's RAPL registers are left to `sensors/rapl.py`: CodeCarbon would give the whole machine's energy for
   the stage's;
3. memory that processes share is in each one's resident size; the sum is held to what the machine has;
4. its clock is the monotonic one: with the wall clock, a step of it would change the CPU load that it computes;
5. no GPU is opened: GPUs are metered by NVML, and would count twice;
6. no carbon is computed: that is done later from dated factors, so no geography and no network is touched.

One tracker is started once and stopped once; its tasks and its timers are not used.
"""

import hashlib
import json
import math
import os
import time
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from stagemeter import ranks
from stagemeter.errors import MeterError
from stagemeter.sensors.tree import ProcessTree

J_PER_KWH = 3.6e6
MOST_KEPT = 20  # what is known of how many processors and settings the cache holds


class CpuSensor:
    """Cumulative CPU and RAM energy of a process tree, since `start`.

    `facts` is CodeCarbon's version and constants. They are known at once where `cache` holds them; finding the
    design power takes CodeCarbon three seconds (a subprocess and pandas) and gives the same answer every time.
    """

    def __init__(self, tree: ProcessTree, *, cache: Path | None = None) -> None:
        self._tree, self._cache = tree, cache
        self._tracker: Any = None
        self._kept = _Kept(cache)
        self.facts: dict[str, Any] = self._kept.facts

    def start(self) -> None:
        """Load CodeCarbon and begin. Raises `ImportError` without it, `MeterError` if it would not start."""
        if self._kept.facts:
            tdp = SimpleNamespace(model=self._kept.facts["cpu_model"], tdp=self._kept.looked_up)
            _load("codecarbon.core.hardware_cache")._tdp = tdp
        self._tracker = _tracker(self._tree)
        self._tracker.start()
        if getattr(self._tracker, "_start_time", None) is None:  # CodeCarbon logs its errors and goes on
            raise MeterError("CodeCarbon's tracker did not start; its log is in sampler.log beside the samples")
        self.facts = self._describe()
        if self.facts != self._kept.facts:
            self._kept.keep(self.facts, _load("codecarbon.core.hardware_cache")._tdp)

    def read(self) -> dict[str, float]:
        """Measure now: monotonic s, cumulative joules since `start`, and the CPU seconds they stand on."""
        self._tracker._measure_power_and_energy()
        return {
            "t": round(time.monotonic(), 6),
            "cpu_j": round(self._tracker._total_cpu_energy.kWh * J_PER_KWH, 6),
            "ram_j": round(self._tracker._total_ram_energy.kWh * J_PER_KWH, 6),
            "cpu_s": round(self._tree.seconds, 3),
        }

    def stop(self) -> None:
        """Stop the tracker."""
        self._tracker.stop()

    def _describe(self) -> dict[str, Any]:
        parts = {type(hardware).__name__: hardware for hardware in self._tracker._hardware}
        cpu, ram = parts.get("CPU"), parts.get("TreeRam")
        return {
            "codecarbon": str(_load("codecarbon").__version__),
            "cpu_mode": getattr(cpu, "_mode", "none"),
            "cpu_model": getattr(cpu, "_model", ""),
            "cpu_tdp_w": getattr(cpu, "_tdp", None),
            "cpu_threads": getattr(cpu, "_cpu_count", None),
            "ram_steps_w": _ram_steps(ram),
            "ram_power_forced_w": getattr(ram, "_force_ram_power", None),
            "ram_shared_by": ranks.beside(),
            "pue": 1.0,
            "follows": "process tree by pid, with ended children, without samplers",
        }


class _Kept:
    """What CodeCarbon has found out before, by its release, the processor and its own settings."""

    def __init__(self, cache: Path | None) -> None:
        self._path = cache
        self._key = _key()
        found = self._read().get(self._key, {})
        self.facts: dict[str, Any] = found.get("facts", {})
        self.looked_up: float | None = found.get("tdp")

    def keep(self, facts: dict[str, Any], tdp: Any) -> None:
        """Put it in the file, which others may be writing too: the last one wins, and each is whole."""
        if self._path is None:
            return
        entry = {"facts": facts, "tdp": getattr(tdp, "tdp", None)}
        others = list((self._read() | {self._key: entry}).items())[-MOST_KEPT:]
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        aside.write_text(json.dumps(dict(others)))
        aside.replace(self._path)

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(self._path.read_text()) if self._path is not None else {}
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}


def _key() -> str:
    """Names everything that the constants depend on. Settings go in as a digest: they may hold a token."""
    try:
        version = metadata.version("codecarbon")
    except metadata.PackageNotFoundError:
        version = "none"
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if _is_setting(name)]
    try:
        settings.append((Path.home() / ".codecarbon.config").read_text())
    except (OSError, RuntimeError, ValueError):
        settings.append("")
    digest = hashlib.sha256("\n".join(settings).encode(errors="replace")).hexdigest()[:12]
    return f"{version}|{_cpu_model()}|{psutil.cpu_count()}|{psutil.virtual_memory().total}|{digest}"


def _is_setting(name: str) -> bool:
    return name.upper().startswith("CODECARBON_") or name in ("SLURM_JOB_ID", "LOCAL_WORLD_SIZE")


def _ram_steps(ram: Any) -> list[list[float]] | None:
    """CodeCarbon's model of RAM as steps: from more than so many GiB, so many watts. It depends on whole GiB alone."""
    if ram is None:
        return None
    if ram._force_ram_power is not None:
        return [[0, ram._force_ram_power]]
    steps: list[list[float]] = []
    for gib in range(math.ceil(psutil.virtual_memory().total / 2**30)):
        watts = ram._calculate_ram_power(gib + 0.5)
        if not steps or steps[-1][1] != watts:
            steps.append([gib, watts])
    return steps


def _tracker(tree: ProcessTree) -> Any:
    """CodeCarbon's offline tracker over `tree`. Built in here so that importing this file does not load it."""
    offline: Any = _load("codecarbon").OfflineEmissionsTracker
    resource_tracker: Any = _load("codecarbon.core.resource_tracker").ResourceTracker
    ram: Any = _load("codecarbon.external.ram").RAM
    sharing = ranks.beside()
    clock = SimpleNamespace(time=time.monotonic, perf_counter=time.perf_counter, sleep=time.sleep)
    _load("codecarbon.external.hardware").time = clock

    class TreeRam(ram):  # type: ignore[misc]
        # CodeCarbon's model has a floor of two modules. Each rank on a host would book it again, so a rank books its
        # share of what the model says of all of them, taking the others to hold as much as this one.
        def _calculate_ram_power(self, memory_gb: float) -> float:
            total_gb = psutil.virtual_memory().total / 2**30
            return float(super()._calculate_ram_power(min(memory_gb * sharing, total_gb)) / sharing)

        @property
        def process_memory_GB(self) -> float:
            return float(min(tree.rss, psutil.virtual_memory().total) / 2**30)

    class Resources(resource_tracker):  # type: ignore[misc]
        def _try_platform_cpu_backend(self) -> bool:
            return False

    class TreeTracker(offline):  # type: ignore[misc]
        def _initialize_hardware_tracking(self) -> None:
            resources = Resources(self)
            resources.set_RAM_tracking()
            resources.set_CPU_tracking()
            for hardware in self._hardware:
                hardware._pid = tree.pid
                if hasattr(hardware, "_process"):
                    hardware._process = tree
                if type(hardware) is ram:
                    hardware.__class__ = TreeRam
                    if hardware._force_ram_power is not None:
                        hardware._force_ram_power /= sharing
            self._hardware.sort(key=lambda part: isinstance(part, TreeRam))  # reading the CPU looks at the tree
            self._conf.update(hardware=[], gpu_count=0, gpu_model="")

        def _initialize_scheduler_state(self) -> None:
            self._scheduler = _Idle()
            self._scheduler_monitor_power = _Idle()

        def _prepare_emissions_data(self) -> Any:
            return SimpleNamespace(emissions=None)

        def _compute_emissions_delta(self, total_emissions: Any) -> Any:
            return total_emissions

    return TreeTracker(
        tracking_mode="process",
        output_dir=".",
        output_methods=[],
        output_handlers=[],
        api_call_interval=-1,
        emissions_endpoint=None,
        electricitymaps_api_token=None,
        force_carbon_intensity_g_co2e_kwh=0.0,
        country_iso_code="USA",  # never looked at, but asked for
        gpu_ids=None,
        pue=1.0,
        wue=0.0,
        allow_multiple_runs=True,
        measure_power_secs=1e6,
        rapl_include_dram=False,
        rapl_prefer_psys=False,
        force_mode_cpu_load=False,
        log_level="error",
    )


def _load(name: str) -> Any:
    """One of CodeCarbon's modules, which have types but not for what is adapted here."""
    return import_module(name)


class _Idle:
    """Stands where CodeCarbon keeps its timer threads: the sampler's loop measures, and only it."""

    _stopped = True

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
