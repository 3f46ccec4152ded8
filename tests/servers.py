"""Loaded before Django: a home of its own for each process that runs tests, with real PostgreSQL and Valkey in it."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests import spread

HOME = Path(tempfile.mkdtemp(prefix="stagemeter-tests-"))
HOME.chmod(0o755)
(HOME / "static").mkdir()  # WhiteNoise warns about a folder that is not there
os.environ["STAGEMETER_HOME"] = str(HOME)
os.environ["STAGEMETER_ARTIFACT_URL"] = f"file://{HOME / 'artifacts'}"
# The tests start hundreds of Python processes. Told to write no bytecode, each would compile its imports anew, which
# for CodeCarbon, Django or torch takes seconds; so what they compile is kept for as long as the tests run, in the home
# of the first process for all of them.
if sys.dont_write_bytecode:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(HOME / "bytecode")
    sys.dont_write_bytecode = False
os.environ.pop("DATABASE_URL", None)
os.environ.pop("REDIS_URL", None)
# Registered first, so that it runs last: after the servers that live in it have stopped.
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

from registry import embedded  # noqa: E402 (the environment is set first)


def _hurry() -> None:
    """Nobody needs this run's database after a power cut, so PostgreSQL need not wait for the disk."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Servers for whoever runs tests. Who only hands them out needs none."""
    if "PYTEST_XDIST_WORKER" not in os.environ and spread.processes(early_config.known_args_namespace):
        os.environ |= {"DATABASE_URL": "postgresql:///none", "REDIS_URL": "redis://none"}
    else:
        embedded.fill_environment()
        _hurry()
    return (yield)
