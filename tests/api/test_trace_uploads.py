"""Power traces from elsewhere: read in any shape, held against the record's claim, refused when they are none."""

import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from registry.api.views.traces import EXAMPLE
from registry.importers import powertrace
from registry.models import StageReview, Trace
from registry.services import ledger
from stagemeter.records import StageRecord
from tests import scenes
from tests.api.conftest import wire

CLIENT = Client()
A, B = "GPU-aaaa", "GPU-bbbb"
TWO_GPUS = {
    "components": ["gpu"],
    "cpu_energy_j": None,
    "ram_energy_j": None,
    "gpu_energy_j": 30_000.0,
    "devices": [{"uuid": A, "energy_j": 18_000.0}, {"uuid": B, "energy_j": 12_000.0}],
}


@pytest.fixture
def record(api, project):
    """A minute of two GPUs at 300 W and 200 W, uploaded; its key."""
    return api.post("stage-records/", wire(record_id="gpus", **TWO_GPUS)).json()["id"]


@pytest.fixture
def send(api):
    def sent(record, content, **headers):
        file = SimpleUploadedFile("power.csv", content)
        return CLIENT.post(f"/api/v1/stage-records/{record}/trace/", {"file": file}, **api.headers, **headers)

    return sent


def wide(watts_a=300.0, watts_b=200.0, times=range(61), time="time_s"):
    rows = [f"{t},{watts_a},{watts_b},{watts_a + watts_b}" for t in times]
    return "\n".join([f"{time},gpu_0_power_w,gpu_1_power_w,total_power_w", *rows]).encode()


def long_rows(counter=True):
    return [
        {"time_us": t * 1_000_000, "component": "gpu", "device": device, "power_w": watts * 0.95}
        | ({"counter_mj": 5_000_000 + t * watts * 1000} if counter else {})
        for t in range(61)
        for device, watts in ((A, 300), (B, 200))
    ]


def parquet(rows):
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def checked(response):
    assert response.status_code == 201, response.content
    return {check["device"] or check["component"]: check for check in response.json()["checks"]}


EPOCH = 1769860800  # when the record began


@pytest.mark.parametrize(
    "content",
    [
        wide(),
        gzip.compress(wide()),
        wide(times=[EPOCH + t for t in range(61)], time="timestamp"),
        wide(times=[f"2026-01-31T13:{t // 60:02}:{t % 60:02}.000+01:00" for t in range(-0, 61)], time="timestamp"),
        wide(times=[EPOCH + t for t in range(-600, 600)], time="timestamp"),  # a log of more than the stage
        parquet([{"time_s": t, "gpu_0_power_w": 300, "gpu_1_power_w": 200} for t in range(61)]),
    ],
    ids=["csv", "gzip", "seconds since 1970", "dates", "a longer log", "parquet"],
)
def test_each_shape_comes_to_the_same_energy_as_its_record(send, api, record, content):
    found = checked(send(record, content))
    assert {name: (check["traced_j"], check["difference"]) for name, check in found.items()} == {
        "gpu": (30_000.0, 0.0),
        A: (18_000.0, 0.0),
        B: (12_000.0, 0.0),
    }
    shown = api.get(f"stage-records/{record}/trace/").json()
    assert [(line["device"], line["mean_w"]) for line in shown["lines"]] == [(A, 300.0), (B, 200.0)]
    assert api.get("stage-records/").json()["results"][0]["doubted"] is False


def test_the_counter_is_the_figure_where_the_file_has_one(send, record):
    found = checked(send(record, parquet(long_rows())))
    assert (found["gpu"]["by"], found["gpu"]["traced_j"]) == ("counter", 30_000.0)


def test_a_difference_above_one_percent_is_said_of_the_record(send, api, record):
    found = checked(send(record, parquet(long_rows(counter=False))))
    assert found["gpu"]["difference"] == pytest.approx(-0.05)
    row = api.get("stage-records/").json()["results"][0]
    assert (row["doubted"], [review["code"] for review in row["reviews"]]) == (True, ["trace_disagrees"])
    assert "28,500.0 J by power" in row["reviews"][0]["reason"]


def test_one_within_one_percent_is_not(send, api, record):
    assert checked(send(record, wide(302.0, 201.0)))["gpu"]["difference"] == pytest.approx(0.006)
    assert not StageReview.objects.exists()


def test_what_a_gap_hid_may_explain_a_claim_and_is_never_bridged(send, record):
    found = checked(send(record, wide(times=[*range(20), *range(40, 61)])))
    assert found["gpu"]["traced_j"] == 30_000 - 21 * 500
    assert (found["gpu"]["coverage"], found["gpu"]["difference"]) == (pytest.approx(39 / 60), 0.0)


def test_a_device_that_the_trace_lacks_leaves_the_total_open(send, record):
    found = checked(send(record, b"time_s,gpu_0_power_w\n" + b"\n".join(b"%d,300" % t for t in range(61))))
    assert (found["gpu"]["traced_j"], found["gpu"]["difference"], set(found)) == (None, None, {"gpu", A})


