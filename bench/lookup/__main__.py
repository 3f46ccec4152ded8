"""How long a lookup takes against 10⁴, 10⁵ and 10⁶ registered artifacts, and how long MLflow takes for the like.

    STAGEMETER_HOME=/tmp/lookup .venv/bin/python -m bench.lookup [--sizes 10000 100000 1000000] [--fill] [--plans]

Each size has a database of its own in the embedded PostgreSQL (stock settings) of that home, filled the first time (a
million artifacts take ten minutes) and kept, so that all sizes are asked in one run within minutes. `--fill` fills and
asks nothing; `--plans` prints EXPLAIN (ANALYZE, BUFFERS) of each statement of a miss at the largest size. Where
bench/lookup/mlflow.sh has installed MLflow (MLFLOW_VENV, /tmp/mlflow-venv), it is asked on the same PostgreSQL
afterwards; `--without-mlflow` leaves it out, `--mlflow-sizes` says at which sizes.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MLFLOW = Path(os.environ.get("MLFLOW_VENV", "/tmp/mlflow-venv"))  # noqa: S108 (a folder of one's own is given)
SIZES = [10**4, 10**5, 10**6]


def database(url: str, size: int) -> str:
    """The address of that size's database."""
    return url.replace("/stagemeter?", f"/lookup_{size}?")


def ready(url: str, size: int, smaller: int | None) -> None:
    """The database of that size, begun as a copy of the next smaller one where it isn't there, and filled."""
    import psycopg

    with psycopg.connect(url.replace("/stagemeter?", "/postgres?"), autocommit=True) as connection:
        name, template = f"lookup_{size}", f"lookup_{smaller}" if smaller else "template1"
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    run("bench.lookup.run", url, size, "--fill")


def run(module: str, url: str, size: int, *options: str) -> None:
    """A module of this bench on that size's database."""
    environment = os.environ | {"DATABASE_URL": database(url, size), "LOG_LEVEL": "WARNING"}
    subprocess.run([sys.executable, "-m", module, *options], cwd=ROOT, env=environment, check=True)


def main() -> None:
    """Fill what is not filled, then ask each size, then MLflow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--count", type=int, default=200, help="questions of each kind")
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--plans", action="store_true")
    parser.add_argument("--without-mlflow", action="store_true")
    parser.add_argument("--mlflow-sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--mlflow-count", type=int, default=40)
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    from registry import embedded

    embedded.fill_environment()
    url = os.environ["DATABASE_URL"]
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    for size, smaller in zip(options.sizes, [None, *options.sizes], strict=False):
        ready(url, size, smaller)
    if not options.fill:
        for size in options.sizes:
            run("bench.lookup.run", url, size, "--count", str(options.count))
        if options.plans:
            run("bench.lookup.run", url, options.sizes[-1], "--plans")
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    command = MLFLOW / "bin" / "mlflow"
    if not options.without_mlflow and command.exists():
        os.environ["PATH"] = f"{command.parent}:{os.environ['PATH']}"
        asked = ["--mlflow", str(command), "--sizes", *map(str, options.mlflow_sizes)]
        asked += ["--fill-only"] if options.fill else ["--count", str(options.mlflow_count)]
        run("bench.lookup.mlflow", url, options.sizes[0], *asked)


if __name__ == "__main__":
    main()
