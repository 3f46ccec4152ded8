"""A trainer that reports to MLflow reports here unchanged: the calls of its client, by plain HTTP."""

import pytest

from registry.models import Run, TrackedMetric, TrackedRun
from tests import scenes
from tests.api.conftest import Caller

START = 1_769_860_800_000  # 2026-01-31T12:00Z in milliseconds


@pytest.fixture
def call(api):
    """`call(name, body)` → the answer of a call of MLflow."""

    def ask(name, body=None, method="post", **query):
        address = f"/api/2.0/mlflow/{name}"
        return api.post(address, body or {}) if method == "post" else api.get(address, **query)

    return ask


@pytest.fixture
def experiment(call, study):
    return call("experiments/get-by-name", method="get", experiment_name=study.slug).json()["experiment"]


def begun(call, experiment, **tags) -> str:
    told = [{"key": key.replace("_", ".", 1), "value": value} for key, value in tags.items()]
    body = {"experiment_id": experiment["experiment_id"], "run_name": "kd 1B", "start_time": str(START), "tags": told}
    return call("runs/create", body).json()["run"]["info"]["run_id"]


def power(watts=300.0, seconds=60, index=0):
    key = f"system/gpu_{index}_power_usage_watts"
    return [{"key": key, "value": watts, "timestamp": START + t * 1000, "step": t} for t in range(0, seconds + 1, 10)]


def ended(call, run_id, status="FINISHED"):
    return call("runs/update", {"run_id": run_id, "status": status, "end_time": START + 60_000})


def test_an_experiment_that_is_not_there_is_said_in_mlflow_s_words(call, project):
    answer = call("experiments/get-by-name", method="get", experiment_name="none")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_an_experiment_is_made_as_a_study_once(call, project):
    tags = [{"key": "stagemeter.suite", "value": "gsm8k, mmlu"}]
    made = call("experiments/create", {"name": "My trainer's runs", "tags": tags})
    assert made.status_code == 200, made.content
    found = call("experiments/get", method="get", experiment_id=made.json()["experiment_id"]).json()["experiment"]
    assert found["name"] == "My trainer's runs"
    again = call("experiments/create", {"name": "My trainer's runs"})
    assert (again.status_code, again.json()["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")


def test_a_run_that_ends_is_booked_with_energy_scores_and_what_its_tags_say(call, study, experiment):
    scenes.add_reference(study)
    run_id = begun(call, experiment, stagemeter_pipeline="kd", stagemeter_teacher="smollm2-135m-instruct")
    call("runs/log-batch", {"run_id": run_id, "params": [{"key": "model_name_or_path", "value": "tiny"}]})
    call("runs/log-batch", {"run_id": run_id, "metrics": power()})
    call("runs/log-metric", {"run_id": run_id, "key": "choice", "value": 0.5, "timestamp": START + 50_000})
    assert ended(call, run_id).status_code == 200
    run = Run.objects.get(external_id=f"mlflow-{run_id}")
    assert (run.pipeline, run.student, run.origin, run.study) == ("kd", "tiny", "import", study)
    assert run.summary.gpu_energy_j == pytest.approx(300.0 * 60)
    assert list(run.scores.values_list("benchmark", "value")) == [("choice", 0.5)]
    tags = {
        tag["key"]: tag["value"] for tag in call("runs/get", method="get", run_id=run_id).json()["run"]["data"]["tags"]
    }
    assert (tags["stagemeter.booking"], tags["stagemeter.run"]) == ("booked", str(run.pk))


def test_ending_a_run_twice_books_it_once(call, study, experiment):
    run_id = begun(call, experiment)
    call("runs/log-batch", {"run_id": run_id, "metrics": power()})
    assert ended(call, run_id).status_code == 200
    assert call("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": START + 99_000}).status_code == 200
    run = Run.objects.get(external_id=f"mlflow-{run_id}")
    assert run.summary.records == 1
    assert TrackedRun.objects.get().booking == "booked"


def test_a_run_that_cannot_be_booked_is_not_failed_and_says_why(call, study, experiment):
    run_id = begun(call, experiment, stagemeter_stage="alchemy")
    assert ended(call, run_id).status_code == 200
    assert TrackedRun.objects.get().booking.startswith("refused: ")
    assert not Run.objects.exists()


def test_what_is_sent_again_counts_once_and_a_parameter_keeps_its_value(call, study, experiment):
    run_id = begun(call, experiment)
    for _ in range(2):
        call("runs/log-batch", {"run_id": run_id, "metrics": power(), "params": [{"key": "lr", "value": "0.1"}]})
    assert TrackedMetric.objects.count() == 7
    answer = call("runs/log-parameter", {"run_id": run_id, "key": "lr", "value": "0.2"})
    assert (answer.status_code, answer.json()["error_code"]) == (409, "INVALID_PARAMETER_VALUE")
    history = call("metrics/get-history", method="get", run_id=run_id, metric_key=power()[0]["key"]).json()["metrics"]
    assert [point["step"] for point in history] == list(range(0, 61, 10))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("runs/create", {"experiment_id": 5}),
        ("runs/create", {"experiment_id": "nothing"}),
        ("runs/log-batch", {"run_id": "0" * 32}),
        ("runs/log-metric", {"key": "a"}),
        ("runs/no-such-call", {}),
        ("experiments/create", {"name": "x\x00"}),
        ("experiments/create", {"name": "x", "tags": [1]}),
        ("runs/search", {"experiment_ids": "x"}),
        ("runs/search", {"filter": "metrics.a > 1"}),
    ],
)
def test_bad_calls_are_refused_in_mlflow_s_words(call, project, name, body):
    answer = call(name, body)
    assert answer.status_code in (400, 404), answer.content
    assert answer.json()["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize("metric", [{"value": "high"}, {"value": 1, "timestamp": -1}, {"value": 1, "step": 2**70}])
def test_bad_metrics_are_refused(call, study, experiment, metric):
    run_id = begun(call, experiment)
    assert call("runs/log-metric", {"run_id": run_id, "key": "loss"} | metric).status_code == 400


def test_a_loss_that_is_no_number_is_passed_over(call, study, experiment):
    run_id = begun(call, experiment)
    assert call("runs/log-metric", {"run_id": run_id, "key": "loss", "value": "NaN"}).status_code == 200
    assert not TrackedMetric.objects.exists()


def test_strangers_and_nobody_see_and_change_nothing(call, study, experiment, outsider, anonymous):
    run_id = begun(call, experiment)
    for caller, status in ((outsider, 404), (anonymous, 401)):
        body = {"run_id": run_id, "key": "a", "value": "1"}
        assert caller.post("/api/2.0/mlflow/runs/set-tag", body).status_code == status
    assert outsider.get("/api/2.0/mlflow/runs/get", run_id=run_id).status_code == 404


def test_the_token_may_come_as_a_bearer(api, study):
    header = {"HTTP_AUTHORIZATION": api.headers["HTTP_AUTHORIZATION"].replace("Token", "Bearer")}
    answer = Caller(header).get("/api/2.0/mlflow/experiments/get-by-name", experiment_name=study.slug)
    assert answer.status_code == 200
