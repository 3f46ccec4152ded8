"""Power traces over REST: thinned as JSON, whole as Parquet, and only for those who may see the record."""

import io
import uuid

import pyarrow.parquet as pq
import pytest

from registry import storage
from registry.models import AuditEvent, Trace
from registry.selectors import traces
from registry.services import studies
from registry.services.errors import Conflict, Invalid
from tests import scenes

GPU = "GPU-5f1c"


@pytest.fixture
def stage(study):
    return scenes.add_stage(scenes.add_run(study), "student_training", 1000.0)


@pytest.fixture
def traced(stage):
    scenes.add_trace(stage)
    return stage


def address(stage):
    return f"stage-records/{stage.pk}/trace/"


def line_of(response, component):
    return next(line for line in response.json()["lines"] if line["component"] == component)


def test_a_trace_is_read_line_by_line(api, traced):
    response = api.get(address(traced))
    body = response.json()
    assert (body["id"], body["record_id"], body["kind"]) == (str(traced.pk), traced.record_id, "student_training")
    assert (body["duration_s"], body["simulated"]) == (60.0, False)
    assert [(line["component"], line["device"]) for line in body["lines"]] == [("cpu", ""), ("ram", "")]
    cpu = line_of(response, "cpu")
    assert cpu["times_s"] == [float(t) for t in range(61)]
    assert cpu["power_w"] == [20.0 + t for t in range(61)]
    assert (cpu["samples"], cpu["gaps"], cpu["spacing_s"]) == (61, [], 1.0)
    assert (cpu["lowest_w"], cpu["mean_w"], cpu["highest_w"]) == (20.0, 50.0, 80.0)


def test_a_stretch_has_its_neighbours_and_the_figures_of_the_whole(api, traced):
    cpu = line_of(api.get(address(traced), **{"from": "10.5", "to": "12"}), "cpu")
    assert cpu["times_s"] == [10.0, 11.0, 12.0, 13.0]
    assert (cpu["samples"], cpu["highest_w"]) == (4, 80.0)


def test_a_long_trace_is_thinned_and_zooming_in_shows_everything(api, stage):
    readings = [("gpu", GPU, i * 0.1, 700.0 if i == 3_210 else 300.0, i) for i in range(20_000)]
    scenes.add_trace(stage, readings)
    whole = line_of(api.get(address(stage), points="100"), "gpu")
    assert len(whole["times_s"]) <= 110
    assert whole["samples"] == 20_000
    assert 700.0 in whole["power_w"]
    near = line_of(api.get(address(stage), points="100", **{"from": "320", "to": "322"}), "gpu")
    assert len(near["times_s"]) == near["samples"] == 23
    assert near["times_s"][near["power_w"].index(700.0)] == 321.0


def test_the_samples_at_the_stage_s_edges_are_kept(api, stage):
    scenes.add_trace(stage, [("cpu", "", i * 0.01, 50.0, None) for i in range(6_200)])  # the stage lasts 60 s
    times = line_of(api.get(address(stage), points="20"), "cpu")["times_s"]
    assert {0.0, 0.01, 59.99, 60.0, 60.01} <= set(times)


def test_a_gap_is_named_and_no_point_lies_in_it(api, stage):
    times = [*range(20), *range(40, 60)]
    scenes.add_trace(stage, [("cpu", "", t, 50.0, None) for t in times])
    assert line_of(api.get(address(stage)), "cpu")["gaps"] == [[19.0, 40.0]]


@pytest.mark.parametrize("how", [{"query": {"format": "parquet"}}, {"accept": "application/vnd.apache.parquet"}])
def test_the_file_comes_whole_with_its_name_and_hash(traced, client, member, how):
    client.force_login(member)
    headers = {"HTTP_ACCEPT": how["accept"]} if "accept" in how else {}
    response = client.get(f"/api/v1/{address(traced)}", how.get("query"), **headers)
    content = response.getvalue()
    assert response.headers["Content-Type"] == "application/vnd.apache.parquet"
    assert response.headers["ETag"] == f'"{traced.trace.sha256}"'
    assert int(response.headers["Content-Length"]) == len(content) == traced.trace.bytes
    assert f"trace-{traced.pk}.parquet" in response.headers["Content-Disposition"]
    assert pq.read_table(io.BytesIO(content)).num_rows == 122


