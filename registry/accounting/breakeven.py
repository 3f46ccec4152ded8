"""When distillation pays: over how many students (N*), over how many tokens served (T*).

Everything is computed in Decimal: in binary floats 11 / (6.30 − 5.20) comes to a hair above ten and rounds up to 11.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from registry.accounting.units import Number, decimal_of

BREAKS_EVEN, NEVER, UNKNOWN = "breaks_even", "never", "unknown"
NO_SUBSTITUTE, AT_ONCE, UNTIL, EQUAL = "no_substitute", "at_once", "until", "equal"


@dataclass(frozen=True, kw_only=True)
class ReuseBreakEven:
    """N*: how many students must share the teacher's work. `delta_q` is what Q changes by, distilled − baseline."""

    verdict: str  # breaks_even | never | unknown
    count: int | None  # N* rounded up
    exact: Decimal | None
    delta_q: float | None


def reuse_break_even(
    *,
    teacher_j: Number | None,
    baseline_student_j: Number | None,
    distilled_student_j: Number | None,
    baseline_q: float | None = None,
    distilled_q: float | None = None,
) -> ReuseBreakEven:
    """N* = E_teacher / (E_student,baseline − E_student,distilled), rounded up (equation 4 of the paper).

    The energies may be in joules or kWh, as long as all three are. A denominator of zero or less means never: the
    distilled student saves nothing that could pay the teacher back.
    """
    delta_q = (
        None if baseline_q is None or distilled_q is None else float(decimal_of(distilled_q) - decimal_of(baseline_q))
    )
    if teacher_j is None or baseline_student_j is None or distilled_student_j is None:
        return ReuseBreakEven(verdict=UNKNOWN, count=None, exact=None, delta_q=delta_q)
    saving = decimal_of(baseline_student_j) - decimal_of(distilled_student_j)
    if saving <= 0:
        return ReuseBreakEven(verdict=NEVER, count=None, exact=None, delta_q=delta_q)
    exact = decimal_of(teacher_j) / saving
    return ReuseBreakEven(verdict=BREAKS_EVEN, count=math.ceil(exact), exact=exact, delta_q=delta_q)


def amortised_series(teacher_j: float, rest_j: float, counts: Iterable[int]) -> tuple[tuple[int, float], ...]:
    """(N, E_teacher/N + E_student + the rest) for each N, in joules per student; figure 3 of the paper."""
    return tuple((n, teacher_j / n + rest_j) for n in counts)


@dataclass(frozen=True, kw_only=True)
class InferenceBreakEven:
    """T*: after how many tokens served the smaller student has paid back its extra training.

    `tokens` is stated only where it means something: `breaks_even` (cheaper from there on) and `until` (cheaper up to
    there). `formula` is the bare quotient of equation 5, whatever it means; `None` where its denominator is zero.
    """

    verdict: str  # breaks_even | until | at_once | equal | never | no_substitute | unknown
    tokens: Decimal | None
    formula: Decimal | None
    delta_q: float | None
    sentence: str


def inference_break_even(
    *,
    extra_training_j: Number | None,
    reference_j_per_token: Number | None,
    student_j_per_token: Number | None,
    reference_q: float | None,
    student_q: float | None,
    tolerance: float,
) -> InferenceBreakEven:
    """T* = E_extra-train / (j_ref − j_student) (equation 5, in joules), behind two guards.

    First: the student must be a substitute, Q ≥ Q_ref − tolerance. Second: the signs of the extra training and of the
    saving per token decide what the quotient means; a negative one is no number of tokens.
    """
    if None in (extra_training_j, reference_j_per_token, student_j_per_token, reference_q, student_q):
        return _inference(UNKNOWN, "Not every figure is known.")
    extra, reference, student, q_ref, q_own = (
        decimal_of(value or 0)
        for value in (extra_training_j, reference_j_per_token, student_j_per_token, reference_q, student_q)
    )
    saving, delta_q = reference - student, q_own - q_ref
    formula = extra / saving if saving else None
    if delta_q < -decimal_of(tolerance):
        return _inference(NO_SUBSTITUTE, f"No substitute: ΔQ = {delta_q:+.2f}.", formula, delta_q)
    verdict = _signs(extra, saving)
    tokens = formula if verdict in (BREAKS_EVEN, UNTIL) else None
    return _inference(verdict, _SENTENCES[verdict].format(tokens=tokens or 0), formula, delta_q, tokens)


_SENTENCES = {
    BREAKS_EVEN: "Cheaper after {tokens:,.0f} tokens served.",
    UNTIL: "Cheaper up to {tokens:,.0f} tokens served, dearer beyond.",
    AT_ONCE: "Cheaper from the first token: it costs no more to train and no more to serve.",
    EQUAL: "No difference: it costs the same to train and the same to serve.",
    NEVER: "Never: it saves nothing per token that could pay its training back.",
}


def _signs(extra: Decimal, saving: Decimal) -> str:
    if extra == 0 and saving == 0:
        return EQUAL
    if extra <= 0 and saving >= 0:
        return AT_ONCE
    if extra < 0:
        return UNTIL
    return BREAKS_EVEN if saving > 0 else NEVER


def _inference(
    verdict: str,
    sentence: str,
    formula: Decimal | None = None,
    delta_q: Decimal | None = None,
    tokens: Decimal | None = None,
) -> InferenceBreakEven:
    return InferenceBreakEven(
        verdict=verdict,
        tokens=tokens,
        formula=formula,
        delta_q=None if delta_q is None else float(delta_q),
        sentence=sentence,
    )
