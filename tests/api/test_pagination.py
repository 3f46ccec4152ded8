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


@pytest.fixture
def measured(api, project):
    """Records of 3, 1, no, 1 and 2 J of GPU."""
    energies = {"a": 3.0, "b": 1.0, "c": None, "d": 1.0, "e": 2.0}
    facts = {"components": ["cpu", "gpu"], "ram_energy_j": None}
    api.post("stage-records/", [wire(record_id=name, gpu_energy_j=j, **facts) for name, j in energies.items()])


@pytest.mark.parametrize(("order", "expected"), [("-gpu_energy_j", "aedbc"), ("gpu_energy_j", "bdeac")])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_list_in_another_order_is_walked_by_value_and_key_and_what_has_none_comes_last(
    api, measured, order, expected, limit
):
    page = api.get("stage-records/", order=order, limit=limit).json()
    seen, pages = _ids(page), [_ids(page)]
    while page["next"]:
        page = api.get(page["next"]).json()
        seen += _ids(page)
        pages.append(_ids(page))
    assert "".join(seen) == expected
    back = [_ids(page)]
    while page["previous"]:
        page = api.get(page["previous"]).json()
        back.append(_ids(page))
    assert back == pages[::-1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"gpu_energy_j_min": "2"}, "ea"),
        ({"gpu_energy_j_max": "1.5"}, "db"),
        ({"gpu_energy_j_min": "1", "gpu_energy_j_max": "2"}, "edb"),
        ({"started_after": "2026-01-31T12:00:00Z"}, "edcba"),
        ({"ended_before": "2026-01-31T12:01:00Z"}, ""),
        ({"world_size_min": "2"}, ""),
    ],
)
def test_every_column_is_filtered_by_its_bounds(api, measured, query, expected):
    assert "".join(_ids(api.get("stage-records/", **query).json())) == expected


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("runs/", {"gpu_energy_j_min": "nan"}),
        ("runs/", {"quality_max": "1e999"}),
        ("runs/", {"seed_min": "9" * 30}),
        ("runs/", {"seed_min": "1.5"}),
        ("runs/", {"order": "colour"}),
        ("runs/", {"order": "seed", "after": "1"}),
        ("runs/", {"order": "seed", "after": "x~y"}),
        ("runs/", {"order": "-started_at", "before": "9999-12-31T23:59:59-23:00~01a20eb0-6eab-7ddc-ba3a-92abf913b2db"}),
        ("runs/", {"order": "seed", "after": "9" * 30 + "~01a20eb0-6eab-7ddc-ba3a-92abf913b2db"}),
        ("runs/", {"order": "quality", "after": "inf~01a20eb0-6eab-7ddc-ba3a-92abf913b2db"}),
        ("runs/", {"count": "yes"}),
        ("scores/", {"value_least": "1"}),
    ],
)
def test_a_bound_an_order_or_a_cursor_that_is_none_is_refused_by_name(api, path, query):
    response = api.get(path, **query)
    assert response.status_code == 400
    assert set(response.json()["error"]["fields"]) & set(query)


def test_rows_are_counted_only_where_that_is_asked_for(api, measured):
    page = api.get("stage-records/", count="1", limit=1, gpu_energy_j_max="2").json()
    assert (page["count"], len(page["results"]), "count=" in page["next"]) == (3, 1, False)
    assert "count" not in api.get("stage-records/").json()


def test_runs_are_ordered_by_what_their_records_add_up_to(api, study):
    runs = [scenes.add_run(study, external_id=name) for name in "xyz"]
    for run, energy_j in zip(runs, (5.0, 9.0, 7.0), strict=True):
        scenes.add_stage(run, "student_training", energy_j)
    page = api.get("runs/", order="-cpu_energy_j", fields="external_id", limit=2).json()
    assert [row["external_id"] for row in page["results"]] == ["y", "z"]
    assert [row["external_id"] for row in api.get(page["next"]).json()["results"]] == ["x"]
    found = api.get("runs/", order="cpu_energy_j", search="smollm2", cpu_energy_j_min="6").json()["results"]
    assert [row["external_id"] for row in found] == ["z", "y"]
