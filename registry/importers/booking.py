"""From what a file holds and what a person says of it to rows in the ledger, or to a preview of them.

The same file again books nothing: a record's id is made from its project, its format and its own key in the file, so
it stays the same whatever is answered, and one that was booked under other answers is refused instead of counted twice.
What is still to be said is listed under `needed`, by the name under which it is to be said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction

from registry.accounting.rates import DENOMINATOR_OF_KIND
from registry.importers.findings import Findings, FoundScore, FoundStage
from registry.models import Membership, Origin, Run, Study, User
from registry.selectors.imports import imported_before
from registry.services import accounts, audit, ledger, scores, summaries
from registry.services.errors import Invalid, ServiceError
from registry.services.uploads import upload_run
from stagemeter.errors import RecordError
from stagemeter.records import ROLE_OF_KIND, StageRecord

LEFT_OUT = "leave_out"
KINDS = (*(kind for kind in ROLE_OF_KIND if kind != "prerun"), LEFT_OUT)
RUN_FIELDS = ("external_id", "pipeline", "student", "student_size", "teacher", "workload", "seed", "hardware_class")
_KEYS = ("runs", "stages", "scores", "questions")
NEW, SAME, REFUSED, OUT, OPEN = "new", "same", "refused", "left_out", "open"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a person says: of each run by its name in the file, of each stage by its key, and of the questions.

    `runs[name]`: fields of a run, or the `external_id` of one that is here, or `leave_out`. `stages[key]`: its kind or
    "leave_out". `scores`: benchmarks to take where the file holds more than scores; none: those of the study's suite.
    """

    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    scores: tuple[str, ...] = ()
    questions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, value: Any) -> "Answers":
        """From JSON. Raises `Invalid`."""
        if not isinstance(value, Mapping):
            raise Invalid({"answers": "must be an object"})
        problems = {f"answers.{key}": f"unknown; known: {', '.join(_KEYS)}" for key in value.keys() - set(_KEYS)}
        for key in ("runs", "stages", "questions"):
            if not isinstance(value.get(key, {}), Mapping):
                problems[f"answers.{key}"] = "must be an object"
        if problems:
            raise Invalid(problems)
        runs, stages = value.get("runs", {}), value.get("stages", {})
        problems |= {
            f"answers.runs.{name}": "must be an object" for name, v in runs.items() if not isinstance(v, Mapping)
        }
        problems |= {
            f"answers.stages.{key}": f"{str(kind)[:40]!r} is none of {', '.join(KINDS)}"
            for key, kind in stages.items()
            if kind not in KINDS
        }
        named = value.get("scores", [])
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            problems["answers.scores"] = "must be a list of benchmarks"
        if problems:
            raise Invalid(problems)
        questions = {str(key): str(item) for key, item in value.get("questions", {}).items()}
        return cls(runs=runs, stages=stages, scores=tuple(named), questions=questions)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stage or score as it would be booked, or why not. Energy in joules, `None` with a hole in it."""

    what: str  # stage | score
    key: str
    run: str
    label: str
    kind: str
    status: str  # new | same | refused | left_out | open
    energy_j: float | None = None
    duration_s: float | None = None
    value: float | None = None
    flags: tuple[dict[str, str], ...] = ()
    problems: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What an import came to. `kept` is false after a look, or where something is refused or still to be said."""

    findings: Findings
    rows: tuple[Row, ...]
    needed: Mapping[str, str]
    runs: tuple[Run, ...]
    kept: bool
    before: bool  # this very file was imported into the project once already

    @property
    def refused(self) -> int:
        """Rows that were refused."""
        return sum(row.status == REFUSED for row in self.rows)


def book(*, findings: Findings, answers: Answers, study: Study, actor: User, keep: bool) -> Preview:
    """Book the file into `study`, all of it or nothing; without `keep`, try it and take everything back.

    Raises `Invalid` for answers to what the file doesn't ask, and `NotAllowed`.
    """
    accounts.require_role(actor, study.project, Membership.Role.SUBMITTER)
    _check(findings, answers)
    needed = _needed(findings, answers, study)
    said = {question.name: answers.questions.get(question.name) or question.default for question in findings.questions}
    before = imported_before(study.project, findings.source["sha256"])
    job = _Import(findings=findings, answers=answers, said=said, study=study, actor=actor, needed=needed)
    with transaction.atomic():
        rows: list[Row] = []
        runs: list[Run] = []
        with summaries.once():
            for group in findings.groups:
                run, found = job.group(group)
                rows += found
                runs += [run] if run is not None else []
        good = not needed and any(row.status in (NEW, SAME) for row in rows)
        kept = keep and good and not any(row.status == REFUSED for row in rows)
        if kept:
            detail = {**findings.source, "format": findings.format, "new": sum(row.status == NEW for row in rows)}
            for run in runs:
                audit.record(actor=actor, project=study.project, action="file imported", subject=run, **detail)
        else:
            transaction.set_rollback(True)
    return Preview(
        findings=findings, rows=tuple(rows), needed=needed, runs=tuple(runs) if kept else (), kept=kept, before=before
    )


