#!/bin/bash
# Installs MLflow into an environment of its own, where python -m bench.lookup finds it.
set -e
cd "$(dirname "$0")/../.."
folder=${MLFLOW_VENV:-/tmp/mlflow-venv}
.venv/bin/uv venv --quiet --allow-existing --python .venv/bin/python "$folder"
.venv/bin/uv pip install --quiet --python "$folder/bin/python" --only-binary :all: mlflow==3.17.2 psycopg2-binary uvloop
