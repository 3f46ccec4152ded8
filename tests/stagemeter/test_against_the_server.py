"""The client and the server it was written for, over a socket."""

import json

import pytest

from registry.models import Run, Stage
from registry.services import accounts
from stagemeter import spool
from stagemeter.__main__ import main
from stagemeter.client import Client
from stagemeter.errors import Refused
from stagemeter.meter import Meter
from tests.conftest import make_record, make_spec
from tests.importers import files

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client_of(live_server):
    """`client_of(user)` → the library's client with a token of that user."""
    opened = []

    def connect(user):
        _, secret = accounts.issue_token(user=user)
        opened.append(Client(live_server.url, secret, attempts=1))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


def test_records_are_booked_once_however_often_they_are_sent(client_of, member, project):
    client, records = client_of(member), [make_record(), make_record()]
    assert [r["status"] for r in client.upload(records, project=project.slug)] == ["created", "created"]
    assert [r["status"] for r in client.upload(records, project=project.slug)] == ["same", "same"]
    assert Stage.objects.count() == 2


def test_a_metered_stage_travels_from_the_spool_into_the_ledger(client_of, member, project, spool_dir):
    with Meter("evaluation", spool_dir=spool_dir) as meter:
        meter.add_tokens(evaluated=5)
    client_of(member).upload_spool(spool_dir, project=project.slug)
    stage = Stage.objects.get(record_id=meter.record_id)
    assert (stage.cpu_energy_j, stage.evaluated_tokens) == (meter.record.cpu_energy_j, 5)
    assert spool.pending(spool_dir) == []


def test_a_whole_run_is_booked_with_its_stages_and_scores(client_of, member, study):
    run = {"external_id": "mine-1", "pipeline": "sft", "student": "small"}
    scores = [{"benchmark": "choice", "metric": "accuracy", "value": 0.5, "n": 100}]
    stages = [make_record(), make_record(kind="evaluation")]
    client_of(member).upload_run(run, stages, study=study.slug, scores=scores)
    booked = Run.objects.get(external_id="mine-1")
    assert booked.stages.count() == 2
    assert booked.scores.count() == 1


def test_a_plan_names_the_stages_and_submits_nothing(client_of, member, study):
    plan = client_of(member).plan(make_spec().to_dict(), study=study.slug)
    kinds = [stage["kind"] for stage in plan["stages"]]
    assert kinds == ["preprocess", "logit_caching", "student_training", "evaluation"]
    assert not Run.objects.exists()


def test_a_stranger_is_refused_with_the_reason(client_of, stranger, project):
    (result,) = client_of(stranger).upload([make_record()], project=project.slug)
    assert result["status"] == "refused"
    assert project.slug in result["error"]["message"]


def test_a_wrong_token_is_refused_and_says_where_tokens_come_from(live_server):
    with (
        Client(live_server.url, "0" * 64, attempts=1) as client,
        pytest.raises(Refused, match="issue_token") as refused,
    ):
        client.upload([make_record()])
    assert refused.value.status == 401


def test_another_tools_file_is_imported_by_command(live_server, member, study, tmp_path, capsys):
    _, secret = accounts.issue_token(user=member)
    folder = tmp_path / "exp"
    (folder / "stages" / "s").mkdir(parents=True)
    (folder / "stages" / "s" / "s.json").write_text(json.dumps(files.STAGE))
    words = ["import", str(folder), "--study", study.slug, "--url", live_server.url, "--token", secret]
    assert main([*words, "--dry-run"]) == 1
    assert "the kind of 'student_train'" in capsys.readouterr().out
    said = ["--run", "pipeline=sft", "--run", "student=small", "--kind", "student_train=student_training"]
    assert [main([*words, *said]) for _ in range(2)] == [0, 0]
    assert "is there already" in capsys.readouterr().out
    stage = Stage.objects.get()
    assert (stage.origin, stage.energy_j, stage.run.external_id) == ("import", 1_980_000.0, "exp")


def test_asking_how_the_server_does_reaches_it(client_of, member):
    assert {"status", "database", "broker"} <= client_of(member).status().keys()


def test_commands_say_to_a_person_what_the_server_says(live_server, member, study, tmp_path, capsys):
    _, secret = accounts.issue_token(user=member)
    (tmp_path / "spec.json").write_text(json.dumps(make_spec().to_dict()))
    words = [str(tmp_path / "spec.json"), "--url", live_server.url, "--token", secret, "--study"]
    assert main(["plan", *words, study.slug]) == 0
    assert "logit_caching: make" in capsys.readouterr().out
    assert main(["submit", *words, "no-such-study"]) not in (0, 2)
    assert capsys.readouterr().err.strip() == "stagemeter: study: 'no-such-study' is no study that you can see"
    assert main(["submit", *words, study.slug]) == 0
    assert str(Run.objects.exclude(pipeline="teacher_reference").get().pk) in capsys.readouterr().out
