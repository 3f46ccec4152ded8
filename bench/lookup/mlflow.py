"""The same question asked of MLflow: which run has these parameters? Called by mlflow.sh, after run.py.

MLflow has no lookup before computing, so the nearest thing is `runs/search` by the parameters that determine the
artifact: teacher, kind, settings, the digest of the set of rows. It answers with an equal one or with nothing; what
covers a request or nearly does it cannot say. Its server runs as its own documentation tunes it (2 workers, no job
execution, uvloop), on the same PostgreSQL, whose tables are filled by COPY with one run an artifact.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ["DJANGO_SETTINGS_MODULE"] = "registry.settings"
os.environ["LOG_LEVEL"] = "WARNING"

from registry import embedded  # noqa: E402

embedded.fill_environment()

import django  # noqa: E402
import httpx  # noqa: E402
import psycopg  # noqa: E402

django.setup()

from django.conf import settings  # noqa: E402

from bench.lookup import fill  # noqa: E402

PORT = 8994
BASE = f"http://127.0.0.1:{PORT}/api/2.0/mlflow"


def parameters(one: fill.Drawn) -> dict[str, str]:
    """What determines the artifact, as MLflow would be told: flat texts."""
    flat = {"kind": one.kind, "teacher": one.identity["teacher"]["id"], "precision": one.identity["precision"]}
    flat |= {f"decoding.{name}": str(value) for name, value in one.identity.get("decoding", {}).items()}
    return flat | {name: json.dumps(value) for name, value in one.capture.items()} | {"rows": one.rows}


def copy(database: str, drawn: list[fill.Drawn], experiment: str) -> None:
    """One finished run an artifact."""
    now = int(time.time() * 1000)
    keys = [uuid.uuid4().hex for _ in drawn]
    columns = "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
    columns += "source_version, lifecycle_stage, artifact_uri, experiment_id"
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY runs ({columns}) FROM STDIN") as rows:
            for place, key in enumerate(keys):
                row = [
                    key,
                    f"run-{place}",
                    "LOCAL",
                    "",
                    "",
                    "bench",
                    "FINISHED",
                    now + place,
                    now + place,
                    "",
                    "active",
                ]
                rows.write_row([*row, f"/tmp/{key}", int(experiment)])  # noqa: S108 (nothing is written there)
        with cursor.copy("COPY params (key, value, run_uuid) FROM STDIN") as rows:
            for key, one in zip(keys, drawn, strict=True):
                for name, value in parameters(one).items():
                    rows.write_row([name, value, key])
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) runs")
        connection.execute("VACUUM (ANALYZE) params")


def ask(client: httpx.Client, experiment: str, one: fill.Drawn, *, miss: bool) -> tuple[float, int]:
    """Milliseconds of one search, and how many runs it found."""
    wanted = parameters(one) | ({"precision": "fp8"} if miss else {})
    text = " and ".join(f"params.`{name}` = '{value}'" for name, value in wanted.items())
    body = {"experiment_ids": [experiment], "filter": text, "max_results": 5}
    start = time.perf_counter()
    answer = client.post(f"{BASE}/runs/search", json=body)
    took = 1000 * (time.perf_counter() - start)
    answer.raise_for_status()
    return took, len(answer.json().get("runs", []))


def main() -> None:
    """Serve, fill, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlflow", required=True, help="the mlflow command of a virtual environment of its own")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5])
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    database = settings.DATABASES["default"]
    place = f"user={database['USER']} host={database['HOST']} port={database['PORT'] or 5432}"
    with psycopg.connect(f"{place} dbname=postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS mlflow")
        connection.execute("CREATE DATABASE mlflow")
    url = f"postgresql+psycopg2://{database['USER']}@/mlflow?host={database['HOST']}&port={database['PORT'] or 5432}"
    command = [options.mlflow, "server", "--backend-store-uri", url, "--default-artifact-root", "/tmp/mlflow"]  # noqa: S108
    command += ["--host", "127.0.0.1", "--port", str(PORT), "--workers", "2"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(timeout=300) as client:
            for _ in range(1200):  # its first start makes its tables, step by step
                try:
                    client.get(f"http://127.0.0.1:{PORT}/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.5)
            created = client.post(f"{BASE}/experiments/create", json={"name": "bench"})
            experiment = created.json()["experiment_id"]
            sets, done = fill.row_sets(), 0
            for size in options.sizes:
                copy(f"{place} dbname=mlflow", list(fill.draws(sets, done, size)), experiment)
                done = size
                draw = random.Random(size)  # noqa: S311 (no secret)
                chosen = [next(iter(fill.draws(sets, n, n + 1))) for n in draw.sample(range(size), options.count)]
                for kind in ("exact", "miss"):
                    found = [ask(client, experiment, one, miss=kind == "miss") for one in chosen]
                    times = sorted(took for took, _ in found[options.count // 10 :])
                    runs = sum(number > 0 for _, number in found)
                    print(
                        f"mlflow {size:>8} {kind:<6} median {statistics.median(times):7.1f} ms  "
                        f"p95 {times[int(0.95 * len(times))]:7.1f} ms  answered {runs} of {len(found)}",
                        flush=True,
                    )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
