"""What a simulated meter said marks everything it went into, and is never added to what was measured."""

import pytest

from registry.accounting.reuse import ArtifactRequest
from registry.models import Artifact, RunSummary
from registry.selectors import home
from registry.services import artifacts, hosts, summaries, uploads, verification
from registry.services.errors import Invalid
from tests import scenes


@pytest.fixture
def cache(study):
    """A logit cache that a worker made, with a record of its making still to come."""
    artifact = scenes.add_artifact(scenes.add_run(study, "kd"), energy_j=None)
    Artifact.objects.filter(pk=artifact.pk).update(origin="worker")
    artifact.refresh_from_db()
    return artifact


def is_simulated(run):
    return RunSummary.objects.get(run=run).simulated


def test_a_simulated_record_marks_the_artifact_and_every_run_that_uses_it(
    study, cache, django_capture_on_commit_callbacks
):
    user = scenes.add_run(study, "kd", configuration="another")
    scenes.use_artifact(user, cache)
    scenes.add_stage(user, "student_training", 50.0)
    assert not is_simulated(user)
    with django_capture_on_commit_callbacks(execute=True):
        scenes.add_stage(cache.made_by_run, "logit_caching", 900.0, artifact=cache, simulated=True)
    cache.refresh_from_db()
    assert cache.simulated
    assert is_simulated(user) and is_simulated(cache.made_by_run)
    later = scenes.add_run(study, "kd", configuration="a third")
    scenes.use_artifact(later, cache)
    assert is_simulated(later)


def test_one_simulated_attempt_among_measured_ones_marks_the_artifact(cache):
    scenes.add_stage(cache.made_by_run, "logit_caching", 900.0, artifact=cache)
    cache.refresh_from_db()
    assert not cache.simulated
    scenes.add_stage(cache.made_by_run, "logit_caching", 5.0, artifact=cache, status="lost", simulated=True)
    cache.refresh_from_db()
    assert cache.simulated


def test_what_a_simulated_student_was_trained_from_is_not_marked_by_it(study, cache):
    student = scenes.add_run(study, "kd", configuration="another")
    scenes.use_artifact(student, cache)
    scenes.add_stage(student, "student_training", 50.0, simulated=True)
    cache.refresh_from_db()
    assert is_simulated(student)
    assert not cache.simulated and not is_simulated(cache.made_by_run)


def test_a_mark_that_its_records_do_not_give_is_found_and_rebuilt(cache):
    scenes.add_stage(cache.made_by_run, "logit_caching", 900.0, artifact=cache)
    Artifact.objects.filter(pk=cache.pk).update(simulated=True)
    difference = next(d for d in verification.differences() if d.subject == cache)
    assert (difference.figure, difference.stored, difference.rebuilt) == ("simulated", True, False)
    assert verification.repair(difference)
    cache.refresh_from_db()
    assert not cache.simulated


def document(study, **artifact):
    start, end = "2026-01-31T12:00:00Z", "2026-01-31T12:10:00Z"
    stage = {"record_id": f"{study.slug}-1", "kind": "logit_caching", "simulated": True, "started_at": start}
    stage |= {"ended_at": end, "duration_s": 600.0, "components": ["gpu"], "gpu_energy_j": 10.0}
    made = {"kind": "logit_cache", "identity": {"teacher": {"id": "t"}}, "row_digests": ["a"]}
    run = {"external_id": "x", "pipeline": "kd", "student": "s"}
    return {"study": study.slug, "run": run, "stages": [stage], "artifacts": [{**made, **artifact}]}


def test_an_uploaded_artifact_of_a_simulated_run_is_marked(study, owner):
    made = uploads.upload_run(actor=owner, document=document(study, evidence=[f"{study.slug}-1"])).run.made.get()
    assert made.simulated
    body = document(study, production_energy_j=10.0, row_digests=["b"])
    body["run"]["external_id"], body["stages"][0]["record_id"] = "z", f"{study.slug}-2"
    with pytest.raises(Invalid, match="charged twice"):
        uploads.upload_run(actor=owner, document=body)


def test_an_uploaded_artifact_says_itself_that_it_was_simulated(study, owner):
    body = document(study, simulated=True)
    body["stages"] = []
    assert uploads.upload_run(actor=owner, document=body).run.made.get().simulated
    body = document(study, simulated="yes", row_digests=["b"])
    body["run"]["external_id"] = "y"
    with pytest.raises(Invalid) as refused:
        uploads.upload_run(actor=owner, document=body)
    assert "true or false" in str(refused.value.problems)


def test_an_artifact_whose_evidence_is_a_simulated_record_is_marked(study, owner):
    record = scenes.add_stage(scenes.add_run(study), "logit_caching", 10.0, simulated=True)
    request = ArtifactRequest(kind="logit_cache", identity={"teacher": {"id": "t"}}, row_digests=("a",))
    artifact = artifacts.register(
        actor=owner,
        project=study.project,
        request=request,
        name="a cache",
        production_energy_j=None,
        evidence=[record.record_id],
    )
    assert (artifact.production_energy_j, artifact.simulated) == (10.0, True)


def test_home_counts_simulated_records_and_adds_none_of_their_energy(study, member):
    scenes.add_stage(scenes.add_run(study), "student_training", 100.0)
    scenes.add_stage(scenes.add_run(study), "student_training", 900.0, simulated=True)
    found = home.home(member).metered
    assert (found.energy_j, found.records, found.without_total, found.simulated) == (100.0, 1, 0, 1)


def test_reuse_of_a_simulated_artifact_spares_nothing_that_is_counted(study, member):
    artifact = scenes.add_artifact(scenes.add_run(study, "kd"), simulated=True)
    scenes.use_artifact(scenes.add_run(study, "kd", configuration="another"), artifact)
    assert home.home(member).spared.uses == 0


def test_a_host_with_a_simulated_gpu_keeps_an_idle_power_of_its_own(project):
    environment = {"host_class": "3f1c", "gpus": [{"name": "NVIDIA H100"}]}
    real = hosts.note_host(environment=environment, project=project)
    pretended = hosts.note_host(environment={**environment, "gpus": [{"name": "Simulated H100"}]}, project=project)
    assert real.pk != pretended.pk
    assert hosts.note_host(environment=environment, project=project).pk == real.pk
    assert pretended.hardware_class == "1 × Simulated H100"


def test_artifacts_registered_as_simulated_stay_so(study, owner):
    artifact = scenes.add_artifact(scenes.add_run(study, "kd"), simulated=True)
    user = scenes.add_run(study, "kd", configuration="another")
    artifacts.use(artifact=artifact, run=user, how="used")
    assert summaries.refresh(user).simulated
    artifact.refresh_from_db()
    assert artifact.simulated
