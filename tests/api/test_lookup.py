"""Is there one already?"""

import pytest

from registry.accounting.plan import artifact_request
from registry.models import Artifact, Membership
from registry.services import artifacts, rowsets, studies
from registry.workloads import catalogue
from tests.api.test_artifacts import registration
from tests.conftest import make_spec


@pytest.fixture
def cache(api, project):
    """A cache of the member's project, over the rows a, b and c."""
    return api.post("artifacts/", registration()).json()


def ask(api, **changes):
    body = {name: registration()[name] for name in ("kind", "identity", "capture", "row_digests")}
    return api.post("artifacts/lookup/", body | changes).json()


def _found(answer):
    return {name: [row["id"] for row in answer[name]] for name in ("exact", "covering", "in_progress")}


def test_one_that_equals_the_request_is_exact(api, cache):
    answer = ask(api)
    assert _found(answer) == {"exact": [cache["id"]], "covering": [], "in_progress": []}
    assert answer["decision"]["action"] == "use"
    assert answer["decision"]["artifact_id"] == cache["id"]


def test_one_that_the_request_can_be_cut_out_of_is_covering(api, cache):
    answer = ask(api, row_digests=["b"], capture={"k": 10, "temperatures": [2]})
    assert _found(answer) == {"exact": [], "covering": [cache["id"]], "in_progress": []}
    assert answer["decision"]["action"] == "cut"


def test_one_that_is_being_made_is_in_progress(api, cache):
    Artifact.objects.update(status="making")
    answer = ask(api)
    assert _found(answer) == {"exact": [], "covering": [], "in_progress": [cache["id"]]}
    assert answer["decision"]["action"] == "wait"


def test_one_that_nearly_serves_is_near_with_its_differences_and_what_it_would_save(api, cache):
    answer = ask(api, capture={"k": 200, "temperatures": [1]})
    assert _found(answer) == {"exact": [], "covering": [], "in_progress": []}
    (miss,) = answer["near"]
    assert (miss["artifact"]["id"], miss["differences"], miss["would_save_j"]) == (cache["id"], {"k": 100}, 5000.0)
    assert answer["decision"]["action"] == "make"


def test_one_that_lacks_a_temperature_is_near_however_many_sets_hold_some_of_the_rows(api, cache):
    for number in range(20):
        rowsets.of(["a", f"other {number}"])
    answer = ask(api, row_digests=["a", "b"], capture={"k": 10, "temperatures": [3]})
    assert [miss["artifact"]["id"] for miss in answer["near"]] == [cache["id"]]
    assert answer["near"][0]["differences"]["temperatures"] == [1, 2, 4]


def test_withdrawn_failed_and_corrupt_ones_are_never_named(api, cache, owner):
    artifacts.withdraw(artifact=Artifact.objects.get(), actor=owner, reason="wrong rows")
    for status in ("withdrawn", "failed", "corrupt"):
        Artifact.objects.update(status=status)
        answer = ask(api)
        assert cache["id"] not in str(answer)
        assert answer["decision"]["action"] == "make"


def test_a_run_s_spec_is_asked_for_as_it_is(api, study):
    spec = make_spec(dataset={"id": "tour-facts", "train_rows": 40, "validation_rows": 8, "evaluation_rows": 16})
    answer = api.post("artifacts/lookup/", {"study": study.slug, "spec": spec.to_dict()}).json()
    assert answer["decision"]["action"] == "make"
    run = api.post("runs/", {"study": study.slug, **spec.to_dict()}).json()
    answer = api.post("artifacts/lookup/", {"spec": run["spec"]}).json()
    assert [row["made_by_run"] for row in answer["in_progress"]] == [run["id"]]


def test_the_rows_of_a_hub_dataset_are_not_guessed(api, project):
    spec = make_spec(dataset={"id": "allenai/tulu-3-sft-mixture"})
    answer = api.post("artifacts/lookup/", {"spec": spec.to_dict()}).json()
    assert answer["decision"]["action"] is None
    assert "read by a worker" in answer["decision"]["reason"]


