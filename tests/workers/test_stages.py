"""The stages one after the other on a tiny model, as a worker runs them: each from the files the one before it left."""

import json

import pytest
import torch

from registry.accounting.spec import (
    DatasetSpec,
    DecodingSpec,
    DistillationSpec,
    EvaluationSpec,
    ModelSpec,
    RunSpec,
    TrainingSpec,
)
from registry.accounting.stages import INPUTS_OF_STAGE, OUTPUT_OF_STAGE, STAGES_OF_PIPELINE
from registry.workloads import catalogue, files
from registry.workloads.rows import WorkloadError, prompt_digest
from tests.workers import tiny
from workers import models, synthetic
from workers.logit_cache import LogitCache
from workers.prepared import Prepared
from workers.stages import (
    STAGES,
    logit_caching,
    preprocess,
    stage,
    student_training,
    teacher_evaluation,
    teacher_generation,
)
from workers.stages import evaluation as student_evaluation
from workers.stages.contract import StageConfig


@pytest.fixture
def tiny_models(tmp_path, monkeypatch):
    """Rows in a local file; the model of every spec is the tiny one."""
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    lines = [json.dumps({"prompt": row.prompt, "answer": row.answer}) for row in tiny.rows(40)]
    (tmp_path / "data" / "mine.jsonl").write_text("\n".join(lines))
    for module in (preprocess, logit_caching, teacher_generation, student_training, teacher_evaluation):
        monkeypatch.setattr(module, "load_tokenizer", lambda spec: tiny.tokenizer())
        if hasattr(module, "load_model"):
            monkeypatch.setattr(module, "load_model", _load)
    monkeypatch.setattr(student_evaluation, "load_tokenizer", lambda spec: tiny.tokenizer())


def _load(spec, dtype):
    model = tiny.model(layers=4).to(dtype)
    if spec.drop_layers:
        models.drop_layers(model, 1, 2)
    return model


def _spec(pipeline, **changes) -> RunSpec:
    return RunSpec(
        pipeline=pipeline,
        teacher=ModelSpec(id=catalogue.SMOLLM2, precision="fp32"),
        student=ModelSpec(id=catalogue.SMOLLM2, precision="fp32", drop_layers="1-2"),
        dataset=DatasetSpec(id="local/mine", train_rows=16, validation_rows=6, evaluation_rows=8, max_length=100),
        training=TrainingSpec(
            batch_size=4,
            accumulation_steps=1,
            max_steps=4,
            evaluate_every=2,
            warmup_steps=1,
            learning_rate=1e-3,
            precision="fp32",
        ),
        distillation=DistillationSpec(k=20),
        decoding=DecodingSpec(max_new_tokens=8),
        evaluation=EvaluationSpec(suite=("token_accuracy", "choice", "exact_match")),
        **changes,
    )


def _run(spec, folder, made=None, notes=None):
    """Every stage of the run; outputs by kind of artifact, and the last stage's output."""
    made = dict(made or {})
    output = None
    for kind in STAGES_OF_PIPELINE[spec.pipeline]:
        if OUTPUT_OF_STAGE[kind] in made:
            continue
        inputs = {name: made[name] for name in INPUTS_OF_STAGE[spec.pipeline].get(kind, ())}
        workdir = folder / kind
        workdir.mkdir(parents=True)
        output = stage(kind)(StageConfig(spec=spec, inputs=inputs), workdir, notes or tiny.Notes())
        if OUTPUT_OF_STAGE[kind]:
            made[OUTPUT_OF_STAGE[kind]] = output.folder
    return made, output


@pytest.mark.parametrize("pipeline", ["sft", "kd", "synthetic_sft", "teacher_reference"])
def test_every_pipeline_runs_from_rows_to_scores(tiny_models, tmp_path, pipeline):
    _, output = _run(_spec(pipeline), tmp_path)
    assert [score.benchmark for score in output.scores] == ["token_accuracy", "choice", "exact_match"]
    assert all(0 <= score.value <= 1 and score.n == 8 for score in output.scores)


def test_a_student_is_the_cut_model_trained_and_loads_as_it_was_saved(tiny_models, tmp_path):
    made, _ = _run(_spec("sft"), tmp_path)
    student = models.load_student(made["student"], torch.float32)
    assert student.config.num_hidden_layers == 2
    untrained = _load(ModelSpec(id=catalogue.SMOLLM2, drop_layers="1-2"), torch.float32)
    assert not torch.equal(student.get_input_embeddings().weight, untrained.get_input_embeddings().weight)


def test_a_second_student_trains_on_the_first_ones_cache(tiny_models, tmp_path):
    first, _ = _run(_spec("kd"), tmp_path / "first")
    shared = {name: first[name] for name in ("prepared_dataset", "logit_cache")}
    second, output = _run(_spec("kd", seed=1), tmp_path / "second", shared)
    assert second["logit_cache"] == first["logit_cache"]
    assert output.scores