def _check(findings: Findings, answers: Answers) -> None:
    """Refuse answers about what the file does not hold: ignored, they would book something else than was meant."""
    known = {
        "runs": set(findings.groups),
        "stages": {stage.key for stage in findings.stages},
        "questions": {question.name for question in findings.questions},
    }
    problems = {
        f"answers.{part}.{name}": "is not in the file"
        for part, names in known.items()
        for name in getattr(answers, part).keys() - names
    }
    for question in findings.questions:
        given = answers.questions.get(question.name)
        if given and question.choices and given not in question.choices:
            problems[f"answers.questions.{question.name}"] = f"{given[:40]!r} is none of {', '.join(question.choices)}"
    if problems:
        raise Invalid(problems)


def _needed(findings: Findings, answers: Answers, study: Study) -> dict[str, str]:
    """What is still to be said before anything can be booked."""
    needed = {}
    wanted = [group for group in findings.groups if not _left_out(group, findings, answers)]
    for group in wanted:
        facts = _facts_of_run(group, findings, answers)
        if _existing(facts, study) is None:
            for name in ("pipeline", "student"):
                if not facts.get(name):
                    needed[f"runs.{group}.{name}"] = f"the {name} of the run {group!r}, or the external_id of one here"
        needed |= {
            f"stages.{stage.key}": f"the kind of {stage.label!r}: one of {', '.join(KINDS)}"
            for stage in findings.stages
            if stage.group == group and not _kind(stage, answers)
        }
    if not wanted:
        needed["runs"] = "which of its models or runs to take, and which runs here they are"
    for question in findings.questions:
        if not (answers.questions.get(question.name) or question.default):
            needed[f"questions.{question.name}"] = question.text
    return needed


def _left_out(group: str, findings: Findings, answers: Answers) -> bool:
    given = answers.runs.get(group)
    return bool(given.get(LEFT_OUT)) if given else findings.chosen and len(findings.groups) > 1


def _facts_of_run(group: str, findings: Findings, answers: Answers) -> dict[str, Any]:
    """The run's fields: what the person says, else what the file says."""
    given = {name: value for name, value in answers.runs.get(group, {}).items() if value not in ("", None)}
    given.pop(LEFT_OUT, None)
    return {"external_id": group} | findings.groups[group] | _hardware(group, findings) | given


def _hardware(group: str, findings: Findings) -> dict[str, Any]:
    """The environment of the first stage that has one, and the GPUs in it as the class of runs to compare with."""
    found = (stage.facts.get("environment") for stage in findings.stages if stage.group == group)
    environment: dict[str, Any] = next((known for known in found if known), {})
    names = [str(gpu.get("name", "")) for gpu in environment.get("gpus", [])]
    if not environment:
        return {}
    if not names or not names[0]:
        return {"environment": environment}
    hardware = names[0] if names[0][0].isdigit() else f"{len(names)} × {names[0]}"
    return {"environment": environment, "hardware_class": hardware[:200]}


def _existing(facts: Mapping[str, Any], study: Study) -> Run | None:
    """The run that is named and not described: one that is here already."""
    if facts.get("pipeline"):
        return None
    name = str(facts["external_id"])
    found: Run | None = Run.objects.filter(project=study.project, study=study).by_name(name).first()
    return found


def _kind(stage: FoundStage, answers: Answers) -> str:
    return answers.stages.get(stage.key) or stage.kind


