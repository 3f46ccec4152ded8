"""From a file and a person's answers to the ledger: once, whole, or not at all."""

import json

import pytest

from registry.importers import booking
from registry.importers.booking import Answers
from registry.models import AuditEvent, EvaluationScore, Run, Stage
from registry.services.errors import Invalid, NotAllowed
from registry.services.uploads import upload_run
from tests.importers import files
from tests.importers.files import read

pytestmark = pytest.mark.django_db
RUN = {"external_id": "kd-1", "pipeline": "kd", "student": "org/student"}
CC_KEY = files.CC2_ROW["run_id"]


def book(content, study, actor, *, name="file.csv", keep=True, **answers):
    return booking.book(
        findings=read(content, name), answers=Answers.read(answers), study=study, actor=actor, keep=keep
    )


def training(**changes):
    return {"runs": {"kd": RUN}, "stages": {CC_KEY: "student_training"}} | changes


def test_a_look_says_what_is_still_to_be_said_and_keeps_nothing(study, member):
    preview = book(files.emissions(), study, member, keep=False)
    assert set(preview.needed) == {"runs.kd.pipeline", "runs.kd.student", f"stages.{CC_KEY}"}
    assert [row.status for row in preview.rows] == ["open"]
    assert not Stage.objects.exists()


def test_a_look_with_answers_shows_the_rows_as_they_would_be_booked(study, member):
    preview = book(files.emissions(), study, member, keep=False, **training())
    (row,) = preview.rows
    assert (row.status, row.kind, row.energy_j) == ("new", "student_training", 2_376_000.0)
    assert not preview.needed
    assert not Run.objects.exists()


def test_the_same_file_twice_books_once(study, member):
    first, again = (book(files.emissions(), study, member, **training()) for _ in range(2))
    assert ([row.status for row in first.rows], first.before) == (["new"], False)
    assert ([row.status for row in again.rows], again.before) == (["same"], True)
    stage = Stage.objects.get()
    assert (stage.origin, stage.run.external_id, stage.run.origin) == ("import", "kd-1", "import")
    assert stage.run.hardware_class == "1 x NVIDIA H100 80GB HBM3"
    event = AuditEvent.objects.filter(action="file imported").last()
    assert event.detail["sha256"] == first.findings.source["sha256"]
    assert event.detail["name"] == "file.csv"


def test_the_same_file_under_other_answers_is_refused_and_not_counted_twice(study, member):
    book(files.emissions(), study, member, **training())
    other = {"runs": {"kd": RUN | {"external_id": "kd-2"}}, "stages": {CC_KEY: "evaluation"}}
    preview = book(files.emissions(), study, member, **other)
    assert [row.status for row in preview.rows] == ["refused"]
    assert (preview.kept, Stage.objects.count(), Run.objects.count()) == (False, 1, 1)


def test_one_refused_row_keeps_all_of_the_file_out(study, member):
    content = files.emissions({}, {"run_id": "other", "cpu_energy": "1e300"})
    kinds = {CC_KEY: "student_training", "other": "evaluation"}
    preview = book(content, study, member, **training(stages=kinds))
    assert [row.status for row in preview.rows] == ["new", "refused"]
    assert (preview.kept, Stage.objects.count()) == (False, 0)


def test_a_zone_moves_the_stage(study, member):
    book(files.emissions(), study, member, **training(questions={"zone": "+02:00"}))
    assert Stage.objects.get().ended_at.isoformat() == "2026-01-31T10:00:00+00:00"


@pytest.mark.parametrize("zone", ["+99:00", "here", "+02:00 "])
def test_what_is_no_zone_is_refused(study, member, zone):
    preview = book(files.emissions(), study, member, **training(questions={"zone": zone}))
    assert [row.status for row in preview.rows] == ["refused"]


def test_zero_gpu_energy_is_a_hole_until_somebody_says_that_there_was_no_gpu(study, member):
    content = files.emissions({"gpu_energy": "0", "energy_consumed": "0.06"})
    hole = book(content, study, member, keep=False, **training())
    whole = book(content, study, member, **training(questions={"gpu_zero": "no gpu"}))
    assert [hole.rows[0].energy_j, whole.rows[0].energy_j] == [None, 216_000.0]
    assert Stage.objects.get().components == ["cpu", "ram"]


def test_the_papers_harness_stands_on_a_run_with_its_tokens(study, member):
    content = files.zipped(**{"exp/stages/s/s.json": files.STAGE})
    (key,) = [stage.key for stage in read(content).stages]
    book(content, study, member, runs={"exp": RUN}, stages={key: "student_training"})
    stage = Stage.objects.get()
    assert (stage.energy_j, stage.trained_tokens, stage.duration_s) == (1_980_000.0, 30_000_000, 3600.0)
    assert Run.objects.get().started_at == stage.started_at


def test_a_stage_that_is_left_out_is_not_booked(study, member):
    content = files.emissions({}, {"run_id": "other"})
    preview = book(content, study, member, **training(stages={CC_KEY: "student_training", "other": "leave_out"}))
    assert sorted(row.status for row in preview.rows) == ["left_out", "new"]
    assert Stage.objects.count() == 1


