"""What is sent: records as a meter on a GPU host writes them, and whole runs."""

import json
import time
from typing import Any
from uuid import uuid4

KINDS = ("preprocess", "logit_caching", "filtering", "student_training", "evaluation", "teacher_evaluation")
START = 1_769_860_800
SUITE = [f"b{number}" for number in range(5)]


def record(number: int, **changes: Any) -> dict[str, Any]:
    """A record as a meter on a GPU host writes it, about 1.3 kB."""
    moment = time.gmtime(START - number * 3600)
    later = time.gmtime(START - number * 3600 + 3500)
    return {
        "record_id": uuid4().hex,
        "kind": KINDS[number % 6],
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", moment),
        "ended_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", later),
        "duration_s": 3500.0,
        "components": ["gpu", "cpu", "ram"],
        "gpu_energy_j": 2.1e6,
        "gpu_energy_lower_j": 2.0e6,
        "gpu_energy_upper_j": 2.2e6,
        "gpu_method": "nvml_counter",
        "cpu_energy_j": 1.8e5,
        "cpu_method": "codecarbon_process",
        "ram_energy_j": 1e4,
        "sample_period_s": 0.1,
        "samples": 35000,
        "coverage": 0.999,
        "trained_tokens": 30_000_000,
        "devices": [{"uuid": f"GPU-{uuid4()}", "name": "NVIDIA H100", "energy_j": 2.1e6, "power_limit_w": 700.0}],
        "environment": {"git": {"commit": "a" * 40, "dirty": False}, "driver": "575.1", "libraries": {"torch": "2.13"}},
    } | changes


def document() -> dict[str, Any]:
    """A run with six stages and five scores."""
    run = {"external_id": uuid4().hex, "pipeline": "kd", "student": "small", "student_size": "1B", "teacher": "T"}
    scores = [{"benchmark": name, "value": 0.4, "n": 100, "stderr": 0.01} for name in SUITE]
    return {"schema_version": 1, "study": "bench", "run": run, "stages": list(map(record, range(6))), "scores": scores}


def reference() -> dict[str, Any]:
    """The teacher's own run, which Q is measured against."""
    run = {"external_id": "teacher", "pipeline": "teacher_reference", "student": "T", "teacher": "T"}
    scores = [{"benchmark": name, "value": 0.8} for name in SUITE]
    return {"schema_version": 1, "study": "bench", "run": run, "scores": scores}


def ndjson(items: list[dict[str, Any]]) -> bytes:
    """One a line."""
    return b"\n".join(json.dumps(item).encode() for item in items)
