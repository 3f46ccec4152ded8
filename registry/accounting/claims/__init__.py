"""The statements of arXiv:2605.13981, each asked of the paper's own tables.

`ledger(tables)` computes every verdict and every number beside it; nothing is typed but the paper's words and the
counts it states. To add a claim: a function in the module of its subject, and its place in `CLAIMS`.
"""

from collections.abc import Callable

from registry.accounting.claims import energy, quality, reuse
from registry.accounting.claims.tables import Tables, Total
from registry.accounting.claims.verdicts import CONDITIONAL, HOLDS, UNSUPPORTED, VERDICTS, Claim, Figure

__all__ = ["CLAIMS", "CONDITIONAL", "HOLDS", "UNSUPPORTED", "VERDICTS", "Claim", "Figure", "Tables", "Total", "ledger"]

# In the order in which the paper comes to them.
CLAIMS: tuple[Callable[[Tables], Claim], ...] = (
    quality.q_from_scores,
    energy.totals,
    energy.joules_per_token,
    energy.charged_and_burnt,
    energy.scaling,
    energy.diminishing,
    energy.fixed_overhead,
    reuse.one_off_frontier,
    reuse.dearer_at_the_smallest,
    reuse.strict_dominance,
    quality.instruction_following,
    quality.emissions,
    energy.baseline_training,
    energy.kd_split,
    energy.generation_dominates,
    energy.small_stages,
    energy.driver_by_size,
    energy.cheaper_training,
    energy.convergence,
    reuse.break_evens,
    reuse.sooner_for_the_large,
    reuse.largest_stay_dominated,
    energy.sweeps,
    quality.same_size_inference,
    quality.no_substitute,
    quality.inference_formula,
    reuse.reuse_inverts,
    reuse.higher_quality_targets,
    reuse.dearer_for_modest_gains,
    energy.gpu_hours,
    quality.task_gains,
)


def ledger(tables: Tables) -> tuple[Claim, ...]:
    """Every claim with its verdict, in the paper's order."""
    return tuple(claim(tables) for claim in CLAIMS)
