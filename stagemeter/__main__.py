"""The command line: meter a command, upload and import measurements, look things up."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagemeter.completion import SHELLS
from stagemeter.errors import ClientError, RecordError, Refused, StagemeterError, Unreachable
from stagemeter.records import TOKEN_KINDS, StageRecord, total_energy

if TYPE_CHECKING:
    from stagemeter.baseline import Baseline
    from stagemeter.client import Client

# What a scheduler ends or warns a job with.
PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
OK, FOUND_FAULTS, USAGE, NOT_METERED, REFUSED, UNREACHABLE = range(6)
EXIT_CODES = """exit codes:
  0  done
  1  a check failed, metering above all (doctor), some records were refused (upload), a file is not booked because
     something is still to be said or a row is refused (import), or records still wait (status)
  2  the command line or an input file is wrong
  3  metering could not begin, or a record could not be kept
  4  the server refused
  5  the server could not be reached
`run` exits as the command did; 128 + N if signal N ended it, 126 or 127 if it could not be started.

environment:
  STAGEMETER_URL, STAGEMETER_TOKEN   the server and your token there
  STAGEMETER_SPOOL                   where records wait, default ~/.local/state/stagemeter/spool
  STAGEMETER_RUN                     the run that meters belong to which name none
"""


class CommandFailed(StagemeterError):
    """The metered command ended with another code than 0."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"exit code {code}")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except Refused as error:
        return _fail(_said(error.problems), REFUSED)
    except Unreachable as error:
        return _fail(str(error), UNREACHABLE)
    except (ClientError, RecordError, OSError, ValueError) as error:
        return _fail(str(error), USAGE)
    except StagemeterError as error:
        return _fail(str(error), NOT_METERED)


