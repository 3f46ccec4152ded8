"""What the benches print: text tables for people, and with `--json` one line at the end for programs."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, the first column to the left and the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    print(f"\n{title}")
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cells).rstrip())
    sys.stdout.flush()


def number(value: float | None, digits: int = 2) -> str:
    """A number as it stands in a cell; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def ratio(theirs: float | None, ours: float | None) -> str:
    """How many times theirs is ours."""
    if theirs is None or ours is None:
        return "–"
    return "∞" if ours <= 0 < theirs else "1.0×" if theirs == ours else f"{theirs / max(ours, 1e-12):.3g}×"


class Checks:
    """Figures held against what is wanted."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def most(self, what: str, value: float | None, limit: float, unit: str = "") -> None:
        """`value` may be `limit` at most; one that could not be had misses."""
        self.rows.append({"what": what, "value": value, "wanted": f"≤ {limit:g}{unit}", "met": _met(value, most=limit)})

    def least(self, what: str, value: float | None, limit: float, unit: str = "") -> None:
        """`value` must be `limit` at least."""
        self.rows.append(
            {"what": what, "value": value, "wanted": f"≥ {limit:g}{unit}", "met": _met(value, least=limit)}
        )

    def print(self) -> None:
        """The verdicts as a table."""
        rows = [[r["what"], number(r["value"], 3), r["wanted"], "met" if r["met"] else "MISSED"] for r in self.rows]
        if rows:
            table("Wanted", ["", "is", "wanted", ""], rows)


def _met(value: float | None, *, most: float = float("inf"), least: float = float("-inf")) -> bool:
    return value is not None and least <= value <= most


def finish(name: str, results: dict[str, Any], checks: Checks, *, as_json: bool) -> int:
    """Print the verdicts, and everything as one line of JSON if asked to; the exit status, 1 where a figure misses."""
    checks.print()
    if as_json:
        print(as_line(name, results, checks))
    sys.stdout.flush()
    return int(not all(row["met"] for row in checks.rows))


def as_line(name: str, results: dict[str, Any], checks: Checks) -> str:
    """Everything as one line of JSON."""
    load = [round(x, 2) for x in os.getloadavg()]
    host = {"python": platform.python_version(), "cores": os.cpu_count(), "load": load}
    found = {"bench": name, "host": host, "results": results, "checks": checks.rows}
    return json.dumps(found, ensure_ascii=False)


Run = Callable[[argparse.Namespace, Checks], dict[str, Any]]


def parser(name: str, about: str, add_options: Callable[[argparse.ArgumentParser], None]) -> argparse.ArgumentParser:
    """The command line that every bench has."""
    made = argparse.ArgumentParser(prog=f"python -m bench.meter.{name}", description=about.splitlines()[0])
    made.add_argument("--quick", action="store_true", help="only see that it works")
    made.add_argument("--json", action="store_true", help="print all figures as one line of JSON at the end")
    add_options(made)
    return made


def program(name: str, about: str, add_options: Callable[[argparse.ArgumentParser], None], run: Run) -> int:
    """Run one bench as a program."""
    options, checks = parser(name, about, add_options).parse_args(), Checks()
    results = run(options, checks)
    return finish(name, results, checks, as_json=options.json)
