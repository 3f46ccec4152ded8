"""Records behind an artifact's energy: claimed once, charged once, and gone with whoever takes them back."""

import pytest
from django.db import IntegrityError, transaction

from registry.accounting.figures import charge
from registry.accounting.reuse import ArtifactRequest
from registry.models import Artifact, Membership, Run, Stage
from registry.selectors.figures import figures_of
from registry.services import artifacts, reviews, studies, summaries, uploads, verification
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


def test_a_run_brings_several_artifacts_of_a_kind_and_is_charged_each(study, member):
    caches = [{"name": "one", "production_energy_j": 5.0}, {"name": "two", "evidence": ["theirs/logit_caching"]}]
    run = upload(study, member, *caches)
    assert set(run.made.values_list("name", "production_energy_j")) == {("one", 5.0), ("two", 60_000.0)}
    assert charge(figures_of([run], member)[run.pk], "full").energy_j == STUDENT_J + 60_005
    upload(study, member, *caches)
    assert Artifact.objects.count() == 2
    with pytest.raises(Conflict) as refused:
        upload(study, member, {**caches[0], "production_energy_j": 6.0})
    assert "another production_energy_j" in refused.value.message


def test_a_part_that_was_cut_is_charged_its_share_where_it_is_made_to_measure(study, member):
    cache = register(study, member, production_energy_j=8_000.0)
    use = {"use": str(cache.pk), "how": "cut", "used_share": 0.25}
    run = upload(study, member, artifacts=[use], name="cutter", stages=[])
    figures = figures_of([run], member)[run.pk]
    assert [part.used_share for part in figures.teacher_artifacts] == [0.25]
    assert [charge(figures, scope).by_role["teacher"] for scope in ("full", "made_to_measure")] == [8_000, 2_000]
    upload(study, member, artifacts=[use], name="cutter", stages=[])
    with pytest.raises(Conflict):
        upload(study, member, artifacts=[use | {"used_share": 0.5}], name="cutter", stages=[])


@pytest.mark.parametrize(
    ("use", "field"),
    [
        ({"how": "burnt"}, "how"),
        ({"how": ["cut"]}, "how"),
        ({"used_share": 0.5}, "used_share"),
        ({"how": "cut", "used_share": 0}, "used_share"),
        ({"how": "cut", "used_share": float("nan")}, "used_share"),
        ({"how": "cut", "used_share": "half"}, "used_share"),
        ({"share": 1}, "share"),
    ],
)
def test_a_use_that_cannot_be_is_refused_by_field(study, member, use, field):
    cache = register(study, member, production_energy_j=8_000.0)
    with pytest.raises(Invalid) as refused:
        upload(study, member, artifacts=[{"use": str(cache.pk)} | use], stages=[])
    assert list(refused.value.problems) == [f"artifacts.0.{field}"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "failed"}, "nothing of it to use"),
        ({"status": "corrupt"}, "no stage from before that"),
        ({"licence": "", "sharing": "shared"}, "nobody knows its licence"),
        ({"licence": "MIT", "sharing": "shared", "may_train": False}, "may not train other models"),
        ({"licence": "MIT"}, "have not published it"),
    ],
)
def test_an_artifact_that_may_not_be_used_is_no_use_of_a_run(study, member, changes, said):
    home = study.project
    if "status" not in changes:
        home = studies.ensure_project(slug="elsewhere", name="Elsewhere", public=False)
        Membership.objects.create(project=home, user=member, role="submitter")
    request = ArtifactRequest(kind="logit_cache", identity={"teacher": {"id": "t"}}, row_digests=("r",))
    cache = artifacts.register(actor=member, project=home, request=request, name="a cache", production_energy_j=1.0)
    Artifact.objects.filter(pk=cache.pk).update(**changes)
    with pytest.raises(Invalid) as refused:
        upload(study, member, artifacts=[{"use": str(cache.pk)}])
    assert said in refused.value.problems["artifacts.0.use"]
    assert not Run.objects.exists()


def test_a_run_from_before_the_withdrawal_may_have_used_it(study, member, owner):
    cache = register(study, member, production_energy_j=8_000.0)
    artifacts.withdraw(artifact=cache, actor=owner, reason="its rows were wrong")
    run = upload(study, member, artifacts=[{"use": str(cache.pk)}])
    assert list(run.uses.values_list("artifact", "how")) == [(cache.pk, "used")]
    with pytest.raises(Invalid) as refused:
        upload(study, member, artifacts=[{"use": str(cache.pk)}], name="later", stages=[])
    assert "no stage from before that" in refused.value.problems["artifacts.0.use"]


def test_a_run_is_charged_one_prepared_dataset(study, member):
    sets = [{"kind": "prepared_dataset", "identity": {"dataset": {"id": name}}} for name in ("a", "b")]
    with pytest.raises(Invalid) as refused:
        upload(study, member, *sets)
    assert "one prepared dataset" in refused.value.problems["artifacts.1.kind"]
