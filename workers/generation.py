"""The teacher's answers: batched decoding in which each prompt's answer depends on the prompt and the seed alone."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from registry.accounting.spec import DecodingSpec

# Sorting the whole vocabulary at every step costs half of it; the nucleus nearly always lies within these.
NUCLEUS_PREFILTER = 512


@dataclass(frozen=True)
class Prompt:
    """Token ids to go on from, and the digest that seeds their randomness."""

    digest: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Generated:
    """An answer: its ids without the end mark, and whether the end mark came before the limit did."""

    digest: str
    ids: tuple[int, ...]
    finished: bool

    @property
    def tokens(self) -> int:
        """Tokens generated: those up to the end mark and the mark itself, never what a batch padded."""
        return len(self.ids) + self.finished


def generate(
    language_model: Any,
    prompts: Sequence[Prompt],
    decoding: DecodingSpec,
    *,
    end: int,
    batch_size: int,
    each_batch: Callable[[int, int], None] = lambda _prompt, _padding: None,
) -> Iterator[Generated]:
    """Answers as they finish. `each_batch(prompt tokens, padding)` is called when a batch of prompts has been read."""
    ordered = sorted(prompts, key=lambda prompt: (len(prompt.ids), prompt.digest))
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        width = len(batch[-1].ids)
        real = sum(len(prompt.ids) for prompt in batch)
        each_batch(real, width * len(batch) - real)
        yield from _generate_batch(language_model, batch, decoding, end)


@torch.inference_mode()
def _generate_batch(
    language_model: Any, batch: Sequence[Prompt], decoding: DecodingSpec, end: int
) -> Iterator[Generated]:
    device = language_model.device
    ids, mask = left_pad([prompt.ids for prompt in batch], device)
    randomness = torch.stack([uniforms(decoding, prompt.digest) for prompt in batch]).to(device)  # [B, max_new_tokens]
    answers: list[list[int]] = [[] for _ in batch]
    alive = list(range(len(batch)))
    cache = DynamicCache(config=language_model.config)
    step_ids, positions = ids, (mask.cumsum(1) - 1).clamp(min=0)
    for step in range(decoding.max_new_tokens):
        states = language_model.get_decoder()(
            input_ids=step_ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        logits = language_model.get_output_embeddings()(states[:, -1]).float()  # [alive, V]
        chosen = sample(logits, randomness[:, step], decoding)
        going = []
        for row, (place, token) in enumerate(zip(alive, chosen.tolist(), strict=True)):
            if token == end:
                yield Generated(batch[place].digest, tuple(answers[place]), finished=True)
                continue
            answers[place].append(token)
            if step + 1 == decoding.max_new_tokens:
                yield Generated(batch[place].digest, tuple(answers[place]), finished=False)
            else:
                going.append(row)
        if not going:
            return
        if len(going) < len(alive):
            rows = torch.tensor(going, device=device)
            cache.batch_select_indices(rows)
            mask, positions, chosen, randomness = mask[rows], positions[rows], chosen[rows], randomness[rows]
            alive = [alive[row] for row in going]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        positions = positions[:, -1:] + 1
        step_ids = chosen[:, None]


def left_pad(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask [B, T], so that every prompt ends at the last position and an answer follows without a gap."""
    width = max(map(len, sequences))
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, width - len(sequence) :] = torch.tensor(sequence)
        mask[row, width - len(sequence) :] = 1
    return ids.to(device), mask.to(device)


def uniforms(decoding: DecodingSpec, digest: str) -> Tensor:
    """One number in [0, 1) per step from (seed, prompt digest) alone; a longer limit only adds to them."""
    seed = hashlib.sha256(f"{decoding.seed}:{digest}".encode()).digest()
    draws = np.random.default_rng(int.from_bytes(seed)).random(decoding.max_new_tokens)
    return torch.from_numpy(draws)


def sample(logits: Tensor, uniform: Tensor, decoding: DecodingSpec) -> Tensor:
    """Nucleus sampling by inverse distribution function: logits [B, V], uniform [B] → token ids [B].

    The nucleus is the smallest set of likeliest tokens whose mass reaches top_p. Temperature 0 takes the likeliest.
    """
    if decoding.temperature == 0:
        return logits.argmax(1)
    scaled = logits / decoding.temperature
    if decoding.top_k and decoding.top_k < logits.shape[1]:  # the nucleus is taken within the top k
        values, ids = scaled.topk(decoding.top_k, dim=1)
        return _from_top(values.double(), ids, values.double().logsumexp(1, keepdim=True), uniform, decoding.top_p)[0]
    log_z = scaled.logsumexp(1, keepdim=True).double()
    values, ids = scaled.topk(min(NUCLEUS_PREFILTER, logits.shape[1]), dim=1)
    chosen, reached = _from_top(values.double(), ids, log_z, uniform, decoding.top_p)
    if not bool(reached.all()):
        wide = ~reached
        values, ids = scaled[wide].sort(dim=1, descending=True)
        chosen[wide] = _from_top(values.double(), ids, log_z[wide], uniform[wide], decoding.top_p)[0]
    return chosen


def _from_top(values: Tensor, ids: Tensor, log_z: Tensor, uniform: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Sample among the likeliest [B, W], in falling order; also say per row whether their mass reaches top_p."""
    mass = (values - log_z).exp()
    cumulative = mass.cumsum(1)
    nucleus = (cumulative - mass) < top_p
    kept = torch.where(nucleus, mass, 0.0).cumsum(1)
    place = torch.searchsorted(kept, (uniform.to(kept.dtype) * kept[:, -1])[:, None], right=True)
    last = nucleus.sum(1, keepdim=True) - 1
    return ids.gather(1, torch.minimum(place, last))[:, 0], cumulative[:, -1] >= top_p
