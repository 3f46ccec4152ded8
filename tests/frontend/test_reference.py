"""What the reference study shows, and a study under other assumptions: pages and REST."""

import pytest

from registry.importers import paper
from tests.accounting.test_claims import TABLES

SLUG = "arxiv-2605-13981"


@pytest.fixture(scope="module")
def published(django_db_setup, django_db_blocker):
    """The study, loaded once for this module."""
    with django_db_blocker.unblock():
        from django.db import transaction

        with transaction.atomic():
            yield paper.load()
            transaction.set_rollback(True)


def test_the_committed_tables_are_the_papers():
    assert paper.tables() == TABLES


def test_the_page_shows_every_claim_with_its_verdict(published, db, client):
    text = client.get(f"/studies/{SLUG}/claims/").content.decode()
    assert all(f'id="{claim.key}"' in text for claim in paper.claims())
    assert "doesn&#x27;t follow from its tables" in text and "86.9" in text


def test_one_kind_of_verdict_alone(published, db, client):
    answer = client.get(f"/studies/{SLUG}/claims/", {"verdict": "unsupported"})
    assert {claim.verdict for claim, *_ in answer.context["claims"]} == {"unsupported"}
    assert client.get(f"/studies/{SLUG}/claims/", {"verdict": "maybe"}).status_code == 404


def test_rest_answers_the_same_ledger(published, db, client):
    body = client.get(f"/api/v1/studies/{SLUG}/claims/").json()
    assert [claim["verdict"] for claim in body["claims"]] == [claim.verdict for claim in paper.claims()]


def test_other_studies_have_no_claims(study, client, owner):
    client.force_login(owner)
    assert client.get(f"/studies/{study.slug}/claims/").status_code == 404
    assert client.get(f"/api/v1/studies/{study.slug}/claims/").status_code == 404


def test_a_transfer_is_not_for_strangers(study, client, stranger):
    client.force_login(stranger)
    assert client.get(f"/studies/{study.slug}/transfer/").status_code == 404


def test_a_teacher_at_half_the_energy_halves_n(published, db, client):
    body = client.get(f"/api/v1/studies/{SLUG}/transfer/", {"teacher": "0.5"}).json()
    counts = {
        pair["distilled"]: (pair["measured"]["exact"], pair["transferred"]["exact"]) for pair in body["break_even"]
    }
    assert len(counts) == 6 and not body["measured"]
    assert all(after == pytest.approx(before / 2) for before, after in counts.values())
    kd = next(p for p in body["points"] if (p["pipeline"], p["student"]) == ("kd", "1B"))
    assert (kd["energy_kwh"], kd["transferred_kwh"]) == (pytest.approx(16.9), pytest.approx(11.4))


def test_the_page_says_who_joins_the_frontier(published, db, client):
    answer = client.get(f"/studies/{SLUG}/transfer/", {"teacher": "0.2"})
    joined = {(p.pipeline, p.student) for p in answer.context["rows"] if p.stands and not p.stood}
    assert joined == {("kd", "1B")}
    assert "joins it" in answer.content.decode()


def test_a_factor_that_cannot_be_is_refused_on_both_doors(published, db, client):
    page = client.get(f"/studies/{SLUG}/transfer/", {"teacher": "0"})
    rest = client.get(f"/api/v1/studies/{SLUG}/transfer/", {"teacher": "0"})
    assert (page.status_code, rest.status_code) == (400, 400)
    assert "teacher" in rest.json()["error"]["fields"]
    assert "student" in client.get(f"/api/v1/studies/{SLUG}/transfer/", {"student": "x"}).json()["error"]["fields"]
    assert client.get(f"/api/v1/studies/{SLUG}/transfer/", {"tutor": "1"}).status_code == 400


def test_the_study_page_leads_to_both(published, db, client):
    text = client.get(f"/studies/{SLUG}/").content.decode()
    assert f"/studies/{SLUG}/claims/" in text and f"/studies/{SLUG}/transfer/" in text
