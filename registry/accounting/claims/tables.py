"""A published grid as its tables print it: decimals in kWh, so that sums can be compared exactly."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from registry.accounting.figures import AMORTISED, ArtifactShare, RunFigures
from registry.accounting.frontier import frontier, points
from registry.accounting.quality import quality
from registry.accounting.stages import KD, OUTPUT_OF_STAGE, SFT, SYNTHETIC_SFT, TEACHER_ARTIFACTS
from registry.accounting.units import joules

Cell = tuple[str, str]  # pipeline, size
DISTILLED = (KD, SYNTHETIC_SFT)
NAMES = {SFT: "SFT", KD: "KD", SYNTHETIC_SFT: "synthetic SFT"}
PREPROCESS, TRAINING, EVALUATION = "preprocess", "student_training", "evaluation"


@dataclass(frozen=True, kw_only=True)
class Total:
    """One row of the table of totals: kWh, J/token and Q."""

    energy_kwh: Decimal
    j_per_token: Decimal
    q: Decimal


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Tables 2, 3 and 4 of arXiv:2605.13981, and its inference figures. Sizes run from small to large.

    `stages` is kWh by stage kind, without the prerun. `teacher_scores` is not the paper's: four are published with the
    model, and the benchmark named `inferred` is inferred from the table of totals.
    """

    sizes: tuple[str, ...]
    totals: Mapping[Cell, Total]
    stages: Mapping[Cell, Mapping[str, Decimal]]
    prerun_kwh: Decimal
    scores: Mapping[Cell, Mapping[str, Decimal]]
    teacher_scores: Mapping[str, Decimal]
    inferred: str
    inference_j_per_token: Mapping[str, Decimal]

    def summed(self, cell: Cell) -> Decimal:
        """kWh of the cell's stages together."""
        return sum(self.stages[cell].values(), Decimal(0))

    def teacher(self, cell: Cell) -> Decimal:
        """kWh of making the teacher artifact that the cell was charged; zero without a teacher."""
        return sum((energy for kind, energy in self.stages[cell].items() if makes_artifact(kind)), Decimal(0))

    def training(self, cell: Cell) -> Decimal:
        """kWh of training the student."""
        return self.stages[cell][TRAINING]

    def share(self, cell: Cell, *kinds: str) -> Decimal:
        """The part of the cell's kWh, from 0 to 1, that went into stages of these kinds."""
        return sum((self.stages[cell].get(kind, Decimal(0)) for kind in kinds), Decimal(0)) / self.summed(cell)

    def distilled(self) -> list[Cell]:
        """Cells of the pipelines that have a teacher."""
        return [cell for cell in self.totals if cell[0] in DISTILLED]

    def gain(self, cell: Cell) -> Decimal:
        """ΔQ against the baseline of the same size."""
        return self.totals[cell].q - self.totals[SFT, cell[1]].q

    def runs(self) -> list[RunFigures]:
        """The cells as runs; those of a pipeline share its teacher artifact."""
        return [self._run(cell) for cell in self.totals]

    def _run(self, cell: Cell) -> RunFigures:
        own = {"data": PREPROCESS, "student": TRAINING, "evaluation": EVALUATION}
        made = ArtifactShare(
            artifact_id=cell[0],
            production_energy_j=float(joules(self.teacher(cell))),
            reuse_count=len(self.sizes),
        )
        return RunFigures(
            run_id=name(cell),
            pipeline=cell[0],
            student=cell[1],
            configuration=name(cell),
            own_energy_j={role: float(joules(self.stages[cell][kind])) for role, kind in own.items()},
            teacher_artifacts=(made,) if self.teacher(cell) else (),
            q=float(self.totals[cell].q),
        )

    def on_frontier(self, n: int = 1, factor: float = 1.0) -> tuple[Cell, ...]:
        """The cells on the frontier when each teacher artifact serves `n` students; `factor`: per joule, as in CO2e."""
        found = points(self.runs(), AMORTISED, n)
        placed = frontier(replace(point, energy_j=factor * (point.energy_j or 0.0)) for point in found)
        standing = sorted((p.point for p in placed if p.on_frontier), key=lambda point: point.energy_j or 0.0)
        return tuple((point.pipeline, point.student) for point in standing)

    def q_from_scores(self, cell: Cell, inferred: Decimal | None = None) -> Decimal:
        """Q from the scores in full, with another value for the inferred one of the teacher if given."""
        teacher = {benchmark: float(score) for benchmark, score in self.teacher_scores.items()}
        if inferred is not None:
            teacher[self.inferred] = float(inferred)
        student = {benchmark: float(score) for benchmark, score in self.scores[cell].items()}
        return Decimal(repr(quality(student, teacher, tuple(teacher)).q))


def makes_artifact(kind: str) -> bool:
    """Whether a stage's output is one that other runs can use."""
    return OUTPUT_OF_STAGE.get(kind) in TEACHER_ARTIFACTS


def name(cell: Cell) -> str:
    """Pipeline and size as a person says them."""
    return f"{NAMES.get(cell[0], cell[0])} {cell[1]}"


def names(cells: Iterable[Cell]) -> str:
    """Several cells in one line."""
    return ", ".join(name(cell) for cell in cells) or "none"
