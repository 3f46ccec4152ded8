"""The commands that speak to a server, in this process: what they send, print and exit with."""

import gzip
import io
import json
import subprocess
import tarfile

import pytest

from stagemeter import spool
from stagemeter.__main__ import main, parser
from stagemeter.completion import SHELLS, script
from stagemeter.packing import opened
from tests.stagemeter.test_client import Server, a_record, results

ROW = {
    "what": "stage",
    "key": "5b0f",
    "run": "train",
    "title": "train 2026",
    "kind": "",
    "status": "open",
    "energy_j": None,
    "duration_s": 5.0,
    "value": None,
    "flags": [{"code": "gpu_zero", "message": "GPU energy 0"}],
    "problems": {},
}
LOOKED = {
    "format": "codecarbon",
    "file": {"name": "e.csv"},
    "kept": False,
    "needed": {"runs.train.pipeline": "the pipeline"},
    "questions": [],
    "flags": [],
    "rows": [ROW],
    "runs": [],
}
GOOD = LOOKED | {"needed": {}, "rows": [ROW | {"status": "new", "kind": "student_training", "energy_j": 10.0}]}


@pytest.fixture
def server(monkeypatch, tmp_path):
    running = Server()
    for name, value in (("URL", running.url), ("TOKEN", "t"), ("SPOOL", str(tmp_path / "spool"))):
        monkeypatch.setenv(f"STAGEMETER_{name}", value)
    yield running
    running.close()


def sent_answers(request):
    """The form's `answers`, out of its multipart body."""
    part = request[2].split(b'name="answers"\r\n\r\n')[1]
    return json.loads(part.split(b"\r\n--")[0])


def test_an_import_says_what_is_still_to_be_said_and_books_nothing(server, tmp_path, capsys):
    (tmp_path / "e.csv").write_text("a,b\n")
    for _ in range(2):
        server.answer(200, LOOKED)
    assert main(["import", "--dry-run", str(tmp_path / "e.csv"), "--study", "s"]) == 1
    out = capsys.readouterr().out
    assert "still to be said" in out and "runs.train.pipeline" in out and "its key: 5b0f" in out


def test_what_the_options_say_is_sent_and_booked(server, tmp_path, capsys):
    (tmp_path / "e.csv").write_text("a,b\n")
    for answer in (LOOKED, GOOD, GOOD | {"kept": True}):
        server.answer(200, answer)
    words = ["import", str(tmp_path / "e.csv"), "--study", "s", "--run", "pipeline=kd", "--run", "train:seed=3"]
    assert main([*words, "--kind", "train*=student_training", "--say", "zone=+02:00", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kept"] is True
    assert sent_answers(server.requests[2]) == {
        "runs": {"train": {"pipeline": "kd", "seed": 3}},
        "stages": {"5b0f": "student_training"},
        "questions": {"zone": "+02:00"},
    }


@pytest.mark.parametrize(
    "option", [["--kind", "other*=evaluation"], ["--run", "other:pipeline=kd"], ["--run", "seed=x"], ["--say", "zone"]]
)
def test_an_option_that_says_nothing_of_the_file_is_a_usage_error(server, tmp_path, option, capsys):
    (tmp_path / "e.csv").write_text("a,b\n")
    server.answer(200, LOOKED)
    assert main(["import", str(tmp_path / "e.csv"), "--study", "s", *option]) == 2
    assert option[1] in capsys.readouterr().err


def test_a_folder_travels_as_the_same_archive_each_time_without_links(tmp_path):
    folder = tmp_path / "exp"
    (folder / "stages").mkdir(parents=True)
    (folder / "stages" / "s.json").write_text("{}")
    (folder / "model.bin").write_text("large")
    (folder / "out.json").symlink_to("/etc/passwd")
    bodies = []
    for _ in range(2):
        with opened(folder) as (stream, name):
            bodies.append(stream.read())
        (folder / "stages" / "s.json").touch()
    assert name == "exp.tar.gz"
    assert bodies[0] == bodies[1]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bodies[0]))) as archive:
        assert archive.getnames() == ["exp/stages/s.json"]


def test_status_counts_what_waits_and_asks_the_server(server, tmp_path, capsys):
    spool.write_record(tmp_path / "spool", a_record())
    server.answer(200, {"status": "ok"})
    server.answer(200, {"results": [{"external_id": "r1", "id": "i", "pipeline": "kd", "status": "finished"}]})
    assert main(["status", "r1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["spool"] | {"folder": ""} == {
        "folder": "",
        "waiting": 1,
        "sent": 0,
        "runs_waiting": 0,
        "open": 0,
        "damaged": 0,
    }
    assert (found["server"]["status"], found["runs"][0]["status"]) == ("ok", "finished")


def test_status_without_a_server_is_exit_code_5(server, monkeypatch, capsys):
    monkeypatch.setenv("STAGEMETER_URL", "http://127.0.0.1:9")
    assert main(["status", "--attempts", "1"]) == 5
    assert "failed 1 times" in capsys.readouterr().out


def test_uploads_print_one_json_document_if_asked(server, tmp_path, capsys):
    spool.write_record(tmp_path / "spool", a_record())
    server.answer(200, results("created"))
    assert main(["upload", "--json"]) == 0
    assert [result["status"] for result in json.loads(capsys.readouterr().out)] == ["created"]


def test_a_run_that_was_kept_travels_before_its_records_and_takes_them_along(server, tmp_path, capsys):
    record = a_record()
    folder = tmp_path / "spool"
    spool.write_record(folder, record)
    spool.keep_run({"external_id": "r", "pipeline": "kd", "student": "s"}, [record], study="x", spool_dir=folder)
    server.answer(201, {"created": True})
    assert main(["upload"]) == 0
    assert [request[0] for request in server.requests] == ["/api/v1/runs/upload/"]
    assert spool.pending(folder) == spool.pending_runs(folder) == []


def test_every_command_takes_json():
    commands = next(action for action in parser()._actions if action.choices).choices
    assert {"run", "upload", "status", "lookup", "plan", "submit", "import", "doctor"} <= set(commands)
    for command in commands.values():
        assert "--json" in command.format_help()


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_names_every_command(shell):
    text = script(parser(), shell)
    assert "import" in text and "dry-run" in text


def test_bash_completes_a_command_and_its_options():
    ask = 'COMP_WORDS=(stagemeter {}); COMP_CWORD={}; _stagemeter; echo "${{COMPREPLY[@]}}"'
    lines = [script(parser(), "bash"), ask.format("im", 1), ask.format("import --dr", 2)]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["import", "--dry-run"]
