"""The teacher's answers: batched decoding in which each prompt's answer depends on the prompt and the seed alone."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from registry.accounting.spec import DecodingSpec

# Sorting the whole vocabulary at every step costs half of it; the nucleus nearly always lies within these.
NUCLEUS_PREFILTER = 512
# The free share of a batch at which waiting prompts join it: reading them one by one would cost a pass each.
REFILL = 0.25


@dataclass(frozen=True)
class Prompt:
    """Token ids to go on from, and the digest that seeds their randomness."""

    digest: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Generated:
    """An answer: its ids without the end mark, and whether the end mark came before the limit did.

    `reads` is its share of the readings of all weights: at each step the rows decoded together share one.
    """

    digest: str
    ids: tuple[int, ...]
    finished: bool
    reads: float = field(default=0.0, compare=False)

    @property
    def tokens(self) -> int:
        """Tokens generated: those up to the end mark and the mark itself, never what a batch padded."""
        return len(self.ids) + self.finished


@torch.inference_mode()
def generate(
    language_model: Any,
    prompts: Sequence[Prompt],
    decoding: DecodingSpec,
    *,
    end: int,
    batch_size: int,
    cache_positions: int | None = None,
    each_batch: Callable[[int, int], None] = lambda _prompt, _padding: None,
) -> Iterator[Generated]:
    """Answers as they finish; whoever has finished makes room, and waiting prompts join those still being answered.

    At most `batch_size` rows are decoded at once, and no more than their keys and values surely fit into
    `cache_positions`, the positions of all rows together, padding included; one row alone is always let in.
    `each_batch(prompt tokens, padding)` is called when prompts have been read.
    """
    # The longest first, so that memory runs out at once or never, and prompts read together are of like length.
    waiting = deque(sorted(prompts, key=lambda prompt: (-len(prompt.ids), prompt.digest)))
    rows: _Rows | None = None
    while waiting or rows:
        joining = _admitted(waiting, rows, decoding, batch_size, cache_positions)
        if joining:
            width = len(joining[0].ids)
            real = sum(len(prompt.ids) for prompt in joining)
            each_batch(real, width * len(joining) - real)
            read = _read(language_model, joining, decoding)
            rows = read if rows is None else rows.joined(read)
        assert rows is not None  # noqa: S101 - whoever waits is let in where nobody is
        done = rows.append(sample(rows.logits, rows.uniforms(), decoding), end, decoding.max_new_tokens)
        yield from done
        rows = rows.without_finished() if done else rows
        if rows is not None:
            rows.go_on(language_model)


def _admitted(
    waiting: deque[Prompt], rows: "_Rows | None", decoding: DecodingSpec, batch_size: int, cache_positions: int | None
) -> list[Prompt]:
    """Take those out of `waiting` that there is room for now: none until a part of the batch is free, see `REFILL`.

    A row never holds more than its prompt and a whole answer, and padding goes as soon as the longest row does: so the
    rows' number times the longest prompt and answer bounds what the cache holds.
    """
    busy = 0 if rows is None else len(rows)
    if rows is not None and (not rows.open or batch_size - busy < max(1, batch_size * REFILL)):
        return []
    longest = 0 if rows is None else rows.longest_prompt
    taken: list[Prompt] = []
    while waiting and busy + len(taken) < batch_size:
        longest = max(longest, len(waiting[0].ids))
        held = (busy + len(taken) + 1) * (longest + decoding.max_new_tokens)
        if cache_positions is not None and held > cache_positions and (busy or taken):
            break
        taken.append(waiting.popleft())
    return taken


def _read(language_model: Any, prompts: Sequence[Prompt], decoding: DecodingSpec) -> "_Rows":
    """Read prompts together: what each holds in the cache, and the logits of its first token."""
    device = language_model.device
    ids, mask = left_pad([prompt.ids for prompt in prompts], device)
    rows = _Rows(
        prompts=list(prompts),
        answers=[[] for _ in prompts],
        reads=[0.0] * len(prompts),
        randomness=torch.stack([uniforms(decoding, prompt.digest) for prompt in prompts]).to(device),
        mask=mask,
        cache=DynamicCache(config=language_model.config),
    )
    rows.forward(language_model, ids, (mask.cumsum(1) - 1).clamp(min=0))
    return rows


class _Rows:
    """Prompts being answered together. Each tensor has a row for each of them; B of them, T positions in the cache."""

    logits: Tensor  # [B, V], of the next token
    _going: list[int]  # places of those that the last token has not ended

    def __init__(
        self,
        *,
        prompts: list[Prompt],
        answers: list[list[int]],
        reads: list[float],
        randomness: Tensor,  # [B, max_new_tokens]
        mask: Tensor,  # [B, T]
        cache: Any,  # a DynamicCache of B rows and T positions
    ) -> None:
        self.prompts, self.answers, self.reads = prompts, answers, reads
        self.randomness, self.mask, self.cache = randomness, mask, cache

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def longest_prompt(self) -> int:
        """In tokens."""
        return max(len(prompt.ids) for prompt in self.prompts)

    @property
    def open(self) -> bool:
        """Whether others can join: a layer with a sliding window forgets positions, and rows no longer line up."""
        return all(type(layer) is DynamicLayer for layer in self.cache.layers)

    def uniforms(self) -> Tensor:
        """The number [B] in [0, 1) that draws each row's next token."""
        steps = torch.tensor([len(answer) for answer in self.answers], device=self.randomness.device)
        return self.randomness.gather(1, steps[:, None])[:, 0]

    def append(self, chosen: Tensor, end: int, limit: int) -> list[Generated]:
        """Give each row its next token [B]; return those that have come to their end by it."""
        done: dict[int, Generated] = {}
        for place, token in enumerate(chosen.tolist()):
            if token != end:
                self.answers[place].append(token)
            if token == end or len(self.answers[place]) == limit:
                answer = tuple(self.answers[place])
                done[place] = Generated(self.prompts[place].digest, answer, token == end, self.reads[place])
        self._going = [place for place in range(len(self)) if place not in done]
        return list(done.values())

    def without_finished(self) -> "_Rows | None":
        """The rows that go on, without the positions that only those had which do not; `None` if nobody goes on."""
        going = self._going
        if not going:
            return None
        places = torch.tensor(going, device=self.mask.device)
        self.cache.batch_select_indices(places)
        mask = self.mask[places]
        spare = mask.shape[1] - int(mask.sum(1).max())
        if spare and self.open:
            for layer in self.cache.layers:
                layer.keys, layer.values = layer.keys[:, :, spare:], layer.values[:, :, spare:]
            mask = mask[:, spare:]
        return _Rows(
            prompts=[self.prompts[place] for place in going],
            answers=[self.answers[place] for place in going],
            reads=[self.reads[place] for place in going],
            randomness=self.randomness[places],
            mask=mask,
            cache=self.cache,
        )

    def joined(self, others: "_Rows") -> "_Rows":
        """These rows and `others`, whose prompts have just been read; the shorter of the two is padded on the left."""
        width = max(self.mask.shape[1], others.mask.shape[1])
        for layer, joining in zip(self.cache.layers, others.cache.layers, strict=True):
            layer.keys = torch.cat([_widened(layer.keys, width), _widened(joining.keys, width)])
            layer.values = torch.cat([_widened(layer.values, width), _widened(joining.values, width)])
        rows = _Rows(
            prompts=self.prompts + others.prompts,
            answers=self.answers + others.answers,
            reads=self.reads + others.reads,
            randomness=torch.cat([self.randomness, others.randomness]),
            mask=torch.cat(
                [pad(self.mask, (width - self.mask.shape[1], 0)), pad(others.mask, (width - others.mask.shape[1], 0))]
            ),
            cache=self.cache,
        )
        rows.logits = torch.cat([self.logits, others.logits])
        return rows

    def go_on(self, language_model: Any) -> None:
        """One step: the last token of each row is read, and the logits of its next one are there."""
        positions = self.mask.sum(1, keepdim=True)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self), 1)], dim=1)
        last = torch.tensor([[answer[-1]] for answer in self.answers], device=self.mask.device)
        self.forward(language_model, last, positions)

    def forward(self, language_model: Any, ids: Tensor, positions: Tensor) -> None:
        """Read `ids` [B, t] at `positions` [B, t]. The head is applied to the last of them alone."""
        states = language_model.get_decoder()(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        self.logits = language_model.get_output_embeddings()(states[:, -1]).float()
        self.reads = [share + 1 / len(self) for share in self.reads]


def _widened(cached: Tensor, width: int) -> Tensor:
    """Keys or values [B, heads, T, d] with T = `width`: the mask keeps the padding on the left from being seen."""
    return pad(cached, (0, 0, width - cached.shape[2], 0))


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
