"""lm-evaluation-harness `results_*.json`, new and old: every metric and filter of every task is a score."""

from collections.abc import Mapping
from typing import Any

from registry.importers.findings import Findings, FoundScore, ImportRefused, Question, count, flag, number
from registry.importers.source import Source
from registry.importers.tables import parse

FORMAT = "lm_eval"
LIMITED = Question(
    name="limited",
    text="Some scores are of a part of their rows. Shall they count for Q?",
    choices=("no", "yes"),
    default="no",
)
_NO_METRICS = {"alias", "name", "sample_len", "sample_count", "samples"}


def is_document(value: object) -> bool:
    """Whether a JSON value is a result of the harness."""
    return isinstance(value, dict) and isinstance(value.get("results"), dict) and "versions" in value


def read(source: Source, *, redact: bool = True) -> Findings:  # noqa: ARG001 - only scores are kept
    """The scores of the file. Raises `ImportRefused`."""
    document = parse(source.content(), source.name)
    model = _model(document)
    results = {**document["results"], **_mapping(document.get("groups"))}
    scores = [score for task, values in results.items() for score in _scores(task, values, document, model)]
    if not scores:
        raise ImportRefused(f"{source.name} holds no scores")
    return Findings(
        format=FORMAT,
        groups={model: {"student": model}},
        scores=tuple(scores),
        questions=(LIMITED,) if any(score.limited for score in scores) else (),
        source=source.facts,
    )


def _model(document: Mapping[str, Any]) -> str:
    """The model's own name: without the folder it lay in."""
    config = _mapping(document.get("config"))
    arguments = config.get("model_args")
    if isinstance(arguments, str):
        arguments = dict(part.split("=", 1) for part in arguments.split(",") if "=" in part)
    named = document.get("model_name") or _mapping(arguments).get("pretrained") or config.get("model") or "model"
    text = str(named)
    local = text.startswith(("/", ".", "~")) or ":\\" in text
    return (text.replace("\\", "/").rstrip("/").rpartition("/")[2] if local else text)[:200]


def _scores(task: str, values: Any, document: Mapping[str, Any], model: str) -> list[FoundScore]:
    samples = _mapping(_mapping(document.get("n-samples")).get(task))
    original, effective = count(samples.get("original")), count(samples.get("effective"))
    limit = number(_mapping(document.get("config")).get("limit"))
    limited = (original is not None and effective is not None and effective < original) or bool(limit)
    flags = (
        [flag("limited", f"a part of its rows: {effective or limit or '?'} of {original or '?'}")] if limited else []
    )
    if not samples and not limited:
        flags.append(flag("rows_unknown", "the file does not say how many rows it saw"))
    shared = {
        "benchmark": str(task)[:100],
        "n": effective,
        "shots": count(_mapping(document.get("n-shot")).get(task)) or 0,
        "harness_version": _version(document, task),
    }
    return [
        FoundScore(
            group=model,
            values={**shared, "metric": metric[:100], "value": value, "stderr": _stderr(values, metric)},
            limited=limited,
            flags=tuple(flags),
        )
        for metric, value in _metrics(values)
    ]


def _metrics(values: Any) -> list[tuple[str, float]]:
    """Metric with its filter, as the harness writes them; not their standard errors."""
    return [
        (str(key), value)
        for key, raw in _mapping(values).items()
        if key not in _NO_METRICS and "_stderr" not in str(key) and (value := number(raw)) is not None
    ]


def _stderr(values: Mapping[str, Any], metric: str) -> float | None:
    """Its standard error; the harness writes "N/A" where it has none."""
    name, comma, kept = metric.partition(",")
    found = number(values.get(f"{name}_stderr{comma}{kept}"))
    return found if found is not None and found >= 0 else None


def _version(document: Mapping[str, Any], task: str) -> str:
    release = document.get("lm_eval_version") or str(document.get("git_hash") or "")[:12] or "unknown"
    version = _mapping(document.get("versions")).get(task)
    return f"lm-eval {release}" + (f", task {version}" if version is not None else "")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
