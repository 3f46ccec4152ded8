"""Every command of docs/api.md runs, in order, and answers what the page says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from django.db import connection

from registry.models import Artifact, EvaluationScore, Run, Stage, Study
from registry.services import accounts, studies

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/api.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def shell(live_server, tmp_path):
    """Runs all commands of the page as one script, as its reader would."""
    database = os.environ["DATABASE_URL"].replace("/stagemeter?", f"/{connection.settings_dict['NAME']}?")
    assert database != os.environ["DATABASE_URL"]
    script = "\n".join(["shopt -s expand_aliases", *COMMANDS])
    script = script.replace("http://127.0.0.1:8000", live_server.url)
    script = script.replace(".venv/bin/python manage.py", f"{sys.executable} {ROOT / 'manage.py'}")

    def run():
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=os.environ | {"DATABASE_URL": database, "LOG_LEVEL": "ERROR"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def test_every_command_of_the_page_runs(shell, transactional_db, live_server):
    assert shutil.which("curl"), "install curl to run the page's commands"
    user, _ = accounts.ensure_user(username="demo", password="a long enough password")
    studies.ensure_project(slug="lab", name="Lab", public=True, admin=user)
    done = shell()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert set(Study.objects.values_list("slug", flat=True)) == {"our-cluster", "once"}
    assert Stage.objects.get(record_id="sft-1b-seed0-crash").status == "lost"
    assert EvaluationScore.objects.filter(benchmark="mmlu").exists()
    assert Artifact.objects.filter(origin="upload", kind="logit_cache").count() == 1
    assert Run.objects.filter(pipeline="kd", status="queued").exists()
    points = httpx.get(f"{live_server.url}/api/v1/studies/our-cluster/frontier/?scope=full").json()["points"]
    (point,) = [point for point in points if point["pipeline"] == "sft"]
    assert point["on_frontier"] is True
    assert point["q"] == pytest.approx((0.41 / 0.784 + 0.55 / 0.724) / 2)


def test_the_refusal_that_the_page_shows_is_the_one_that_comes(api, project):
    from tests.api.conftest import wire

    shown = json.loads(re.search(r"^```json\n(.*?)^```$", PAGE, re.M | re.S).group(1))
    assert api.post("stage-records/", wire(cpu_energy_j=-1)).json() == shown


def test_the_table_of_refusals_names_every_status_that_the_openapi_file_does():
    listed = {int(number) for row in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.M) for number in row.split(",")}
    schema = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())
    operations = [operation for methods in schema["paths"].values() for operation in methods.values()]
    documented = {int(status) for operation in operations for status in operation["responses"] if status >= "400"}
    assert listed == documented | {405}
