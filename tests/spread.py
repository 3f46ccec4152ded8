"""How the whole suite is spread over two processes, and that a part of it is not.

Loaded before Django. Each process has servers of its own (`tests.servers`). A file stays together, for its tests share
what they set up; so do those that would be in each other's way: one torch at a time, one Chromium at a time.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

HERE = Path(__file__).resolve().parent
PROCESSES = 2
# What stays together, by how its path begins. These take longest, so they are begun first.
TOGETHER = {
    "tests/workers/": "torch",
    "tests/stagemeter/test_integrations.py": "torch",
    "tests/ops/": "ops",
    "tests/browser/": "browser",
}
ORDER = list(dict.fromkeys(TOGETHER.values()))


class Groups(LoadScopeScheduling):
    """Hands out one group of tests after the other to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """The group that runs in one process: of `TOGETHER`, or a file."""
    path = nodeid.partition("::")[0]
    return next((group for beginning, group in TOGETHER.items() if path.startswith(beginning)), path)


def processes(options: Any) -> int:
    """How many run what the command line asks for; 0 is pytest alone.

    A part of the suite is quicker without second servers, and easier to read as it runs.
    """
    if options.numprocesses != "auto":
        return options.numprocesses or 0
    named = {Path(name).resolve() for name in options.file_or_dir}
    part = named - {HERE, HERE.parent} or options.keyword or options.markexpr or options.lf or options.collectonly
    return 0 if part else PROCESSES


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` is."""
    return processes(config.option)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The scheduler goes through the groups as they come, and knows a test by its name."""
    for name, count in Counter(item.nodeid for item in items).items():
        if count > 1:  # it would run once
            raise pytest.UsageError(f"{name} is the name of two tests; give each its own.")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _place(group_of(item.nodeid)))


def _place(group: str) -> int:
    return ORDER.index(group) if group in ORDER else len(ORDER)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """The groups, in the order they were collected in."""
    config.option.loadscopereorder = False
    return Groups(config, log)
