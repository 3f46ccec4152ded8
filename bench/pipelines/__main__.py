"""The pipelines beside plain ones in the paper's manner: the same models and rows, each part in a process of its own.

    python -m bench.pipelines --rows GSM8K.jsonl [--count 16]

Teacher SmolLM2-135M, student its first 3 and last 3 layers. Prints one line a part (tokens of real text per second,
peak memory above what the loaded model takes), and a probe of the machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARTS = ("caching", "generation", "kd", "sft")
STUDENT_DROPS = "3-26"
NEW_TOKENS = 48


def main() -> None:
    """Run every part both ways, or one of them (as the processes started here are asked to)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="JSONL with question and answer")
    parser.add_argument("--count", type=int, default=16, help="rows; generation takes twice as many prompts")
    parser.add_argument("--only", help="one measurement, such as kd-plain")
    options = parser.parse_args()
    if options.only == "probe":
        print(json.dumps(probe()))
    elif options.only:
        print(json.dumps(measure(options.only, options.rows, options.count)))
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Each measurement in a process of its own, so that none inherits another's memory."""
    print(json.dumps({"probe": _ask(options, "probe")}), flush=True)
    for part in PARTS:
        plain, ours = (_ask(options, f"{part}-{way}") for way in ("plain", "ours"))
        line = {"part": part, "plain": plain, "ours": ours}
        line["times as fast"] = round(ours["tokens_per_s"] / plain["tokens_per_s"], 2)
        line["share of memory"] = round(ours["peak_mb"] / plain["peak_mb"], 3)
        print(json.dumps(line), flush=True)


def _ask(options: argparse.Namespace, name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.pipelines", "--rows", str(options.rows), "--count", str(options.count)]
    done = subprocess.run([*command, "--only", name], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def probe() -> dict[str, float]:
    """Matrix rate in bf16 and fp32, and the bandwidth of a copy, the best of three."""
    import torch

    a, b = torch.randn(2048, 2048), torch.randn(1 << 26)
    a16, c = a.bfloat16(), torch.empty_like(b)
    best = {name: min(_timed(work) for _ in range(3)) for name, work in
            (("bf16", lambda: a16 @ a16), ("fp32", lambda: a @ a), ("copy", lambda: c.copy_(b)))}  # fmt: skip
    flops = 2 * 2048**3
    return {
        "bf16_gflops": round(flops / best["bf16"] / 1e9, 1),
        "fp32_gflops": round(flops / best["fp32"] / 1e9, 1),
        "copy_gb_per_s": round(2 * 4 * (1 << 26) / best["copy"] / 1e9, 1),
    }


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(name: str, path: Path, count: int) -> dict[str, Any]:  # noqa: PLR0915 (eight small works share one set-up)
    """One part one way: tokens of real text per second, peak memory above the loaded model's in MB, seconds, load.

    On a machine that others use too, compare `cpu_s`: waiting for the processor is not in it, spinning threads are.
    """
    import torch

    from bench.pipelines import plain
    from registry.accounting.spec import DecodingSpec, ModelSpec, TrainingSpec
    from registry.workloads.rows import Row
    from workers import logit_cache, models
    from workers.data import Chat, collate
    from workers.generation import Prompt, generate
    from workers.logit_cache import Capture, LogitCache
    from workers.losses import CrossEntropy, Distillation
    from workers.training import backward, make_optimizer, step_examples, step_weights

    part, way = name.split("-")
    teacher_spec = ModelSpec(id="smollm2-135m-instruct")
    chat = Chat(models.load_tokenizer(teacher_spec))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[: 2 * count]]
    examples = [chat.example(Row(line["question"], line["answer"])) for line in lines][:count]
    prompts = [tuple(chat.prompt_ids(line["question"])) for line in lines]
    real = sum(len(example.ids) for example in examples)
    extra: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp())

    capture = Capture(100, (1.0, 2.0, 4.0))

    def make_cache(teacher: Any) -> dict[str, Any]:
        return logit_cache.write(folder, teacher, examples, capture, batch_size=32, each_batch=lambda _: None)

    student = ModelSpec(id=teacher_spec.id, drop_layers=STUDENT_DROPS)
    dtype = torch.bfloat16 if way == "plain" or part in ("caching", "generation") else torch.float32
    model: Any = models.load_model(teacher_spec if part in ("caching", "generation") else student, dtype)
    cached: Any = None
    if part == "kd":
        teacher = models.load_model(teacher_spec, torch.bfloat16)
        cached = plain.cache_logits(teacher, examples, chat.end) if way == "plain" else make_cache(teacher)
        del teacher

    def ours_training() -> None:
        settings = TrainingSpec(batch_size=8, accumulation_steps=-(-count // 8), precision="bf16")
        loss: Any = Distillation(LogitCache(folder), 1.0, 0.5, 100) if part == "kd" else CrossEntropy()
        model.train()
        optimizer = make_optimizer(model, settings)
        for rows in step_examples(examples, settings, 0, 0):
            with models.autocast(torch.bfloat16):
                backward(model, collate(rows, model.device), loss, scale=1 / 1000)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        step_weights(optimizer, settings)

    def ours_generation() -> int:
        decoding = DecodingSpec(max_new_tokens=NEW_TOKENS)
        asked = [Prompt(str(place), ids) for place, ids in enumerate(prompts)]
        return sum(answer.tokens for answer in generate(model, asked, decoding, end=chat.end, batch_size=64))

    works: dict[str, Callable[[], Any]] = {
        "caching-plain": lambda: plain.cache_logits(model, examples, chat.end),
        "caching-ours": lambda: make_cache(model),
        "generation-plain": lambda: plain.generate(model, prompts, chat.end, NEW_TOKENS),
        "generation-ours": ours_generation,
        "kd-plain": lambda: plain.train(model, examples, chat.end, cached),
        "sft-plain": lambda: plain.train(model, examples, chat.end, None),
        "kd-ours": ours_training,
        "sft-ours": ours_training,
    }  # fmt: skip
    _reset_peak()
    before = _resident_mb()
    started, spent = time.perf_counter(), time.process_time()
    found = works[name]()
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - spent
    tokens = found if part == "generation" else real
    if name == "caching-ours":
        extra["bytes_per_label_position"] = round(found["bytes_per_position"], 1)
        extra["label_positions"] = found["positions"]
    if name == "caching-plain":
        extra["bytes_per_position"] = 100 * (8 + 8)
        extra["positions"] = sum(map(len, found[0]))
    peak = _peak_mb() - before
    return {"tokens": tokens, "seconds": round(seconds, 2), "tokens_per_s": round(tokens / seconds, 1),
            "cpu_s": round(cpu_s, 2),
        "peak_mb": round(peak), "load": os.getloadavg()[0], **extra}  # fmt: skip


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark of memory starts anew


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