@dataclass(frozen=True, kw_only=True)
class _Import:
    """One import under way. `said` are the answers to its questions, defaults among them."""

    findings: Findings
    answers: Answers
    said: Mapping[str, str]
    study: Study
    actor: User
    needed: Mapping[str, str]

    def group(self, name: str) -> tuple[Run | None, list[Row]]:
        """One run of the file: its rows, and the run if they could be booked."""
        stages = [stage for stage in self.findings.stages if stage.group == name]
        found = [s for s in self.findings.scores if s.group == name and self._wanted(s)]
        if _left_out(name, self.findings, self.answers):
            return None, [_stage_row(s, OUT, "") for s in stages] + [_score_row(s, s.values, OUT) for s in found]
        kinds = {stage.key: _kind(stage, self.answers) for stage in stages}
        rows = [_stage_row(s, OPEN, "") for s in stages if not kinds[s.key]]
        rows += [_stage_row(s, OUT, LEFT_OUT) for s in stages if kinds[s.key] == LEFT_OUT]
        taken = [stage for stage in stages if kinds[stage.key] not in ("", LEFT_OUT)]
        pending = [_stage_row(stage, OPEN, kinds[stage.key]) for stage in taken]
        values = [_answered_score(score, self.said) for score in found]
        pending += [_score_row(score, v, OPEN) for score, v in zip(found, values, strict=True)]
        if any(place.startswith((f"runs.{name}.", "questions.")) for place in self.needed):
            return None, [*rows, *pending]
        try:
            run = self._run(name)
        except ServiceError as error:
            problems = error.problems if isinstance(error, Invalid) else {"run": str(error)}
            return None, [*rows, *(replace(row, status=REFUSED, problems=problems) for row in pending)]
        clashes = _overlaps(taken) if self.findings.exclusive else {}
        for stage in taken:
            row = self._stage(stage, run)
            rows.append(replace(row, status=REFUSED, problems=clashes[stage.key]) if stage.key in clashes else row)
        rows += [self._score(score, v, run) for score, v in zip(found, values, strict=True)]
        _span(run)
        return run, rows

    def _run(self, name: str) -> Run:
        facts = _facts_of_run(name, self.findings, self.answers)
        existing = _existing(facts, self.study)
        if existing is not None:
            return existing
        with transaction.atomic():
            document = {"study": self.study.slug, "run": facts}
            return upload_run(actor=self.actor, document=document, origin=Origin.IMPORT).run

    def _wanted(self, score: FoundScore) -> bool:
        """Whether to take a score out of a file that holds many: one asked for, else one of the study's suite."""
        if self.answers.scores:
            return score.values["benchmark"] in self.answers.scores
        return not self.findings.chosen or score.values["benchmark"] in self.study.suite

    def _stage(self, stage: FoundStage, run: Run) -> Row:
        kind = _kind(stage, self.answers)
        row = _stage_row(stage, NEW, kind)
        try:
            record = _record(stage, self.findings, kind, self.said, run)
            row = replace(row, flags=record.flags)
            with transaction.atomic():
                booked = ledger.record_stage(
                    record=record, project=run.project, origin=Origin.IMPORT, actor=self.actor, run=run
                )
        except (RecordError, Invalid) as error:
            return replace(row, status=REFUSED, problems=error.problems)
        except ServiceError as error:
            return replace(row, status=REFUSED, problems={"record_id": str(error)})
        return replace(row, status=NEW if booked.created else SAME, energy_j=booked.row.energy_j)

    def _score(self, score: FoundScore, values: dict[str, Any], run: Run) -> Row:
        row = _score_row(score, values, NEW)
        try:
            with transaction.atomic():
                booked = scores.record_score(run=run, origin=Origin.IMPORT, actor=self.actor, **values)
        except Invalid as error:
            return replace(row, status=REFUSED, problems=error.problems)
        except ServiceError as error:
            return replace(row, status=REFUSED, problems={"score_id": str(error)})
        return replace(row, status=NEW if booked.created else SAME)


def _span(run: Run) -> None:
    """A run lasts from its first stage to its last."""
    first, last = run.stages.order_by("started_at").first(), run.stages.order_by("ended_at").last()
    if first is not None and last is not None:
        run.started_at, run.finished_at = first.started_at, last.ended_at
        run.save(update_fields=["started_at", "finished_at"])


