"""How sure places are, drawn by the courier where a page cannot wait, and never shown for figures that have changed."""

import re
import uuid

import pytest
from django.test import Client

from registry.celery import app
from registry.models import RunSummary
from registry.selectors import outlook
from registry.services import draws
from tests import scenes
from tests.workers.processes import kill_all, start_worker, wait_for


@pytest.fixture
def crowd(study, monkeypatch):
    """Two students, of which no page draws by itself more than one."""
    study.project.public = True
    study.project.save()
    reference = scenes.add_reference(study)
    for size, factor in (("small", 0.7), ("large", 0.71)):
        run = {"student_size": size, "configuration": size}
        scenes.complete_run(study, "sft", reference, training_j=4000.0, factor=factor, **run)
    monkeypatch.setattr(outlook, "QUICK", 1)
    return study


@pytest.fixture
def sent(monkeypatch):
    """What was handed to the broker: name and arguments."""
    found = []
    monkeypatch.setattr(app, "send_task", lambda name, args, **_: found.append((name, args)))
    return found


def rest(study, **query):
    return Client().get(f"/api/v1/studies/{study.slug}/outlook/", query).json()


def page(study):
    return Client().get(f"/studies/{study.slug}/").content.decode()


def by_courier(task):
    name, (key, assumed) = task
    assert name == draws.DRAW
    draws.draw(uuid.UUID(key), assumed)


@pytest.mark.django_db
def test_a_page_says_that_it_is_being_computed_and_asks_once(crowd, sent):
    first, shown = rest(crowd), page(crowd)
    assert (first["pending"], first["draws"], len(sent)) == (True, 0, 1)
    assert (
        {point["probability"] for point in first["points"]} == {point["verdict"] for point in first["points"]} == {None}
    )
    assert "being computed" in shown and 'http-equiv="refresh"' in shown and 'tag-warn">not decided' not in shown
    by_courier(sent[0])
    assert rest(crowd)["draws"] == 2000 and "being computed" not in page(crowd)
    assert {point["verdict"] for point in rest(crowd)["points"]} == {"not_decided"}
    assert len(sent) == 1


@pytest.mark.django_db
def test_nothing_drawn_is_shown_for_other_figures_or_assumptions(crowd, sent):
    rest(crowd)
    by_courier(sent.pop())
    assert rest(crowd, scope="student_only")["pending"] is True
    assert rest(crowd, cost="cost", price_kwh="0.3")["pending"] is True
    RunSummary.objects.filter(run__student_size="small").update(quality=0.2)
    assert rest(crowd)["pending"] is True
    for task in sent:
        by_courier(task)
    assert rest(crowd)["pending"] is rest(crowd, cost="cost", price_kwh="0.3")["pending"] is False


@pytest.mark.django_db
def test_a_waiting_page_loads_again_once_it_is_drawn_or_the_study_has_changed(crowd, sent):
    def answer(address):
        found = Client().get(address)
        return found.status_code, found.headers.get("HX-Refresh")

    address = re.search(r'hx-get="([^"]*drawn[^"]*)"', page(crowd))[1]
    assert answer(address) == (204, None)
    by_courier(sent[0])
    assert answer(address) == (204, "true")
    RunSummary.objects.update(quality=0.3)
    changed = re.search(r'hx-get="([^"]*drawn[^"]*)"', page(crowd))[1]
    assert answer(changed) == (204, None)
    RunSummary.objects.update(quality=0.4)
    assert answer(changed) == answer(f"/studies/{crowd.slug}/drawn/?key=%00") == (204, "true")


@pytest.mark.django_db(transaction=True)
def test_a_real_courier_draws_it(crowd, tmp_path):
    assert rest(crowd)["pending"] is True
    log = tmp_path / "courier.log"
    courier = start_worker(log, "registry.courier")
    try:
        wait_for(lambda: not rest(crowd)["pending"], 60, log)
    finally:
        kill_all(courier)
    assert rest(crowd)["draws"] == 2000
