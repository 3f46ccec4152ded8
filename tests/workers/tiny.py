"""A model and a tokenizer small enough for a test, built here: nothing is downloaded."""

from contextlib import contextmanager

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from registry.workloads.catalogue import CHAT_TEMPLATE
from registry.workloads.rows import Row
from workers.data import Chat

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and the three marks of ChatML; padding and end are the same id, as in the real one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate([*MARKS, *alphabet])}
    bytes_only = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>"
    )
    made.chat_template = CHAT_TEMPLATE
    return made


def chat() -> Chat:
    return Chat(tokenizer())


def model(seed: int = 0, layers: int = 2, vocabulary: int = 259) -> LlamaForCausalLM:
    """A random Llama of `layers` layers in fp32."""
    torch.manual_seed(seed)
    settings = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(settings).eval()


def rows(count: int = 12) -> list[Row]:
    """Questions of different lengths with answers of different lengths."""
    return [Row(f"What is {'very ' * (n % 4)}{n}?", f"It is {'so ' * (n % 3)}{n}.") for n in range(count)]


class Notes:
    """A report that remembers."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.progresses: list[dict] = []
        self.parts: list[str] = []
        self.flops = 0.0

    def progress(self, **said) -> None:
        self.progresses.append(said)

    def tokens(self, **counts: int) -> None:
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def work(self, *, flops: float, moved_bytes: float | None = None, precision: str = "bf16") -> None:
        self.flops += flops

    @contextmanager
    def part(self, name: str):
        self.parts.append(name)
        yield