def _record(stage: FoundStage, findings: Findings, kind: str, said: Mapping[str, str], run: Run) -> StageRecord:
    """The stage as a record. Raises `RecordError` or `Invalid`."""
    facts = dict(stage.facts)
    _answer_times(facts, said)
    if said.get("gpu_zero") == "no gpu" and facts.get("gpu_energy_j") is None:
        facts["components"] = [component for component in facts["components"] if component != "gpu"]
        facts["flags"] = [remark for remark in facts["flags"] if remark["code"] != "gpu_zero"]
    if "emissions" in facts.get("extra", {}) and findings.format == "model_card":
        grams = facts["extra"]["emissions"] * (1000 if said.get("emissions_unit") == "kg" else 1)
        facts["extra"] = {**facts["extra"], "emissions_kg": grams / 1000}
    tokens = facts.pop("tokens", None)
    if tokens is not None:
        facts[f"{DENOMINATOR_OF_KIND.get(kind, 'trained')}_tokens"] = tokens
    name = ledger.body_digest({"project": str(run.project_id), "format": findings.format, "key": stage.key})
    return StageRecord.from_dict(
        {**facts, "record_id": f"import-{name[:40]}", "kind": kind, "run_id": run.external_id or str(run.pk)}
    )


def _answer_times(facts: dict[str, Any], said: Mapping[str, str]) -> None:
    """Give the stage its times: a zone, or the end that somebody remembers."""
    if "ended_at" not in facts and "started_at" not in facts:
        facts["ended_at"] = said.get("ended_at", "")
    for name in ("started_at", "ended_at"):
        if name in facts:
            facts[name] = _aware(facts[name], name, said.get("zone", ""))
    length = timedelta(seconds=facts["duration_s"] or 0.0)
    try:
        if "started_at" not in facts:
            facts["started_at"] = facts["ended_at"] - length
        facts.setdefault("ended_at", facts["started_at"] + length)
    except OverflowError as error:
        raise Invalid({"ended_at": "lies beyond the calendar"}) from error


def _aware(value: str, name: str, zone: str) -> datetime:
    try:
        when = datetime.fromisoformat(value)
        if when.tzinfo is None and zone:
            when = datetime.fromisoformat(f"{when.isoformat()}{'+00:00' if zone == 'UTC' else zone}")
        if when.tzinfo is None:
            raise ValueError
    except ValueError as error:
        said = f" in the zone {zone[:20]!r}" if zone else ""
        text = f"{value[:40]!r}{said} is no time; write it like 2026-01-31T12:00:00+01:00"
        raise Invalid({name: text}) from error
    return when


def _overlaps(stages: list[FoundStage]) -> dict[str, dict[str, str]]:
    """Stages that overlap another one in time, which a sum would count twice."""
    spans = []
    for stage in stages:
        if "started_at" in stage.facts:
            start = datetime.fromisoformat(stage.facts["started_at"])
            start = start if start.tzinfo else start.replace(tzinfo=UTC)  # all of a file's are of one zone
            spans.append((start, start + timedelta(seconds=stage.facts["duration_s"] or 0.0), stage))
    spans.sort(key=lambda span: span[0])
    found: dict[str, dict[str, str]] = {}
    widest: tuple[datetime, FoundStage] | None = None
    for start, end, stage in spans:
        if widest is not None and start < widest[0] - timedelta(milliseconds=1):
            text = f"overlaps {widest[1].label!r}: together they would count energy twice; leave one of them out"
            found[stage.key] = {"started_at": text}
        if widest is None or end > widest[0]:
            widest = end, stage
    return found


def _answered_score(score: FoundScore, said: Mapping[str, str]) -> dict[str, Any]:
    """Its values with the judge; a part of the rows is another benchmark than all of them, unless somebody insists."""
    values = dict(score.values)
    if said.get("judge"):
        values["judge"] = said["judge"]
    if score.limited and said.get("limited") != "yes":
        values["benchmark"] = f"{values['benchmark']} (limited)"[:100]
    return values


def _stage_row(stage: FoundStage, status: str, kind: str) -> Row:
    flags = tuple(stage.facts.get("flags", ()))
    return Row(
        what="stage",
        key=stage.key,
        run=stage.group,
        label=stage.label,
        kind=kind,
        status=status,
        energy_j=_energy(stage.facts),
        duration_s=stage.facts.get("duration_s"),
        flags=flags,
    )


def _energy(facts: Mapping[str, Any]) -> float | None:
    known = [facts.get(f"{component}_energy_j") for component in facts["components"]]
    return None if None in known else sum(value for value in known if value is not None)


def _score_row(score: FoundScore, values: Mapping[str, Any], status: str) -> Row:
    name = " ".join(str(part) for part in (values["benchmark"], values.get("metric", "")) if part)
    return Row(
        what="score",
        key=name,
        run=score.group,
        label=name,
        kind=str(values.get("judge", "")),
        status=status,
        value=values["value"],
        flags=score.flags,
    )
