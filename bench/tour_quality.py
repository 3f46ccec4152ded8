"""Run the tour's stages one after the other without web and database; print every score and the seconds per stage.

    python bench/tour_quality.py                             # the whole tour and both untrained cuts
    python bench/tour_quality.py --set training.max_steps=40 --pipelines sft --layers 12
    STAGEMETER_DATASETS=folder python bench/tour_quality.py --set dataset.id=local/train

Each stage runs in a process of its own, as a worker would run it. Seconds are wall clock; "cpu" is processor time
over two cores, which tells a busy machine from a slow stage.
"""

import argparse
import json
import multiprocessing
import os
import queue
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from registry.accounting import presets
from registry.accounting.spec import RunSpec
from registry.accounting.stages import INPUTS_OF_STAGE, OUTPUT_OF_STAGE, STAGES_OF_PIPELINE
from workers.stages.contract import StageConfig


class Notes:
    """A report that remembers tokens and the seconds of each part."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.parts: Counter[str] = Counter()

    def progress(self, **said: Any) -> None:
        """Nobody watches."""

    def tokens(self, **counts: int) -> None:
        """Add them up."""
        self.counts.update(counts)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time it."""
        started = time.monotonic()
        yield
        self.parts[name] += time.monotonic() - started


def run_stage(kind: str, config: StageConfig, workdir: Path, answer: Any) -> None:
    """The body of a stage's process."""
    from workers.stages import stage

    notes = Notes()
    output = stage(kind)(config, workdir, notes)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answer.put(
        {
            "folder": output.folder,
            "meta": dict(output.meta),
            "scores": [(s.benchmark, s.value, s.stderr, s.n) for s in output.scores],
            "tokens": dict(notes.counts),
            "parts": dict(notes.parts),
            "cpu": (usage.ru_utime + usage.ru_stime) / 2,
            "peak_gb": usage.ru_maxrss / 1e6,
        }
    )


def in_process(kind: str, config: StageConfig, workdir: Path, label: str) -> dict[str, Any]:
    """Run one stage and print its line."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=run_stage, args=(kind, config, workdir, answer))
    started = time.monotonic()
    process.start()
    while True:
        try:
            result: dict[str, Any] = answer.get(timeout=1)
            break
        except queue.Empty:
            if not process.is_alive():
                raise SystemExit(f"{label}: {kind} ended with {process.exitcode}") from None
    process.join()
    result["seconds"] = time.monotonic() - started
    parts = " ".join(f"{name}={seconds:.0f}s" for name, seconds in result["parts"].items())
    tokens = " ".join(f"{name}={count}" for name, count in result["tokens"].items() if count)
    print(
        f"{label:22} {kind:20} {result['seconds']:6.1f} s  cpu {result['cpu']:6.1f} s  {result['peak_gb']:.1f} GB  "
        f"{parts}  {tokens}",
        flush=True,
    )
    return result


def with_changes(spec: RunSpec, changes: list[str]) -> RunSpec:
    """The spec with dotted fields replaced: `training.max_steps=40`."""
    data = spec.to_dict()
    for change in changes:
        name, _, text = change.partition("=")
        *folders, field = name.split(".")
        place = data
        for folder in folders:
            place = place[folder]
        place[field] = json.loads(text) if text[:1] in '0123456789["-' else text
    return RunSpec.from_dict(data)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--pipelines", default="sft,kd,synthetic_sft")
    parser.add_argument("--layers", default="20,12")
    parser.add_argument("--no-teacher", action="store_true")
    parser.add_argument("--no-untrained", action="store_true")
    parser.add_argument("--keep", help="folder to work in; shared artifacts found there are used again")
    options = parser.parse_args()
    folder = Path(options.keep or tempfile.mkdtemp(prefix="tour-"))
    os.environ.setdefault("STAGEMETER_HOME", str(folder))
    runs = [] if options.no_teacher else [("teacher", presets.tour_teacher())]
    for layers in map(int, options.layers.split(",")):
        runs += [(f"{p} {layers}", presets.tour(layers, p)) for p in options.pipelines.split(",")]
    results: dict[str, Any] = {}
    shared: dict[str, Path] = {}
    started = time.monotonic()
    for label, preset in runs:
        results[label] = run(with_changes(preset, options.changes), label, folder, shared)
    total = time.monotonic() - started
    if not options.no_untrained:
        for layers in map(int, options.layers.split(",")):
            label = f"untrained {layers}"
            results[label] = untrained(
                with_changes(presets.tour(layers, "sft"), options.changes), label, folder, shared
            )
    show(results)
    print(
        f"\nThe tour took {total:.0f} s, {sum(r['cpu'] for r in results.values() if 'cpu' in r):.0f} s of both cores."
    )
    if not options.keep:
        shutil.rmtree(folder)


def run(spec: RunSpec, label: str, folder: Path, shared: dict[str, Path]) -> dict[str, Any]:
    """One run; what another run has made is used again."""
    made: dict[str, Path] = dict(shared)
    cpu = 0.0
    result: dict[str, Any] = {}
    for kind in STAGES_OF_PIPELINE[spec.pipeline]:
        output = OUTPUT_OF_STAGE[kind]
        if output in shared and output != "prepared_dataset":
            continue
        if output == "prepared_dataset" and output in shared:
            continue
        wanted = INPUTS_OF_STAGE.get(spec.pipeline, {}).get(kind, ())
        config = StageConfig(spec=spec, inputs={name: made[name] for name in wanted})
        workdir = folder / label.replace(" ", "-") / kind
        workdir.mkdir(parents=True, exist_ok=True)
        result = in_process(kind, config, workdir, label)
        cpu += result["cpu"]
        if output and result["folder"]:
            made[output] = result["folder"]
            if output != "student":
                shared[output] = result["folder"]
        if kind == "student_training":
            history = " ".join(f"{h['step']}:{h['validation_loss']:.3f}" for h in result["meta"]["history"])
            print(f"{'':22} validation loss {history}; best step {result['meta']['best_step']}", flush=True)
            shutil.rmtree(workdir / "checkpoints")
    print(f"{'':22} " + "  ".join(f"{b} {v:.3f} ± {e:.3f}" for b, v, e, _ in result["scores"]), flush=True)
    return {**result, "cpu": cpu}


def untrained(spec: RunSpec, label: str, folder: Path, shared: dict[str, Path]) -> dict[str, Any]:
    """The cut student before any training, on the same rows: the teacher's evaluation with layers dropped."""
    import torch

    from workers.models import load_model, load_tokenizer, save_student

    student = folder / label.replace(" ", "-")
    save_student(load_model(spec.student, torch.float32), load_tokenizer(spec.student), student)
    config = StageConfig(spec=spec, inputs={"prepared_dataset": shared["prepared_dataset"], "student": student})
    result = in_process("evaluation", config, folder, label)
    result.pop("cpu")
    return result


def show(results: dict[str, Any]) -> None:
    """The table of scores, and Q where the teacher was measured."""
    reference = {b: v for b, v, _, _ in results["teacher"]["scores"]} if "teacher" in results else {}
    print()
    for label, result in results.items():
        scores = "  ".join(f"{b} {v:.3f} ± {e:.3f}" for b, v, e, _ in result["scores"])
        q = ""
        if reference and all(reference.values()):
            ratios = [v / reference[b] for b, v, _, _ in result["scores"]]
            error = sum((e / reference[b]) ** 2 for b, _, e, _ in result["scores"]) ** 0.5 / len(ratios)
            q = f"  Q {sum(ratios) / len(ratios):.3f} ± {error:.3f}"
        print(f"{label:22} {scores}{q}")


if __name__ == "__main__":
    main()
