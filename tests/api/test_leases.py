"""Leases: of all who ask for an artifact that nobody has, one makes it."""

from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.db import connections
from django.utils import timezone

from registry.api.views.leases import EXAMPLE
from registry.models import ArtifactLease
from tests.api.conftest import Caller


def asked(study, **changes):
    return EXAMPLE | {"study": study.slug} | changes


def registration(study):
    body = asked(study, licence="Apache-2.0", production_energy_j=10.0, evidence_note="power log")
    return {name: value for name, value in body.items() if name != "seconds"}


def test_who_asks_first_makes_it_and_the_next_one_waits(api, study, owner, call_as):
    first = api.post("artifacts/leases/", asked(study)).json()
    second = call_as(owner).post("artifacts/leases/", asked(study, capture=EXAMPLE["capture"] | {"k": 10})).json()
    assert (first["action"], bool(first["lease"])) == ("make", True)
    assert (second["action"], second["lease"], second["expires_at"]) == ("wait", None, first["expires_at"])


def test_what_was_made_is_used_by_whoever_waited(api, study, owner, call_as):
    api.post("artifacts/leases/", asked(study))
    made = api.post("artifacts/", registration(study))
    assert made.status_code == 201, made.content
    answer = call_as(owner).post("artifacts/leases/", asked(study)).json()
    assert (answer["action"], answer["artifact"]["id"]) == ("use", made.json()["id"])
    assert ArtifactLease.objects.get().ended_at is not None


def test_a_lease_that_expired_or_was_given_back_holds_nobody_off(api, study, owner, call_as):
    first = api.post("artifacts/leases/", asked(study)).json()
    ArtifactLease.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    second = call_as(owner).post("artifacts/leases/", asked(study)).json()
    assert second["action"] == "make"
    assert api.post("artifacts/leases/", asked(study, lease=first["lease"])).status_code == 409
    assert call_as(owner).delete(f"artifacts/leases/{second['lease']}/").status_code == 200
    assert api.post("artifacts/leases/", asked(study)).json()["action"] == "make"


def test_a_lease_is_held_for_longer_by_sending_it_along(api, study, owner, call_as):
    first = api.post("artifacts/leases/", asked(study, seconds=60)).json()
    again = api.post("artifacts/leases/", asked(study, seconds=600, lease=first["lease"])).json()
    assert (again["action"], again["lease"]) == ("make", first["lease"])
    assert again["expires_at"] > first["expires_at"]
    assert call_as(owner).post("artifacts/leases/", asked(study, lease=first["lease"])).status_code == 409
    assert call_as(owner).delete(f"artifacts/leases/{first['lease']}/").status_code == 404


@pytest.mark.parametrize("changes", [{"seconds": 5}, {"seconds": 10**6}, {"lease": "x"}, {"kind": "student"}])
def test_a_bad_lease_is_refused_by_field(api, study, changes):
    answer = api.post("artifacts/leases/", asked(study, **changes))
    assert answer.status_code == 400
    assert set(answer.json()["error"]["fields"]) == set(changes)


def test_a_stranger_leases_nothing(outsider, study):
    assert outsider.post("artifacts/leases/", asked(study)).status_code in (400, 403)
    assert not ArtifactLease.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_many_who_ask_at_once_one_makes_it(study, member, token_for):
    together, answers = Barrier(6), []

    def ask(caller):
        together.wait()
        answers.append(caller.post("artifacts/leases/", asked(study)).json()["action"])
        connections.close_all()

    threads = [Thread(target=ask, args=(Caller(token_for(member)),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["make", *["wait"] * 5]
