"""Teacher generation: the teacher answers every training prompt once."""

import time
from dataclasses import asdict
from pathlib import Path

from registry.accounting.floor import decoding_work
from registry.workloads.rows import prompt_digest
from workers import synthetic
from workers.data import Chat
from workers.generation import Prompt, generate
from workers.models import (
    cache_positions,
    decoding_rows,
    describe,
    load_model,
    load_tokenizer,
    resolve_precision,
    shape,
)
from workers.prepared import Prepared
from workers.stages.contract import Report, StageConfig, StageOutput


def run(config: StageConfig, workdir: Path, report: Report) -> StageOutput:
    """Leaves the synthetic dataset. Answers are on disk as they come; a run that was killed asks only the rest."""
    spec = config.spec
    rows = {prompt_digest(row): row for row in Prepared(config.inputs["prepared_dataset"]).rows("train")}
    folder = workdir / "synthetic_dataset"
    folder.mkdir(parents=True, exist_ok=True)
    with report.part("model_loading"):
        chat = Chat(load_tokenizer(spec.teacher))
        teacher = load_model(spec.teacher, resolve_precision(spec.teacher.precision))
    answers = synthetic.resume(folder / synthetic.STREAM)
    waiting = [Prompt(digest, tuple(chat.prompt_of(row))) for digest, row in rows.items() if digest not in answers]
    teacher_shape = shape(teacher)
    prompt_lengths = {prompt.digest: len(prompt.ids) for prompt in waiting}
    made_tokens, started = 0, time.monotonic()
    with (folder / synthetic.STREAM).open("a", encoding="utf-8") as stream:
        made = generate(
            teacher,
            waiting,
            spec.decoding,
            end=chat.end,
            batch_size=decoding_rows(),
            cache_positions=cache_positions(teacher),
            each_batch=lambda prompt, padding: report.tokens(prompt=prompt, padding=padding),
        )
        for generated in made:
            text = chat.text(generated.ids)
            row = rows[generated.digest]
            answer = synthetic.Answer(generated.digest, row.prompt, text, generated.ids, generated.finished, row.before)
            answers[generated.digest] = answer
            stream.write(answer.to_line())
            stream.flush()
            report.tokens(generated=generated.tokens)
            work = decoding_work(
                teacher_shape,
                prompt=prompt_lengths[generated.digest],
                answer=generated.tokens,
                batch=generated.tokens / generated.reads,
                bytes_per_weight=teacher.dtype.itemsize,
            )
            report.work(flops=work.flops, moved_bytes=work.bytes, precision=spec.teacher.precision)
            made_tokens += generated.tokens
            pace = {"tokens_per_s": made_tokens / (time.monotonic() - started)}
            report.progress(done=len(answers), total=len(rows), note="generating", figures=pace)
    ordered = [answers[digest] for digest in rows]
    tokens = sum(len(answer.ids) + answer.finished for answer in ordered)
    manifest = {
        "teacher": spec.teacher.id,
        "teacher_revision": spec.teacher.revision,
        **describe(teacher),
        "decoding": asdict(spec.decoding),
        "answers": len(ordered),
        "cut_short": sum(not answer.finished for answer in ordered),
        "generated_tokens": tokens,
    }
    synthetic.finish(folder, ordered, manifest)
    return StageOutput(folder=folder, meta=manifest, row_digests=tuple(rows))
