"""Rows → token ids → batches. One path through the chat template, labels on the answer alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from registry.workloads.rows import Row, Turn, WorkloadError, row_digest

# Tokens in one forward pass without gradients: the fp32 logits of so many positions fit beside a small model.
TOKENS_PER_PASS = 2048


@dataclass(frozen=True)
class Example:
    """Token ids of a conversation. `spans` are where each answer of the assistant starts and, end mark included, ends.

    They are the labels: no token of a system or a user is one.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    digest: str

    @property
    def labels(self) -> int:
        """How many positions are trained on."""
        return sum(end - start for start, end in self.spans)


class Chat:
    """The chat template as token ids. `end` closes an answer and is the only token generation stops at."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.end: int = tokenizer.eos_token_id
        self._check()

    def prompt_ids(self, prompt: str, before: Sequence[Turn] = ()) -> list[int]:
        """Ids up to where the answer to the last question starts."""
        return self._conversation(prompt, before)[0]

    def prompt_of(self, row: Row) -> list[int]:
        """Ids of a row up to where its answer starts."""
        return self.prompt_ids(row.prompt, row.before)

    def _conversation(self, prompt: str, before: Sequence[Turn]) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids up to the answer to `prompt`, and where each earlier answer stands in them.

        Each answer is put into ids by itself, as it is when it is the last one, so that an answer has the same ids
        wherever it stands. Raises `WorkloadError` where the template writes an earlier answer in another way.
        """
        turns = [{"role": turn.role, "content": turn.content} for turn in before]
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        read = ""
        for place, turn in enumerate([*turns, None]):
            if turn is not None and turn["role"] != "assistant":
                continue
            asked = turns[:place] if turn is not None else [*turns, {"role": "user", "content": prompt}]
            text = self._render(asked)
            if not text.startswith(read):
                raise WorkloadError("the chat template changes an answer once another question follows it")
            ids += self._ids(text[len(read) :])
            if turn is not None:
                answer = self.answer_ids(turn["content"])
                spans.append((len(ids), len(ids) + len(answer)))
                ids += answer
                read = text + turn["content"] + str(self.tokenizer.eos_token)
        return ids, spans

    def answer_ids(self, answer: str, *, finished: bool = True) -> list[int]:
        """Ids of an answer, closed by the end mark unless it was cut short."""
        return self._ids(answer) + ([self.end] if finished else [])

    def text(self, ids: Sequence[int]) -> str:
        """The answer in `ids` as text, without the end mark."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def example(self, row: Row) -> Example:
        """A row as the model sees it. Every answer in it is label, those before the last one too."""
        prompt, spans = self._conversation(row.prompt, row.before)
        answer = self.answer_ids(row.answer)
        last = (len(prompt), len(prompt) + len(answer))
        return Example((*prompt, *answer), (*spans, last), row_digest(row))

    def _render(self, turns: Sequence[dict[str, str]]) -> str:
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _check(self) -> None:
        """Refuse a template under which a prompt is no prefix of prompt and answer: its labels would be wrong."""
        turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
        whole = str(self.tokenizer.apply_chat_template(turns, tokenize=False))
        if not whole.startswith(self._render(turns[:1]) + "answer"):
            raise WorkloadError("the chat template does not put the answer right behind the prompt it renders")


def encode(chat: Chat, rows: Sequence[Row], max_length: int) -> tuple[list[Row], list[Example]]:
    """Rows and their examples; rows of more than `max_length` tokens are left out, never cut."""
    kept = [(row, example) for row in rows if len((example := chat.example(row)).ids) <= max_length]
    return [row for row, _ in kept], [example for _, example in kept]


@dataclass(frozen=True)
class Batch:
    """Right-padded ids [B, T]. `select` [N] are the flat positions whose next token is a label, `targets` [N] those."""

    ids: Tensor
    select: Tensor
    targets: Tensor
    digests: tuple[str, ...]
    prompt_tokens: int
    padding: int
    squares: int  # Σ of the rows' lengths squared: what attention costs goes by it

    @property
    def counts(self) -> dict[str, int]:
        """What the formulas for operations take, padding left out."""
        positions = self.prompt_tokens + self.labels
        return {"positions": positions, "squared_lengths": self.squares, "head_positions": self.labels}

    @property
    def labels(self) -> int:
        """N, the number of label positions."""
        return int(self.targets.shape[0])


def collate(examples: Sequence[Example], device: torch.device, pad: int = 0, width: int | None = None) -> Batch:
    """Pad to the longest, or to `width`. The padding id is arbitrary: attention is causal and no label follows a pad.

    The logits at position i predict the token at i + 1, so a label at i + 1 selects position i.
    """
    width = max(width or 0, *(len(example.ids) for example in examples))
    ids = torch.full((len(examples), width), pad, dtype=torch.long)
    select: list[int] = []
    targets: list[int] = []
    for place, example in enumerate(examples):
        ids[place, : len(example.ids)] = torch.tensor(example.ids)
        for start, end in example.spans:
            select.extend(place * width + position - 1 for position in range(start, end))
            targets.extend(example.ids[start:end])
    real = sum(len(example.ids) for example in examples)
    return Batch(
        ids.to(device),
        torch.tensor(select, dtype=torch.long, device=device),
        torch.tensor(targets, dtype=torch.long, device=device),
        tuple(example.digest for example in examples),
        real - len(targets),
        len(examples) * width - real,
        sum(len(example.ids) ** 2 for example in examples),
    )


def by_length(examples: Sequence[Example], rows: int, tokens: int | None = None) -> Iterator[list[Example]]:
    """Batches of like lengths, so that little is padded; the longest first, so that memory runs out at once or never.

    A batch has at most `rows` rows, and at most `tokens` tokens with its padding unless one row alone has more.
    """
    batch: list[Example] = []
    for example in sorted(examples, key=lambda example: -len(example.ids)):
        full = len(batch) == rows or (
            tokens is not None and (len(batch) + 1) * len((batch or [example])[0].ids) > tokens
        )
        if batch and full:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def label_states(language_model: Any, batch: Batch) -> Tensor:
    """Hidden states [N, d] at the positions that predict labels. The head is only ever applied to these."""
    states: Tensor = language_model.get_decoder()(input_ids=batch.ids, use_cache=False).last_hidden_state
    return states.reshape(-1, states.shape[-1])[batch.select]
