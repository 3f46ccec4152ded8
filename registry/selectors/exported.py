"""A study for other places: its scores, what a model card says of a run's emissions and results, its citation."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from registry.accounting.carbon import co2e_kg
from registry.accounting.frontier import Point
from registry.models import EvaluationScore, Run, Study


def scores(study: Study, points: Sequence[Point]) -> list[dict[str, Any]]:
    """One row a point: the mean of the newest scores of its runs by benchmark, `None` where a run has none."""
    runs = [UUID(key) for point in points for key in point.run_ids]
    newest: dict[tuple[str, str], float] = {
        (str(score.run_id), score.benchmark): score.value
        for score in EvaluationScore.objects.filter(run__in=runs).order_by("id")
    }
    return [
        {"pipeline": point.pipeline, "student": point.student}
        | {benchmark: _mean([newest.get((run, benchmark)) for run in point.run_ids]) for benchmark in study.suite}
        for point in points
    ]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def bibtex(study: Study, address: str) -> str:
    """The study as a BibTeX entry; braces and backslashes that a name may hold are dropped."""
    fields = {
        "title": study.name,
        "author": study.project.name,
        "year": str(study.created_at.year),
        "note": study.citation,
        "howpublished": f"\\url{{{_bare(address)}}}",
    }
    lines = [f"  {name} = {{{value if name == 'howpublished' else _bare(value)}}}," for name, value in fields.items()]
    return f"@misc{{{study.slug},\n" + "\n".join(line for line in lines if "{}" not in line) + "\n}\n"


def _bare(text: str) -> str:
    return "".join(character for character in text if character not in "{}\\%#&$^~\n")


def model_card(run: Run, energy_j: float | None, *, pue: float, grid_kg_per_kwh: float | None) -> dict[str, Any]:
    """The metadata block of a Hugging Face model card: `co2_eq_emissions` in grams, and `model-index`.

    Emissions are left out where the energy or the grid's intensity is not known: zero would be a claim.
    """
    card: dict[str, Any] = {"base_model": run.student}
    if energy_j is not None and grid_kg_per_kwh is not None:
        kg = co2e_kg(energy_j, pue=pue, grid_kg_per_kwh=grid_kg_per_kwh) or 0.0
        card["co2_eq_emissions"] = {
            "emissions": round(1000 * kg, 3),
            "source": "measured by stage with Stagemeter, full pipeline with the teacher's share; operation only",
            "training_type": "fine-tuning",
            "hardware_used": run.hardware_class,
        }
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": score.benchmark, "type": score.benchmark},
            "metrics": [{"type": score.metric or score.benchmark, "value": score.value}],
        }
        for score in {score.benchmark: score for score in run.scores.order_by("id")}.values()
    ]
    if results:
        card["model-index"] = [{"name": str(run), "results": results}]
    return card
