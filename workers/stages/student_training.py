"""Student training: one loop for every pipeline; the pipeline decides the examples and the loss."""

from pathlib import Path

import torch

from registry.accounting.spec import RunSpec
from registry.accounting.stages import KD, SYNTHETIC_SFT
from registry.workloads.rows import WorkloadError, prompt_digest
from workers import synthetic
from workers.data import Chat, Example
from workers.logit_cache import LogitCache
from workers.losses import CrossEntropy, Distillation, Loss
from workers.models import describe, load_model, load_tokenizer, save_student
from workers.prepared import Prepared
from workers.stages.contract import Report, StageConfig, StageOutput
from workers.storage import whole_folder
from workers.training import train


def run(config: StageConfig, workdir: Path, report: Report) -> StageOutput:
    """Leaves the student with the best validation loss. Weights are fp32, under autocast where bf16 is asked."""
    spec = config.spec
    with report.part("model_loading"):
        tokenizer = load_tokenizer(spec.student)
        student = load_model(spec.student, torch.float32)
    prepared = Prepared(config.inputs["prepared_dataset"])
    examples = training_examples(config, prepared, Chat(tokenizer))
    progress = train(
        student,
        examples,
        prepared.examples("validation"),
        loss_of(spec, config, examples),
        spec.training,
        seed=spec.seed,
        workdir=workdir,
        report=report,
        max_length=spec.dataset.max_length,
    )
    folder = workdir / "student"
    with report.part("saving"), whole_folder(folder) as temporary:
        save_student(student, tokenizer, temporary)
    meta = {
        "base": spec.student.id,
        "drop_layers": spec.student.drop_layers,
        **describe(student),
        "steps": progress.step,
        "best_step": progress.best_step,
        "validation_loss": progress.best_loss,
        "stopped_early": progress.stopped_early,
        "history": progress.history,
        "rows": len(examples),
        **({} if progress.tail_mass is None else {"tail_mass": progress.tail_mass}),
    }
    return StageOutput(folder=folder, meta=meta, row_digests=tuple(example.digest for example in examples))


def training_examples(config: StageConfig, prepared: Prepared, chat: Chat) -> list[Example]:
    """The dataset's own answers, or the teacher's where the pipeline is synthetic_sft."""
    spec = config.spec
    if spec.pipeline != SYNTHETIC_SFT:
        return prepared.examples("train")
    folder = config.inputs["synthetic_dataset"]
    manifest = synthetic.manifest_of(folder)
    rows = {prompt_digest(row): row for row in prepared.rows("train")}
    answers = synthetic.select(list(synthetic.read(folder)), list(rows.values()), list(rows))
    same_tokens = (manifest["teacher"], manifest["teacher_revision"]) == (spec.student.id, spec.student.revision)
    # The limit counts the teacher's tokens, so a dataset of longer answers is cut by them, whatever the student reads.
    teachers = chat if same_tokens else Chat(load_tokenizer(spec.teacher))
    cut = [synthetic.truncate(answer, spec.decoding.max_new_tokens, teachers) for answer in answers]
    return synthetic.examples(cut, chat, spec.dataset.max_length, same_tokens=same_tokens)


def loss_of(spec: RunSpec, config: StageConfig, examples: list[Example]) -> Loss:
    """Cross-entropy, or distillation from the logit cache. Raises `WorkloadError` for what the cache does not hold."""
    if spec.pipeline != KD:
        return CrossEntropy()
    wanted = spec.distillation
    cache = LogitCache(config.inputs["logit_cache"])
    cache.check(k=wanted.k, temperature=wanted.temperature)
    missing = {example.digest for example in examples} - set(cache.digests())
    if missing:
        raise WorkloadError(f"the logit cache lacks {len(missing)} of {len(examples)} training rows; make one for them")
    return Distillation(cache, wanted.temperature, wanted.ce_weight, wanted.k, wanted.encoding, wanted.tail)
