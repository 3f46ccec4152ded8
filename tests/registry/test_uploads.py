"""Whole runs uploaded in one document."""

from datetime import timedelta

import pytest

from registry.models import Run, Stage
from registry.services import uploads
from registry.services.errors import Conflict, Invalid, Missing, NotAllowed
from tests.conftest import make_record


def stage(kind: str, **changes) -> dict:
    values = make_record(kind=kind, **changes).to_dict()
    del values["run_id"]
    return values


def document(study, **run) -> dict:
    return {
        "schema_version": 1,
        "study": study.slug,
        "run": {"external_id": "theirs-1", "pipeline": "sft", "student": "tiny", "student_size": "1B", **run},
        "stages": [stage(kind) for kind in ("preprocess", "student_training", "evaluation")],
        "scores": [{"benchmark": name, "value": 0.5, "n": 100} for name in study.suite],
    }


def reference(study) -> dict:
    return {
        "study": study.slug,
        "run": {"external_id": "teacher", "pipeline": "teacher_reference", "student": "big"},
        "stages": [stage("preprocess"), stage("teacher_evaluation")],
        "scores": [{"benchmark": name, "value": 0.8, "n": 100} for name in study.suite],
    }


def test_a_whole_run_lands_with_its_energy_and_its_quality(study, member):
    uploads.upload_run(actor=member, document=reference(study))
    run = uploads.upload_run(actor=member, document=document(study)).run
    assert run.summary.student_energy_j == 1100.0
    assert run.summary.missing == {}
    assert run.summary.quality == pytest.approx(0.625)


def test_the_same_document_twice_books_once(study, member):
    body = document(study)
    assert uploads.upload_run(actor=member, document=body).created
    again = uploads.upload_run(actor=member, document=body)
    assert not again.created
    assert not any(new for _, new in [*again.stages, *again.scores])
    assert (Run.objects.count(), Stage.objects.count()) == (1, 3)


def test_a_run_without_its_evaluation_says_that_it_is_partial(study, member):
    body = document(study)
    body["stages"] = body["stages"][:2]
    run = uploads.upload_run(actor=member, document=body).run
    assert run.summary.missing == {"evaluation": ["evaluation: no record"]}


def test_a_distilled_run_without_its_teacher_stage_is_partial(study, member):
    run = uploads.upload_run(actor=member, document=document(study, pipeline="kd")).run
    assert run.summary.missing == {"teacher": ["logit_caching: no record"]}


def test_one_bad_stage_is_named_and_nothing_is_booked(study, member):
    body = document(study)
    body["stages"][1]["cpu_energy_j"] = -1
    with pytest.raises(Invalid) as refusal:
        uploads.upload_run(actor=member, document=body)
    assert "stages.1.cpu_energy_j" in refusal.value.problems
    assert (Run.objects.count(), Stage.objects.count()) == (0, 0)


def test_another_run_under_the_same_external_id_is_refused(study, member):
    uploads.upload_run(actor=member, document=document(study))
    with pytest.raises(Conflict, match="pipeline"):
        uploads.upload_run(actor=member, document=document(study, pipeline="kd"))


@pytest.mark.parametrize(
    ("field", "value"), [("environment", {"torch": "2.14.0"}), ("environment", {}), ("configuration", "other")]
)
def test_the_same_run_from_another_environment_or_configuration_is_refused(study, member, field, value):
    facts = {"environment": {"torch": "2.13.0"}, "configuration": "mine"}
    uploads.upload_run(actor=member, document=document(study, **facts))
    with pytest.raises(Conflict, match=field):
        uploads.upload_run(actor=member, document=document(study, **facts | {field: value}))
    assert Run.objects.get().environment == {"torch": "2.13.0"}


def test_a_run_sent_again_without_its_environment_is_the_same_run(study, member):
    uploads.upload_run(actor=member, document=document(study, environment={"torch": "2.13.0"}, configuration="mine"))
    assert not uploads.upload_run(actor=member, document=document(study)).created


def test_a_run_lasts_from_its_first_stage_to_its_last_and_grows_with_a_longer_document(study, member):
    body = document(study)
    start = make_record().started_at
    first = uploads.upload_run(actor=member, document=body).run
    assert (first.started_at, first.finished_at) == (start, start + timedelta(seconds=60))
    later = start + timedelta(hours=1)
    body["stages"].append(stage("evaluation", started_at=later, ended_at=later + timedelta(seconds=60)))
    uploads.upload_run(actor=member, document=body)
    run = Run.objects.get()
    assert (run.started_at, run.finished_at) == (start, later + timedelta(seconds=60))


def test_a_run_without_stages_has_no_times(study, member):
    run = uploads.upload_run(actor=member, document=document(study) | {"stages": []}).run
    assert (run.started_at, run.finished_at) == (None, None)


def test_a_stranger_sees_no_study_to_upload_to(study, stranger):
    with pytest.raises(Missing):
        uploads.upload_run(actor=stranger, document=document(study))


def test_a_stranger_may_not_upload_to_a_public_project(study, stranger):
    study.project.public = True
    study.project.save()
    with pytest.raises(NotAllowed, match="no member"):
        uploads.upload_run(actor=stranger, document=document(study))


def test_an_artifact_that_an_upload_declares_carries_the_teachers_energy(study, member):
    body = document(study, pipeline="kd")
    body["artifacts"] = [
        {
            "kind": "logit_cache",
            "identity": {"teacher": {"id": "big"}},
            "row_digests": ["a"],
            "production_energy_j": 9e6,
        }
    ]
    run = uploads.upload_run(actor=member, document=body).run
    assert run.summary.missing == {}
    assert run.uses.get().artifact.production_energy_j == 9e6


@pytest.mark.parametrize(
    ("field", "value"),
    [("value", "0.5"), ("value", 1e300), ("n", "five"), ("shots", 10**6), ("benchmark", "b" * 101), ("stderr", [1])],
)
def test_a_score_of_the_wrong_type_or_size_is_refused_by_field(study, member, field, value):
    body = document(study)
    body["scores"][0][field] = value
    with pytest.raises(Invalid) as refusal:
        uploads.upload_run(actor=member, document=body)
    assert list(refusal.value.problems) == [f"scores.0.{field}"]
    assert Run.objects.count() == 0


def test_a_student_that_came_before_its_teacher_gets_its_quality_with_the_teacher(study, member):
    run = uploads.upload_run(actor=member, document=document(study)).run
    uploads.upload_run(actor=member, document=reference(study))
    assert Run.objects.get(pk=run.pk).summary.quality == pytest.approx(0.625)


def test_a_score_taken_in_another_way_does_not_enter_quality(study, member):
    uploads.upload_run(actor=member, document=reference(study))
    body = document(study)
    body["scores"].append({"benchmark": study.suite[0], "value": 0.9, "shots": 5})
    assert uploads.upload_run(actor=member, document=body).run.summary.quality == pytest.approx(0.625)