def test_a_cache_for_other_rows_or_another_temperature_is_refused(tiny_models, tmp_path):
    made, _ = _run(_spec("kd"), tmp_path / "first")
    other = _spec("kd")
    hotter = RunSpec.from_dict(
        {**other.to_dict(), "distillation": {"k": 20, "temperatures": [1.0, 3.0], "temperature": 3.0}}
    )
    with pytest.raises(WorkloadError, match=r"not 3\.0"):
        _run(hotter, tmp_path / "hot", {k: made[k] for k in ("prepared_dataset", "logit_cache")})
    moved = RunSpec.from_dict({**other.to_dict(), "dataset": {**other.to_dict()["dataset"], "split_seed": 9}})
    with pytest.raises(WorkloadError, match=r"lacks .* of 16 training rows"):
        _run(moved, tmp_path / "moved", {"logit_cache": made["logit_cache"]})


def test_outputs_name_the_rows_they_hold(tiny_models, tmp_path):
    made, _ = _run(_spec("kd"), tmp_path / "kd")
    prepared = Prepared(made["prepared_dataset"])
    digests = [example.digest for example in prepared.examples("train")]
    assert len(digests) == 16
    assert set(LogitCache(made["logit_cache"]).digests()) == set(digests)
    assert list(catalogue.identities(_spec("kd")).row_digests) == digests


def test_synthetic_answers_are_counted_without_padding_and_trained_as_generated(tiny_models, tmp_path):
    notes = tiny.Notes()
    made, _ = _run(_spec("synthetic_sft"), tmp_path, notes=notes)
    answers = list(synthetic.read(made["synthetic_dataset"]))
    rows = Prepared(made["prepared_dataset"]).rows("train")
    assert [answer.prompt_digest for answer in answers] == [prompt_digest(row) for row in rows]
    examples = synthetic.examples(answers, tiny.chat(), 100, same_tokens=True)
    by_digest = {answer.prompt_digest: answer for answer in answers}
    for example in examples:
        answer = by_digest[example.digest]
        end = (2,) if answer.finished else ()
        assert example.ids[example.spans[0][0] :] == (*answer.ids, *end)


def test_generation_goes_on_after_a_torn_line_and_ends_with_the_same_dataset(tiny_models, tmp_path):
    spec = _spec("synthetic_sft")
    made, _ = _run(spec, tmp_path / "whole")
    whole = (made["synthetic_dataset"] / synthetic.ANSWERS).read_bytes()
    workdir = tmp_path / "killed"
    (workdir / "synthetic_dataset").mkdir(parents=True)
    lines = whole.splitlines(keepends=True)
    (workdir / "synthetic_dataset" / synthetic.STREAM).write_bytes(b"".join(lines[3:9]) + lines[10][:25])
    notes = tiny.Notes()
    config = StageConfig(spec=spec, inputs={"prepared_dataset": made["prepared_dataset"]})
    output = stage("teacher_generation")(config, workdir, notes)
    assert (output.folder / synthetic.ANSWERS).read_bytes() == whole
    assert not (output.folder / synthetic.STREAM).exists()
    kept = [synthetic.Answer.from_dict(json.loads(line)) for line in lines[3:9]]
    made_again = notes.counts["generated"]
    assert made_again == output.meta["generated_tokens"] - sum(len(a.ids) + a.finished for a in kept)


def test_a_smaller_limit_is_the_beginning_of_a_larger_ones_answers(tiny_models, tmp_path):
    small, _ = _run(_spec("synthetic_sft"), tmp_path / "small")
    larger = RunSpec.from_dict({**_spec("synthetic_sft").to_dict(), "decoding": {"max_new_tokens": 20}})
    large, _ = _run(larger, tmp_path / "large", {"prepared_dataset": small["prepared_dataset"]})
    cut = [synthetic.truncate(a, 8, tiny.chat()) for a in synthetic.read(large["synthetic_dataset"])]
    assert cut == list(synthetic.read(small["synthetic_dataset"]))


def test_over_long_rows_are_left_out_of_every_part_and_counted(tiny_models, tmp_path):
    spec = RunSpec.from_dict(
        {**_spec("sft").to_dict(), "dataset": {**_spec("sft").to_dict()["dataset"], "max_length": 48}}
    )
    (tmp_path / "p").mkdir()
    output = stage("preprocess")(StageConfig(spec=spec), tmp_path / "p", tiny.Notes())
    assert sum(output.meta["too_long"].values()) > 0
    assert output.meta["rows"]["train"] + output.meta["too_long"]["train"] == 16
    prepared = Prepared(output.folder)
    assert all(len(e.ids) <= 48 for part in ("train", "validation", "evaluation") for e in prepared.examples(part))


def test_every_stage_a_pipeline_names_has_a_module_that_runs_it():
    named = {kind for kinds in STAGES_OF_PIPELINE.values() for kind in kinds}
    assert named == set(STAGES)
    for kind in named:
        assert callable(stage(kind))


def test_a_judged_benchmark_stops_the_evaluation_by_name(tiny_models, tmp_path):
    spec = _spec("teacher_reference")
    judged = RunSpec.from_dict({**spec.to_dict(), "evaluation": {"suite": ["mt_bench_101"]}})
    with pytest.raises(WorkloadError, match=r"mt_bench_101.*needs a language model as judge"):
        _run(judged, tmp_path)
