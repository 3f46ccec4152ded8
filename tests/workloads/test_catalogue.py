"""Names: what is on offer, what is refused, and the digests behind a name."""

import hashlib
import json
from dataclasses import replace

import pytest

from registry.accounting.spec import DatasetSpec, EvaluationSpec, ModelSpec, RunSpec
from registry.workloads import catalogue, files
from registry.workloads.benchmarks import UnsupportedBenchmark, supported_suite
from registry.workloads.rows import BadRows, UnknownName, WorkloadError

DATASET = DatasetSpec(id="local/mine", train_rows=5, validation_rows=2, evaluation_rows=3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def _write(folder, *items, name="mine"):
    lines = [item if isinstance(item, str) else json.dumps(item) for item in items]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _spec(dataset=DATASET, suite=("token_accuracy",), drop_layers="10-19", student=catalogue.SMOLLM2) -> RunSpec:
    return RunSpec(
        pipeline="kd",
        teacher=ModelSpec(id=catalogue.SMOLLM2),
        student=ModelSpec(id=student, drop_layers=drop_layers),
        dataset=dataset,
        evaluation=EvaluationSpec(suite=suite),
    )


@pytest.mark.parametrize("prompt", ["prompt", "question", "instruction"])
@pytest.mark.parametrize("answer", ["answer", "response"])
def test_a_local_file_is_read_whatever_its_keys_are_called(folder, prompt, answer):
    _write(folder, {prompt: "q", answer: "a", "other": 1}, "", {prompt: "r", answer: "b"})
    rows = catalogue.dataset("local/mine").rows()
    assert [(row.prompt, row.answer) for row in rows] == [("q", "a"), ("r", "b")]


def test_a_local_parquet_file_is_read_by_the_columns_that_are_named(folder):
    import pyarrow
    from pyarrow import parquet

    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    table = pyarrow.table({"text": ["q", "r"], "reply": ["a", "b"], "messages": [chat, chat]})
    parquet.write_table(table, folder / "mine.parquet")
    spec = _spec(replace(DATASET, prompt_column="text", answer_column="reply", train_rows=1))
    entry = catalogue.dataset("local/mine")
    assert [(row.prompt, row.answer) for row in entry.rows(files.Columns.of(spec.dataset))] == [("q", "a"), ("r", "b")]
    assert [row.before for row in entry.rows()] == [(), ()]  # out of the messages
    with pytest.raises(BadRows, match="row 1 has none of the keys words"):
        entry.rows(files.Columns("words", "reply"))
    _write(folder, {"prompt": "p", "answer": "a"})
    assert set(files.listing()) == {"local/mine", "local/mine.parquet"}
    (folder / "mine.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadRows, match="no Parquet file"):
        catalogue.dataset("local/mine.parquet").rows()


def test_gsm8k_rows_have_their_final_number_as_short_answer(folder):
    _write(folder, {"question": "How many?", "answer": "First 500*2=<<500*2=1000>>1000.\n#### 1,000"})
    assert catalogue.dataset("local/mine").rows()[0].short == "1000"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "mine.jsonl, line 2 is not JSON"),
        ("[1]", "line 2 is list, not an object"),
        ({"text": "x"}, r"line 2 has none of the keys answer, response; it has text"),
        ({"answer": "x"}, r"line 2 has none of the keys prompt, question, instruction; it has answer"),
        ({"prompt": "q", "answer": 3}, "line 2: 'answer' is '3', not a text"),
        ({"prompt": "  ", "answer": "a"}, "line 2: 'prompt' is '  ', not a text with something in it"),
        ({"prompt": "q", "answer": "a", "choices": "ab"}, "line 2: 'choices' is 'ab', not a list"),
        (
            {"prompt": "q", "answer": "a", "choices": ["b"], "short": "a"},
            "'short' is 'a' and must be one of the choices",
        ),
        ({"prompt": "q", "answer": "a", "choices": ["b"], "short": "b"}, "'short' is 'b' and must stand in the answer"),
        ({"prompt": "q", "answer": "a", "key": 7}, "'short' and 'key' must be texts"),
    ],
)
def test_a_bad_line_is_named_with_its_key(folder, line, message):
    _write(folder, {"prompt": "q", "answer": "a"}, line)
    with pytest.raises(BadRows, match=message):
        catalogue.dataset("local/mine").rows()


