"""The stages as the paper's public harness does them, written anew for the bench: what ours is held against.

Everything is padded to 1,024, four rows at a time; logits are kept for every position, padding included, with T baked
in, as nested lists; the KD loss is written out over whole tensors; generation pads on the right and goes on until the
last row of its four has ended. Weights are bf16, updates rounded to the nearest, activations computed anew.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import Adafactor

from workers.data import Example

WIDTH, ROWS, K = 1024, 4, 100
Nested = list[list[list[float]]]


def batched(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Four at a time."""
    return (items[start : start + ROWS] for start in range(0, len(items), ROWS))


def padded(examples: Sequence[Example], pad: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Ids, mask and labels [4, 1024]."""
    for rows in batched(examples):
        ids = torch.full((len(rows), WIDTH), pad)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = torch.tensor(row.ids)
            mask[place, : len(row.ids)] = 1
            for start, end in row.spans:
                labels[place, start:end] = torch.tensor(row.ids[start:end])
        yield ids, mask, labels


@torch.no_grad()
def cache_logits(model: Any, examples: Sequence[Example], pad: int) -> tuple[Nested, Nested]:
    """Log-probabilities and ids of the top 100 of every position, as nested lists of 8-byte numbers."""
    values: Nested = []
    places: Nested = []
    for ids, mask, _ in padded(examples, pad):
        log_p = torch.log_softmax(model(input_ids=ids, attention_mask=mask).logits, dim=-1)
        top = log_p.topk(K, dim=-1)
        values += top.values.float().tolist()
        places += top.indices.tolist()
    return values, places


def train(model: Any, examples: Sequence[Example], pad: int, cache: tuple[Nested, Nested] | None) -> None:
    """One optimiser step over all rows: cross-entropy, and the truncated KL where there is a cache."""
    model.to(torch.bfloat16).train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimizer = Adafactor(model.parameters(), lr=5e-5, scale_parameter=True, relative_step=False, warmup_init=False)
    for number, (ids, mask, labels) in enumerate(padded(examples, pad)):
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()  # [4, 1023, V]
        targets = labels[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
        if cache is not None:
            rows = slice(number * ROWS, number * ROWS + len(ids))
            log_p, places = torch.tensor(cache[0][rows])[:, :-1], torch.tensor(cache[1][rows])[:, :-1]
            log_q = torch.log_softmax(logits, dim=-1).gather(-1, places.long())
            kl = (log_p.exp() * (log_p - log_q)).sum(-1)[targets != -100].sum() / 16
            loss = 0.5 * loss + 0.5 * kl
        loss.backward()
        float(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def generate(model: Any, prompts: Sequence[Sequence[int]], pad: int, new_tokens: int) -> int:
    """Answers, right-padded and four at a time; returns the tokens up to each answer's end."""
    made = 0
    for rows in batched(prompts):
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), pad)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)], mask[place, : len(row)] = torch.tensor(row), 1
        out = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, temperature=0.7, top_p=0.9,
            max_new_tokens=new_tokens, pad_token_id=pad,
        )  # fmt: skip
        for answer in out[:, width:].tolist():
            made += answer.index(pad) + 1 if pad in answer else len(answer)
    return made
