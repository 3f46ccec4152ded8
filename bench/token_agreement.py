"""How many tokens are the same when an answer is drawn in another batch, in float32 and in bfloat16.

    .venv/bin/python -m bench.token_agreement [--prompts 16] [--tokens 32]

SmolLM2-135M-Instruct on this processor, the tour's prompts, nucleus sampling at temperature 0.7. Each prompt is
answered in a batch of all and once more in batches of three. Randomness comes from seed and prompt alone, so what
differs is rounding: one token that rounds to another goes on differently from there. Beside the tokens at the same
place stand the tokens up to the first that differs, which is what a cut can lean on.
"""

import argparse
import os
from typing import Any

os.environ.setdefault("DATABASE_URL", "postgresql:///none")
os.environ.setdefault("REDIS_URL", "redis://none")

import torch

from registry.accounting.spec import DatasetSpec, DecodingSpec, ModelSpec
from registry.workloads import catalogue
from registry.workloads.rows import prompt_digest, split
from workers import models
from workers.data import Chat
from workers.generation import Prompt, generate

KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    """One line for each precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    wanted = DatasetSpec(id=catalogue.TOUR, train_rows=options.prompts, validation_rows=2, evaluation_rows=2)
    rows = split(catalogue.dataset(catalogue.TOUR).rows(), wanted).train
    decoding = DecodingSpec(max_new_tokens=options.tokens, temperature=0.7, top_p=0.9, seed=1)
    for precision, kind in KINDS.items():
        spec = ModelSpec(id=catalogue.SMOLLM2, precision=precision)
        teacher, chat = models.load_model(spec, kind), Chat(models.load_tokenizer(spec))
        prompts = [Prompt(prompt_digest(row), tuple(chat.prompt_ids(row.prompt))) for row in rows]
        one, other = (answers(teacher, prompts, decoding, chat, size) for size in (len(prompts), 3))
        print(f"{precision}: {agreement(one, other)}", flush=True)


def answers(
    teacher: Any, prompts: list[Prompt], decoding: DecodingSpec, chat: Chat, batch_size: int
) -> dict[str, tuple[int, ...]]:
    """Token ids by prompt."""
    made = generate(teacher, prompts, decoding, end=chat.end, batch_size=batch_size)
    return {answer.digest: answer.ids for answer in made}


def agreement(one: dict, other: dict) -> str:
    """Shares of tokens, out of the longer answer's each."""
    tokens = same = led = whole = 0
    for digest, ids in one.items():
        pairs = list(zip(ids, other[digest], strict=False))
        tokens += max(len(ids), len(other[digest]))
        same += sum(a == b for a, b in pairs)
        led += next((place for place, (a, b) in enumerate(pairs) if a != b), len(pairs))
        whole += ids == other[digest]
    return (
        f"{tokens} tokens, {same / tokens:.2%} the same at their place, {led / tokens:.2%} before the first that "
        f"differs, {whole} of {len(one)} answers whole"
    )


if __name__ == "__main__":
    main()
