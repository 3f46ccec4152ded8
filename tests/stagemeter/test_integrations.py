"""The callback and the tracker, in the frameworks they are for."""

import subprocess
import sys

import pytest

from stagemeter import spool
from tests.stagemeter.conftest import ROOT

pytestmark = pytest.mark.torch


def test_a_trainer_is_metered_with_its_tokens_and_its_validation(spool_dir, tmp_path):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    from stagemeter.integrations.transformers import StagemeterCallback

    model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=1))
    row = torch.tensor([1, 2, 3, 4])
    rows = [{"input_ids": row, "labels": row, "attention_mask": torch.ones(4, dtype=torch.long)} for _ in range(4)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=2,
        eval_strategy="steps",
        eval_steps=1,
        include_num_input_tokens_seen="all",
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
    )
    callback = StagemeterCallback(spool_dir=spool_dir, environment={}, name="a trainer")
    Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, callbacks=[callback]).train()
    (record,) = spool.pending(spool_dir)
    assert record == callback.record
    assert (record.kind, record.name, record.trained_tokens) == ("student_training", "a trainer", 2 * 2 * 4)
    assert record.extra["parts"]["validation"] > 0
    assert record.cpu_energy_j > 0


def test_accelerate_meters_between_its_first_and_its_last_word(spool_dir):
    from accelerate import Accelerator

    from stagemeter.integrations.accelerate import StagemeterTracker

    tracker = StagemeterTracker("evaluation", spool_dir=spool_dir, environment={})
    accelerator = Accelerator(cpu=True, log_with=tracker)
    accelerator.init_trackers("project", config={"lr": 1e-5})
    for _ in range(3):
        accelerator.log({"loss": 1.0, "evaluated_tokens": 5})
    accelerator.end_training()
    (record,) = spool.pending(spool_dir)
    assert (record.kind, record.evaluated_tokens, record.status) == ("evaluation", 15, "completed")
    assert tracker.record == record


def test_a_training_that_never_ends_is_booked_as_failed_when_its_process_does(spool_dir):
    text = (
        "from stagemeter.integrations.held import HeldMeter\n"
        f"held = HeldMeter('student_training', spool_dir={str(spool_dir)!r}, environment={{}})\n"
        "held.open(); held.open(); held.meter.add_tokens(trained=3)\n"
        "raise SystemExit(4)\n"
    )
    assert subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=False).returncode == 4
    (record,) = spool.pending(spool_dir)
    assert (record.status, record.trained_tokens) == ("failed", 3)
