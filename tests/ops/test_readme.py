"""Every command of the README runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from django.db import connection

from registry.models import Run
from registry.services import accounts, studies, uploads

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
SHELL = [text for language, text in BLOCKS if language == "sh"]
MAKE = [text.strip() for text in SHELL if text.startswith("make ")]
# What the reader brings along: a loop that returns its tokens, and an evaluation.
YOURS = """
def train():
    return sum(range(10))
def evaluate():
    return {"token_accuracy": 0.5, "choice": 0.6, "exact_match": 0.3}
"""


def test_every_block_is_of_a_language_that_is_run_here():
    assert {language for language, _ in BLOCKS} == {"sh", "python"}
    assert len(SHELL) == 5 and MAKE == ["make run", "make test"]


@pytest.mark.parametrize("command", [*MAKE, "make check", *re.findall(r"`(make [\w-]+)`", README)])
def test_each_make_command_names_a_target(command):
    done = subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def tour(transactional_db):
    """The tour's study with its teacher measured, and the account that the first start makes."""
    user, _ = accounts.ensure_user(username="demo", password="a long enough password")
    project = studies.ensure_project(slug="lab", name="Lab", public=True, admin=user)
    suite = ["token_accuracy", "choice", "exact_match"]
    study = studies.create_study(actor=user, project=project, slug="tour", name="The tour", suite=suite)
    run = {"external_id": "t", "pipeline": "teacher_reference", "student": "smollm2-135m-instruct"}
    run |= {"teacher": "smollm2-135m-instruct", "workload": "tour-facts"}
    scores = [{"benchmark": name, "value": 0.75} for name in suite]
    uploads.upload_run(actor=user, document={"study": "tour", "run": run, "scores": scores})
    return study


@pytest.fixture
def run_in_shell(live_server, tmp_path):
    """Runs a script as a reader would, against this test's server and database."""
    url = os.environ["DATABASE_URL"].replace("/stagemeter?", f"/{connection.settings_dict['NAME']}?")
    assert url != os.environ["DATABASE_URL"]
    variables = os.environ | {"DATABASE_URL": url, "STAGEMETER_SPOOL": str(tmp_path), "LOG_LEVEL": "ERROR"}

    def run(*parts: str) -> str:
        script = "\n".join(parts).replace("http://127.0.0.1:8000", live_server.url)
        script = re.sub(r"(?<![\w/])\.venv/bin/python", sys.executable, script)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def _frontier(server) -> dict[tuple[str, str], dict]:
    points = httpx.get(f"{server.url}/api/v1/studies/tour/frontier/?scope=full").json()["points"]
    return {(point["pipeline"], point["student"]): point for point in points}


def test_the_curl_commands_put_a_whole_run_on_the_frontier(tour, run_in_shell, live_server):
    assert shutil.which("curl"), "install curl to run the README's commands"
    token, *curls = [text for text in SHELL if text not in MAKE and not text.startswith("make ")]
    assert len(curls) == 2
    out = run_in_shell(token, *curls, *curls)  # sending it again is harmless
    assert '"on_frontier"' in out
    assert Run.objects.filter(external_id="cluster-7/sft-12-layers").count() == 1
    point = _frontier(live_server)["sft", "12 layers"]
    assert point["on_frontier"] and point["complete"]
    assert point["energy_kwh"] == pytest.approx(3912.5 / 3_600_000)
    assert point["q"] == pytest.approx((0.61 + 0.58 + 0.33) / 3 / 0.75)


def test_the_python_lines_put_a_metered_run_on_the_frontier(tour, run_in_shell, live_server, tmp_path):
    (python,) = [text for language, text in BLOCKS if language == "python"]
    assert len([line for line in python.splitlines() if line.strip()]) <= 10
    (tmp_path / "script.py").write_text(YOURS + python)
    token = next(text for text in SHELL if "issue_token" in text)
    run_in_shell(token, f"PYTHONPATH=. {sys.executable} {tmp_path / 'script.py'}")
    point = _frontier(live_server)["my-recipe", "my-student"]
    assert point["complete"] and point["on_frontier"]
    assert point["energy_kwh"] > 0 and point["tokens"] == 45


@pytest.mark.parametrize("command", re.findall(r"`(python -m stagemeter [^`]+)`", README))
def test_each_command_of_the_library_is_one_it_knows(command):
    from stagemeter.__main__ import parser

    words = command.removeprefix("python -m stagemeter ").split()
    assert parser().parse_args(words).command


@pytest.mark.parametrize("name", re.findall(r"\]\((?!http)([^)]+)\)|\| `([\w./]+)`", README), ids=str)
def test_each_file_the_readme_names_is_there(name):
    assert (ROOT / (name[0] or name[1])).exists()
