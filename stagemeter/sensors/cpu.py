"""CPU and RAM energy by CodeCarbon in process mode, read in the sampler and not in the metered process.

CodeCarbon follows the process it runs in. So that the figures outlive a killed stage, its offline tracker is
adapted in four points, all in this file (written against codecarbon 3.3):

1. its CPU and RAM readers look at the metered process's tree instead of their own process;
2. the CPU time of that tree includes children that have ended and were waited for, which would otherwise drop out,
   and leaves out the sampler;
3. no GPU is opened: GPUs are metered by NVML, and would count twice;
4. no carbon is computed: that is done later from dated factors, so no geography and no network is touched.

One tracker is started once and stopped once; measuring in between is driven by the sampler's loop.
"""

import json
import os
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from stagemeter.errors import MeterError
from stagemeter.sensors import flag

J_PER_KWH = 3.6e6
MOST_DIPS = 3


class ProcessTree:
    """CPU time of a process and its descendants, in the shape in which CodeCarbon asks a `psutil.Process`."""

    def __init__(self, pid: int, *, without: int) -> None:
        self.pid = pid
        self._root = psutil.Process(pid)
        self._without = without
        self.seconds = 0.0
        self._gone = 0.0  # seconds of processes that left the tree without being waited for
        self._dips = 0

    def children(self, recursive: bool = False) -> list[Any]:  # noqa: ARG002 - CodeCarbon names the argument
        """No children: `cpu_times` holds the whole tree's time already."""
        return []

    def cpu_times(self) -> Any:
        """User + system seconds of all that live, and of all that ended and were waited for by one that lives."""
        try:
            members = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            members = [self._root]
        totals = [_cpu_seconds(member) for member in members if member.pid != self._without]
        if totals and totals[0] is not None:  # without the root nothing more can be told: the last total stands
            self._advance(sum(total for total in totals if total is not None))
        return SimpleNamespace(user=self.seconds, system=0.0)

    def _advance(self, total: float) -> None:
        """Take a new total; it may only rise.

        Parents are read before their children, so one that is waited for in between is missing for this once: wait.
        One that detached itself stays missing: what it had used stays in the sum.
        """
        if total + self._gone >= self.seconds:
            self.seconds, self._dips = total + self._gone, 0
            return
        self._dips += 1
        if self._dips >= MOST_DIPS:
            self._gone, self._dips = self.seconds - total, 0


def _cpu_seconds(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system + times.children_user + times.children_system)


class CpuSensor:
    """Cumulative CPU and RAM energy of the tree of process `pid`, since `start`."""

    def __init__(self, pid: int, *, cache: Path | None = None) -> None:
        self._tree = ProcessTree(pid, without=os.getpid())
        self._cache = cache
        self._tracker: Any = None
        self.facts: dict[str, Any] = {}
        self.flags: list[dict[str, str]] = []

    def start(self) -> None:
        """Load CodeCarbon and begin. Raises `ImportError` without it, `MeterError` if it would not start."""
        version = str(_load("codecarbon").__version__)
        known = self._preload_tdp(version)
        self._tracker = _tracker(self._tree)
        self._tracker.start()
        if getattr(self._tracker, "_start_time", None) is None:  # CodeCarbon logs its errors and goes on
            raise MeterError("CodeCarbon's tracker did not start; its log is in sampler.log beside the samples")
        parts = {type(hardware).__name__: hardware for hardware in self._tracker._hardware}
        cpu = parts.get("CPU")
        self._describe(version, cpu, parts.get("RAM"))
        if cpu is not None and not known:
            self._keep_tdp(version)

    def read(self) -> dict[str, float]:
        """Measure now; cumulative joules since `start`, and the tree's CPU seconds they stand on."""
        self._tracker._measure_power_and_energy()
        return {
            "t": time.monotonic(),
            "cpu_j": self._tracker._total_cpu_energy.kWh * J_PER_KWH,
            "ram_j": self._tracker._total_ram_energy.kWh * J_PER_KWH,
            "cpu_s": self._tree.seconds,
        }

    def stop(self) -> None:
        """Stop the tracker."""
        self._tracker.stop()

    def _describe(self, version: str, cpu: Any, ram: Any) -> None:
        mode = getattr(cpu, "_mode", "none")
        self.facts = {
            "codecarbon": version,
            "cpu_method": "rapl" if mode == "intel_rapl" else "codecarbon_process",
            "ram_method": "codecarbon_process",
            "cpu_mode": mode,
            "cpu_model": getattr(cpu, "_model", ""),
            "cpu_tdp_w": getattr(cpu, "_tdp", None),
            "cpu_threads": getattr(cpu, "_cpu_count", None),
            "ram_power_forced_w": getattr(ram, "_force_ram_power", None),
            "pue": 1.0,
            "follows": "process tree by pid, with ended children, without the sampler",
        }
        if mode == "intel_rapl":
            self.flags.append(flag("cpu_whole_package", "RAPL counts the whole processor, not this stage's processes"))
        else:
            basis = f"CPU time and a design power of {self.facts['cpu_tdp_w']} W"
            self.flags.append(flag("estimated", f"CPU energy is CodeCarbon's estimate from {basis}"))

    # Finding the design power takes CodeCarbon about three seconds of CPU time (a subprocess and pandas), and gives
    # the same answer every time; so it is looked up once per machine and release.
    def _key(self, version: str) -> str:
        return f"{version}|{_cpu_model()}|{psutil.cpu_count()}"

    def _preload_tdp(self, version: str) -> bool:
        if self._cache is None or not self._cache.is_file():
            return False
        try:
            kept = json.loads(self._cache.read_text())[self._key(version)]
        except (ValueError, KeyError):
            return False
        _load("codecarbon.core.hardware_cache")._tdp = SimpleNamespace(model=kept["model"], tdp=kept["tdp"])
        return True

    def _keep_tdp(self, version: str) -> None:
        found = _load("codecarbon.core.hardware_cache")._tdp
        if self._cache is None or found is None:
            return
        kept = {"model": found.model, "tdp": found.tdp}
        aside = self._cache.with_name(f"{self._cache.name}.{os.getpid()}")
        aside.write_text(json.dumps({self._key(version): kept}))
        aside.replace(self._cache)


def _tracker(tree: ProcessTree) -> Any:
    """CodeCarbon's offline tracker over `tree`. Built in here so that importing this file does not load it."""
    offline: Any = _load("codecarbon").OfflineEmissionsTracker
    resource_tracker: Any = _load("codecarbon.core.resource_tracker").ResourceTracker

    class TreeTracker(offline):  # type: ignore[misc]
        def _initialize_hardware_tracking(self) -> None:
            resources = resource_tracker(self)
            resources.set_RAM_tracking()
            resources.set_CPU_tracking()
            for hardware in self._hardware:
                hardware._pid = tree.pid
                if hasattr(hardware, "_process"):
                    hardware._process = tree
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
