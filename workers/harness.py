"""The suite: own benchmarks here, published ones through lm-eval over local task files."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from registry.accounting.floor import forward_flops
from registry.accounting.spec import RunSpec
from registry.workloads.benchmarks import HARNESS, OWN, check_benchmark, task_file
from registry.workloads.rows import Row, WorkloadError
from workers.data import Chat
from workers.evaluation import evaluate
from workers.models import precision_name, shape
from workers.stages.contract import Report, Score

SEED = 1234  # of everything that lm-eval draws, few-shot examples among it
HARNESS_BATCH = 16
# lm-eval's name of the figure that counts, per benchmark.
HARNESS_METRICS: dict[str, tuple[str, ...]] = {
    "gsm8k": ("exact_match,flexible-extract", "exact_match,strict-match"),
    "ifeval": ("prompt_level_strict_acc,none",),
    "mmlu": ("acc,none",),
}


def evaluate_suite(language_model: Any, chat: Chat, rows: Sequence[Row], spec: RunSpec, report: Report) -> list[Score]:
    """The scores of `spec.evaluation.suite`, in its order. Raises `WorkloadError` naming a benchmark it cannot run."""
    suite = spec.evaluation.suite
    for name in suite:
        check_benchmark(name)
    own = evaluate(
        language_model,
        chat,
        rows,
        suite=[name for name in suite if name in OWN],
        decoding=spec.decoding,
        report=report,
    )
    scores = {score.benchmark: score for score in own}
    for name in suite:
        if name in HARNESS:
            scores[name] = _run_harness(name, language_model, chat, report)
    return [scores[name] for name in suite]


def _run_harness(name: str, language_model: Any, chat: Chat, report: Report) -> Score:
    import lm_eval
    from lm_eval.tasks import TaskManager

    path = task_file(name)
    if path is None:
        raise WorkloadError(f"the task file of {name} is gone")
    task = f"{name}_local"
    result = lm_eval.simple_evaluate(
        model=_counting(language_model, chat, report),
        tasks=[task],
        task_manager=TaskManager(include_path=str(path.parent), include_defaults=False),
        apply_chat_template=True,
        bootstrap_iters=0,
        **{f"{of}_seed": SEED for of in ("random", "numpy_random", "torch_random", "fewshot_random")},
    )
    figures = (result["results"].get(task) or result["groups"][task]) if result else {}
    for metric in HARNESS_METRICS[name]:
        if metric in figures:
            stderr = figures.get(metric.replace(",", "_stderr,"))
            samples = result["n-samples"][task]["effective"]
            return Score(
                benchmark=name,
                metric=metric,
                value=float(figures[metric]),
                stderr=stderr if isinstance(stderr, float) else None,
                n=int(samples),
                shots=int(result["n-shot"].get(task, 0)),
                harness_version=f"lm-eval {version('lm-eval')}, task {result['versions'][task]}, seed {SEED}",
            )
    raise WorkloadError(f"{path.name} gave none of the metrics {', '.join(HARNESS_METRICS[name])} for {name}")


def _counting(language_model: Any, chat: Chat, report: Report) -> Any:
    """The model as lm-eval drives it, in batches; what it reads and writes is counted, padding apart.

    Operations are those of what it reads, with the head where lm-eval applies it, and of each token it writes.
    """
    from lm_eval.models.huggingface import HFLM

    def worked(lengths: Sequence[int], heads: int) -> None:
        squares = float(sum(length**2 for length in lengths))
        flops = forward_flops(
            shape(language_model), positions=sum(lengths), squared_lengths=squares, head_positions=heads
        )
        report.work(flops=flops, precision=precision_name(language_model.dtype))

    class Counting(HFLM):  # type: ignore[misc] # without types of its own
        def _model_call(self, inps: Any, **options: Any) -> Any:
            # lm-eval pads on the right with zeros to the longest of the batch, and passes no mask.
            lengths = [len(row) - _trailing(row.tolist(), 0) for row in inps]
            report.tokens(evaluated=sum(lengths), padding=inps.numel() - sum(lengths))
            worked(lengths, sum(lengths))
            return super()._model_call(inps, **options)

        def _model_generate(self, context: Any, max_length: int, stop: list[str], **options: Any) -> Any:
            mask = options.get("attention_mask")
            read = [context.shape[1]] * len(context) if mask is None else mask.sum(1).tolist()
            report.tokens(evaluated=sum(read), padding=context.numel() - sum(read))
            written = super()._model_generate(context, max_length=max_length, stop=stop, **options)
            made = written[:, context.shape[1] :].tolist()
            wrote = [row.index(chat.end) + 1 if chat.end in row else len(row) for row in made]
            report.tokens(generated=sum(wrote))
            worked([prompt + answer for prompt, answer in zip(read, wrote, strict=True)], sum(wrote))
            return written

    return Counting(pretrained=language_model, tokenizer=chat.tokenizer, batch_size=HARNESS_BATCH)


def _trailing(ids: list[int], padding: int) -> int:
    """How many of the last ids are padding."""
    return next((place for place, token in enumerate(reversed(ids)) if token != padding), len(ids))
