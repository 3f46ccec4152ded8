"""The teacher's mass beyond the top k, and when there is too much of it for a distillation over k tokens."""

from registry.accounting.spec import RunSpec
from registry.accounting.stages import KD

TOO_MUCH = 0.2  # of the teacher's mass, in the mean
# Measured with k = 100 on SmolLM2-135M (49,152 tokens), over 9,499 answer positions of GSM8K: what to expect before
# anything of the teacher at hand was measured. A larger teacher is sharper, at high temperatures not by much.
MEASURED_AT_100 = {1.0: 0.011, 2.0: 0.532, 4.0: 0.960}


def tail_warning(spec: RunSpec, measured: float | None = None) -> str:
    """A sentence where the teacher's mass beyond its top k is above 0.2 at the run's T, or likely to be; else empty.

    `measured`: the mean over the cache that the run reads, or over what it was trained on; `None` before that.
    Near the teacher the gradient over k tokens and a bucket is off by 0.3 % at a tail of 0.01, by 7 % at 0.5 and by
    70 % at 0.96.
    """
    if spec.pipeline != KD:
        return ""
    wanted = spec.distillation
    temperature, k = f"{wanted.temperature:g}", f"{wanted.k:,}"
    way_out = "a lower temperature or a larger k leaves less"
    if measured is not None:
        if measured <= TOO_MUCH:
            return ""
        return (
            f"At T = {temperature} {measured:.0%} of the teacher's mass lies beyond its top {k} tokens, "
            f"where the student is told how much there is but not of what; {way_out}."
        )
    likely = max((mass for t, mass in MEASURED_AT_100.items() if t <= wanted.temperature), default=0.0)
    if likely <= TOO_MUCH:
        return ""
    return (
        f"At T = {temperature} much of the teacher's mass is likely to lie beyond its top {k} tokens: "
        f"{likely:.0%} does with a small teacher and k = 100. "
        f"The student is told how much there is but not of what; {way_out}."
    )
