"""Logit caching: the teacher reads every training row once, and what it thought of each answer token is kept."""

from pathlib import Path

from registry.accounting.floor import forward_flops
from registry.workloads.rows import WorkloadError
from workers import logit_cache
from workers.data import Batch
from workers.models import describe, load_model, load_tokenizer, resolve_precision, shape
from workers.prepared import Prepared
from workers.stages.contract import Report, StageConfig, StageOutput

BATCH_ROWS = 32


def run(config: StageConfig, workdir: Path, report: Report) -> StageOutput:
    """Leaves the logit cache. Tokens: the prompts read, and the answer positions captured as `evaluated`."""
    spec = config.spec
    examples = Prepared(config.inputs["prepared_dataset"]).examples("train")
    with report.part("model_loading"):
        require_one_vocabulary(config)
        teacher = load_model(spec.teacher, resolve_precision(spec.teacher.precision))
    teacher_shape = shape(teacher)
    wanted = spec.distillation
    done = 0

    def each_batch(batch: Batch) -> None:
        nonlocal done
        done += batch.labels
        report.tokens(prompt=batch.prompt_tokens, evaluated=batch.labels, padding=batch.padding)
        report.work(flops=forward_flops(teacher_shape, **batch.counts), precision=spec.teacher.precision)
        report.progress(done=done, total=total, note="caching logits")

    total = sum(example.labels for example in examples)
    folder = workdir / "logit_cache"
    capture = logit_cache.Capture(wanted.k, wanted.kept_temperatures, wanted.encoding)
    manifest = logit_cache.write(folder, teacher, examples, capture, batch_size=BATCH_ROWS, each_batch=each_batch)
    meta = {
        "teacher": spec.teacher.id,
        **describe(teacher),
        **{
            key: manifest[key]
            for key in ("k", "temperatures", "encoding", "positions", "tail_mass", "bytes_per_position")
        },
        "bytes": sum(shard["bytes"] for shard in manifest["shards"]),
    }
    return StageOutput(folder=folder, meta=meta, row_digests=tuple(example.digest for example in examples))


def require_one_vocabulary(config: StageConfig) -> None:
    """Refuse a teacher whose token ids mean something else to the student."""
    teacher, student = config.spec.teacher, config.spec.student
    if (teacher.id, teacher.revision) == (student.id, student.revision):
        return
    if load_tokenizer(teacher).get_vocab() != load_tokenizer(student).get_vocab():
        raise WorkloadError(
            f"{teacher.id} and {student.id} have different vocabularies, so the logits of one say nothing to the "
            "other; use synthetic_sft, which passes text"
        )
