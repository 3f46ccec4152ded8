"""The benchmarks a suite may name, and which of them a worker can run."""

import os
from pathlib import Path

from registry.accounting.spec import RunSpec
from registry.workloads.rows import UnknownName, WorkloadError

# Own benchmarks over the evaluation rows of the run's dataset: name → what a score of it means.
OWN: dict[str, str] = {
    "token_accuracy": "share of answer tokens that are the model's first choice, teacher-forced",
    "choice": "share of rows whose right answer is the likeliest of four",
    "exact_match": "share of rows whose short answer the model writes by itself, greedily",
}
# Run by lm-eval over local task files: name → the task's file below STAGEMETER_TASKS.
HARNESS: dict[str, str] = {"gsm8k": "gsm8k.yaml", "ifeval": "ifeval.yaml", "mmlu": "mmlu.yaml"}
# Judged by another model, which no worker here is: scores of these are uploaded.
JUDGED: dict[str, str] = {"alpaca_eval_2_lc": "AlpacaEval 2 LC", "mt_bench_101": "MT-Bench-101"}

TASKS_VARIABLE = "STAGEMETER_TASKS"
# What four choices, or a first choice among the vocabulary, give without any knowledge.
CHANCE: dict[str, float] = {"token_accuracy": 0.0, "choice": 0.25, "exact_match": 0.0}


class UnsupportedBenchmark(WorkloadError):
    """A benchmark that exists but cannot be run here; the message names the way out."""


def supported_suite(spec: RunSpec) -> None:
    """Pass if a worker can run every benchmark of `spec.evaluation.suite`.

    Raises `UnknownName` or `UnsupportedBenchmark` with a sentence that names the benchmark and the way out.
    """
    for name in spec.evaluation.suite:
        check_benchmark(name)


def check_benchmark(name: str) -> None:
    """Pass if a worker can run `name`; see `supported_suite` for what is raised."""
    if name in OWN:
        return
    if name in JUDGED:
        raise UnsupportedBenchmark(
            f"{JUDGED[name]} ({name}) needs a language model as judge, which no worker has; "
            "leave it out of the suite and upload its score"
        )
    if name not in HARNESS:
        raise UnknownName(f"{name!r} is no benchmark here; known are {', '.join((*OWN, *HARNESS, *JUDGED))}")
    if task_file(name) is None:
        raise UnsupportedBenchmark(
            f"{name} needs its lm-eval task file {HARNESS[name]} in the folder named by {TASKS_VARIABLE}, "
            "and it is not there; add it, or leave the benchmark out of the suite and upload its score"
        )


def task_file(name: str) -> Path | None:
    """The local lm-eval task file of a harness benchmark, or `None`."""
    folder = os.environ.get(TASKS_VARIABLE, "")
    path = Path(folder) / HARNESS[name] if folder else None
    return path if path is not None and path.is_file() else None
