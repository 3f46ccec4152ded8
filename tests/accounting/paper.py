"""The tables of arXiv:2605.13981 as it prints them, and its runs as figures.

Energies are in kWh as decimals, so that a sum can be compared exactly.
"""

from registry.accounting.figures import ArtifactShare, RunFigures
from registry.accounting.units import joules

PIPELINES = ("sft", "kd", "synthetic_sft")
SIZES = ("1B", "7B", "13B")
CELLS = [(pipeline, size) for pipeline in PIPELINES for size in SIZES]

# Table 2: (pipeline, size) → kWh, J/token, Q.
TABLE_2 = {
    ("sft", "1B"): ("7.00", "0.84", "0.69"),
    ("sft", "7B"): ("19.50", "2.34", "0.90"),
    ("sft", "13B"): ("34.60", "4.15", "0.99"),
    ("kd", "1B"): ("16.90", "2.03", "0.70"),
    ("kd", "7B"): ("28.40", "3.41", "0.78"),
    ("kd", "13B"): ("42.50", "5.10", "0.82"),
    ("synthetic_sft", "1B"): ("16.65", "2.00", "0.71"),
    ("synthetic_sft", "7B"): ("28.25", "3.39", "0.79"),
    ("synthetic_sft", "13B"): ("40.70", "4.88", "0.85"),
}
# Table 3, kWh: preprocessing, the teacher's work by pipeline, training and evaluation by cell.
PREPROCESS = "0.37"
TEACHER = {"kd": "11.00", "synthetic_sft": "10.60"}
TRAINING = {
    ("sft", "1B"): "6.30",
    ("sft", "7B"): "18.45",
    ("sft", "13B"): "33.15",
    ("kd", "1B"): "5.20",
    ("kd", "7B"): "16.35",
    ("kd", "13B"): "30.05",
    ("synthetic_sft", "1B"): "5.35",
    ("synthetic_sft", "7B"): "16.60",
    ("synthetic_sft", "13B"): "28.65",
}
EVALUATION = {"1B": "0.33", "7B": "0.68", "13B": "1.08"}
# Table 4: AlpacaEval 2 LC, IFEval, GSM8K, MMLU, MT-Bench-101.
SUITE = ("alpaca_eval_2_lc", "ifeval", "gsm8k", "mmlu", "mt_bench_101")
TABLE_4 = {
    ("sft", "1B"): (6, 70, 68, 44, 5.5),
    ("sft", "7B"): (12, 70, 74, 69, 7.6),
    ("sft", "13B"): (17, 75, 78, 70, 7.8),
    ("kd", "1B"): (6, 69, 67, 43, 6.2),
    ("kd", "7B"): (10, 62, 76, 55, 6.0),
    ("kd", "13B"): (10, 70, 74, 58, 6.6),
    ("synthetic_sft", "1B"): (6, 69, 68, 43, 6.2),
    ("synthetic_sft", "7B"): (10, 61, 77, 55, 6.5),
    ("synthetic_sft", "13B"): (11, 70, 75, 60, 6.8),
}
TEACHER_SCORES = (16.9, 72.4, 78.4, 76.1, 7.85)  # the fifth is inferred
INFERENCE_J_PER_TOKEN = {"1B": "0.27", "7B": "0.68", "13B": "1.44"}
NOMINAL_TOKENS = 30_000_000


def run(pipeline, size):
    """One cell of the grid; the three students of a pipeline share its teacher artifact."""
    artifacts = ()
    if pipeline in TEACHER:
        energy_j = joules(float(TEACHER[pipeline]))
        artifacts = (ArtifactShare(artifact_id=f"{pipeline} teacher", production_energy_j=energy_j, reuse_count=3),)
    return RunFigures(
        run_id=f"{pipeline} {size}",
        pipeline=pipeline,
        student=size,
        teacher="32B",
        configuration=f"{pipeline} {size}",
        workload="mean of three",
        own_energy_j={
            "data": joules(float(PREPROCESS)),
            "student": joules(float(TRAINING[pipeline, size])),
            "evaluation": joules(float(EVALUATION[size])),
        },
        teacher_artifacts=artifacts,
        q=float(TABLE_2[pipeline, size][2]),
        tokens=NOMINAL_TOKENS,
        tokens_nominal=True,
        origin="published",
    )


RUNS = [run(pipeline, size) for pipeline, size in CELLS]