def test_windows_of_zeus_that_overlap_cannot_both_be_booked(study, member):
    content = (
        b"start_time,window_name,elapsed_time,gpu0_energy\n"
        b"1769860800.0,epoch,60.0,3000.0\n1769860800.0,step,6.0,300.0\n1769860860.0,next,6.0,300.0\n"
    )
    keys = [stage.key for stage in read(content, "file.csv").stages]
    kinds = dict.fromkeys(keys, "student_training")
    refused = book(content, study, member, runs={"file": RUN}, stages=kinds)
    assert [row.status for row in refused.rows] == ["new", "refused", "new"]
    assert book(content, study, member, runs={"file": RUN}, stages=kinds | {keys[1]: "leave_out"}).kept
    assert Stage.objects.count() == 2


@pytest.fixture
def run(study, member):
    return upload_run(actor=member, document={"study": study.slug, "run": RUN}).run


def test_scores_of_lm_eval_go_to_a_run_that_is_here(study, member, run):
    preview = book(json.dumps(files.LM_EVAL).encode(), study, member, runs={"my-student": {"external_id": "kd-1"}})
    assert preview.kept
    assert {score.metric: score.value for score in run.scores.all()} == {
        "exact_match,strict-match": 0.41,
        "exact_match,flexible-extract": 0.43,
    }
    assert Run.objects.count() == 1


@pytest.mark.parametrize(("said", "benchmark"), [({}, "mmlu (limited)"), ({"limited": "yes"}, "mmlu")])
def test_scores_of_a_part_of_the_rows_stay_out_of_q_unless_somebody_insists(study, member, run, said, benchmark):
    content = json.dumps(files.OLD_LM_EVAL).encode()
    book(content, study, member, runs={"org/model": {"external_id": "kd-1"}}, questions=said)
    assert set(run.scores.values_list("benchmark", flat=True)) == {benchmark}


def test_of_a_leaderboard_only_what_is_named_is_taken_and_the_judge_is_part_of_it(study, member, run):
    answers = {"runs": {"student-1b": {"external_id": "kd-1"}}}
    assert "questions.judge" in book(files.ALPACA, study, member, keep=False, **answers).needed
    preview = book(
        files.ALPACA, study, member, scores=["alpaca_eval_2_lc"], questions={"judge": "gpt-4-turbo"}, **answers
    )
    assert preview.kept
    score = EvaluationScore.objects.get()
    assert (score.benchmark, score.value, score.judge) == ("alpaca_eval_2_lc", 2.4, "gpt-4-turbo")


def test_of_the_metrics_of_mlflow_those_of_the_suite_are_scores(study, member):
    study.suite = ["gsm8k"]
    content = json.dumps(files.mlflow_run(power=range(0, 61, 10))).encode()
    key = "a" * 32
    preview = book(content, study, member, runs={"kd-seed0": RUN}, stages={key: "student_training"})
    assert preview.kept
    assert [score.benchmark for score in EvaluationScore.objects.all()] == ["gsm8k"]
    assert Stage.objects.get().gpu_energy_j == pytest.approx(18_000)


def test_a_cards_emissions_are_kept_in_kilograms_and_leave_a_hole_for_energy(study, member):
    content = files.CARD.format(emissions=83.5).encode()
    (key,) = [stage.key for stage in read(content, "README.md").stages]
    said = {"ended_at": "2026-01-31T12:00:00Z", "emissions_unit": "kg"}
    answers = {"runs": {"my-model": RUN}, "stages": {key: "student_training"}}
    assert book(content, study, member, name="README.md", questions=said, **answers).kept
    stage = Stage.objects.get()
    assert (stage.extra["emissions_kg"], stage.energy_j) == (83.5, None)


def test_a_stranger_imports_nothing(study, stranger):
    with pytest.raises(NotAllowed):
        book(files.emissions(), study, stranger, **training())


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ({"run": {}}, "answers.run"),
        ({"runs": {"other": {}}}, "answers.runs.other"),
        ({"runs": {"kd": 1}}, "answers.runs.kd"),
        ({"runs": []}, "answers.runs"),
        ({"stages": {"other": "evaluation"}}, "answers.stages.other"),
        ({"stages": {CC_KEY: "training"}}, f"answers.stages.{CC_KEY}"),
        ({"questions": {"unit": "kg"}}, "answers.questions.unit"),
        ({"scores": "gsm8k"}, "answers.scores"),
    ],
)
def test_answers_to_what_the_file_does_not_ask_are_refused_by_name(study, member, answers, name):
    with pytest.raises(Invalid) as refused:
        book(files.emissions(), study, member, **answers)
    assert name in refused.value.problems


def test_a_run_that_cannot_be_is_refused_by_field(study, member):
    preview = book(files.emissions(), study, member, **training(runs={"kd": RUN | {"seed": -1}}))
    assert [row.status for row in preview.rows] == ["refused"]
    assert "run.seed" in preview.rows[0].problems
