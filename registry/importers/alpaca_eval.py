"""AlpacaEval's `leaderboard.csv`: a row per model, in percent. Which judge it was, the file does not say."""

from typing import Any

from registry.importers.findings import Findings, FoundScore, ImportRefused, Question, count, flag, measured, number
from registry.importers.source import Source
from registry.importers.tables import rows

FORMAT = "alpaca_eval"
# Benchmark → the columns of its value and its standard error.
COLUMNS = {
    "alpaca_eval_2_lc": ("length_controlled_winrate", "lc_standard_error"),
    "alpaca_eval_2": ("win_rate", "standard_error"),
}
FULL_SET = 805
JUDGE = Question(name="judge", text="Which model judged, as AlpacaEval names it? Scores of two judges never compare.")


def is_one(header: set[str]) -> bool:
    """Whether a CSV file with these columns is AlpacaEval's."""
    return header >= {"win_rate", "n_total"}


def read(source: Source, *, redact: bool = True) -> Findings:  # noqa: ARG001 - it names models alone
    """The scores of the file. Raises `ImportRefused`."""
    groups: dict[str, dict[str, Any]] = {}
    scores: list[FoundScore] = []
    for row in rows(source.content(), source.name):
        model = (row.get("") or row.get("Unnamed: 0") or row.get("name") or "").strip()[:200]
        if not model or model in groups:
            raise ImportRefused(f"{source.name}: {'a row names no model' if not model else f'{model} stands twice'}")
        groups[model] = {"student": model}
        scores += _scores(model, row)
    if not scores:
        raise ImportRefused(f"{source.name} holds no scores")
    return Findings(
        format=FORMAT, groups=groups, scores=tuple(scores), questions=(JUDGE,), chosen=True, source=source.facts
    )


def _scores(model: str, row: dict[str, str]) -> list[FoundScore]:
    total = count(row.get("n_total"))
    limited = total is not None and total < FULL_SET
    flags = (flag("limited", f"{total} of the {FULL_SET} prompts"),) if limited else ()
    return [
        FoundScore(
            group=model,
            values={
                "benchmark": benchmark,
                "metric": column,
                "value": value,
                "stderr": measured(row.get(error)),
                "n": total,
            },
            limited=limited,
            flags=flags,
        )
        for benchmark, (column, error) in COLUMNS.items()
        if (value := number(row.get(column))) is not None
    ]
