"""The web process: what it imports, and that it serves."""

import os
import subprocess
import sys
from pathlib import Path

from django.db import connection

ROOT = Path(__file__).resolve().parents[2]
# Through gunicorn's own loading of the application, to the answer of a page and of the API.
SERVE = """
import io, sys
from registry.wsgi import application
def get(path):
    said = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "localhost",
               "SERVER_PORT": "80", "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1", "wsgi.input": io.BytesIO(),
               "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http"}
    body = b"".join(application(environ, lambda status, headers: said.append(status)))
    assert said == ["200 OK"], (path, said, body[:500])
for path in ("/", "/healthz", "/login/", "/studies/", "/artifacts/", "/runs/", "/api/v1/studies/", "/api/docs/"):
    get(path)
heavy = sorted({name.partition(".")[0] for name in sys.modules}
               & {"torch", "transformers", "accelerate", "datasets", "workers", "lm_eval", "codecarbon",
                  "pyarrow", "pandas"})
print("loaded:", *heavy)
"""


def test_serving_pages_and_the_api_loads_neither_torch_nor_a_worker_nor_pyarrow(transactional_db):
    url = os.environ["DATABASE_URL"].replace("/stagemeter?", f"/{connection.settings_dict['NAME']}?")
    done = subprocess.run(
        [sys.executable, "-c", SERVE],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url, "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "loaded:"
