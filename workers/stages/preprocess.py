"""Preprocess: rows out of the dataset, split, rendered through the chat template and tokenised."""

from pathlib import Path

from registry.workloads.catalogue import dataset
from registry.workloads.files import Columns
from registry.workloads.rows import prompt_digest, split
from workers.data import Chat
from workers.hub import hub_rows
from workers.models import load_tokenizer
from workers.prepared import Prepared, prepare
from workers.stages.contract import Report, StageConfig, StageOutput


def run(config: StageConfig, workdir: Path, report: Report) -> StageOutput:
    """Leaves the prepared dataset, by the student's tokenizer; to distil logits it must be the teacher's too."""
    spec = config.spec
    report.progress(done=0, total=2, note="reading rows")
    entry = dataset(spec.dataset.id, spec.dataset.revision)
    rows = entry.rows(Columns.of(spec.dataset))
    splits = split(hub_rows(spec.dataset), spec.dataset, drawn=True) if rows is None else split(rows, spec.dataset)
    report.progress(done=1, total=2, note="tokenising")
    with report.part("tokenizer_loading"):
        chat = Chat(load_tokenizer(spec.student))
    manifest = prepare(workdir / "prepared", chat, splits, spec.dataset.max_length)
    report.tokens(prompt=sum(manifest["tokens"].values()))
    report.progress(done=2, total=2, note="prepared")
    meta = {
        "dataset": entry.id,
        "licence": entry.licence,
        **{key: manifest[key] for key in ("max_length", "rows", "too_long", "tokens")},
    }
    prompts = tuple(prompt_digest(row) for row in Prepared(workdir / "prepared").rows("train"))
    rows_read = tuple(manifest["digests"]["train"])
    return StageOutput(folder=workdir / "prepared", meta=meta, row_digests=rows_read, prompt_digests=prompts)
