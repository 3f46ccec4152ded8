"""The tour is queued once, by the first start or by hand."""

import io

import pytest
from django.core.management import CommandError, call_command

from registry.accounting.presets import TOUR_STUDENTS
from registry.accounting.stages import PIPELINES, TEACHER_REFERENCE
from registry.models import Artifact, Job, Run, Study
from registry.services import accounts, studies, tour


@pytest.fixture
def demo(db):
    user, _ = accounts.ensure_user(username="demo", password="a long enough password")
    studies.ensure_project(slug="lab", name="Lab", public=True, admin=user)
    return user


def _tour(*words: str) -> str:
    out = io.StringIO()
    call_command("tour", *words, stdout=out)
    return out.getvalue()


def test_the_tour_is_the_teacher_and_three_pipelines_for_two_students(demo):
    assert _tour() == "tour: 7 runs queued, 7 in all\n"
    runs = Run.objects.filter(study__slug="tour")
    assert sorted(runs.values_list("pipeline", flat=True)) == sorted(
        [TEACHER_REFERENCE, *PIPELINES * len(TOUR_STUDENTS)]
    )
    reference = runs.get(pipeline=TEACHER_REFERENCE)
    assert set(runs.students().values_list("reference", flat=True)) == {reference.pk}


def test_teacher_artifacts_of_the_tour_are_made_once_and_waited_for(demo):
    _tour()
    for kind in ("logit_cache", "synthetic_dataset", "prepared_dataset"):
        assert Artifact.objects.filter(kind=kind).count() == 1, kind
    caching = Job.objects.filter(kind="logit_caching")
    assert sorted(job.decision["action"] for job in caching) == ["make", "wait"]


def test_queueing_the_tour_again_queues_nothing(demo):
    _tour()
    assert _tour() == "tour: 0 runs queued, 7 in all\n"
    lab = Study.objects.get(slug="tour").project
    assert tour.queue(actor=demo, project=lab)[1] == []


def test_the_tour_on_other_rows_is_a_study_of_its_own(demo, tmp_path, monkeypatch):
    rows = [f'{{"question": "What is {n} + {n}?", "answer": "It is {n + n}."}}' for n in range(40)]
    (tmp_path / "sums.jsonl").write_text("\n".join(rows))
    monkeypatch.setenv("STAGEMETER_DATASETS", str(tmp_path))
    with pytest.raises(CommandError, match="needs a study of its own"):
        _tour("--dataset", "local/sums")
    with pytest.raises(CommandError, match="dataset"):  # 40 rows are not enough for the tour's split
        _tour("--dataset", "local/sums", "--study", "tour-sums")
    assert not Run.objects.exists() and not Study.objects.exists()


def test_nobody_submits_the_tour_without_an_account(db):
    with pytest.raises(CommandError, match="There is no user 'demo'; `make run` makes one"):
        _tour()
