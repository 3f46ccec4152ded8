"""The same POST again, under a key."""

from datetime import timedelta
from threading import Thread
from uuid import UUID

import pytest
from django.db import connections
from django.utils import timezone

from registry.models import IdempotencyKey, Stage, Study
from tests.api.conftest import wire

KEY = {"HTTP_IDEMPOTENCY_KEY": "7d1c"}
STUDY = {"slug": "a-study", "name": "A", "suite": ["gsm8k"]}


def test_the_same_request_again_gets_the_same_answer_and_does_nothing_twice(api, project):
    first, again = (api.post("studies/", STUDY, **KEY) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again["Idempotency-Replayed"] == "true"
    assert Study.objects.count() == 1


def test_without_the_key_the_second_study_of_that_name_is_refused(api, project):
    assert [api.post("studies/", STUDY).status_code for _ in range(2)] == [201, 400]


def test_another_body_under_the_same_key_is_refused_by_name(api, project):
    api.post("studies/", STUDY, **KEY)
    response = api.post("studies/", STUDY | {"slug": "another"}, **KEY)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert Study.objects.count() == 1


def test_another_address_under_the_same_key_is_refused(api, project):
    api.post("stage-records/", [], **KEY)
    assert api.post("stage-records/?atomic=1", [], **KEY).status_code == 422


def test_a_refusal_is_not_kept_so_the_corrected_request_may_come_under_the_same_key(api, project):
    assert api.post("stage-records/", wire(cpu_energy_j=-1), **KEY).status_code == 400
    assert api.post("stage-records/", wire(), **KEY).status_code == 201


def test_a_key_is_one_persons_own(api, project, owner, call_as):
    api.post("studies/", STUDY, **KEY)
    assert call_as(owner).post("studies/", STUDY | {"slug": "another"}, **KEY).status_code == 201


def test_a_key_is_forgotten_after_a_day(api, project):
    api.post("studies/", STUDY, **KEY)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert api.post("studies/", STUDY | {"slug": "another"}, **KEY).status_code == 201


def test_old_keys_of_anybody_are_dropped_on_the_way(api, project, stranger):
    yesterday = UUID(int=int((timezone.now() - timedelta(hours=25)).timestamp() * 1000) << 80)
    IdempotencyKey.objects.create(id=yesterday, user=stranger, key="old", path="/", body_sha256="")
    api.post("studies/", STUDY, **KEY)
    assert [row.key for row in IdempotencyKey.objects.all()] == ["7d1c"]


@pytest.mark.parametrize("key", ["", "a b", "é", "k" * 201, "a\x00"])
def test_a_key_that_is_none_is_refused(api, project, key):
    assert api.post("studies/", STUDY, HTTP_IDEMPOTENCY_KEY=key).status_code == 400


def test_the_answer_to_a_list_is_kept_with_its_refusals(api, project):
    body = [wire(record_id="a"), wire(record_id="b", cpu_energy_j=-1)]
    first, again = (api.post("stage-records/", body, **KEY) for _ in range(2))
    assert first.json() == again.json()
    assert again.json()["results"][0]["status"] == "created"


@pytest.mark.django_db(transaction=True)
def test_requests_that_come_at_the_same_moment_are_answered_once(transactional_db, api, project):
    answers = []

    def ask():
        try:
            answers.append(api.post("stage-records/", wire(record_id="once"), **KEY))
        finally:
            connections.close_all()

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 4
    assert sum("Idempotency-Replayed" in answer for answer in answers) == 3
    assert Stage.objects.count() == 1
