"""Lists are walked by key."""

import pytest

from registry.models import Stage
from tests import scenes
from tests.api.conftest import wire


@pytest.fixture
def five(api, project):
    api.post("stage-records/", [wire(record_id=f"r{number}") for number in range(5)])
    return ["r4", "r3", "r2", "r1", "r0"]


def _ids(page):
    return [row["record_id"] for row in page["results"]]


def test_a_walk_forward_sees_every_row_once_newest_first(api, five):
    page, seen = api.get("stage-records/", limit=2).json(), []
    assert page["previous"] is None
    while True:
        seen += _ids(page)
        if page["next"] is None:
            break
        page = api.get(page["next"]).json()
    assert seen == five


def test_a_walk_back_leads_to_the_first_page(api, five):
    page = api.get("stage-records/", limit=2).json()
    second = api.get(page["next"]).json()
    first = api.get(second["previous"]).json()
    assert _ids(first) == _ids(page)
    assert first["previous"] is None


def test_a_row_written_meanwhile_shifts_nothing(api, five):
    page = api.get("stage-records/", limit=2).json()
    api.post("stage-records/", wire(record_id="late"))
    assert _ids(api.get(page["next"]).json()) == ["r2", "r1"]


def test_the_links_keep_the_filters(api, five):
    page = api.get("stage-records/", limit=2, kind="student_training").json()
    assert "kind=student_training" in page["next"]


def test_an_empty_list_has_the_same_envelope(db, anonymous):
    assert anonymous.get("runs/").json() == {"results": [], "next": None, "previous": None}


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "1.5", "", "٣", "99999999999999999999"])
def test_a_limit_outside_1_to_1000_is_refused(db, anonymous, limit):
    response = anonymous.get("runs/", limit=limit)
    assert response.status_code == 400
    assert "between 1 and 1000" in response.json()["error"]["fields"]["limit"][0]


@pytest.mark.parametrize(
    ("path", "key"), [("runs/", "7"), ("factors/", "x"), ("factors/", "9" * 30), ("runs/", "\x00")]
)
def test_a_key_that_is_none_is_refused(db, anonymous, path, key):
    assert anonymous.get(path, after=key).status_code == 400


def test_both_directions_at_once_are_refused(api, five):
    key = Stage.objects.first().pk
    assert api.get("stage-records/", after=key, before=key).status_code == 400


def test_a_page_of_runs_takes_a_constant_number_of_queries(api, study, django_assert_max_num_queries):
    for number in range(3):
        scenes.add_run(study, seed=number)
    with django_assert_max_num_queries(10):
        assert len(api.get("runs/").json()["results"]) == 3