def test_the_same_file_again_is_known_and_another_is_refused(send, record):
    assert [send(record, content).status_code for content in (wide(), wide(), wide(299.0))] == [201, 200, 409]
    assert Trace.objects.count() == 1


def test_a_trace_is_sent_once_under_its_idempotency_key(send, record):
    answers = [send(record, wide(), HTTP_IDEMPOTENCY_KEY="k") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]


LYING = parquet([{"time_s": float(t), "cpu_power_w": 1.0} for t in range(40_000)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column of time"),
        (b"time_s\n1\n", "no column of power"),
        (b"cpu_power_w\n1\n", "no column of time"),
        (b"time_s,cpu_power_w\n" + b"900,1\n901,1\n", "no two readings lie within"),
        (b"time_s,cpu_power_w\n2,1\n1,1\n", "was taken later"),
        (b"time_s,cpu_power_w\n1,-5\n2,1\n", "not between 0 and a gigawatt"),
        (b"time_s,cpu_power_w\n1,inf\n2,1\n", "not between 0 and a gigawatt"),
        (b"time_s,cpu_power_w\n,1\n2,1\n", "not within 30 years"),
        (b"time_s,cpu_power_w\n1,many\n2,1\n", "cannot be read"),
        (b"time_s,cpu_power_w\n1\n2,1\n", "cannot be read"),
        (b"timestamp,cpu_power_w\n2026-01-31T12:00:00,1\n2026-01-31T12:00:01,1\n", "cannot be read"),
        (b"time_s,component,power_w\n1,tpu,1\n2,tpu,1\n", "none of the components"),
        (b"time_s,cpu_power_w,cpu_power_w\n1,1,1\n", "same line"),
        (b"\x80\x04\x95\x00pickled", "a pickle"),
        (b"PK\x03\x04zipped", "a zip archive"),
        (b"\x1f\x8bno gzip", "cannot be read"),
        (gzip.compress(wide())[:200], "cannot be read"),
        (b"PAR1" + bytes(64) + b"PAR1", "cannot be read"),
        (parquet(long_rows())[:-40], "cannot be read"),
        (parquet([{"time_s": "now", "cpu_power_w": 1.0}]), "not numbers"),
        (b"\xff\xfe\x00t", "no text"),
    ],
)
def test_what_is_no_trace_is_refused_with_what_is_wrong_and_changes_nothing(send, record, content, said):
    response = send(record, content)
    assert response.status_code == 400
    assert said in str(response.json()["error"]["fields"]) or not content
    assert not Trace.objects.exists() and not StageReview.objects.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(wide()), "unpacks to more"),
        (LYING, "a page of"),
        (parquet(long_rows()[:2] * 300), "more than 500 readings"),
    ],
)
def test_what_unpacks_to_more_than_is_read_is_refused(send, record, monkeypatch, content, said):
    monkeypatch.setattr(powertrace, "MAX_TEXT_BYTES", 1000)
    monkeypatch.setattr(powertrace, "MAX_PAGE_BYTES", 10_000)
    monkeypatch.setattr(powertrace, "MAX_READINGS", 500)
    response = send(record, content)
    assert (response.status_code, said in str(response.json())) == (400, True), response.content


def test_only_who_may_write_to_the_project_puts_one_there(record, outsider, project):
    def sent():
        file = SimpleUploadedFile("power.csv", wide())
        return CLIENT.post(f"/api/v1/stage-records/{record}/trace/", {"file": file}, **outsider.headers).status_code

    assert sent() == 404
    project.public = True
    project.save()
    assert sent() == 403
    assert not Trace.objects.exists()


def test_the_example_of_the_openapi_file_is_taken(send, record):
    assert send(record, EXAMPLE["file"].encode()).status_code == 201


def test_the_page_of_the_run_shows_both_figures(send, member, study):
    run = scenes.add_run(study)
    stage = scenes.add_stage(run, "student_training", 1000.0)
    assert send(stage.pk, b"time_s,cpu_power_w\n0,1\n60,1\n").status_code == 409  # a worker brings its own
    CLIENT.force_login(member)
    body = wire(record_id="cpu", run_id=str(run.pk), components=["cpu"], ram_energy_j=None, cpu_energy_j=1500.0)
    booked = ledger.record_stage(record=StageRecord.from_dict(body), project=run.project, origin="upload", run=run)
    assert send(booked.row.pk, b"time_s,cpu_power_w\n" + b"\n".join(b"%d,20" % t for t in range(61))).status_code == 201
    page = CLIENT.get(f"/runs/{run.pk}/").content.decode()
    table = page.partition('id="power-claims"')[2].partition("</table>")[0]
    assert "-20" in table.replace("−", "-") and "tag-warn" in table
    CLIENT.logout()