@pytest.fixture
def callers(anonymous, outsider, call_as, member):
    """Nobody, a stranger, and the member with a token for another project."""
    other = studies.ensure_project(slug="elsewhere", name="Elsewhere", public=True)
    return anonymous, outsider, call_as(member, project=other)


@pytest.mark.parametrize("query", [{}, {"format": "parquet"}])
def test_a_trace_is_seen_by_those_who_see_its_record(callers, api, traced, query):
    assert [caller.get(address(traced), **query).status_code for caller in (*callers, api)] == [404, 404, 404, 200]
    traced.project.public = True
    traced.project.save()
    assert [caller.get(address(traced), **query).status_code for caller in (*callers, api)] == [200, 200, 404, 200]


def test_a_token_without_the_scope_reads_no_trace(call_as, member, traced):
    assert call_as(member, scopes=["upload"]).get(address(traced)).status_code == 403


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"points": "3"}, "points"),
        ({"points": "10001"}, "points"),
        ({"points": "many"}, "points"),
        ({"from": "nan"}, "from"),
        ({"to": "inf"}, "to"),
        ({"from": "soon"}, "from"),
        ({"from": "5", "to": "4"}, "to"),
        ({"form": "5"}, "form"),
        ({"to": "soon", "format": "parquet"}, "to"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_field(api, traced, query, field):
    response = api.get(address(traced), **query)
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    assert field in response.json()["error"]["fields"]


def test_a_stretch_far_outside_is_no_fault(api, traced):
    assert line_of(api.get(address(traced), **{"from": "1e300", "to": "1e301"}), "cpu")["samples"] == 1


def test_another_format_is_404(api, traced):
    assert api.get(address(traced), format="csv").status_code == 404


def test_a_record_without_a_trace_and_one_that_is_not_there_are_404(api, stage):
    without = api.get(address(stage))
    assert (without.status_code, stage.record_id in without.json()["error"]["message"]) == (404, True)
    assert api.get(f"stage-records/{uuid.uuid4()}/trace/").status_code == 404


@pytest.mark.parametrize("query", [{}, {"format": "parquet"}])
def test_a_file_that_is_gone_is_404_with_a_sentence(api, traced, query):
    Trace.objects.filter(stage=traced).update(storage_key="0" * 32)
    response = api.get(address(traced), **query)
    assert (response.status_code, "not in the storage" in response.json()["error"]["message"]) == (404, True)


def test_a_damaged_file_is_404_with_a_sentence(api, stage):
    kept = scenes.add_trace(stage, [("cpu", "", second, 7.25, None) for second in range(9)])
    store, folder = storage._open(kept.storage_key)
    for path in store.glob(f"{folder}/*.parquet"):
        store.pipe_file(path, b"PAR1" + bytes(100) + b"PAR1")
    response = api.get(address(stage))
    assert (response.status_code, "cannot be read" in response.json()["error"]["message"]) == (404, True)


def test_the_list_of_records_says_which_have_one(api, traced, study):
    scenes.add_stage(traced.run, "evaluation", 5.0)
    found = {row["kind"]: row["trace"] for row in api.get("stage-records/").json()["results"]}
    assert found == {"student_training": f"/api/v1/{address(traced)}", "evaluation": None}


def test_keeping_the_same_trace_again_changes_nothing(traced):
    before = traced.trace
    assert scenes.add_trace(traced) == before
    assert AuditEvent.objects.filter(action="trace stored").count() == 1


def test_another_trace_beside_the_same_record_is_refused(traced):
    with pytest.raises(Conflict, match="another power trace"):
        scenes.add_trace(traced, [("cpu", "", 0.0, 1.0, None)])
    assert len(traces.lines_of(Trace.objects.get())) == 2


def test_a_trace_beyond_the_cap_is_refused(stage, settings):
    settings.MAX_TRACE_BYTES = 100
    with pytest.raises(Invalid, match="more than the 100 kept"):
        scenes.add_trace(stage)
    assert not Trace.objects.exists()