def test_the_rows_of_a_hub_dataset_are_known_once_a_worker_has_prepared_them(api, project):
    spec = make_spec(dataset={"id": "allenai/tulu-3-sft-mixture"})
    prepared = artifact_request("prepared_dataset", spec, catalogue.identities(spec))
    row = artifacts.register(
        actor=None, project=project, request=prepared, name="rows", production_energy_j=1.0, licence="ODC-By-1.0"
    )
    Artifact.objects.filter(pk=row.pk).update(storage_key="there", rows=rowsets.of(["a", "b"]))
    answer = api.post("artifacts/lookup/", {"spec": spec.to_dict()}).json()
    assert answer["decision"]["action"] == "make"


def test_every_temperature_may_be_asked_for_and_another_engine(api, study):
    spec = make_spec(dataset={"id": "tour-facts", "train_rows": 40, "validation_rows": 8, "evaluation_rows": 16})
    run = api.post("runs/", {"study": study.slug, **spec.to_dict()}).json()
    more = run["spec"] | {"distillation": {"temperatures": [1, 8]}}
    assert api.post("artifacts/lookup/", {"spec": more}).json()["decision"]["action"] == "wait"
    for beyond, field in (({"every_temperature": True}, "temperatures"), ({"engine": "vllm"}, "engine")):
        answer = api.post("artifacts/lookup/", {"spec": more} | beyond).json()
        assert answer["decision"]["action"] == "make"
        assert list(answer["near"][0]["differences"]) == [field]
    refused = api.post("artifacts/lookup/", {"spec": more, "kind": "prepared_dataset", "engine": "vllm"})
    assert "leave it out" in refused.json()["error"]["fields"]["engine"][0]


def test_a_pipeline_without_a_teacher_artifact_needs_a_kind(api, project):
    spec = make_spec("sft", dataset={"id": "tour-facts", "train_rows": 40, "validation_rows": 8, "evaluation_rows": 16})
    response = api.post("artifacts/lookup/", {"spec": spec.to_dict()})
    assert "name the kind" in response.json()["error"]["fields"]["kind"][0]
    assert api.post("artifacts/lookup/", {"spec": spec.to_dict(), "kind": "prepared_dataset"}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"spec": 5},
        {"spec": {}},
        {"spec": {"pipeline": "kd"}},
        {"spec": {"study": 5}},
        {"kind": "logit_cache"},
        {"kind": "logit_cache", "identity": {"teacher": {"id": "t"}}},
        registration(name=5),
        {"spec": make_spec().to_dict() | {"dataset": {"id": "no such dataset"}}},
        {"spec": make_spec().to_dict() | {"dataset": {"id": "tour-facts", "train_rows": 10**7}}},
        {"spec": make_spec().to_dict(), "kind": "student"},
        {"study": "no-such-study", "spec": make_spec().to_dict()},
    ],
)
def test_a_question_that_is_none_is_refused_with_its_fields(api, project, body):
    response = api.post("artifacts/lookup/", body)
    assert response.status_code == 400, response.content
    assert response.json()["error"]["fields"] or response.json()["error"]["message"]


@pytest.fixture
def elsewhere(owner, call_as):
    """A public project of somebody else, with a shareable cache and one whose licence forbids sharing."""
    project = studies.ensure_project(slug="elsewhere", name="Elsewhere", public=True)
    Membership.objects.create(project=project, user=owner, role=Membership.Role.SUBMITTER)
    caller = call_as(owner, project=project)
    shared = caller.post("artifacts/", registration()).json()
    closed = caller.post("artifacts/", registration(identity={"teacher": {"id": "x"}}, licence="CC-BY-NC-4.0")).json()
    return shared, closed


def test_a_public_one_of_another_project_is_offered_where_its_licence_allows(api, project, elsewhere):
    shared, closed = elsewhere
    assert _found(ask(api))["exact"] == [shared["id"]]
    assert closed["id"] not in str(ask(api, identity={"teacher": {"id": "x"}}))


def test_a_token_for_one_project_is_told_of_that_one_alone(member, project, elsewhere, call_as):
    assert _found(ask(call_as(member, project=project)))["exact"] == []


def test_a_private_one_is_not_even_near_for_a_stranger(cache, stranger, call_as):
    own = studies.ensure_project(slug="own", name="Own", public=False)
    Membership.objects.create(project=own, user=stranger, role=Membership.Role.SUBMITTER)
    answer = ask(call_as(stranger), capture={"k": 200})
    assert cache["id"] not in str(answer)
