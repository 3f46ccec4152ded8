"""What the command line says about a file of another tool, as the answers that the server asks for."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from stagemeter.errors import ClientError


def answers(
    looked: Mapping[str, Any],
    *,
    given: Mapping[str, Any],
    run: Sequence[str] = (),
    kinds: Sequence[str] = (),
    said: Sequence[str] = (),
    scores: Sequence[str] = (),
) -> dict[str, Any]:
    """`given` with what the options say over it, for the runs and rows that a dry run (`looked`) has found.

    `run`: FIELD=VALUE, for every run of the file, or NAME:FIELD=VALUE for one. `kinds`: KIND for every stage, or
    PATTERN=KIND for those whose key or name it matches; the last one wins. `said`: QUESTION=ANSWER. Raises
    `ClientError` for what matches nothing.
    """
    found: dict[str, Any] = {part: dict(given.get(part, {})) for part in ("runs", "stages", "questions")}
    stages = [row for row in looked["rows"] if row["what"] == "stage"]
    for text in run:
        name, field, value = _of_run(text)
        groups = dict.fromkeys(row["run"] for row in looked["rows"])
        for group in _matching(name, groups, f"--run {text}"):
            found["runs"][group] = {**found["runs"].get(group, {}), field: int(value) if field == "seed" else value}
    for text in kinds:
        pattern, _, kind = text.rpartition("=")
        keys = {row["key"]: row["title"] for row in stages}
        for key in _matching(pattern, keys, f"--kind {text}"):
            found["stages"][key] = kind
    for text in said:
        question, equals, value = text.partition("=")
        if not equals:
            raise ClientError(f"--say {text}: write QUESTION=ANSWER")
        found["questions"][question] = value
    taken = [*given.get("scores", ()), *scores]
    return found | ({"scores": taken} if taken else {})


def _of_run(text: str) -> tuple[str, str, str]:
    place, equals, value = text.partition("=")
    name, _, field = place.rpartition(":")
    if not equals or not field:
        raise ClientError(f"--run {text}: write FIELD=VALUE, or NAME:FIELD=VALUE for one run of several")
    if field == "seed" and not value.isdecimal():
        raise ClientError(f"--run {text}: a seed is a whole number")
    return name, field, value


def _matching(pattern: str, names: Mapping[str, Any], said: str) -> list[str]:
    """The names (or those whose title) the pattern matches; all of them for none."""
    found = [
        name
        for name, title in names.items()
        if not pattern or fnmatch.fnmatchcase(name, pattern) or (title and fnmatch.fnmatchcase(str(title), pattern))
    ]
    if not found:
        raise ClientError(f"{said}: nothing in the file is called that; there are {', '.join(names) or 'none'}")
    return found


def lines(answer: Mapping[str, Any]) -> list[str]:
    """An answer as people read it: a line per row, then its doubts, then what is still to be said."""
    marks = {"new": "booked" if answer["kept"] else "would be booked", "same": "is there already"}
    out = [f"{answer['file'].get('name', 'file')}: {answer['format']}"]
    for row in answer["rows"]:
        figure = _figure(row)
        out.append(f"  {marks.get(row['status'], row['status'].replace('_', ' ')):16} {row['title']}{figure}")
        out += [f"    {remark['code']}: {remark['message']}" for remark in row["flags"]]
        out += [f"    refused: {name}: {text}" for name, text in row["problems"].items()]
        if row["what"] == "stage" and row["status"] == "open":
            out.append(f"    its key: {row['key']}")
    out += [f"  {remark['code']}: {remark['message']}" for remark in answer["flags"]]
    if answer["needed"]:
        out += ["still to be said:", *(f"  {name}: {text}" for name, text in answer["needed"].items())]
    return out


def _figure(row: Mapping[str, Any]) -> str:
    if row["what"] == "score":
        return f" = {row['value']:g}"
    kind = f" as {row['kind']}" if row["kind"] else ""
    energy_j = row["energy_j"]
    return f"{kind}, no total" if energy_j is None else f"{kind}, {energy_j:.1f} J"
