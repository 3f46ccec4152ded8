"""Loaded before Django: a home of its own for this test run, with real PostgreSQL and Valkey in it."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="stagemeter-tests-"))
HOME.chmod(0o755)
(HOME / "static").mkdir()  # WhiteNoise warns about a folder that is not there
os.environ["STAGEMETER_HOME"] = str(HOME)
os.environ["STAGEMETER_ARTIFACT_URL"] = f"file://{HOME / 'artifacts'}"
os.environ.pop("DATABASE_URL", None)
os.environ.pop("REDIS_URL", None)
# Registered first, so that it runs last: after the servers that live in it have stopped.
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

from registry import embedded  # noqa: E402 (the environment is set first)

embedded.fill_environment()
