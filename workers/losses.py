"""The losses a student is trained with. Both are sums over label positions; the trainer divides by their number."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from workers.data import Batch
from workers.logit_cache import LogitCache, TeacherLogits


@dataclass(frozen=True)
class LossSum:
    """Sums over N label positions, in nats. `total` has a gradient; `ce` and `kl` (without T²) are for the record."""

    total: Tensor
    ce: Tensor
    kl: Tensor | None = None


class Loss(Protocol):
    """What SFT and KD differ by."""

    def teacher(self, batch: Batch) -> TeacherLogits | None:
        """The teacher's logits at the batch's N label positions, or `None` if the loss needs none."""

    def __call__(self, logits: Tensor, targets: Tensor, teacher: TeacherLogits | None) -> LossSum:
        """Logits [N, V] and targets [N] → sums over N."""


class CrossEntropy:
    """-Σ log p_s(y): training on the answers as they stand."""

    def teacher(self, batch: Batch) -> None:  # noqa: ARG002 - the answers are all it needs
        """No teacher is asked."""
        return

    def __call__(self, logits: Tensor, targets: Tensor, teacher: TeacherLogits | None) -> LossSum:  # noqa: ARG002
        """Logits [N, V], targets [N]."""
        total = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
        return LossSum(total, total.detach())


@dataclass(frozen=True)
class Distillation:
    """L = ce_weight·CE(y, p_s) + (1 − ce_weight)·T²·KL(p_t ‖ p_s), both at temperature T, from cached top-k logits."""

    cache: LogitCache
    temperature: float
    ce_weight: float
    k: int
    encoding: str = "fp32"  # coarser than the cache's own: rounded to it

    def teacher(self, batch: Batch) -> TeacherLogits:
        """The cached logits of the batch's rows, in the order of its label positions."""
        held = self.cache.read(batch.digests, k=self.k, temperature=self.temperature, encoding=self.encoding)
        return held.to(batch.ids.device)

    def __call__(self, logits: Tensor, targets: Tensor, teacher: TeacherLogits | None) -> LossSum:
        """Logits [N, V], targets [N], teacher's logits [N, k]. T² stands on the KL alone."""
        if teacher is None or teacher.ids.shape[0] != targets.shape[0]:
            raise ValueError("a distillation loss needs the teacher's logits at exactly the label positions")
        logits = logits.float()
        ce = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        kl = bucket_kl(logits, teacher, self.temperature)
        total = self.ce_weight * ce + (1 - self.ce_weight) * self.temperature**2 * kl
        return LossSum(total, ce.detach(), kl.detach())


def bucket_kl(logits: Tensor, teacher: TeacherLogits, temperature: float) -> Tensor:
    """KL over k + 1 buckets: the teacher's top k tokens and everything else, summed over positions.

    Σ_k p(log p − log q) + τ(log τ − log(1 − Σ_k q)), where τ = 1 − Σ_k p is exact at this temperature, because the
    cache holds the log-sum-exp over the whole vocabulary. With k = V it is the full KL; it is never negative.
    """
    scaled = logits / temperature  # [N, V]
    chosen = scaled.gather(1, teacher.ids)  # [N, k]
    rest = scaled.scatter(1, teacher.ids, -torch.inf).logsumexp(1)  # [N], -inf where k = V
    log_z = torch.logaddexp(chosen.logsumexp(1), rest)
    log_p = teacher.logits / temperature - teacher.log_z[:, None]
    p = log_p.exp()
    top = (p * (log_p - chosen + log_z[:, None])).sum(1)
    tail_p = (1 - p.sum(1)).clamp(min=0)
    held = (tail_p > TAIL_FLOOR) & torch.isfinite(rest)
    tail_q = torch.where(held, rest - log_z, 0.0)
    tail = torch.where(held, tail_p * (tail_p.clamp(min=TAIL_FLOOR).log() - tail_q), 0.0)
    return (top + tail).sum()


# Below this the tail is rounding of the stored logits, not mass.
TAIL_FLOOR = 1e-6
