"""Log-likelihoods of several answers to one question, in one forward pass over what they share and what they don't."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from registry.accounting.floor import forward_flops
from workers.data import TOKENS_PER_PASS
from workers.models import precision_name, shape
from workers.stages.contract import Report

QUESTIONS_PER_PASS = 64


@dataclass(frozen=True)
class Question:
    """`shared` ids once (the prompt and what all answers begin with), then each answer's remaining ids."""

    place: int
    shared: tuple[int, ...]
    endings: tuple[tuple[int, ...], ...]
    lengths: tuple[int, ...]  # of the whole answers, in tokens

    @classmethod
    def of(cls, place: int, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> "Question":
        """Find what the answers share; each keeps at least one id of its own."""
        shortest = min(map(len, answers)) - 1
        same = 0
        while same < shortest and len({answer[same] for answer in answers}) == 1:
            same += 1
        endings = tuple(tuple(answer[same:]) for answer in answers)
        return cls(place, (*prompt, *answers[0][:same]), endings, tuple(map(len, answers)))

    @property
    def width(self) -> int:
        """Positions the question takes in a batch."""
        return len(self.shared) + sum(map(len, self.endings))

    @property
    def squares(self) -> int:
        """What attention costs goes by it: the shared part sees itself, an ending that and itself."""
        shared = len(self.shared)
        return shared**2 + sum((shared + len(ending)) ** 2 - shared**2 for ending in self.endings)

    def per_token(self, likelihoods: Sequence[float]) -> list[float]:
        """Log-likelihoods divided by the lengths of the endings."""
        return [value / len(ending) for value, ending in zip(likelihoods, self.endings, strict=True)]


def score_questions(
    language_model: Any, questions: Sequence[Question], report: Report
) -> Iterator[tuple[Question, list[float]]]:
    """Each question with log p(ending | shared) of its endings, in nats."""
    for part in _batches(questions):
        ids, positions, mask = _pack(part)
        device = language_model.device
        states = language_model.get_decoder()(
            input_ids=ids.to(device),
            position_ids=positions.to(device),
            attention_mask=_additive(mask, language_model.dtype).to(device),
            use_cache=False,
        ).last_hidden_state
        select, targets, lengths = _targets(part, ids.shape[1])
        logits = language_model.get_output_embeddings()(states.reshape(-1, states.shape[-1])[select.to(device)]).float()
        losses = torch.nn.functional.cross_entropy(logits, targets.to(device), reduction="none")
        sums = iter([-float(piece.sum()) for piece in losses.split(lengths)])
        report.tokens(evaluated=sum(q.width for q in part), padding=ids.numel() - sum(q.width for q in part))
        flops = forward_flops(
            shape(language_model),
            positions=sum(q.width for q in part),
            squared_lengths=sum(q.squares for q in part),
            head_positions=len(targets),
        )
        report.work(flops=flops, precision=precision_name(language_model.dtype))
        for question in part:
            yield question, [next(sums) for _ in question.endings]


def _batches(questions: Sequence[Question]) -> Iterator[list[Question]]:
    batch: list[Question] = []
    for question in sorted(questions, key=lambda question: -question.width):
        if batch and (len(batch) == QUESTIONS_PER_PASS or (len(batch) + 1) * batch[0].width > TOKENS_PER_PASS):
            yield batch
            batch = []
        batch.append(question)
    if batch:
        yield batch


def _pack(questions: Sequence[Question]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids [B, T], positions [B, T], and who may see whom [B, T, T]: an ending sees what is shared and itself."""
    width = max(question.width for question in questions)
    ids = torch.zeros(len(questions), width, dtype=torch.long)
    positions = torch.zeros(len(questions), width, dtype=torch.long)
    segments = torch.full((len(questions), width), -1)
    for row, question in enumerate(questions):
        shared = len(question.shared)
        flat = [*question.shared, *(token for ending in question.endings for token in ending)]
        places = [*range(shared), *(shared + place for ending in question.endings for place in range(len(ending)))]
        owners = [0] * shared + [n for n, ending in enumerate(question.endings, start=1) for _ in ending]
        ids[row, : len(flat)] = torch.tensor(flat)
        positions[row, : len(flat)] = torch.tensor(places)
        segments[row, : len(flat)] = torch.tensor(owners)
    same = segments[:, :, None] == segments[:, None, :]
    earlier = torch.ones(width, width, dtype=torch.bool).tril()
    return ids, positions, earlier & (same | (segments[:, None, :] == 0))


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, T, T] of bools → [B, 1, T, T] of 0 and the lowest number, which every attention implementation takes."""
    return torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)[:, None]


def _targets(questions: Sequence[Question], width: int) -> tuple[Tensor, Tensor, list[int]]:
    """Flat positions that predict the endings' tokens, those tokens, and the endings' lengths.

    The first token of every ending is predicted by the last shared position.
    """
    select: list[int] = []
    targets: list[int] = []
    lengths: list[int] = []
    for row, question in enumerate(questions):
        start = row * width + len(question.shared)
        last_shared = start - 1
        for ending in question.endings:
            select += [last_shared, *range(start, start + len(ending) - 1)]
            targets += ending
            lengths.append(len(ending))
            start += len(ending)
    return torch.tensor(select), torch.tensor(targets), lengths
