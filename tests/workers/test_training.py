"""The training loop: resumed equals uninterrupted, tokens weigh alike, the best weights are kept."""

import math
from dataclasses import replace

import pytest
import torch

from registry.accounting.floor import forward_flops, training_flops
from registry.accounting.spec import TrainingSpec
from registry.workloads.rows import WorkloadError
from tests.workers import tiny
from workers import logit_cache, models, training
from workers.data import collate, encode, label_states
from workers.logit_cache import Capture, LogitCache
from workers.losses import CrossEntropy, Distillation
from workers.stages.contract import Preempted
from workers.training import Progress, backward, judge, learning_rate, step_examples, train

SETTINGS = TrainingSpec(
    learning_rate=1e-3,
    warmup_steps=2,
    batch_size=2,
    accumulation_steps=2,
    precision="fp32",
    max_steps=8,
    evaluate_every=2,
    early_stopping_patience=100,
)


def _examples(count=11):
    return encode(tiny.chat(), tiny.rows(count), 200)[1]


def _train(folder, settings=SETTINGS, loss=None, notes=None, examples=None):
    model = tiny.model()
    progress = train(
        model,
        examples or _examples(),
        _examples(4),
        loss or CrossEntropy(),
        settings,
        seed=5,
        workdir=folder,
        report=notes or tiny.Notes(),
    )
    return model, progress


class Killed(BaseException):
    """Stands for the SIGKILL: nothing in the product catches it."""


class DiesAt(tiny.Notes):
    death: type[BaseException] = Killed

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def progress(self, *, done, total, note="", figures=None) -> None:
        if note == "training" and done == self.step:
            raise self.death


class IsAskedToStopAt(DiesAt):
    death = Preempted


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (3, {"optimizer": "adamw"}),
        (2, {"optimizer": "adafactor_scaled"}),
        (3, {"weights": "stochastic"}),
        (1, {"weights": "nearest"}),
    ],
    ids=["adamw", "at an evaluation", "stochastic", "nearest"],
)
def test_a_run_asked_to_stop_keeps_its_place_and_ends_with_the_same_weights(tmp_path, step, changes):
    settings = replace(SETTINGS, max_steps=4, **changes)
    whole, reference = _train(tmp_path / "whole", settings)
    with pytest.raises(Preempted):
        _train(tmp_path / "stopped", settings, notes=IsAskedToStopAt(step))
    assert (tmp_path / "stopped" / "checkpoints" / f"step-{step:08d}").is_dir()
    notes = tiny.Notes()
    resumed, progress = _train(tmp_path / "stopped", settings, notes=notes)
    assert [said["done"] for said in notes.progresses if said["note"] == "training"] == list(range(step + 1, 5))
    assert replace(progress, seconds=0) == replace(reference, seconds=0)
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name