def test_an_empty_file_and_one_that_is_no_text_are_refused(folder):
    (folder / "mine.jsonl").write_text("\n\n")
    with pytest.raises(BadRows, match="holds no rows"):
        catalogue.dataset("local/mine").rows()
    (folder / "mine.jsonl").write_bytes(b"\xff\xfe{}\n")
    with pytest.raises(BadRows, match="is not UTF-8"):
        catalogue.dataset("local/mine").rows()


def test_a_file_that_changes_is_read_again(folder):
    _write(folder, {"prompt": "q", "answer": "a"})
    assert len(catalogue.dataset("local/mine").rows()) == 1
    _write(folder, {"prompt": "q", "answer": "a"}, {"prompt": "r", "answer": "b"})
    assert len(catalogue.dataset("local/mine").rows()) == 2


@pytest.mark.parametrize("name", ["local/../mine", "local/", "local/other", "../mine", "/etc/passwd", "mine", "a/b/c"])
def test_an_id_is_looked_up_and_never_part_of_a_path(folder, name):
    _write(folder, {"prompt": "q", "answer": "a"})
    with pytest.raises(UnknownName, match="known are tour-facts, local/mine"):
        catalogue.dataset(name)


def test_a_hub_dataset_is_known_by_name_and_read_by_workers_only():
    entry = catalogue.dataset("allenai/tulu-3-sft-mixture", "v1")
    assert (entry.revision, entry.licence, entry.rows()) == ("v1", "ODC-By-1.0", None)
    identities = catalogue.identities(_spec(DatasetSpec(id="org/name")))
    assert identities.row_digests is None
    assert identities.prompt_digests is None


def test_an_unknown_model_is_refused_with_what_is_known():
    with pytest.raises(UnknownName, match=r"'gpt' is no model here; known is smollm2-135m-instruct, and hub models"):
        catalogue.model("gpt")
    assert catalogue.model("org/name", "abc").weights_digest == "hub:org/name@abc"


def test_the_teachers_digest_is_that_of_its_file():
    path = catalogue.smollm2_file()
    entry = catalogue.model(catalogue.SMOLLM2)
    assert path is not None
    assert entry.weights_digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert entry.weights_digest == f"sha256:{catalogue.SMOLLM2_SHA256}"
    assert entry.licence == "Apache-2.0"


def test_a_web_process_without_the_package_plans_with_the_same_digest(monkeypatch):
    with_package = catalogue.model(catalogue.SMOLLM2)
    monkeypatch.setattr(catalogue, "smollm2_file", lambda: None)
    assert catalogue.model(catalogue.SMOLLM2) == with_package


def test_identities_name_the_training_rows_and_the_cut_student(folder):
    _write(folder, *({"prompt": f"q{n}", "answer": f"a{n}"} for n in range(10)))
    identities = catalogue.identities(_spec())
    assert len(identities.row_digests) == len(identities.prompt_digests) == 5
    assert identities.student_digest == f"{identities.teacher_digest}-without-10-19"
    assert catalogue.identities(_spec(drop_layers="")).student_digest == identities.teacher_digest


def test_layers_that_do_not_exist_cannot_be_dropped():
    with pytest.raises(WorkloadError, match="has the layers 0-29; 25-30 cannot be dropped"):
        catalogue.student_digest(ModelSpec(id=catalogue.SMOLLM2, drop_layers="25-30"))


def test_the_own_benchmarks_are_supported():
    supported_suite(_spec(suite=("token_accuracy", "choice", "exact_match")))


@pytest.mark.parametrize("name", ["alpaca_eval_2_lc", "mt_bench_101"])
def test_a_judged_benchmark_is_refused_with_the_way_out(name):
    with pytest.raises(UnsupportedBenchmark, match=rf"\({name}\) needs a language model as judge.*upload its score"):
        supported_suite(_spec(suite=(name,)))


def test_a_harness_benchmark_needs_its_local_task_file(tmp_path, monkeypatch):
    monkeypatch.delenv("STAGEMETER_TASKS", raising=False)
    with pytest.raises(UnsupportedBenchmark, match=r"gsm8k needs its lm-eval task file gsm8k\.yaml"):
        supported_suite(_spec(suite=("gsm8k",)))
    (tmp_path / "gsm8k.yaml").write_text("task: gsm8k_local\n")
    monkeypatch.setenv("STAGEMETER_TASKS", str(tmp_path))
    supported_suite(_spec(suite=("gsm8k",)))


def test_an_unknown_benchmark_is_refused_with_what_is_known():
    with pytest.raises(UnknownName, match="'poetry' is no benchmark here; known are token_accuracy, choice"):
        supported_suite(_spec(suite=("poetry",)))
