"""Records behind an artifact's energy: claimed once, charged once, and gone with whoever takes them back."""

import pytest
from django.db import IntegrityError, transaction

from registry.accounting.figures import charge
from registry.accounting.reuse import ArtifactRequest
from registry.models import Artifact, Run, Stage
from registry.selectors.figures import figures_of
from registry.services import artifacts, reviews, summaries, uploads, verification
from registry.services.errors import Conflict, Invalid
from tests import scenes
from tests.registry.test_uploads import stage

ENERGY_J = {"preprocess": 1_000.0, "logit_caching": 60_000.0, "student_training": 10_000.0, "evaluation": 2_000.0}
STUDENT_J = 1_000.0 + 10_000.0 + 2_000.0


def document(study, *caches, name="theirs", **changes):
    """A distilled run with a record of each of its stages, which made `caches`, each over rows of its own."""
    energy = {"components": ("gpu",), "cpu_energy_j": None, "ram_energy_j": None}
    stages = [
        stage(kind, record_id=f"{name}/{kind}", gpu_energy_j=joules, **energy) for kind, joules in ENERGY_J.items()
    ]
    made = [
        {"kind": "logit_cache", "identity": {"teacher": {"id": "big"}}, "row_digests": [f"{name}{place}"]} | cache
        for place, cache in enumerate(caches)
    ]
    run = {"external_id": name, "pipeline": "kd", "student": "tiny", "student_size": "1B"}
    return {"study": study.slug, "run": run, "stages": stages, "artifacts": made} | changes


def upload(study, member, *caches, **changes):
    return uploads.upload_run(actor=member, document=document(study, *caches, **changes)).run


def register(study, member, *records, rows=("r",), **changes):
    request = ArtifactRequest(
        kind=changes.pop("kind", "logit_cache"), identity={"teacher": {"id": "t"}}, row_digests=rows
    )
    values = {"name": "a cache", "production_energy_j": None} | changes
    return artifacts.register(actor=member, project=study.project, request=request, evidence=list(records), **values)


@pytest.fixture
def cached(study, member):
    """A run that made a logit cache, whose energy is that of the run's own record."""
    return upload(study, member, {"evidence": ["theirs/logit_caching"]})


def test_a_record_that_became_evidence_is_charged_once_in_every_scope(cached, study, member):
    plain = upload(study, member, name="plain")
    found = figures_of([cached, plain], member)
    for scope, n, expected in (
        ("full", 1, STUDENT_J + 60_000),
        ("made_to_measure", 1, STUDENT_J + 60_000),
        ("amortised", 2, STUDENT_J + 30_000),
        ("student_only", 1, STUDENT_J),
    ):
        for run in (cached, plain):
            assert charge(found[run.pk], scope, n).energy_j == expected, (scope, run.external_id)
    summary = cached.summary
    summary.refresh_from_db()
    assert (summary.teacher_energy_j, summary.missing) == (None, {})
    assert cached.made.get().production_energy_j == 60_000
    assert list(verification.differences()) == []


def test_the_document_with_its_evidence_may_come_again(cached, study, member):
    body = document(study, {"evidence": ["theirs/logit_caching"]})
    assert not uploads.upload_run(actor=member, document=body).created
    assert (Artifact.objects.count(), Stage.objects.count()) == (1, 4)


def test_a_record_is_evidence_of_one_artifact_alone(cached, study, member):
    with pytest.raises(Conflict) as refused:
        register(study, member, "theirs/logit_caching")
    assert refused.value.detail == {"artifact": str(cached.made.get().pk)}
    other = register(study, member, production_energy_j=5.0)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        Stage.objects.filter(record_id="theirs/logit_caching").update(artifact=other)


@pytest.mark.parametrize(
    ("kind", "record", "said"),
    [
        ("logit_cache", "student_training", "a student_training record"),
        ("logit_cache", "evaluation", "teacher or data"),
        ("prepared_dataset", "logit_caching", "a prepared dataset"),
    ],
)
def test_work_that_cannot_have_made_it_is_no_evidence(study, member, kind, record, said):
    upload(study, member)
    with pytest.raises(Invalid) as refused:
        register(study, member, f"theirs/{record}", kind=kind)
    assert said in refused.value.problems["evidence"]
    assert not Artifact.objects.exists()


def test_other_work_of_the_teachers_is_no_hole_in_the_run_that_did_it(study, member):
    run = upload(study, member)
    register(study, member, "theirs/preprocess", "theirs/logit_caching")
    figures = figures_of([Run.objects.get(pk=run.pk)], member)[run.pk]
    assert (charge(figures, "full").energy_j, figures.missing) == (STUDENT_J + 60_000, {})


def test_withdrawn_evidence_leaves_the_energy_unknown(cached, owner, member, study):
    artifact = cached.made.get()
    record = Stage.objects.get(record_id="theirs/logit_caching")
    reviews.review(stage=record, verdict="flagged", reason="the meter stood still", actor=owner)
    artifact.refresh_from_db()
    assert (artifact.production_energy_j, artifact.production_missing) == (None, ["logit_caching: doubtful (by_hand)"])
    reviews.review(stage=record, verdict="accepted", reason="it did not", actor=owner)
    artifact.refresh_from_db()
    assert (artifact.production_energy_j, artifact.production_missing) == (60_000, [])
    reviews.review(stage=record, verdict="withdrawn", reason="it did", actor=owner)
    artifact.refresh_from_db()
    assert (artifact.production_energy_j, artifact.production_missing) == (None, ["theirs/logit_caching: withdrawn"])
    assert charge(figures_of([cached], member)[cached.pk], "full").energy_j is None
    assert list(verification.differences()) == []
    Artifact.objects.filter(pk=artifact.pk).update(production_energy_j=60_000.0)
    (difference,) = verification.differences()
    assert (difference.figure, difference.rebuilt) == ("production_energy_j", None)


@pytest.mark.parametrize(("verdict", "said"), [("withdrawn", "was withdrawn"), ("flagged", "is doubted")])
def test_nothing_is_registered_upon_what_was_taken_back_or_is_doubted(study, member, owner, verdict, said):
    upload(study, member)
    record = Stage.objects.get(record_id="theirs/logit_caching")
    reviews.review(stage=record, verdict=verdict, reason="the meter stood still", actor=owner)
    with pytest.raises(Invalid) as refused:
        register(study, member, record.record_id)
    assert said in refused.value.problems["evidence"]


def test_the_run_that_made_it_is_its_first_use(study, member):
    run = scenes.add_run(study, "kd")
    artifact = register(study, member, production_energy_j=5.0, made_by_run=run)
    assert list(artifact.uses.values_list("run", "how")) == [(run.pk, "made")]
    assert summaries.rebuilt(run)["missing"].get("teacher") is None


def test_simulated_is_what_its_records_say(study, member):
    upload(study, member)
    with pytest.raises(Invalid) as refused:
        register(study, member, "theirs/logit_caching", simulated=True)
    assert "none of its records" in refused.value.problems["simulated"]
