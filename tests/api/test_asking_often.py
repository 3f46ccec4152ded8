"""ETags, rates, and a database that is away."""

import pytest
from django.db import OperationalError
from django.test import Client

from registry.api import access, throttling
from registry.models import Stage
from tests import scenes
from tests.api.conftest import wire

CLIENT = Client()


def again(api, path, response, caller=None):
    headers = (caller or api).headers | {"HTTP_IF_NONE_MATCH": response["ETag"]}
    return CLIENT.get(f"/api/v1/{path}", **headers)


def test_an_answer_that_is_known_is_not_made_again_until_something_was_written(transactional_db, api, study, outsider):
    run = scenes.add_run(study)
    for path in ("runs/", f"runs/{run.pk}/", "stage-records/?kind=x", f"studies/{study.slug}/frontier/", "factors/"):
        first = api.get(path)
        known = again(api, path, first)
        assert (known.status_code, known.content, known["ETag"]) == (304, b"", first["ETag"])
        assert "no-cache" in first["Cache-Control"]
    first = api.get("runs/")
    assert again(api, "runs/", first, outsider).status_code == 200
    assert again(api, "runs/?limit=1", first).status_code == 200
    scenes.add_run(study)
    changed = again(api, "runs/", first)
    assert (changed.status_code, len(changed.json()["results"])) == (200, 2)


@pytest.mark.parametrize("header", ["*", "", '"', 'W/"nonsense", "other"', "\x7f"])
def test_a_tag_that_is_none_gets_the_answer(api, project, header):
    assert CLIENT.get("/api/v1/runs/", **api.headers, HTTP_IF_NONE_MATCH=header).status_code == 200


def test_a_refusal_has_no_tag(api, project):
    assert "ETag" not in api.get("runs/", limit="x")


def test_what_is_left_of_the_minute_stands_in_every_answer_and_then_it_is_429(settings, call_as, member, monkeypatch):
    settings.RATE_LIMIT = 3
    monkeypatch.setattr(throttling.time, "time", lambda: 600.0)
    api, other = call_as(member), call_as(member)
    left = [api.get("runs/")["RateLimit"], api.post("scores/", {})["RateLimit"], api.get("runs/")["RateLimit"]]
    assert left == ['"default";r=2;t=60', '"default";r=1;t=60', '"default";r=0;t=60']
    refused = api.get("runs/")
    assert (refused.status_code, refused["Retry-After"], refused["RateLimit"]) == (429, "60", '"default";r=0;t=60')
    assert refused["RateLimit-Policy"] == '"default";q=3;w=60'
    assert "in 60 s" in refused.json()["error"]["message"]
    assert other.get("runs/").status_code == 200  # a token of its own


def test_while_redis_is_away_nobody_is_held_back(settings, api, project, monkeypatch):
    throttling._redis.cache_clear()
    settings.REDIS_URL = "redis://127.0.0.1:1"
    response = api.get("runs/")
    throttling._redis.cache_clear()
    assert (response.status_code, "RateLimit" in response) == (200, False)


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_database_that_goes_away_is_503_with_a_time_to_come_back(api, project, monkeypatch, method):
    def gone(*_, **__):
        raise OperationalError("server closed the connection; host=db.internal")

    monkeypatch.setattr(access, "visible", gone)
    monkeypatch.setattr(access, "writable", gone)
    response = api.get("stage-records/") if method == "get" else api.post("stage-records/", [wire()])
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response.json()["error"]["code"] == "unavailable"
    assert b"db.internal" not in response.content
    assert not Stage.objects.exists()
