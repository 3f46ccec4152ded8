"""What each format holds, as it is read; nothing is booked here."""

import json

import pytest

from registry.importers.findings import Findings, ImportRefused
from tests.importers import files
from tests.importers.files import codes, read


def test_codecarbon_2_gives_joules_per_component_and_the_environment():
    (stage,) = read(files.emissions(columns=files.CC2)).stages
    assert stage.facts["components"] == ["gpu", "cpu", "ram"]
    assert [stage.facts[f"{c}_energy_j"] for c in ("gpu", "cpu", "ram")] == [2_160_000, 180_000, 36_000]
    assert (stage.facts["started_at"], stage.facts["ended_at"]) == ("2026-01-31T11:00:00", "2026-01-31T12:00:00")
    assert stage.facts["environment"]["gpus"] == [{"name": "1 x NVIDIA H100 80GB HBM3"}]
    assert stage.facts["extra"]["emissions"] == "0.1"
    assert codes(stage) == set()


def test_codecarbon_3_is_read_by_header_and_keeps_its_new_columns():
    found = read(files.emissions(files.CC3_MORE, columns=[*reversed(files.CC2), *list(files.CC3_MORE)[1:]]))
    (stage,) = found.stages
    assert stage.facts["gpu_energy_j"] == 2_160_000
    assert stage.facts["extra"]["cpu_utilization_percent"] == "12.5"
    assert stage.facts["meter"] == {"codecarbon": "3.3.2"}


def test_rows_of_one_run_are_cumulative_and_the_last_one_is_the_whole():
    content = files.emissions({"gpu_energy": "0.1", "energy_consumed": "0.16"}, {})
    assert [stage.facts["gpu_energy_j"] for stage in read(content).stages] == [2_160_000]


def test_an_energy_of_zero_is_a_hole_and_never_zero():
    (stage,) = read(files.emissions({"gpu_energy": "0.0", "energy_consumed": "0.06"})).stages
    assert stage.facts["gpu_energy_j"] is None
    assert "gpu" in stage.facts["components"]
    assert "gpu_zero" in codes(stage)


def test_without_a_gpu_none_is_expected():
    row = {"gpu_energy": "0.0", "gpu_count": "", "gpu_model": "", "energy_consumed": "0.06"}
    (stage,) = read(files.emissions(row)).stages
    assert stage.facts["components"] == ["cpu", "ram"]


def test_the_pue_inside_of_its_energies_is_divided_out():
    (stage,) = read(files.emissions({"pue": "1.5"})).stages
    assert stage.facts["cpu_energy_j"] == 120_000
    assert "pue_taken_out" in codes(stage)


def test_a_total_that_is_not_its_components_is_flagged_and_so_is_machine_mode():
    (stage,) = read(files.emissions({"energy_consumed": "0.9", "tracking_mode": "machine"})).stages
    assert codes(stage) == {"total_mismatch", "whole_machine"}


def harness(**files_):
    return read(files.zipped(**files_), "runs.zip")


def test_the_final_record_of_a_stage_wins_over_summary_and_snapshots():
    folder = "exp/stages/student_train/"
    snapshot = files.STAGE | {"snapshot": True, "snapshot_step": 900, "gpu_energy_joules": 5.0}
    found = harness(
        **{
            "exp/experiment_summary.json": files.summary(student_train=files.STAGE | {"gpu_energy_joules": 7.0}),
            folder + "student_train__step_900.json": snapshot,
            folder + "student_train.json": files.STAGE,
            folder + "environment_sft__student_train.json": files.ENVIRONMENT,
            folder + "config_sft__student_train.json": {"stage_id": "student_train", "config": {"lr": 1}},
        }
    )
    (stage,) = found.stages
    assert (stage.facts["gpu_energy_j"], stage.facts["cpu_energy_j"]) == (1_800_000.0, 180_000.0)
    assert (stage.facts["status"], stage.facts["cpu_method"]) == ("completed", "codecarbon_process")
    assert stage.group == "sft_1B_2026-01-31"
    assert stage.kind == ""
    assert codes(stage) == {"dirty_git", "pads_counted"}
    assert "node-17" not in json.dumps(found.to_dict())
    assert Findings.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_without_a_final_record_the_summary_is_taken_and_then_the_snapshot_of_the_largest_step():
    snapshots = {
        f"exp/stages/renamed/student_train__step_{step}.json": files.STAGE
        | {"snapshot": True, "snapshot_step": step, "gpu_energy_joules": float(step), "cpu_energy_joules": step / 10}
        for step in (900, 1000, 80)
    }
    (stage,) = harness(**snapshots).stages
    assert (stage.facts["gpu_energy_j"], stage.facts["status"]) == (1000.0, "lost")
    assert "partial" in codes(stage)
    (stage,) = harness(**snapshots, **{"exp/experiment_summary.json": files.summary(a=files.STAGE)}).stages
    assert (stage.facts["gpu_energy_j"], stage.facts["status"]) == (1_800_000.0, "completed")


