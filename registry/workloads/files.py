"""Local JSONL datasets: `local/<stem>` names a file of the folder in `STAGEMETER_DATASETS`."""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from registry.workloads.rows import BadRows, Row

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
    return {f"local/{path.stem}": path for path in sorted(Path(folder).glob("*.jsonl")) if path.is_file()}


def read(path: Path) -> tuple[Row, ...]:
    """The rows of a JSONL file, kept until it changes. Raises `BadRows` naming the line and the key."""
    state = path.stat()
    return _read(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, _size: int, _changed: int) -> tuple[Row, ...]:
    rows = []
    with path.open(encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    rows.append(row_of(_parse(line, f"{path.name}, line {number}"), f"{path.name}, line {number}"))
        except UnicodeDecodeError as error:
            raise BadRows(f"{path.name} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    if not rows:
        raise BadRows(f"{path.name} holds no rows; write one JSON object a line with a prompt and an answer")
    return tuple(rows)


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError as error:
        raise BadRows(f"{where} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadRows(f"{where} is {type(data).__name__}, not an object with a prompt and an answer")
    return data


def row_of(data: dict[str, Any], where: str) -> Row:
    """A row out of one object; other keys are left alone. Raises `BadRows`."""
    answer = _text(data, ANSWER_KEYS, where)
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
    return Row(_text(data, PROMPT_KEYS, where), answer, data.get("key", ""), tuple(choices), short)


def _text(data: dict[str, Any], keys: tuple[str, ...], where: str) -> str:
    for key in keys:
        if key in data:
            if isinstance(data[key], str) and data[key].strip():
                return str(data[key])
            raise BadRows(f"{where}: {key!r} is {str(data[key])[:60]!r}, not a text with something in it")
    raise BadRows(f"{where} has none of the keys {', '.join(keys)}; it has {', '.join(sorted(data)[:8]) or 'none'}")
