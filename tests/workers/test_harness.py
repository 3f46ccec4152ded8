"""Published benchmarks through lm-eval, over a local task file and a tiny model."""

import json
import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from registry.accounting.spec import DatasetSpec, DecodingSpec, EvaluationSpec, ModelSpec, RunSpec
from registry.workloads.benchmarks import TASKS_VARIABLE, UnsupportedBenchmark
from tests.workers import tiny
from workers.harness import evaluate_suite
from workers.models import shape


def _spec(*suite: str) -> RunSpec:
    return RunSpec(
        pipeline="sft",
        teacher=ModelSpec(id="org/t"),
        student=ModelSpec(id="org/s"),
        dataset=DatasetSpec(id="org/d"),
        decoding=DecodingSpec(max_new_tokens=4),
        evaluation=EvaluationSpec(suite=suite),
    )


@pytest.fixture
def gsm8k(tmp_path, monkeypatch):
    """Three questions as a local task, in the shape of the published one."""
    rows = [{"question": f"What is {n} + {n}?", "answer": f"It is {2 * n}.\n#### {2 * n}"} for n in range(3)]
    for part in ("train", "test"):
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    published = Path(find_spec("lm_eval").origin).parent / "tasks" / "gsm8k" / "gsm8k.yaml"
    (tmp_path / "gsm8k.yaml").write_text(
        f"include: {published}\n"
        "task: gsm8k_local\n"
        "dataset_path: json\n"
        "dataset_name: null\n"
        f"dataset_kwargs: {{data_files: {{train: {tmp_path}/train.jsonl, test: {tmp_path}/test.jsonl}}}}\n"
        "num_fewshot: 0\n"
        "generation_kwargs: {until: ['Question:'], max_gen_toks: 6, do_sample: false}\n"
    )
    monkeypatch.setenv(TASKS_VARIABLE, str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def test_gsm8k_runs_over_a_local_task_file_beside_the_own_benchmarks(gsm8k):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lm-eval's own
        notes = tiny.Notes()
        scores = evaluate_suite(tiny.model(), tiny.chat(), tiny.rows(6), _spec("gsm8k", "token_accuracy"), notes)
    assert [score.benchmark for score in scores] == ["gsm8k", "token_accuracy"]
    assert (scores[0].n, scores[0].shots, scores[0].metric) == (3, 0, "exact_match,flexible-extract")
    assert re.fullmatch(r"lm-eval \S+, task 3(\.0)?, seed 1234", scores[0].harness_version)
    own = tiny.Notes()
    evaluate_suite(tiny.model(), tiny.chat(), tiny.rows(6), _spec("token_accuracy"), own)
    asked = [f"What is {n} + {n}?" for n in range(3)]
    read = sum(len(tiny.chat().prompt_ids(f"Question: {question}\nAnswer:")) for question in asked)
    assert notes.counts["evaluated"] - own.counts["evaluated"] == read
    assert 3 <= notes.counts["generated"] <= 3 * 6
    positions = read + notes.counts["generated"]
    assert (
        1 < (notes.flops - own.flops) / (2 * shape(tiny.model()).parameters * positions) < 100
    )  # attention and head too


def test_a_benchmark_without_its_task_file_is_refused_by_name(monkeypatch):
    monkeypatch.delenv(TASKS_VARIABLE, raising=False)
    with pytest.raises(UnsupportedBenchmark, match=r"mmlu needs its lm-eval task file mmlu\.yaml"):
        evaluate_suite(tiny.model(), tiny.chat(), tiny.rows(6), _spec("mmlu"), tiny.Notes())
