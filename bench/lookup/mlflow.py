"""The same questions asked of MLflow's `runs/search`, by parameters, on the same PostgreSQL; see mlflow.sh.

Each size has a database `mlflow_<size>`, filled by COPY with one run an artifact and its settings as params, and kept
for the next time: 10⁶ runs take 9 million params and ten minutes, once. The smallest starts from what MLflow makes of
an empty database, each larger one from a copy of the one before. Foreign keys are not checked while rows come.
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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
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


EXPERIMENT = "1"  # the first one that is created


def copy(place: str, drawn: Iterable[fill.Drawn]) -> None:
    """One finished run an artifact."""
    now = int(time.time() * 1000)
    columns = "run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
    columns += "source_version, lifecycle_stage, artifact_uri, experiment_id"
    with psycopg.connect(place) as runs, psycopg.connect(place) as params:
        for one in (runs, params):
            one.execute("SET session_replication_role = replica")
        with (
            runs.cursor().copy(f"COPY runs ({columns}) FROM STDIN") as run_rows,
            params.cursor().copy("COPY params (key, value, run_uuid) FROM STDIN") as param_rows,
        ):
            for number, one in enumerate(drawn):
                key = uuid.uuid4().hex
                row = [
                    key,
                    f"run-{number}",
                    "LOCAL",
                    "",
                    "",
                    "bench",
                    "FINISHED",
                    now + number,
                    now + number,
                    "",
                    "active",
                ]
                run_rows.write_row([*row, f"/tmp/{key}", int(EXPERIMENT)])  # noqa: S108 (nothing is written there)
                for name, value in parameters(one).items():
                    param_rows.write_row([name, value, key])
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) runs")
        connection.execute("VACUUM (ANALYZE) params")


def ready(server: str, mlflow: str, sizes: list[int]) -> None:
    """A database for each size, filled where it isn't."""
    sets = fill.row_sets()
    before, done = "mlflow_0", 0
    if not _there(server, before):
        _create(server, before)
        with served(mlflow, before) as client:
            client.post(f"{BASE}/experiments/create", json={"name": "bench"}).raise_for_status()
    for size in sizes:
        name = f"mlflow_{size}"
        if not _there(server, name):
            began = time.perf_counter()
            _create(server, f"{name}_part", before)
            copy(f"{server} dbname={name}_part", fill.draws(sets, done, size))
            with psycopg.connect(f"{server} dbname=postgres", autocommit=True) as connection:
                connection.execute(f"ALTER DATABASE {name}_part RENAME TO {name}")
            print(f"mlflow {size:>8} filled in {time.perf_counter() - began:.0f} s", flush=True)
        before, done = name, size


def _there(server: str, name: str) -> bool:
    with psycopg.connect(f"{server} dbname=postgres") as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
    return found is not None


def _create(server: str, name: str, template: str = "template1") -> None:
    with psycopg.connect(f"{server} dbname=postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


@contextmanager
def served(mlflow: str, name: str) -> Iterator[httpx.Client]:
    """MLflow on that database, and a client, until the block ends."""
    database = settings.DATABASES["default"]
    url = f"postgresql+psycopg2://{database['USER']}@/{name}?host={database['HOST']}&port={database['PORT'] or 5432}"
    command = [mlflow, "server", "--backend-store-uri", url, "--default-artifact-root", "/tmp/mlflow"]  # noqa: S108
    command += ["--host", "127.0.0.1", "--port", str(PORT), "--workers", "2"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(timeout=300) as client:
            for _ in range(1200):  # its first start makes its tables, step by step
                with suppress(httpx.HTTPError):
                    client.get(f"http://127.0.0.1:{PORT}/health").raise_for_status()
                    break
                time.sleep(0.5)
            yield client
    finally:
        process.terminate()
        process.wait()


def ask(client: httpx.Client, one: fill.Drawn, *, miss: bool) -> tuple[float, int]:
    """Milliseconds of one search, and how many runs it found."""
    wanted = parameters(one) | ({"precision": "fp8"} if miss else {})
    text = " and ".join(f"params.`{name}` = '{value}'" for name, value in wanted.items())
    body = {"experiment_ids": [EXPERIMENT], "filter": text, "max_results": 5}
    start = time.perf_counter()
    answer = client.post(f"{BASE}/runs/search", json=body)
    took = 1000 * (time.perf_counter() - start)
    answer.raise_for_status()
    return took, len(answer.json().get("runs", []))


def main() -> None:
    """Fill what is not filled, serve, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlflow", required=True, help="the mlflow command of a virtual environment of its own")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5])
    parser.add_argument("--count", type=int, default=40, help="questions of each kind")
    parser.add_argument("--fill-only", action="store_true")
    options = parser.parse_args()
    database = settings.DATABASES["default"]
    server = f"user={database['USER']} host={database['HOST']} port={database['PORT'] or 5432}"
    ready(server, options.mlflow, options.sizes)
    sets = fill.row_sets()
    for size in [] if options.fill_only else options.sizes:
        draw = random.Random(size)  # noqa: S311 (no secret)
        chosen = [next(iter(fill.draws(sets, n, n + 1))) for n in draw.sample(range(size), options.count)]
        with served(options.mlflow, f"mlflow_{size}") as client:
            for kind in ("exact", "miss"):
                found = [ask(client, one, miss=kind == "miss") for one in chosen]
                times = sorted(took for took, _ in found[options.count // 10 :])
                runs = sum(number > 0 for _, number in found)
                print(
                    f"mlflow {size:>8} {kind:<6} median {statistics.median(times):7.1f} ms  "
                    f"p95 {times[int(0.95 * len(times))]:7.1f} ms  answered {runs} of {len(found)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
