"""Tables 2, 3 and 4 of the paper for any study, as LaTeX with booktabs. Text is escaped; a dash is not measured."""

from collections.abc import Iterable, Sequence

from registry.accounting.frontier import Point
from registry.accounting.units import kwh

NAMES = {"sft": "Baseline SFT", "kd": "KD distillation", "synthetic_sft": "Synthetic SFT"}
STAGES = {"data": "Data preprocess", "teacher": "Teacher", "student": "Student training", "evaluation": "Evaluation"}
TEACHER_STAGES = {"kd": "Logit caching", "synthetic_sft": "Synthetic data generation"}
NOTHING = "--"
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def escaped(text: str) -> str:
    """The text as LaTeX prints it, whatever is in it."""
    return "".join(_ESCAPES.get(character, character) for character in text.replace("\n", " "))


def totals(points: Sequence[Point], caption: str) -> str:
    """Table 2: pipeline, size, kWh, J/token, Q. A point that lacks one of them has a dash."""
    body = []
    for pipeline, row in _by_pipeline(points):
        for place, point in enumerate(row):
            cells = [
                escaped(NAMES.get(pipeline, pipeline)) if place == 0 else "",
                escaped(point.student),
                _kwh(point.energy_j),
                NOTHING if point.j_per_token is None else f"{point.j_per_token:.2f}",
                NOTHING if point.q is None else f"{point.q:.2f}",
            ]
            body.append(_line(cells))
        body.append(r"\midrule")
    head = ["Pipeline", "Size", "E (kWh)", "J/token", "$Q$"]
    return _table("llrrr", head, body[:-1], caption)


def stages(points: Sequence[Point], caption: str) -> str:
    """Table 3: kWh of each stage by pipeline, one column a size."""
    sizes = list(dict.fromkeys(point.student for point in points))
    body = []
    for pipeline, row in _by_pipeline(points):
        of_size = {point.student: point for point in row}
        body.append(rf"\multicolumn{{{len(sizes) + 1}}}{{l}}{{\emph{{{escaped(NAMES.get(pipeline, pipeline))}}}}} \\")
        for role in (role for role in STAGES if any(role in point.by_role_j for point in row)):
            name = TEACHER_STAGES.get(pipeline, STAGES[role]) if role == "teacher" else STAGES[role]
            cells = [_kwh(of_size[size].by_role_j.get(role)) if size in of_size else NOTHING for size in sizes]
            body.append(_line([escaped(name), *cells]))
        body.append(r"\midrule")
    return _table("l" + "r" * len(sizes), ["Stage", *map(escaped, sizes)], body[:-1], caption)


def scores(rows: Iterable[tuple[str, str, Sequence[float | None]]], benchmarks: Sequence[str], caption: str) -> str:
    """Table 4: pipeline, size and one column a benchmark."""
    body = [
        _line([escaped(NAMES.get(p, p)), escaped(size), *(NOTHING if v is None else f"{v:.4g}" for v in values)])
        for p, size, values in rows
    ]
    return _table("ll" + "r" * len(benchmarks), ["Pipeline", "Size", *map(escaped, benchmarks)], body, caption)


def _by_pipeline(points: Sequence[Point]) -> list[tuple[str, list[Point]]]:
    known = [name for name in NAMES if any(point.pipeline == name for point in points)]
    names = dict.fromkeys([*known, *(point.pipeline for point in points)])
    return [(name, [point for point in points if point.pipeline == name]) for name in names]


def _kwh(energy_j: float | None) -> str:
    return NOTHING if energy_j is None else f"{kwh(energy_j):.2f}"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _table(spec: str, head: Sequence[str], body: Sequence[str], caption: str) -> str:
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        _line(head),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
