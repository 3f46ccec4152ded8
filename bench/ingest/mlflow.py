"""The same runs to MLflow's tracking server: create-run, log-batch, and the run ended.

Its server runs as its own documentation tunes it (2 workers, no job execution, uvloop where it is installed) on the
same PostgreSQL. A stage's figures are metrics of the run (energy by component, duration, tokens), what says which run
it is are parameters, scores are metrics.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.ingest.__main__ import Client, timed
from bench.ingest.documents import document
from bench.ingest.serving import PORT, family, postmaster

MLFLOW_PORT = PORT + 2
API = "/api/2.0/mlflow"
FIGURES = ("duration_s", "gpu_energy_j", "cpu_energy_j", "ram_energy_j", "trained_tokens")


def batch(run: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """The run as metrics and parameters."""
    metrics = {f"{stage['kind']}.{name}": stage[name] for stage in run["stages"] for name in FIGURES}
    metrics |= {score["benchmark"]: score["value"] for score in run["scores"]}
    return {
        "metrics": [{"key": key, "value": value, "timestamp": now_ms, "step": 0} for key, value in metrics.items()],
        "params": [{"key": key, "value": str(value)} for key, value in run["run"].items()],
    }


def compare(mlflow: Path, seconds: float, ours: dict[int, float]) -> None:
    """Start it, ask it with 1 and 4 clients, and print its speed beside `ours`."""
    server, experiment = _start(mlflow)
    try:
        for clients, rate in ours.items():
            wires = [Client(MLFLOW_PORT, {}) for _ in range(clients)]
            bodies = [batch(document(), int(time.time() * 1000)) for _ in range(int(80 * clients**0.5 * seconds))]

            def step(place: int, wires: list[Client] = wires, bodies: list[dict[str, Any]] = bodies) -> bool:
                if not bodies:
                    return False
                body, wire = bodies.pop(), wires[place]
                created = wire.send(f"{API}/runs/create", json.dumps({"experiment_id": experiment}).encode())
                key = json.loads(created)["run"]["info"]["run_id"]
                wire.send(f"{API}/runs/log-batch", json.dumps(body | {"run_id": key}).encode())
                return True

            processes = family(server.pid) + family(postmaster())
            theirs, cpu_ms = timed(clients, seconds, step, processes)
            print(
                f"MLflow, create-run and log-batch, {clients} client(s): {theirs:.1f} runs/s, {cpu_ms:.1f} ms CPU "
                f"each; Stagemeter {rate / theirs:.1f} times as many",
                flush=True,
            )
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _start(mlflow: Path) -> "tuple[subprocess.Popen[bytes], str]":
    import psycopg
    from django.conf import settings

    base = settings.DATABASES["default"]
    with psycopg.connect(f"user={base['USER']} host={base['HOST']} dbname=postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS mlflow WITH (FORCE)")
        connection.execute("CREATE DATABASE mlflow")
    url = f"postgresql+psycopg2://{base['USER']}@/mlflow?host={base['HOST']}"
    folder = Path(os.environ["STAGEMETER_HOME"], "mlflow")
    command = [str(mlflow), "server", "--backend-store-uri", url, "--default-artifact-root", str(folder)]
    command += [
        "--host",
        "127.0.0.1",
        "--port",
        str(MLFLOW_PORT),
        "--workers",
        "2",
    ]  # it takes uvloop where that is there
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
        "PATH": f"{mlflow.parent}:{os.environ['PATH']}",
    }
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    for _ in range(240):  # its first start makes its tables, step by step
        try:
            created = Client(MLFLOW_PORT, {}).send(f"{API}/experiments/create", b'{"name": "bench"}')
            return server, json.loads(created)["experiment_id"]
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.5)
    os.killpg(server.pid, signal.SIGKILL)
    raise SystemExit("MLflow's server does not start")
