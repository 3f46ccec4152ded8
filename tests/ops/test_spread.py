"""The whole suite runs in two processes, a part of it in one, and nothing is lost on the way."""

from types import SimpleNamespace

import pytest

from tests import spread

WHOLE = {"numprocesses": "auto", "file_or_dir": [], "keyword": "", "markexpr": "", "lf": False, "collectonly": False}


@pytest.mark.parametrize(
    ("asked", "processes"),
    [
        ({}, spread.PROCESSES),
        ({"file_or_dir": [str(spread.HERE)]}, spread.PROCESSES),
        ({"file_or_dir": [str(spread.HERE / "api")]}, 0),
        ({"keyword": "frontier"}, 0),
        ({"markexpr": "not torch"}, 0),
        ({"lf": True}, 0),
        ({"numprocesses": 3, "keyword": "frontier"}, 3),
        ({"numprocesses": 0}, 0),
        ({"numprocesses": None}, 0),
    ],
)
def test_the_whole_suite_is_spread_and_a_part_is_not(asked, processes):
    assert spread.processes(SimpleNamespace(**WHOLE | asked)) == processes


def test_everything_with_torch_runs_in_one_process_and_a_file_stays_together(request):
    torch = [item for item in request.session.items if item.get_closest_marker("torch")]
    assert {spread.group_of(item.nodeid) for item in torch} <= {"torch"}
    assert spread.group_of("tests/api/test_runs.py::test_a[b::c]") == "tests/api/test_runs.py"


def test_two_tests_of_one_name_are_refused():
    item = SimpleNamespace(nodeid="tests/api/test_runs.py::test_a")
    with pytest.raises(pytest.UsageError, match=r"test_a is the name of two tests"):
        spread.pytest_collection_modifyitems(SimpleNamespace(), [item, item])
