"""Pages while the database is away, or something broke."""

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client

from registry.selectors import runs
from tests import scenes


@pytest.fixture
def page_of(study, member):
    """Asks for a run's page, as a member."""
    run, client = scenes.add_run(study), Client(raise_request_exception=False)
    client.force_login(member)
    return lambda: client.get(f"/runs/{run.pk}/")


@pytest.mark.parametrize(
    ("error", "status", "again"),
    [
        (OperationalError("connection to db.internal refused"), 503, "5"),
        (InterfaceError("connection already closed on db.internal"), 503, "5"),
        (ZeroDivisionError("of db.internal"), 500, None),
    ],
    ids=["away", "closed", "a fault"],
)
def test_a_page_says_whether_the_database_is_away_or_something_broke(page_of, monkeypatch, error, status, again):
    def gone(*_, **__):
        raise error

    monkeypatch.setattr(runs, "detail", gone)
    page = page_of()
    assert (page.status_code, page.get("Retry-After")) == (status, again)
    assert ("Back in a moment" in page.content.decode()) == (status == 503)
    assert b"db.internal" not in page.content
    assert "Content-Security-Policy" in page.headers


def test_a_session_that_cannot_be_read_is_503_too(member, monkeypatch):
    client = Client(raise_request_exception=False)
    client.force_login(member)
    with monkeypatch.context() as patch:
        patch.setattr("django.contrib.sessions.backends.db.SessionStore.load", _away)
        patch.setattr("django.contrib.sessions.backends.cached_db.SessionStore.load", _away)
        assert client.get("/runs/").status_code == 503


def _away(_self):
    raise OperationalError("away")
