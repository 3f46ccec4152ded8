"""The real MLflow client against a running server: bench/mlflow_client.py URL TOKEN [STUDY], where mlflow is installed.

    uv venv /tmp/mlflow-venv && uv pip install --python /tmp/mlflow-venv/bin/python mlflow-skinny
    /tmp/mlflow-venv/bin/python bench/mlflow_client.py http://127.0.0.1:8000 $STAGEMETER_TOKEN

Does what a trainer's callback does (experiment, run, parameters, metrics, system metrics of power, tags, end) and
prints what the run came to.
"""

import os
import sys
import time


def main() -> int:
    """Report one run; 0 if it was booked."""
    url, token = sys.argv[1:3]
    os.environ |= {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_TOKEN": token}
    import mlflow  # it reads the environment

    mlflow.set_experiment(sys.argv[3] if len(sys.argv) > 3 else f"From MLflow {time.time():.0f}")
    client = mlflow.MlflowClient()
    told = {"stagemeter.pipeline": "kd", "stagemeter.teacher": "a-teacher"}
    run = mlflow.start_run(run_name="kd 1B", tags=told)
    mlflow.log_params({"model_name_or_path": "a-student", "learning_rate": 1e-4, "seed": 3})
    for step in range(5):
        mlflow.log_metrics({"loss": 2.0 / (step + 1), "eval_accuracy": 0.1 * step}, step=step)
    begin_ms = run.info.start_time
    for index in range(2):
        for second in range(0, 61, 10):
            key = f"system/gpu_{index}_power_usage_watts"
            client.log_metric(run.info.run_id, key, 300.0, timestamp=begin_ms + second * 1000, step=second)
    mlflow.set_tag("note", "reported by the real client")
    client.set_terminated(run.info.run_id, end_time=begin_ms + 60_000)
    mlflow.end_run()
    found = client.get_run(run.info.run_id)
    shown = {name: value for name, value in found.data.tags.items() if name.startswith("stagemeter.")}
    print(f"mlflow {mlflow.__version__}: {shown}, {len(found.data.metrics)} metrics, {found.data.params}")
    return 0 if shown.get("stagemeter.booking") == "booked" else 1


if __name__ == "__main__":
    sys.exit(main())
