from dataclasses import replace

import pytest

from registry.accounting.fingerprint import fingerprint
from registry.accounting.plan import Identities, artifact_request, plan
from registry.accounting.presets import NAMED, PRESETS, paper, tour, tour_runs, tour_teacher
from registry.accounting.spec import DatasetSpec, DecodingSpec, RunSpec, TrainingSpec
from registry.accounting.stages import PIPELINES

KNOWN = Identities(
    teacher_digest="t",
    tokenizer_digest="k",
    template_digest="c",
    student_digest="s",
    row_digests=("row1", "row2"),
    prompt_digests=("prompt1", "prompt2"),
)
UNREAD = replace(KNOWN, row_digests=None, prompt_digests=None)


@pytest.mark.parametrize(
    ("pipeline", "stages"),
    [
        ("sft", "preprocess student_training evaluation"),
        ("kd", "preprocess logit_caching student_training evaluation"),
        ("synthetic_sft", "preprocess teacher_generation student_training evaluation"),
        ("teacher_reference", "preprocess teacher_evaluation"),
    ],
)
def test_each_pipeline_has_its_stages_in_order(pipeline, stages):
    assert [stage.kind for stage in plan(paper("1B", pipeline), KNOWN)] == stages.split()


def test_a_stage_names_its_role_what_it_reads_and_what_it_leaves():
    training = plan(paper("1B", "kd"), KNOWN)[2]
    assert (training.role, training.inputs, training.output) == (
        "student",
        ("prepared_dataset", "logit_cache"),
        "student",
    )


def test_evaluation_leaves_no_artifact():
    evaluation = plan(paper("1B", "sft"), KNOWN)[-1]
    assert (evaluation.output, evaluation.request) == (None, None)


def test_a_teacher_stage_has_no_request_while_the_rows_are_unread():
    for pipeline in ("kd", "synthetic_sft"):
        requests = {stage.kind: stage.request for stage in plan(paper("1B", pipeline), UNREAD)}
        assert [kind for kind, request in requests.items() if request is None] == [
            "logit_caching" if pipeline == "kd" else "teacher_generation",
            "evaluation",
        ]


def test_a_logit_cache_is_forced_through_answers_and_a_synthetic_dataset_only_reads_prompts():
    assert artifact_request("logit_cache", paper("1B", "kd"), KNOWN).row_digests == ("row1", "row2")
    assert artifact_request("synthetic_dataset", paper("1B", "kd"), KNOWN).row_digests == ("prompt1", "prompt2")


@pytest.mark.parametrize("kind", ["logit_cache", "synthetic_dataset", "prepared_dataset"])
def test_every_student_seed_and_training_shares_the_artifact(kind):
    one = paper("1B", "kd")
    others = [
        paper("13B", "kd"),
        replace(one, seed=7),
        replace(one, training=TrainingSpec(learning_rate=1e-3)),
        replace(one, distillation=replace(one.distillation, temperature=4.0, ce_weight=0.3)),
    ]
    prints = {
        fingerprint(artifact_request(kind, spec, replace(KNOWN, student_digest=str(n))))
        for n, spec in enumerate(others)
    }
    assert prints == {fingerprint(artifact_request(kind, one, KNOWN))}


def test_every_pipeline_of_a_study_shares_the_prepared_dataset():
    prints = {fingerprint(plan(paper("1B", pipeline), KNOWN)[0].request) for pipeline in PIPELINES}
    assert len(prints) == 1


def test_another_split_is_another_prepared_dataset():
    one = tour(20, "sft")
    other = replace(one, dataset=replace(one.dataset, split_seed=1))
    assert fingerprint(plan(one, KNOWN)[0].request) != fingerprint(plan(other, KNOWN)[0].request)


def test_a_name_for_the_same_rows_shares_the_teacher_artifact():
    one = paper("1B", "kd")
    renamed = replace(one, dataset=DatasetSpec(id="a/copy", split_seed=3))
    assert fingerprint(artifact_request("logit_cache", one, KNOWN)) == fingerprint(
        artifact_request("logit_cache", renamed, KNOWN)
    )


def test_other_weights_or_decoding_are_another_artifact():
    one = paper("1B", "synthetic_sft")
    prints = {
        fingerprint(artifact_request("synthetic_dataset", spec, identities))
        for spec, identities in [
            (one, KNOWN),
            (one, replace(KNOWN, teacher_digest="other")),
            (replace(one, decoding=DecodingSpec(seed=1)), KNOWN),
            (replace(one, decoding=DecodingSpec(max_new_tokens=256)), KNOWN),
        ]
    }
    assert len(prints) == 4


def test_two_different_specs_never_share_a_student():
    one = paper("1B", "sft")
    assert fingerprint(artifact_request("student", one, KNOWN)) != fingerprint(
        artifact_request("student", replace(one, seed=1), KNOWN)
    )


def test_a_kind_that_no_stage_makes_is_an_error():
    with pytest.raises(KeyError):
        artifact_request("embedding", paper("1B", "sft"), KNOWN)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_preset_survives_the_trip_through_json(name, pipeline):
    spec = PRESETS[name](pipeline)
    assert RunSpec.from_dict(spec.to_dict()) == spec
    assert spec.pipeline == pipeline


def test_every_named_run_is_a_run_of_its_pipeline():
    assert len(NAMED) == 3 * (3 * 3 * 2 + 2)
    for name, make in NAMED.items():
        spec = make()
        assert RunSpec.from_dict(spec.to_dict()) == spec
        assert f"-{spec.pipeline}" in name
        assert ("-literal" in name) == (spec.training.weights == "nearest")


def test_the_paper_presets_hold_the_papers_settings():
    spec = paper("7B", "kd")
    assert (spec.teacher.id, spec.student.id) == ("allenai/OLMo-2-0325-32B-SFT", "allenai/OLMo-2-1124-7B")
    assert (spec.training.optimizer, spec.training.learning_rate, spec.training.warmup_steps) == (
        "adafactor",
        5e-5,
        100,
    )
    assert (spec.training.batch_size, spec.training.accumulation_steps, spec.dataset.max_length) == (4, 16, 1024)
    assert (spec.training.early_stopping_delta, spec.training.early_stopping_patience) == (2e-3, 3)
    assert (spec.distillation.k, spec.distillation.ce_weight, spec.distillation.temperature) == (100, 0.5, 1.0)
    assert len(spec.evaluation.suite) == 5


def test_the_tour_is_its_teacher_and_three_pipelines_for_two_students():
    runs = tour_runs()
    assert runs[0] == tour_teacher()
    assert {(run.student.drop_layers, run.pipeline) for run in runs[1:]} == {
        (layers, pipeline) for layers in ("10-19", "8-25") for pipeline in PIPELINES
    }


def test_both_students_of_the_tour_share_the_teachers_work():
    for kind, pipeline in (("logit_cache", "kd"), ("synthetic_dataset", "synthetic_sft")):
        prints = {fingerprint(artifact_request(kind, tour(layers, pipeline), KNOWN)) for layers in (20, 12)}
        assert len(prints) == 1
