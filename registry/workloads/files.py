"""Local datasets, JSONL and Parquet: `local/<stem>` names a file of the folder in `STAGEMETER_DATASETS`."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from registry.accounting.spec import DatasetSpec
from registry.workloads.rows import ROLES, BadRows, Row, Turn

FOLDER_VARIABLE = "STAGEMETER_DATASETS"
PROMPT_KEYS = ("prompt", "question", "instruction")
ANSWER_KEYS = ("answer", "response")
# GSM8K's mark in front of the final number.
SHORT_MARK = "####"


def listing() -> dict[str, Path]:
    """Ids on offer and their files. An id is looked up here and never becomes part of a path."""
    folder = os.environ.get(FOLDER_VARIABLE, "")
    if not folder or not Path(folder).is_dir():
        return {}
    files = sorted(path for path in Path(folder).iterdir() if path.suffix in READERS and path.is_file())
    lines = {path.stem for path in files if path.suffix == ".jsonl"}
    # Of two files that are called the same, the Parquet one keeps its ending.
    return {
        f"local/{path.name if path.suffix == '.parquet' and path.stem in lines else path.stem}": path for path in files
    }


@dataclass(frozen=True)
class Columns:
    """Where a row's question and answer stand; empty: under one of the usual names, or in a chat's `messages`."""

    prompt: str = ""
    answer: str = ""

    @classmethod
    def of(cls, spec: DatasetSpec) -> Self:
        """As the spec names them."""
        return cls(spec.prompt_column, spec.answer_column)


USUAL = Columns()


def read(path: Path, columns: Columns = USUAL) -> tuple[Row, ...]:
    """The rows of a file, kept until it changes. Raises `BadRows` naming the line and the key."""
    state = path.stat()
    return _read(path, columns, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, columns: Columns, _size: int, _changed: int) -> tuple[Row, ...]:
    rows = tuple(row_of(data, where, columns) for where, data in READERS[path.suffix](path))
    if not rows:
        raise BadRows(f"{path.name} holds no rows; each needs a prompt and an answer, or messages")
    return rows


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    where = f"{path.name}, line {number}"
                    yield where, _parse(line, where)
        except UnicodeDecodeError as error:
            raise BadRows(f"{path.name} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                for item in batch.to_pylist():
                    number += 1
                    yield f"{path.name}, row {number}", {key: value for key, value in item.items() if value is not None}
    except (ArrowException, OSError) as error:
        raise BadRows(f"{path.name} is no Parquet file that can be read: {str(error)[:200]}") from error


READERS = {".jsonl": _lines, ".parquet": _table}


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError as error:
        raise BadRows(f"{where} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadRows(f"{where} is {type(data).__name__}, not an object with a prompt and an answer")
    return data


def row_of(data: dict[str, Any], where: str, columns: Columns = USUAL) -> Row:
    """A row out of one object; other keys are left alone. Raises `BadRows`."""
    prompts = (columns.prompt,) if columns.prompt else PROMPT_KEYS
    answers = (columns.answer,) if columns.answer else ANSWER_KEYS
    if "messages" in data and not columns.prompt and not columns.answer:
        row = conversation(data["messages"])
        if row is None:
            raise BadRows(
                f"{where}: 'messages' is no conversation: turns with a role ({', '.join(ROLES)}) and a content that is "
                "not empty, users and assistant in turn, with a question and its answer at the end"
            )
        return row
    answer = _text(data, answers, where)
    short = data.get("short", "")
    if not short and SHORT_MARK in answer:
        short = answer.rpartition(SHORT_MARK)[2].strip().replace(",", "")
    choices = data.get("choices", ())
    if not isinstance(choices, list | tuple) or not all(isinstance(choice, str) and choice for choice in choices):
        raise BadRows(f"{where}: 'choices' is {choices!r}, not a list of texts")
    if choices and short not in choices:
        raise BadRows(f"{where}: 'short' is {short!r} and must be one of the choices")
    if not isinstance(short, str) or not isinstance(data.get("key", ""), str):
        raise BadRows(f"{where}: 'short' and 'key' must be texts")
    if choices and short not in answer:
        raise BadRows(f"{where}: 'short' is {short!r} and must stand in the answer")
    return Row(_text(data, prompts, where), answer, data.get("key", ""), tuple(choices), short)


def conversation(messages: Any) -> Row | None:
    """A chat's turns as a row: the last question and its answer, and what was said before.

    A question behind the last answer asks nothing and is left out. `None` for what is no conversation: a turn that is
    empty or of an unknown role, two answers or two questions in a row, or no answer at all.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return None
    turns = []
    for turn in messages:
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else (None, None)
        if role not in ROLES or not isinstance(content, str) or not content.strip():
            return None
        turns.append(Turn(role, content.strip()))
    if turns and turns[-1].role == "user":
        turns.pop()
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2) or turns[-1].role == "system":
        return None
    if any(turn.role == "system" for turn in turns[1:]):
        return None
    return Row(turns[-2].content, turns[-1].content, before=tuple(turns[:-2]))


def _text(data: dict[str, Any], keys: tuple[str, ...], where: str) -> str:
    for key in keys:
        if key in data:
            if isinstance(data[key], str) and data[key].strip():
                return str(data[key])
            raise BadRows(f"{where}: {key!r} is {str(data[key])[:60]!r}, not a text with something in it")
    raise BadRows(f"{where} has none of the keys {', '.join(keys)}; it has {', '.join(sorted(data)[:8]) or 'none'}")
