"""The training loop. SFT and KD differ by the loss passed in, and by nothing else."""

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import Adafactor

from registry.accounting.spec import TrainingSpec
from registry.workloads.rows import WorkloadError
from workers.checkpoints import Checkpoints
from workers.data import TOKENS_PER_PASS, Batch, Example, by_length, collate, label_states
from workers.losses import CrossEntropy, Loss
from workers.models import autocast, resolve_precision
from workers.stages.contract import Report

# Label positions whose logits live at once; with more, the head runs forward and backward piece by piece.
HEAD_CHUNK = 512
VALIDATION_ROWS = 64


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
    language_model.train()
    optimizer = make_optimizer(language_model, settings)
    checkpoints = Checkpoints(workdir / "checkpoints")
    progress = Progress(**checkpoints.restore(language_model, optimizer) or {})
    torch.manual_seed(seed * 1_000_003 + progress.step)

    while progress.step < settings.max_steps and not progress.stopped_early:
        started = time.monotonic()
        rate = learning_rate(settings, progress.step)
        for group in optimizer.param_groups:
            group["lr"] = rate

        batches = [
            collate(part, language_model.device) for part in step_examples(examples, settings, seed, progress.step)
        ]
        labels = sum(batch.labels for batch in batches)
        total = 0.0
        for batch in batches:  # micro-batches of one optimiser step: Σ over tokens ÷ tokens of the whole step
            with autocast(dtype):
                total += backward(language_model, batch, loss, scale=1 / labels) / labels
            report.tokens(prompt=batch.prompt_tokens, trained=batch.labels, padding=batch.padding)
        norm = torch.nn.utils.clip_grad_norm_(language_model.parameters(), settings.clip_norm)
        if not math.isfinite(total) or not torch.isfinite(norm):
            raise WorkloadError(f"the loss became {total} at step {progress.step}; lower training.learning_rate")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        progress.step += 1
        progress.seconds += time.monotonic() - started
        figures = {"loss": total, "learning_rate": rate, "gradient_norm": float(norm)}
        report.progress(done=progress.step, total=settings.max_steps, note="training", figures=figures)

        if progress.step % settings.evaluate_every == 0 or progress.step == settings.max_steps:
            with report.part("validation"):
                validated = validation_loss(language_model, validation, dtype, report)
            judge(progress, validated, total, settings)
            report.progress(
                done=progress.step, total=settings.max_steps, note="validated", figures={"validation_loss": validated}
            )
            with report.part("checkpoint"):
                checkpoints.save(language_model, optimizer, asdict(progress), keep=progress.best_step)

    with report.part("checkpoint"):
        checkpoints.load_weights(language_model, progress.best_step)
    language_model.eval()
    return progress


def backward(language_model: Any, batch: Batch, loss: Loss, scale: float) -> float:
    """Forward and backward over one micro-batch; the loss summed over its label positions, unscaled."""
    states = label_states(language_model, batch)  # [N, d]
    teacher = loss.teacher(batch)
    if batch.labels <= HEAD_CHUNK:
        total = loss(language_model.get_output_embeddings()(states), batch.targets, teacher).total
        (total * scale).backward()
        return float(total.detach())
    detached = states.detach().requires_grad_()
    summed = 0.0
    for start in range(0, batch.labels, HEAD_CHUNK):  # logits [chunk, V] live for one piece only
        end = min(start + HEAD_CHUNK, batch.labels)
        part = None if teacher is None else teacher.slice(start, end)
        logits = language_model.get_output_embeddings()(detached[start:end])
        total = loss(logits, batch.targets[start:end], part).total
        (total * scale).backward()
        summed += float(total.detach())
    states.backward(detached.grad)
    return summed


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
                logits = language_model.get_output_embeddings()(states[start : start + HEAD_CHUNK])
                total += float(CrossEntropy()(logits, batch.targets[start : start + HEAD_CHUNK], None).total)
        labels += batch.labels
        report.tokens(evaluated=batch.labels + batch.prompt_tokens, padding=batch.padding)
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


def make_optimizer(language_model: Any, settings: TrainingSpec) -> torch.optim.Optimizer:
    """One configuration for every pipeline: the learning rate as stated, not scaled by the weights' size."""
    weights = language_model.parameters()
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    return Adafactor(weights, lr=settings.learning_rate, scale_parameter=False, relative_step=False, warmup_init=False)


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
