"""Whether everything is there."""

import pytest
from django.core.cache import cache
from django.db import connection

from tests import scenes


@pytest.fixture(autouse=True)
def nothing_remembered():
    cache.delete("health:workers")
    yield
    cache.delete("health:workers")


def test_without_a_login_it_names_database_broker_and_workers(db, anonymous):
    response = anonymous.get("/healthz")
    assert response.status_code == 200
    assert response.json() == {"status": "degraded", "database": "ok", "broker": "ok", "workers": 0}
    assert response["Cache-Control"] == "no-store"


def test_a_worker_at_a_job_is_counted_by_its_lease(study, anonymous):
    scenes.open_run(study)
    assert (anonymous.get("/healthz").json()["status"], anonymous.get("/healthz").json()["workers"]) == ("ok", 1)


def test_a_broker_that_is_away_is_503(db, anonymous, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = anonymous.get("/healthz")
    assert response.status_code == 503
    assert response.json() == {"status": "down", "database": "ok", "broker": "does not answer", "workers": None}


def test_a_database_that_is_away_is_503_and_is_not_named(transactional_db, anonymous, monkeypatch):
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "HOST", "/nowhere-internal")
        response = anonymous.get("/healthz")
        connection.close()
    assert (response.status_code, response.json()["database"]) == (503, "does not answer")
    assert b"internal" not in response.content