def test_a_cpu_energy_that_several_snapshots_share_is_an_earlier_reading_and_left_out():
    shared = {"snapshot": True, "cpu_energy_joules": 42.0}
    (stage,) = harness(
        **{f"exp/stages/s/s__step_{step}.json": files.STAGE | shared | {"snapshot_step": step} for step in (1, 2)}
    ).stages
    assert stage.facts["cpu_energy_j"] is None
    assert "cpu_stale" in codes(stage)


def test_old_runs_have_their_stages_flat():
    (stage,) = harness(**{"exp/stages/student_train.json": files.STAGE}).stages
    assert stage.group == "exp"


def test_a_power_log_alone_is_integrated_anew_and_split_at_its_gap():
    times = [1_769_860_800 + 0.5 * n for n in range(101)] + [1_769_861_000 + 0.5 * n for n in range(101)]
    (stage,) = harness(**{"exp/stages/s/power_log.csv": files.power_log(times)}).stages
    assert stage.facts["gpu_energy_j"] == pytest.approx(2 * 50 * 500.0)
    assert stage.facts["cpu_energy_j"] is None
    assert stage.facts["longest_gap_s"] == pytest.approx(150.0)
    assert {"partial", "low_coverage"} <= codes(stage)


def test_coverage_below_98_percent_is_flagged_and_the_bridged_part_bounds_the_figure():
    start = files.STAGE["start_time"]
    times = [start + 0.5 * n for n in range(7201) if not 1000 < n < 2200]
    (stage,) = harness(**{"e/stages/s/s.json": files.STAGE, "e/stages/s/power_log.csv": files.power_log(times)}).stages
    assert stage.facts["coverage"] == pytest.approx(0.833, abs=0.001)
    assert stage.facts["gpu_energy_lower_j"] == pytest.approx(1_500_000, rel=0.001)
    assert "low_coverage" in codes(stage)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"gpu_energy_joules": 0.0, "total_energy_joules": 180_000.0}, "gpu_zero"),
        ({"tokens_processed": 0}, "tokens_zero"),
        ({"total_energy_joules": 1.0}, "total_mismatch"),
        ({"end_time": 0.0}, "partial"),
        ({"codecarbon_cpu_energy_kwh": 0.01}, "rapl_wraps"),
    ],
)
def test_what_is_doubtful_about_a_harness_record_is_flagged(changes, code):
    (stage,) = harness(**{"e/stages/s/s.json": files.STAGE | changes}).stages
    assert code in codes(stage)


def test_half_a_file_is_named_and_the_others_still_hold():
    found = harness(**{"e/stages/a/a.json": files.STAGE, "e/stages/b/b.json": b'{"stage_id": "b", '})
    assert len(found.stages) == 1
    assert [remark["code"] for remark in found.flags] == ["unreadable"]


def test_backups_of_emissions_name_stages_that_have_no_record():
    rows = files.emissions({"project_name": "crashed_stage"})
    found = harness(**{"e/stages/a/a.json": files.STAGE, "e/codecarbon/emissions.csv_0.bak": rows})
    assert [remark["code"] for remark in found.flags] == ["no_stage_record"]


def test_a_tar_is_read_as_a_zip_is():
    content = {"e/stages/s/s.json": files.STAGE, "e/stages/s/power_log.csv": files.power_log([1.0, 2.0])}
    assert [read(files.tarred(mode, **content)).stages for mode in ("w", "w:gz", "w:bz2")] == [
        harness(**content).stages
    ] * 3


def test_zeus_logs_are_windows_of_gpu_energy():
    content = b"start_time,window_name,elapsed_time,gpu0_energy,gpu1_energy\n1769860800.5,train,60.0,3000.0,2900.0\n"
    (stage,) = read(content, "zeus.csv").stages
    assert stage.facts["gpu_energy_j"] == 5900.0
    assert stage.facts["started_at"] == "2026-01-31T12:00:00.500000+00:00"
    assert stage.facts["components"] == ["gpu"]


def test_zeus_measurements_may_lack_one_gpu_and_then_have_no_sum():
    document = {"train": {"time": 5.0, "gpu_energy": {"0": 10.0, "1": 0.0}, "cpu_energy": None, "dram_energy": None}}
    found = read(json.dumps(document).encode(), "zeus.json")
    assert found.stages[0].facts["gpu_energy_j"] is None
    assert [question.name for question in found.questions] == ["ended_at"]


