"""Doubted records: kept, shown, off the frontier until somebody who may accepts them."""

import pytest
from django.urls import reverse

from registry.models import Artifact, AuditEvent
from registry.selectors import figures
from registry.services import reviews
from registry.services.errors import Conflict, Invalid, NotAllowed
from tests import scenes


@pytest.fixture
def reference(study):
    return scenes.add_reference(study)


@pytest.fixture
def run(study, reference):
    return scenes.complete_run(study, "sft", reference, training_j=60 * 6000.0, factor=0.9)


@pytest.fixture
def stage(run):
    return run.stages.get(kind="student_training")


def complete(study, user) -> bool:
    (found,) = figures.figures(study, user)
    return found.complete


def test_a_doubted_record_is_booked_and_keeps_its_run_off_the_frontier_until_it_is_accepted(study, run, stage, owner):
    assert stage.reviews.get().code == "energy_above_power"
    assert not complete(study, owner)
    assert run.summary.student_energy_j == 60 * 6000.0
    reviews.review(stage=stage, verdict="accepted", reason="Eight sockets.", actor=owner)
    assert complete(study, owner)
    actions = list(AuditEvent.objects.filter(subject_id=str(stage.pk)).values_list("action", flat=True))
    assert actions == ["stage accepted", "stage flagged", "stage recorded"]


def test_accepting_takes_a_maintainer_and_a_reason_and_a_doubt(stage, run, member, owner):
    with pytest.raises(NotAllowed):
        reviews.review(stage=stage, verdict="accepted", reason="I want to.", actor=member)
    with pytest.raises(Invalid):
        reviews.review(stage=stage, verdict="accepted", reason=" ", actor=owner)
    with pytest.raises(Conflict, match="Nobody doubts"):
        reviews.review(stage=run.stages.get(kind="evaluation"), verdict="accepted", reason="Fine.", actor=owner)


def test_a_record_that_is_withdrawn_is_counted_nowhere_for_good(study, run, stage, owner):
    reviews.review(stage=stage, verdict="withdrawn", reason="Wrong host.", actor=owner)
    run.summary.refresh_from_db()
    assert run.summary.student_energy_j is None
    with pytest.raises(Conflict, match="withdrawn"):
        reviews.review(stage=stage, verdict="accepted", reason="No.", actor=owner)


def test_an_artifact_made_with_doubted_energy_has_none_until_it_is_accepted(study, reference, owner):
    run = scenes.complete_run(study, "kd", reference, training_j=10.0, factor=0.9)
    artifact = scenes.add_artifact(run)
    record = scenes.add_stage(run, "logit_caching", 60 * 6000.0, artifact=artifact)
    artifact.refresh_from_db()
    assert (artifact.production_energy_j, artifact.production_missing) == (
        None,
        ["logit_caching: doubtful (energy_above_power)"],
    )
    reviews.review(stage=record, verdict="accepted", reason="Eight sockets.", actor=owner)
    assert Artifact.objects.get(pk=artifact.pk).production_energy_j == 60 * 6000.0


def test_the_run_page_lets_a_maintainer_accept(client, run, stage, owner):
    client.force_login(owner)
    assert "more than any host draws" in client.get(run.get_absolute_url()).content.decode()
    address = reverse("review", args=[stage.pk])
    response = client.post(address, {"verdict": "accepted", "reason": "Eight sockets."}, follow=True)
    assert response.redirect_chain == [(run.get_absolute_url(), 302)]
    assert reviews.state(stage.reviews.order_by("id")) == "accepted"
    assert "Eight sockets." in response.content.decode()


def test_the_run_page_gives_a_mere_member_no_form_and_takes_none(client, run, stage, member):
    client.force_login(member)
    assert reverse("review", args=[stage.pk]) not in client.get(run.get_absolute_url()).content.decode()
    client.post(reverse("review", args=[stage.pk]), {"verdict": "accepted", "reason": "Mine."})
    assert reviews.state(stage.reviews.order_by("id")) == "flagged"