def test_a_checkpoint_holds_no_pickle(tmp_path):
    _train(tmp_path, replace(SETTINGS, max_steps=2))
    names = {path.suffix for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    assert names == {".safetensors", ".json"}


def test_rounding_at_random_keeps_an_update_that_rounding_to_the_nearest_loses():
    weights = torch.full((20_000,), 1.0) + 1e-3  # an eighth of a step of bf16 above 1
    torch.manual_seed(0)
    rounded = training.round_at_random(weights)
    assert rounded.dtype == torch.bfloat16
    assert set(rounded.float().tolist()) == {1.0, 1.0078125}
    assert rounded.float().mean().item() == pytest.approx(1.001, abs=2e-4)
    assert weights.bfloat16().float().mean().item() == 1.0
    exact = torch.tensor([0.0, -1.5, 2.0**-130, 3.0])
    assert torch.equal(training.round_at_random(exact[[0, 1, 3]]).float(), exact[[0, 1, 3]])


def test_padding_to_the_longest_row_there_may_be_changes_the_count_and_no_gradient(tmp_path):
    plain, padded = tiny.Notes(), tiny.Notes()
    settings = replace(SETTINGS, max_steps=2)
    one, _ = _train(tmp_path / "one", settings, notes=plain)
    model = tiny.model()
    train(
        model,
        _examples(),
        _examples(4),
        CrossEntropy(),
        replace(settings, padding="max_length"),
        seed=5,
        workdir=tmp_path / "two",
        report=padded,
        max_length=120,
    )
    assert padded.counts["padding"] > 5 * plain.counts["padding"]
    assert padded.flops == plain.flops
    for name, weights in one.state_dict().items():
        torch.testing.assert_close(weights, model.state_dict()[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("step", [1, 3, 4, 7])
def test_a_run_killed_at_any_step_ends_with_the_weights_of_one_that_was_not(tmp_path, step):
    whole, reference = _train(tmp_path / "whole")
    with pytest.raises(Killed):
        _train(tmp_path / "killed", notes=DiesAt(step))
    resumed, progress = _train(tmp_path / "killed")
    assert replace(progress, seconds=0) == replace(reference, seconds=0)
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name


def test_a_resumed_run_does_only_the_steps_that_are_left(tmp_path):
    with pytest.raises(Killed):
        _train(tmp_path, notes=DiesAt(5))
    notes = tiny.Notes()
    _train(tmp_path, notes=notes)
    assert [said["done"] for said in notes.progresses if said["note"] == "training"] == [5, 6, 7, 8]


def test_a_torn_checkpoint_is_not_read(tmp_path):
    _train(tmp_path / "whole")
    with pytest.raises(Killed):
        _train(tmp_path / "torn", notes=DiesAt(3))
    torn = tmp_path / "torn" / "checkpoints" / ".step-00000004-half"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    _, progress = _train(tmp_path / "torn")
    assert progress.step == 8


def test_the_best_weights_are_kept_and_not_the_last(tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 4.0])
    monkeypatch.setattr(training, "validation_loss", lambda *_: next(losses))
    model, progress = _train(tmp_path)
    assert (progress.best_step, progress.best_loss) == (4, 1.0)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000008"]
    saved = tiny.model()
    from safetensors.torch import load_model

    load_model(saved, tmp_path / "checkpoints" / "step-00000004" / "model.safetensors")
    for name, weights in saved.state_dict().items():
        assert torch.equal(weights, model.state_dict()[name]), name


def test_training_stops_after_three_evaluations_without_an_improvement_beyond_delta(tmp_path, monkeypatch):
    losses = iter([2.0, 1.999, 1.9985, 1.9981, 0.0])
    monkeypatch.setattr(training, "validation_loss", lambda *_: next(losses))
    settings = replace(SETTINGS, max_steps=20, early_stopping_patience=3, early_stopping_delta=2e-3)
    _, progress = _train(tmp_path, settings)
    assert progress.stopped_early
    assert progress.step == 8
    assert progress.best_step == 8


def test_small_improvements_that_add_up_beyond_delta_do_not_stop_a_run():
    progress = Progress()
    for step, loss in enumerate([2.0, 1.9988, 1.9976, 1.9964, 1.9952, 1.994], start=1):
        progress.step = step
        judge(progress, loss, loss, TrainingSpec())
    assert not progress.stopped_early


def test_accumulated_micro_batches_give_the_gradient_of_one_batch():
    examples = _examples(4)
    gradients = []
    for parts in ([examples], [examples[:1], examples[1:]]):
        model = tiny.model()
        batches = [collate(part, model.device) for part in parts]
        labels = sum(batch.labels for batch in batches)
        for batch in batches:
            backward(model, batch, CrossEntropy(), scale=1 / labels)
        gradients.append(torch.cat([weights.grad.flatten() for weights in model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_the_head_in_pieces_gives_the_same_gradient_as_in_one(monkeypatch):
    gradients = []
    for chunk in (10_000, 7):
        monkeypatch.setattr(training, "HEAD_CHUNK", chunk)
        model = tiny.model()
        batch = collate(_examples(4), model.device)
        total = float(backward(model, batch, CrossEntropy(), scale=0.1)[0])
        gradients.append((total, torch.cat([weights.grad.flatten() for weights in model.parameters()])))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-4, atol=1e-6)


def test_a_shifted_label_would_be_noticed():
    """The reference is the model's own loss over labels with -100 on the prompt, which shifts by itself."""
    model = tiny.model()
    example = _examples()[3]
    ids = torch.tensor([example.ids])
    labels = ids.clone()
    labels[0, : example.spans[0][0]] = -100
    wanted = model(input_ids=ids, labels=labels).loss
    batch = collate([example], model.device)
    logits = model.get_output_embeddings()(label_states(model, batch)).detach()
    got = CrossEntropy()(logits, batch.targets, None).total
    assert (got / batch.labels).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_student_distilled_from_itself_stays_where_it_is(tmp_path):
    """Only where each teacher row meets the student's own position is the gradient of the KL zero."""
    examples = _examples()
    logit_cache.write(
        tmp_path,
        tiny.model(),
        examples,
        Capture(k=30, temperatures=(1.0, 2.0), encoding="fp32"),
        batch_size=3,
        each_batch=lambda *_: None,
    )
    model = tiny.model()
    loss = Distillation(LogitCache(tmp_path), temperature=2.0, ce_weight=0.0, k=30)
    batch = collate(examples[:5], model.device)
    assert backward(model, batch, loss, scale=1.0)[0].item() == pytest.approx(0, abs=1e-3)
    assert max(weights.grad.abs().max() for weights in model.parameters()) < 1e-3
    other = tiny.model(seed=1)
    assert backward(other, batch, loss, scale=1.0)[0] > 1


def test_kd_and_sft_run_through_the_same_loop_and_both_learn(tmp_path):
    examples = _examples()
    logit_cache.write(
        tmp_path / "cache",
        tiny.model(seed=1),
        examples,
        Capture(k=30, temperatures=(1.0,)),
        batch_size=3,
        each_batch=lambda *_: None,
    )
    settings = replace(SETTINGS, max_steps=30, evaluate_every=10, learning_rate=1e-2)
    for name, loss in (("sft", CrossEntropy()), ("kd", Distillation(LogitCache(tmp_path / "cache"), 1.0, 0.5, 30))):
        _, progress = _train(tmp_path / name, settings, loss)
        assert progress.history[-1]["loss"] < 0.8 * progress.history[0]["loss"]
        assert (progress.tail_mass is None) == (name == "sft")
    assert 0 < progress.tail_mass < 1


def test_every_epoch_sees_every_row_once_and_each_in_another_order():
    examples = _examples(11)
    epochs = [
        [
            e.digest
            for step in range(start, start + 3)
            for part in step_examples(examples, SETTINGS, 1, step)
            for e in part
        ]
        for start in (0, 3)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(e.digest for e in examples)
    assert epochs[0] != epochs[1]
    assert all(len(part) <= 2 for part in step_examples(examples, SETTINGS, 1, 0))


def test_the_learning_rate_warms_up_and_falls_to_zero_at_the_budget():
    settings = TrainingSpec(learning_rate=1.0, warmup_steps=4, max_steps=24)
    assert [learning_rate(settings, step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert learning_rate(settings, 14) == pytest.approx(0.5)
    assert learning_rate(settings, 23) == pytest.approx(0.5 * (1 + math.cos(math.pi * 19 / 20)))
    assert learning_rate(replace(settings, schedule="constant"), 23) == 1.0


def test_tokens_are_counted_by_kind(tmp_path):
    notes = tiny.Notes()
    examples = _examples(4)
    _train(tmp_path, replace(SETTINGS, max_steps=2), notes=notes, examples=examples)
    assert notes.counts["trained"] == 2 * sum(example.labels for example in examples)
    assert notes.counts["prompt"] == 2 * sum(len(example.ids) - example.labels for example in examples)
    assert notes.counts["evaluated"] == sum(len(example.ids) for example in _examples(4))
    assert set(notes.parts) == {"validation", "checkpoint"}


def test_operations_are_counted_without_padding_for_training_and_validation(tmp_path):
    notes, examples, validation = tiny.Notes(), _examples(4), _examples(4)
    _train(tmp_path, replace(SETTINGS, max_steps=2), notes=notes, examples=examples)
    lengths = [len(example.ids) for example in examples]
    read = {
        "positions": sum(lengths),
        "squared_lengths": sum(n * n for n in lengths),
        "head_positions": sum(example.labels for example in examples),
    }
    assert validation == examples
    shape = models.shape(tiny.model())
    assert notes.flops == pytest.approx(2 * training_flops(shape, **read) + forward_flops(shape, **read))
    assert shape.parameters == 2 * sum(w.numel() for w in tiny.model(layers=1).model.layers.parameters())


def test_a_loss_that_is_no_number_stops_the_run_with_a_sentence(tmp_path):
    with pytest.raises(WorkloadError, match=r"lower training\.learning_rate"):
        _train(tmp_path, replace(SETTINGS, learning_rate=1.0, clip_norm=1e30), loss=_Explosive())


class _Explosive(CrossEntropy):
    def __call__(self, logits, targets, teacher):
        return super().__call__(logits * float("nan"), targets, teacher)


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(WorkloadError, match="raise max_length"):
        train(tiny.model(), [], [], CrossEntropy(), SETTINGS, seed=0, workdir=tmp_path, report=tiny.Notes())
