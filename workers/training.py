"""The training loop. SFT and KD differ by the loss passed in, and by nothing else."""

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Adafactor

from registry.accounting.floor import forward_flops, training_flops
from registry.accounting.spec import TrainingSpec
from registry.workloads.rows import WorkloadError
from workers.checkpoints import Checkpoints
from workers.data import TOKENS_PER_PASS, Batch, Example, by_length, collate, label_states
from workers.losses import Distillation, Loss
from workers.models import autocast, precision_name, resolve_precision, shape
from workers.stages.contract import Preempted, Report

# Label positions whose logits live at once; with more, the head runs forward and backward piece by piece.
HEAD_CHUNK = 512
VALIDATION_ROWS = 64
FP32, STOCHASTIC, NEAREST = "fp32", "stochastic", "nearest"  # what holds the weights, and how bf16 is rounded


@dataclass
class Progress:
    """Where a training stands: everything but weights and optimiser. Steps are optimiser steps."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    reference_loss: float = math.inf  # the last validation loss that counted as an improvement
    evaluations_without: int = 0
    stopped_early: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    tail_mass: float | None = None  # the teacher's mean mass at T beyond its top k, over the steps; None without one
    seconds: float = 0.0


def train(
    language_model: Any,
    examples: Sequence[Example],
    validation: Sequence[Example],
    loss: Loss,
    settings: TrainingSpec,
    *,
    seed: int,
    workdir: Path,
    report: Report,
    max_length: int | None = None,
) -> Progress:
    """Train in place and leave the weights of the best validation loss in the model.

    A checkpoint is written at each evaluation, at the boundary of an optimiser step; a run that was killed goes on
    from the last one and ends with the same weights as if it had not been.
    """
    if not examples or not validation:
        raise WorkloadError(
            "no training or validation rows are left after over-long rows were dropped; raise max_length"
        )
    dtype = resolve_precision(settings.precision)
    make_ready(language_model, settings)
    width = max_length if settings.padding == "max_length" else None
    model_shape = shape(language_model)
    optimizer = make_optimizer(language_model, settings)
    checkpoints = Checkpoints(workdir / "checkpoints")
    progress = Progress(**checkpoints.restore(language_model, optimizer) or {})

    while progress.step < settings.max_steps and not progress.stopped_early:
        started = time.monotonic()
        torch.manual_seed(seed * 1_000_003 + progress.step)  # randomness by (seed, step): nothing of it has to be kept
        rate = learning_rate(settings, progress.step)
        for group in optimizer.param_groups:
            group["lr"] = rate

        batches = [
            collate(part, language_model.device, width=width)
            for part in step_examples(examples, settings, seed, progress.step)
        ]
        labels = sum(batch.labels for batch in batches)
        sums = []
        for batch in batches:  # micro-batches of one optimiser step: Σ over tokens ÷ tokens of the whole step
            with autocast(dtype):
                sums.append(backward(language_model, batch, loss, scale=1 / labels))
            report.tokens(prompt=batch.prompt_tokens, trained=batch.labels, padding=batch.padding)
            report.work(flops=training_flops(model_shape, **batch.counts), precision=precision_name(dtype))
        total, tail = (torch.stack(sums).sum(0) / labels).tolist()  # once a step: the device is not waited for before
        norm = torch.nn.utils.clip_grad_norm_(language_model.parameters(), settings.clip_norm)
        if not math.isfinite(total) or not torch.isfinite(norm):
            raise WorkloadError(f"the loss became {total} at step {progress.step}; lower training.learning_rate")
        step_weights(optimizer, settings)
        optimizer.zero_grad(set_to_none=True)

        progress.step += 1
        progress.seconds += time.monotonic() - started
        figures = {"loss": total, "learning_rate": rate, "gradient_norm": float(norm)}
        if isinstance(loss, Distillation):
            progress.tail_mass = ((progress.tail_mass or 0.0) * (progress.step - 1) + tail) / progress.step
            figures["tail_mass"] = tail
        preempted = said(report, settings, progress.step, "training", figures)
        due = progress.step % settings.evaluate_every == 0 or progress.step == settings.max_steps
        if due:
            with report.part("validation"):
                validated = validation_loss(language_model, validation, dtype, report)
            judge(progress, validated, total, settings)
        if due or preempted:  # after the validation that is due: whoever goes on would not make up for it
            with report.part("checkpoint"):
                checkpoints.save(language_model, optimizer, asdict(progress), keep=progress.best_step)
        if due and not preempted:
            preempted = said(report, settings, progress.step, "validated", {"validation_loss": validated})
        if preempted:
            raise preempted

    with report.part("checkpoint"):
        checkpoints.load_weights(language_model, progress.best_step)
    language_model.eval()
    return progress


def said(report: Report, settings: TrainingSpec, step: int, note: str, figures: dict[str, float]) -> Preempted | None:
    """Report progress; what asks the stage to stop is handed back, to be raised once its place is kept."""
    try:
        report.progress(done=step, total=settings.max_steps, note=note, figures=figures)
    except Preempted as asked:
        return asked
    return None


def backward(language_model: Any, batch: Batch, loss: Loss, scale: float) -> Tensor:
    """Forward and backward over one micro-batch; [2]: the loss and the tail mass, summed over its label positions.

    The head runs piece by piece, forward and backward, so that the logits of one piece live at a time.
    """
    states = label_states(language_model, batch)  # [N, d]
    teacher = loss.teacher(batch)
    detached = states.detach().requires_grad_()
    sums = torch.zeros(2, device=states.device)
    for start in range(0, batch.labels, HEAD_CHUNK):
        end = min(start + HEAD_CHUNK, batch.labels)
        part = None if teacher is None else teacher.slice(start, end)
        logits = language_model.get_output_embeddings()(detached[start:end])  # [chunk, V]
        found = loss(logits.detach().float(), batch.targets[start:end], part)
        logits.backward(found.gradient.mul_(scale).to(logits.dtype))
        sums += torch.stack([found.total, found.total.new_zeros(()) if found.tail is None else found.tail])
    states.backward(detached.grad)
    return sums


@torch.no_grad()
def validation_loss(language_model: Any, examples: Sequence[Example], dtype: torch.dtype, report: Report) -> float:
    """Cross-entropy per label token, in nats, whatever the training loss: pipelines stop by one criterion."""
    language_model.eval()
    total, labels = 0.0, 0
    for part in by_length(examples, VALIDATION_ROWS, TOKENS_PER_PASS):
        batch = collate(part, language_model.device)
        with autocast(dtype):
            states = label_states(language_model, batch)
            for start in range(0, batch.labels, HEAD_CHUNK):
                logits = language_model.get_output_embeddings()(states[start : start + HEAD_CHUNK]).float()
                targets = batch.targets[start : start + HEAD_CHUNK]
                total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
        labels += batch.labels
        report.tokens(evaluated=batch.labels + batch.prompt_tokens, padding=batch.padding)
        report.work(flops=forward_flops(shape(language_model), **batch.counts), precision=precision_name(dtype))
    language_model.train()
    return total / labels


def judge(progress: Progress, validated: float, trained: float, settings: TrainingSpec) -> None:
    """Keep the best checkpoint; stop after `patience` evaluations in a row without an improvement beyond delta."""
    progress.history.append({"step": progress.step, "loss": trained, "validation_loss": validated})
    if validated < progress.best_loss:
        progress.best_loss, progress.best_step = validated, progress.step
    if validated < progress.reference_loss - settings.early_stopping_delta:
        progress.reference_loss, progress.evaluations_without = validated, 0
    else:
        progress.evaluations_without += 1
    progress.stopped_early = progress.evaluations_without >= settings.early_stopping_patience


def learning_rate(settings: TrainingSpec, step: int) -> float:
    """Linear warm-up, then the half cosine down to zero at `max_steps`, or constant."""
    warmup = min(settings.warmup_steps, settings.max_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - warmup) / max(settings.max_steps - warmup, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def make_ready(language_model: Any, settings: TrainingSpec) -> None:
    """For training: weights in the type that holds them, activations kept or computed anew."""
    language_model.train()
    if settings.weights != FP32:
        language_model.to(torch.bfloat16)
    if settings.gradient_checkpointing == "on":
        language_model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def step_weights(optimizer: torch.optim.Optimizer, settings: TrainingSpec) -> None:
    """One optimiser step. Stochastic: taken in fp32 from the bf16 weights, and rounded back at random.

    Rounded to the nearest, an update below half a step of bf16, 0.2 % of the weight, would be lost every time; up or
    down in proportion to what is left, it arrives on average.
    """
    if settings.weights != STOCHASTIC:
        optimizer.step()
        return
    weights = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
    gradients = [one.grad for one in weights]
    optimizer.zero_grad(set_to_none=True)
    for one, gradient in zip(weights, gradients, strict=True):  # in turn: one tensor at a time is there in fp32
        one.data, one.grad = one.data.float(), gradient.float()
        optimizer.step()
        one.data, one.grad = round_at_random(one.data), None


def round_at_random(values: Tensor) -> Tensor:
    """fp32 → bf16, up or down with a probability that makes the mean exact: random low bits are added and cut off."""
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device)
    return ((bits + noise) & -65536).view(torch.float32).bfloat16()


def make_optimizer(language_model: Any, settings: TrainingSpec) -> torch.optim.Optimizer:
    """One configuration for every pipeline; the learning rate is scaled by the weights' size only on request."""
    weights = language_model.parameters()
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    scaled = settings.optimizer == "adafactor_scaled"
    return Adafactor(weights, lr=settings.learning_rate, scale_parameter=scaled, relative_step=False, warmup_init=False)


def step_examples(examples: Sequence[Example], settings: TrainingSpec, seed: int, step: int) -> Iterator[list[Example]]:
    """The micro-batches of one optimiser step, from (seed, step) alone: a resumed run sees what it would have seen.

    Each epoch is a permutation of its own; within a step, rows of like length share a micro-batch.
    """
    per_step = settings.batch_size * settings.accumulation_steps
    steps_per_epoch = math.ceil(len(examples) / per_step)
    epoch, place = divmod(step, steps_per_epoch)
    order = list(range(len(examples)))
    random.Random(f"{seed}:{epoch}").shuffle(order)  # noqa: S311 - must be repeatable, not secret
    rows = [examples[index] for index in order[place * per_step : (place + 1) * per_step]]
    return by_length(rows, settings.batch_size)
