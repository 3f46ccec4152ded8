"""Checks the Croissant files of a running site with MLCommons' own validator.

    .venv/bin/python bench/croissant.py --validator /path/to/venv/bin/mlcroissant [--url http://127.0.0.1:8000]

Make that environment once: `uv venv DIR; uv pip install --python DIR/bin/python mlcroissant`. It is no test dependency,
because one of its own is published as source alone. Public artifacts are read, so no account is needed.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx


def main() -> None:
    """Every artifact of the first page of the list; exit 1 where one is not valid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validator", required=True)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    options = parser.parse_args()
    bad = 0
    with httpx.Client(base_url=options.url) as client, tempfile.TemporaryDirectory() as folder:
        for artifact in client.get("/api/v1/artifacts/").json()["results"]:
            path = Path(folder) / f"{artifact['id']}.json"
            path.write_bytes(client.get(f"/artifacts/{artifact['id']}/croissant.json").content)
            done = subprocess.run([options.validator, "validate", "--jsonld", path], check=False, capture_output=True)
            complaints = [line for line in done.stderr.decode().splitlines() if "WARNING" in line or "ERROR" in line]
            print(artifact["name"], "valid" if done.returncode == 0 else "not valid", *complaints)
            bad += done.returncode != 0
    sys.exit(min(bad, 1))


if __name__ == "__main__":
    main()
