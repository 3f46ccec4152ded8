"""Which format a file is in, by what stands in it, and what it holds."""

from collections.abc import Callable
from typing import IO, Protocol

from registry.importers import alpaca_eval, codecarbon, harness, lm_eval, mlflow, model_card, zeus
from registry.importers.findings import Findings, ImportRefused
from registry.importers.source import Source
from registry.importers.tables import parse, rows


class Reader(Protocol):
    """Reads one format."""

    def __call__(self, source: Source, *, redact: bool = True) -> Findings:
        """What the file holds. Raises `ImportRefused`."""


FORMATS: dict[str, Reader] = {
    codecarbon.FORMAT: codecarbon.read,
    harness.FORMAT: harness.read,
    zeus.FORMAT: zeus.read,
    lm_eval.FORMAT: lm_eval.read,
    alpaca_eval.FORMAT: alpaca_eval.read,
    mlflow.FORMAT: mlflow.read,
    model_card.FORMAT: model_card.read,
}
_TABLES: dict[str, Callable[[set[str]], bool]] = {
    codecarbon.FORMAT: codecarbon.is_one,
    zeus.FORMAT: zeus.is_table,
    alpaca_eval.FORMAT: alpaca_eval.is_one,
}
_DOCUMENTS: dict[str, Callable[[object], bool]] = {
    lm_eval.FORMAT: lm_eval.is_document,
    mlflow.FORMAT: mlflow.is_document,
    zeus.FORMAT: zeus.is_document,
}
KNOWN = (
    "CodeCarbon emissions.csv, the paper's harness as zip or tar, Zeus CSV or JSON, lm-eval results JSON, AlpacaEval "
    "leaderboard.csv, MLflow runs as JSON, a Hugging Face model card"
)


def read(stream: IO[bytes], name: str, *, redact: bool = True) -> Findings:
    """What the file holds. Raises `ImportRefused` for one of no known format, or one that its format forbids."""
    source = Source(stream, name)
    try:
        return FORMATS[_format_of(source)](source, redact=redact)
    except RecursionError as error:
        raise ImportRefused(f"{source.name} is nested too deeply") from error
    except OverflowError as error:
        raise ImportRefused(f"{source.name} holds a time beyond every calendar: {error}") from error


def _format_of(source: Source) -> str:
    if source.is_archive:
        return harness.FORMAT
    content = source.content()
    if b"\x00" in content:
        raise ImportRefused(f"{source.name} is neither text nor an archive (zip, tar, tar.gz, tar.bz2); known: {KNOWN}")
    if model_card.is_one(content):
        return model_card.FORMAT
    if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        value = parse(content, source.name)
        fits = [name for name, is_one in _DOCUMENTS.items() if is_one(value)]
    else:
        header = set(next(rows(content, source.name), {}))
        fits = [name for name, is_one in _TABLES.items() if is_one(header)]
    if not fits:
        raise ImportRefused(f"{source.name} is in none of the known formats: {KNOWN}")
    return fits[0]
