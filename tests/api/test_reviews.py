"""Records that are hardly true, over REST."""

from datetime import timedelta

from django.utils import timezone

from registry.models import StageReview
from tests.api.conftest import wire
from tests.conftest import make_record

HOT = {"cpu_energy_j": 60 * 6000.0}  # more than any host draws in a minute


def on_gpu(record_id, start_s, seconds=60, uuid="GPU-1", **changes):
    start = make_record().started_at + timedelta(seconds=start_s)
    values = {"components": ["gpu"], "cpu_energy_j": None, "ram_energy_j": None, "gpu_energy_j": 1.0}
    times = {"started_at": start.isoformat(), "ended_at": (start + timedelta(seconds=seconds)).isoformat()}
    return wire(record_id=record_id, duration_s=float(seconds), devices=[{"uuid": uuid}], **times, **values) | changes


def doubted() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for record_id, code in StageReview.objects.values_list("stage__record_id", "code"):
        found.setdefault(record_id, set()).add(code)
    return found


def test_two_records_that_had_a_gpu_at_once_are_both_doubted(api, project):
    api.post("stage-records/", [on_gpu("a", 0), on_gpu("b", 60), on_gpu("c", 0, uuid="GPU-2")])
    assert doubted() == {}
    api.post("stage-records/", on_gpu("d", 90))
    assert doubted() == {"b": {"gpu_overlap"}, "d": {"gpu_overlap"}}


def test_two_records_of_one_list_are_looked_at_too_and_parts_are_not(api, project):
    api.post("stage-records/", [on_gpu("a", 0), on_gpu("b", 30), on_gpu("part", 0, parent_id="a")])
    assert doubted() == {"a": {"gpu_overlap"}, "b": {"gpu_overlap"}}


def test_a_record_is_accepted_over_rest_by_a_maintainer(api, call_as, owner, project):
    sent = api.post("stage-records/", wire(**HOT)).json()
    assert sent["doubted"] is True
    body = {"verdict": "accepted", "reason": "Eight sockets."}
    assert api.post(f"stage-records/{sent['id']}/reviews/", body).status_code == 403
    answer = call_as(owner).post(f"stage-records/{sent['id']}/reviews/", body)
    assert (answer.status_code, answer.json()["doubted"]) == (201, False)
    assert [review["verdict"] for review in answer.json()["reviews"]] == ["flagged", "accepted"]


def test_a_stranger_finds_no_record_to_review(outsider, api, project):
    sent = api.post("stage-records/", wire(**HOT)).json()
    body = {"verdict": "accepted", "reason": "Mine."}
    assert outsider.post(f"stage-records/{sent['id']}/reviews/", body).status_code == 404


def test_what_cannot_be_is_refused(api, project):
    late = timezone.now() + timedelta(days=3)
    response = api.post("stage-records/", wire(started_at=late.isoformat(), ended_at=late.isoformat()))
    assert "ended_at" in response.json()["error"]["fields"]