def _fail(message: str, code: int) -> int:
    print(f"stagemeter: {message}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    """Every command and option."""
    described = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="stagemeter", description=__doc__, epilog=EXIT_CODES, formatter_class=described)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="meter a command as one stage", epilog=EXIT_CODES, formatter_class=described)
    run.add_argument("--stage", required=True, help="its kind, such as student_training")
    run.add_argument("--role", default="", help="needed for a kind of your own: data, teacher, student or evaluation")
    run.add_argument("--run", help="the run it belongs to")
    run.add_argument("--name", default="")
    run.add_argument("--period", type=float, default=0.5, help="seconds between samples")
    run.add_argument("--tokens", action="append", default=[], metavar="KIND=N", help=f"{', '.join(TOKEN_KINDS)}")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="-- CMD …")
    run.set_defaults(command=run_command)

    upload = commands.add_parser("upload", help="send records to a server")
    upload.add_argument("files", nargs="*", default=["spool"], help="JSON or JSONL files, or the word spool (default)")
    upload.add_argument("--study", help="slug of the study they belong to")
    upload.add_argument("--project", help="slug of the project, where the study does not say it")
    upload.add_argument("--keep-trying", action="store_true", help="ask on until the server has it all, for days")
    _server(upload).set_defaults(command=upload_command)

    status = commands.add_parser("status", help="say what waits here, how the server does, and where a run stands")
    status.add_argument("run", nargs="?", help="your own name for a run, or its id")
    _server(status).set_defaults(command=status_command)

    taken = commands.add_parser(
        "import",
        help="book another tool's file (CodeCarbon, Zeus, MLflow, lm-eval, …) or run folder",
        epilog=EXIT_CODES,
        formatter_class=described,
    )
    taken.add_argument(
        "files", nargs="+", type=Path, help="files, or folders, which are sent as archives; or mlflow --tracking-uri …"
    )
    taken.add_argument("--tracking-uri", help="of an MLflow server, whose runs are read from here and imported")
    taken.add_argument("--experiment", action="append", default=[], help="there, by name; all of them without it")
    taken.add_argument("--filter", default="", help="of its runs, as MLflow writes it")
    taken.add_argument("--study", required=True, help="slug of the study")
    taken.add_argument("--dry-run", action="store_true", help="say what would be booked, and keep nothing")
    taken.add_argument("--answers", type=Path, help="a JSON file of what they do not say, as the REST layer takes it")
    for option, shape, text in (
        ("--run", "FIELD=VALUE", "of its runs, such as pipeline=kd; NAME:FIELD=VALUE of one"),
        ("--kind", "KIND", "of its stages, such as student_training; PATTERN=KIND of some; leave_out"),
        ("--say", "QUESTION=ANSWER", "such as zone=+02:00"),
        ("--score", "BENCHMARK", "to take, where the file holds more than scores"),
    ):
        taken.add_argument(option, action="append", default=[], metavar=shape, help=text)
    taken.add_argument("--keep-names", action="store_true", help="keep host names, user names and home folders")
    _server(taken).set_defaults(command=import_command)

    shell = commands.add_parser("completion", help="print the completion of a shell, to be sourced")
    shell.add_argument("shell", choices=SHELLS)
    shell.set_defaults(command=completion_command)

    doctor = commands.add_parser(
        "doctor", help="say whether this host can be metered", epilog=EXIT_CODES, formatter_class=described
    )
    _prerun(doctor, seconds=3.0, burn_in=1.5).set_defaults(command=doctor_command)

    prerun = commands.add_parser("prerun", help="take this host's idle power, for net energy, and check its sensors")
    _prerun(prerun, seconds=30.0, burn_in=3.0).set_defaults(command=prerun_command)

    for name, text, command in (
        ("lookup", "ask who has already made a teacher artifact", lookup_command),
        ("plan", "say what a run would do and reuse", plan_command),
        ("submit", "submit a run", submit_command),
    ):
        asked = commands.add_parser(name, help=text)
        several: dict[str, Any] = {} if name == "lookup" else {"nargs": "?"}
        asked.add_argument("file", type=Path, help="a JSON file, or - for standard input", **several)
        _server(asked).set_defaults(command=command)
        if name != "lookup":
            asked.add_argument("--study", help="slug of the study")
            asked.add_argument("--preset", help="such as paper-kd-7b-math; what the file says goes before it")
            asked.add_argument("--regenerate-reason", help="why an artifact that exists shall be made again")
    for added in commands.choices.values():
        added.add_argument("--spool", type=Path, help="default $STAGEMETER_SPOOL")
        added.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return top


def _prerun(added: argparse.ArgumentParser, *, seconds: float, burn_in: float) -> argparse.ArgumentParser:
    added.add_argument("--seconds", type=float, default=seconds, help=f"at rest (default {seconds:g})")
    added.add_argument("--burn-in", type=float, default=burn_in, help=f"seconds under load (default {burn_in:g})")
    added.add_argument("--gpu-load", action="store_true", help="load the GPUs too, with torch")
    return added


def _server(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
    added.add_argument("--url", default=os.environ.get("STAGEMETER_URL"), help="default $STAGEMETER_URL")
    added.add_argument("--token", default=os.environ.get("STAGEMETER_TOKEN"), help="default $STAGEMETER_TOKEN")
    added.add_argument("--attempts", type=int, default=5, help="how often an unreachable server is asked (default 5)")
    return added


def run_command(options: argparse.Namespace) -> int:
    """`stagemeter run`: meter the command, pass its exit code and its signals."""
    from stagemeter.meter import Meter

    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        return _fail(
            "no command given; write it after --, such as: stagemeter run --stage evaluation -- python e.py", 2
        )
    tokens = dict(_token_count(text) for text in options.tokens)
    meter = Meter(
        options.stage,
        role=options.role,
        run_id=options.run,
        name=options.name,
        period_s=options.period,
        spool_dir=options.spool,
    )
    code = OK
    try:
        with meter:
            meter.add_tokens(**tokens)
            code = _child(words)
            if code:
                raise CommandFailed(code)
    except CommandFailed:
        pass  # said by the exit code, and in the record
    if options.json:
        print(json.dumps(meter.record.to_dict()), file=sys.stderr)  # standard output is the command's
    else:
        print(_summary(meter.record), file=sys.stderr)
    return code


def _token_count(text: str) -> tuple[str, int]:
    kind, _, count = text.partition("=")
    if kind not in TOKEN_KINDS or not count.isdecimal():
        raise ValueError(f"--tokens {text}: write KIND=N with a kind out of {', '.join(TOKEN_KINDS)}")
    return kind, int(count)


def _child(words: list[str]) -> int:
    """Run the command with this one's terminal; its exit code in the shell's way of counting."""
    with _signals_held() as forward:
        try:
            child = subprocess.Popen(words)
        except FileNotFoundError:
            return _fail(f"{words[0]}: command not found", 127)
        except OSError as error:
            return _fail(f"{words[0]}: {error.strerror}", 126)
        forward(child)
        code = child.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _signals_held() -> Iterator[Callable[["subprocess.Popen[bytes]"], None]]:
    """Pass signals on to the child that what this yields is called with, also those that came before it was.

    SIGINT reaches it through the terminal, and only must not end us.
    """
    children: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def forward(number: int, _frame: Any) -> None:
        if not children:
            early.append(number)
        for child in children:
            child.send_signal(number)

    def begin(child: "subprocess.Popen[bytes]") -> None:
        children.append(child)
        for number in early:
            child.send_signal(number)

    handlers: dict[int, Any] = dict.fromkeys(PASSED_ON, forward)
    handlers[signal.SIGINT] = lambda *_: None
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield begin
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _summary(record: StageRecord) -> str:
    total, missing = total_energy(record)
    energy = f"{total:.1f} J" if total is not None else f"no total, not measured: {', '.join(missing)}"
    lasted = "" if record.duration_s is None else f" {record.duration_s:.1f} s,"
    lines = [f"stagemeter: {record.kind} {record.status},{lasted} {energy}, record {record.record_id}"]
    lines += [f"stagemeter: {remark['code']}: {remark['message']}" for remark in record.flags]
    return "\n".join(lines)


def upload_command(options: argparse.Namespace) -> int:
    """`stagemeter upload`: the spool, or files of records."""
    from stagemeter.spool import default_spool

    place = {"study": options.study, "project": options.project}
    results: list[dict[str, Any]] = []
    with _client(options) as client:
        for name in options.files:
            if name == "spool":
                results += client.upload_spool(options.spool or default_spool(), **place)
            else:
                results += client.upload(_records_in(Path(name)), **place)
    if options.json:
        print(json.dumps(results))
    else:
        for result in results:
            print(json.dumps(result))
    return FOUND_FAULTS if any(result["status"] == "refused" for result in results) else OK


def _records_in(path: Path) -> list[StageRecord]:
    """Records of a JSON file (one or a list) or of one with a record a line."""
    text = path.read_text()
    try:
        data = json.loads(text)
    except ValueError:
        data = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [StageRecord.from_dict(item) for item in (data if isinstance(data, list) else [data])]


def status_command(options: argparse.Namespace) -> int:
    """`stagemeter status`: the spool, the server, and one run if it is named."""
    from stagemeter import spool

    folder = options.spool or spool.default_spool()
    found: dict[str, Any] = {"spool": {"folder": str(folder), **spool.counts(folder)}, "server": None, "runs": None}
    unreachable = None
    if options.url and options.token:
        with _client(options) as client:
            try:
                found["server"] = client.status()
                found["runs"] = client.runs_named(options.run) if options.run else None
            except Unreachable as error:
                unreachable = error
    elif options.run:
        _client(options)  # which says what is missing
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_status_lines(found, unreachable)))
    if unreachable is not None:
        return UNREACHABLE
    waiting = found["spool"]["waiting"] + found["spool"]["runs_waiting"] + found["spool"]["damaged"]
    return FOUND_FAULTS if waiting else OK


def _status_lines(found: dict[str, Any], unreachable: Unreachable | None) -> list[str]:
    counts = found["spool"]
    lines = [
        f"spool   {counts['folder']}: {counts['waiting']} records and {counts['runs_waiting']} runs wait, "
        f"{counts['open']} stages are open, {counts['sent']} sent, {counts['damaged']} damaged"
    ]
    if unreachable is not None:
        lines.append(f"server  {unreachable}")
    elif found["server"] is None:
        lines.append("server  none named; set STAGEMETER_URL and STAGEMETER_TOKEN")
    else:
        lines.append(f"server  {found['server'].get('status')}")
    for run in found["runs"] or []:
        lines.append(f"run     {run['external_id'] or run['id']}: {run['pipeline']}, {run['status']}")
    if found["runs"] == []:
        lines.append("run     no run of that name is to be seen there")
    return lines


def import_command(options: argparse.Namespace) -> int:
    """`stagemeter import`: look at each file, say what the options say, and book it unless it is a dry run."""
    from stagemeter import foreign

    given = _object_in(options.answers) if options.answers else {}
    code, shown = OK, []
    with _client(options) as client, _to_import(options) as files:
        for file in files:
            how = {"study": options.study, "redact": not options.keep_names}
            looked = client.import_file(file, dry_run=True, **how)
            said = foreign.answers(
                looked, given=given, run=options.run, kinds=options.kind, said=options.say, scores=options.score
            )
            answer = client.import_file(file, dry_run=True, answers=said, **how)
            refused = any(row["status"] == "refused" for row in answer["rows"])
            if answer["needed"] or refused:
                code = FOUND_FAULTS
            elif not options.dry_run:
                answer = client.import_file(file, answers=said, **how)
            shown.append(answer)
            if not options.json:
                print("\n".join(foreign.lines(answer)))
    if options.json:
        print(json.dumps(shown, indent=2))
    return code


@contextmanager
def _to_import(options: argparse.Namespace) -> Iterator[list[Path]]:
    """The files to import; those of a tracking server are read into a folder of their own first."""
    if options.tracking_uri is None:
        yield options.files
        return
    if options.files != [Path("mlflow")]:
        raise ClientError("--tracking-uri is of an MLflow server: stagemeter import mlflow --tracking-uri URI …")
    from tempfile import TemporaryDirectory

    from stagemeter import tracking

    with TemporaryDirectory(prefix="stagemeter-mlflow-") as folder:
        yield [tracking.fetch(options.tracking_uri, Path(folder), experiments=options.experiment, where=options.filter)]


def _said(problems: Any) -> str:
    """A refusal as lines for a person: its sentence, and what is wrong with each field where there are several."""
    if not isinstance(problems, dict) or "message" not in problems:
        return json.dumps(problems, indent=2, default=str)
    fields = problems.get("fields") or {}
    several = [f"  {name}: {text}" for name, texts in fields.items() for text in texts] if len(fields) > 1 else []
    return "\n".join([str(problems["message"]), *several])


def completion_command(options: argparse.Namespace) -> int:
    """`stagemeter completion`."""
    from stagemeter import completion

    print(completion.script(parser(), options.shell), end="")
    return OK


def doctor_command(options: argparse.Namespace) -> int:
    """`stagemeter doctor`: the checks, and a short prerun as the proof, of which nothing is kept."""
    from stagemeter import baseline, environment, prerun
    from stagemeter.checks import Check
    from stagemeter.spool import default_spool

    folder = options.spool or default_spool()
    stored = {kind: _stored(found) for kind, found in baseline.stored(folder).items()}
    found: dict[str, Any] = {}
    try:
        how = {"burn_in_s": options.burn_in, "gpu_load": options.gpu_load}
        record = prerun.examine(options.seconds, spool_dir=folder, **how)
    except StagemeterError as error:
        from stagemeter import checks

        found["checks"] = [asdict(check) for check in [*checks.before(folder), Check("metering", False, str(error))]]
    else:
        shutil.rmtree(folder / record.record_id)  # a proof, not a measurement to keep
        found = {name: record.extra[name] for name in ("checks", "baseline", "parts_w", "burn_in")}
        found["idle_power_w"] = record.idle_power_w
    if options.json:
        print(json.dumps({**found, "stored": stored, "environment": environment.collect()}, indent=2))
    else:
        print(_diagnosis(found["checks"], stored))
    return FOUND_FAULTS if any(check["ok"] is False for check in found["checks"]) else OK


def _stored(taken: "Baseline") -> dict[str, Any]:
    from stagemeter import baseline

    return {**asdict(taken), "idle_power_w": taken.power_w(list(taken.gpu_w)), "stale": baseline.why_stale(taken)}


def _diagnosis(checks: list[dict[str, Any]], stored: dict[str, dict[str, Any]]) -> str:
    """What `doctor` says to people."""
    marks = {True: "ok", False: "FAULT", None: "-"}
    lines = [f"{marks[check['ok']]:6}{check['name']:10}{check['message']}" for check in checks]
    for kind, taken in stored.items():
        watts = "unknown" if taken["idle_power_w"] is None else f"{taken['idle_power_w']:.1f} W"
        state = taken["stale"] or "is used for net energy"
        lines.append(
            f"{'-' if taken['stale'] else 'ok':6}{'idle':10}{watts} {kind} on {taken['taken_at'][:16]} {state}"
        )
    if not stored:
        lines.append(
            f"{'-':6}{'idle':10}no idle baseline is kept of this host, so no net energy; run `stagemeter prerun`"
        )
    return "\n".join(lines)


def prerun_command(options: argparse.Namespace) -> int:
    """`stagemeter prerun`: the idle baseline, as a record in the spool and for the stages that follow."""
    from stagemeter import prerun

    how = {"burn_in_s": options.burn_in, "gpu_load": options.gpu_load, "spool_dir": options.spool}
    record = prerun.run(options.seconds, **how)
    print(_summary(record), file=sys.stderr)
    print(json.dumps(record.to_dict(), indent=2))
    return OK


def lookup_command(options: argparse.Namespace) -> int:
    """`stagemeter lookup`."""
    with _client(options) as client:
        answer = client.lookup(_object_in(options.file))
    if options.json:
        return _print(answer)
    decision = answer["decision"]
    print(f"{decision['action'] or 'unknown'}: {decision['reason']}")
    for how in ("exact", "covering", "in_progress"):
        for artifact in answer[how]:
            print(f"  {how.replace('_', ' ')}: {artifact['name']} {artifact['id']}")
    for miss in answer["near"]:
        print(f"  near: {miss['artifact']['name']} {miss['artifact']['id']}, but for {', '.join(miss['differences'])}")
    return OK


def plan_command(options: argparse.Namespace) -> int:
    """`stagemeter plan`."""
    with _client(options) as client:
        answer = client.plan(_spec(options), **_submission(options))
    if options.json:
        return _print(answer)
    for stage in answer["stages"]:
        print(f"{stage['kind']}: {stage['action'] or 'run'}{': ' if stage['reason'] else ''}{stage['reason']}")
        for line in _costs(stage):
            print(f"  {line}")
    return OK


def _costs(stage: Mapping[str, Any]) -> Iterator[str]:
    """What a planned stage is expected to cost, and the floor of its work, in words."""
    energy_j, least = stage.get("expected_energy_j"), stage.get("floor")
    expected = "" if energy_j is None else f"{_in_kwh(energy_j)}, "
    yield f"expected: {expected}{stage['expected_basis']}"
    if least:
        memory = stage["memory_bytes"] / 2**30
        yield (
            f"at least {_in_kwh(least['energy_j'])} and {least['duration_s'] / 3600:.3g} h on one {least['device']}, "
            f"with {memory:.3g} GiB of its memory, if every row is as long as it may be"
        )


def _in_kwh(energy_j: float) -> str:
    return f"{energy_j / 3.6e6:.3g} kWh"


def submit_command(options: argparse.Namespace) -> int:
    """`stagemeter submit`."""
    with _client(options) as client:
        answer = client.submit(_spec(options), **_submission(options))
    if options.json:
        return _print(answer)
    print(f"{answer['id']} {answer['status']}")
    return OK


def _spec(options: argparse.Namespace) -> dict[str, Any]:
    if options.file is None and not options.preset:
        raise ClientError("nothing to plan; name a JSON file, or a preset with --preset, such as paper-kd-7b-math")
    named = {"preset": options.preset} if options.preset else {}
    return named | ({} if options.file is None else _object_in(options.file))


def _submission(options: argparse.Namespace) -> dict[str, Any]:
    values: dict[str, Any] = {"study": options.study} if options.study else {}
    if options.regenerate_reason:
        values |= {"regenerate": True, "regenerate_reason": options.regenerate_reason}
    return values


def _print(answer: dict[str, Any]) -> int:
    print(json.dumps(answer, indent=2))
    return OK


def _object_in(path: Path) -> dict[str, Any]:
    data = json.loads(sys.stdin.read() if str(path) == "-" else path.read_text())
    if not isinstance(data, dict):
        raise ClientError(f"{path} holds a {type(data).__name__}; an object is wanted")
    return data


def _client(options: argparse.Namespace) -> "Client":
    from stagemeter.client import Client

    if not options.url or not options.token:
        raise ClientError("no server; set STAGEMETER_URL and STAGEMETER_TOKEN, or give --url and --token")
    attempts = sys.maxsize if getattr(options, "keep_trying", False) else options.attempts
    return Client(options.url, options.token, attempts=attempts)


if __name__ == "__main__":
    sys.exit(main())
