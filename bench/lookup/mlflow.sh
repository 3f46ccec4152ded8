#!/bin/bash
# MLflow in an environment of its own, asked what run.py asked: bench/lookup/mlflow.sh [--sizes 10000 100000]
# STAGEMETER_HOME as for run.py, so that both stand on the same PostgreSQL.
set -e
cd "$(dirname "$0")/../.."
folder=${MLFLOW_VENV:-/tmp/mlflow-venv}
if [ ! -x "$folder/bin/mlflow" ]; then
  .venv/bin/uv venv --quiet --python .venv/bin/python "$folder"
  .venv/bin/uv pip install --quiet --python "$folder/bin/python" --only-binary :all: mlflow==3.17.2 psycopg2-binary uvloop
fi
PATH="$folder/bin:$PATH" .venv/bin/python bench/lookup/mlflow.py --mlflow "$folder/bin/mlflow" "$@"