def test_lm_eval_gives_a_score_per_metric_and_filter():
    found = read(json.dumps(files.LM_EVAL).encode(), "results.json")
    strict, flexible = found.scores
    assert strict.values == {
        "benchmark": "gsm8k",
        "metric": "exact_match,strict-match",
        "value": 0.41,
        "stderr": 0.013,
        "n": 1319,
        "shots": 5,
        "harness_version": "lm-eval 0.4.13, task 3.0",
    }
    assert flexible.values["stderr"] is None
    assert list(found.groups) == ["my-student"]
    assert found.questions == ()


def test_old_lm_eval_files_have_plain_keys_and_a_limit_is_flagged():
    found = read(json.dumps(files.OLD_LM_EVAL).encode())
    assert [(s.values["metric"], s.values["value"], s.values["stderr"]) for s in found.scores] == [
        ("acc", 0.3, 0.01),
        ("acc_norm", 0.31, 0.01),
    ]
    assert all(score.limited for score in found.scores)
    assert [question.name for question in found.questions] == ["limited"]


def test_alpaca_eval_rows_are_models_and_the_judge_is_asked_for():
    found = read(files.ALPACA, "leaderboard.csv")
    assert list(found.groups) == ["teacher-32b", "student-1b"]
    assert [(s.values["benchmark"], s.values["value"], s.values["stderr"]) for s in found.scores[2:]] == [
        ("alpaca_eval_2_lc", 2.4, None),
        ("alpaca_eval_2", 3.5, 0.6),
    ]
    assert [question.name for question in found.questions] == ["judge"]


def test_mlflow_power_is_integrated_over_its_history():
    (stage,) = (found := read(json.dumps(files.mlflow_run(power=range(0, 61, 10))).encode())).stages
    assert stage.facts["gpu_energy_j"] == pytest.approx(60 * 300.0)
    assert stage.facts["coverage"] == 1.0
    assert found.groups["kd-seed0"] == {"teacher": "org/teacher", "seed": 3}
    assert {score.values["benchmark"] for score in found.scores} == {"gsm8k", "train_loss"}


def test_a_last_value_of_power_is_no_energy():
    data = {
        "info": {"run_id": "b", "start_time": 1, "end_time": 60_001, "status": "FINISHED"},
        "data": {"metrics": [{"key": "system/gpu_0_power_usage_watts", "value": 300.0, "timestamp": 5}], "params": []},
    }
    (stage,) = read(json.dumps({"runs": [data]}).encode()).stages
    assert stage.facts["gpu_energy_j"] is None
    assert "no_history" in codes(stage)


def test_a_model_card_states_emissions_and_no_energy():
    found = read(files.CARD.format(emissions=12345.6).encode(), "README.md")
    (stage,) = found.stages
    assert stage.facts["components"] == ["reported"]
    assert "reported_energy_j" not in stage.facts
    assert stage.facts["extra"]["emissions"] == 12345.6
    assert [question.name for question in found.questions] == ["ended_at"]
    assert found.scores[0].values == {"benchmark": "gsm8k", "metric": "exact_match", "value": 0.51}


def test_implausible_emissions_ask_for_their_unit():
    found = read(files.CARD.format(emissions=83.524).encode(), "README.md")
    assert [question.name for question in found.questions] == ["ended_at", "emissions_unit"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a,b\n1,2\n", "none of the known formats"),
        (b"{}", "none of the known formats"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no UTF-8"),
        (b"\x80\x02}q\x00.", "neither text nor an archive"),
        (b"---\na: &x [1]\nb: *x\n---\n", "anchors"),
        (b"---\na: [\n---\n", "no YAML"),
        (b"---\nlicense: mit\n---\n", "neither"),
        (b"", "none of the known formats"),
        (files.emissions({"duration": "soon"}), "no duration"),
        (files.emissions({"timestamp": "yesterday"}), "no ISO 8601 time"),
        (b"[" * 5000, "nested|no JSON"),
    ],
)
def test_what_is_no_import_is_refused_with_a_sentence(content, sentence):
    with pytest.raises(ImportRefused, match=sentence):
        read(content)


def test_names_of_people_and_machines_are_taken_out_unless_they_shall_stay():
    content = json.dumps(files.mlflow_run()).replace('"seed": "3"', '"out": "/home/ada/x", "user": "ada"').encode()
    assert "ada" not in json.dumps(read(content).to_dict())
    assert "/home/ada/x" in json.dumps(read(content, redact=False).to_dict())
