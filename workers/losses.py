"""The losses a student is trained with, and their gradients in closed form.

Sums over label positions; the trainer divides by their number. Each loss is given a piece of the logits in fp32 and
turns them into their own gradient in place, so that a piece of [N, V] is held once where autograd would hold it five
times, and no piece is longer than the trainer cares to make it.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from workers.data import Batch
from workers.logit_cache import LogitCache, TeacherLogits

BUCKET, TRUNCATED = "bucket", "truncated"  # what a KL over the top k does with the rest of the vocabulary
# Below this the teacher's tail is rounding of the stored logits, not mass.
TAIL_FLOOR = 1e-6
# The student's tail as taken into a logarithm: where fp32 holds less, log 1/q is capped at 85 nats.
SMALLEST = 1e-37


@dataclass(frozen=True)
class LossSum:
    """Sums over N label positions, in nats, and the gradient [N, V] of `total` with respect to the logits.

    `kl` is without T²; `tail` is the teacher's mass at T beyond the top k. Both are `None` where no teacher is asked.
    """

    total: Tensor
    ce: Tensor
    gradient: Tensor
    kl: Tensor | None = None
    tail: Tensor | None = None


class Loss(Protocol):
    """What SFT and KD differ by."""

    def teacher(self, batch: Batch) -> TeacherLogits | None:
        """The teacher's logits at the batch's N label positions, or `None` if the loss needs none."""

    def __call__(self, logits: Tensor, targets: Tensor, teacher: TeacherLogits | None) -> LossSum:
        """fp32 logits [N, V], which are overwritten, and targets [N] → sums over N and the gradient."""


class CrossEntropy:
    """-Σ log p_s(y): training on the answers as they stand."""

    def teacher(self, batch: Batch) -> None:  # noqa: ARG002 - the answers are all it needs
        """No teacher is asked."""
        return

    @torch.no_grad()
    def __call__(self, logits: Tensor, targets: Tensor, teacher: TeacherLogits | None) -> LossSum:  # noqa: ARG002
        """∂(-log p_y)/∂z = p − 1[y]."""
        ce, gradient = _cross_entropy(logits, targets, weight=1.0)
        return LossSum(ce, ce, gradient)


@dataclass(frozen=True)
class Distillation:
    """L = ce_weight·CE(y, p_s) + (1 − ce_weight)·T²·KL(p_t ‖ p_s), both at temperature T, from cached top-k logits."""

    cache: LogitCache
    temperature: float
    ce_weight: float
    k: int
    encoding: str = "fp32"  # coarser than the cache's own: rounded to it
    tail: str = BUCKET

    def teacher(self, batch: Batch) -> TeacherLogits:
        """The cached logits of the batch's rows, in the order of its label positions."""
        held = self.cache.read(batch.digests, k=self.k, temperature=self.temperature, encoding=self.encoding)
        return held.to(batch.ids.device)

    @torch.no_grad()
    def __call__(self, logits: Tensor, targets: Tensor, teacher: TeacherLogits | None) -> LossSum:
        """Logits [N, V], targets [N], teacher's logits [N, k]. T² stands on the KL alone."""
        if teacher is None or teacher.ids.shape[0] != targets.shape[0]:
            raise ValueError("a distillation loss needs the teacher's logits at exactly the label positions")
        # Both terms need the logits, so one works on a copy of this piece; at α = 0 the hard labels have no gradient.
        scaled = logits / self.temperature
        ce, gradient = _cross_entropy(logits, targets, weight=self.ce_weight)
        kl, tail, kl_gradient = top_k_kl(scaled, teacher, self.temperature, self.tail)
        kl_weight = (1 - self.ce_weight) * self.temperature**2
        gradient.add_(kl_gradient, alpha=kl_weight / self.temperature)  # ∂/∂z = ∂/∂(z/T) ÷ T
        return LossSum(self.ce_weight * ce + kl_weight * kl, ce, gradient, kl, tail)


def _cross_entropy(logits: Tensor, targets: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Σ -log p(y), and `weight` times its gradient, written over the logits."""
    rows = torch.arange(logits.shape[0], device=logits.device)
    log_z = logits.logsumexp(1)
    ce = (log_z - logits[rows, targets]).sum()
    gradient = logits.sub_(log_z[:, None]).exp_()
    gradient[rows, targets] -= 1
    return ce, gradient.mul_(weight)


def top_k_kl(scaled: Tensor, teacher: TeacherLogits, temperature: float, tail: str) -> tuple[Tensor, Tensor, Tensor]:
    """Σ KL over the teacher's top k, its mass beyond them, and the gradient; student's logits/T [N, V] are overwritten.

    `bucket`: everything else is one more token, Σ_k p(log p − log q) + τ(log τ − log r), with τ = 1 − Σ_k p and
    r = 1 − Σ_k q. τ is exact at this temperature, because the cache holds log Z over the whole vocabulary. With k = V
    it is the KL over the vocabulary; it is never negative. Gradient: q − p among the k, q(1 − τ/r) elsewhere.

    `truncated`: Σ_k p(log p − log q) alone, as the paper's harness has it, with q over the whole vocabulary; it can be
    negative. Gradient: q·Σ_k p − p among the k, q·Σ_k p elsewhere.
    """
    log_z = scaled.logsumexp(1)
    log_q = scaled.gather(1, teacher.ids) - log_z[:, None]  # [N, k]
    log_p = teacher.logits / temperature - teacher.log_z[:, None]
    p, q = log_p.exp(), log_q.exp()
    kept = p.sum(1)
    tau = (1 - kept).clamp(min=0)
    kl = (p * (log_p - log_q)).sum()
    gradient = scaled.sub_(log_z[:, None]).exp_()  # q over the vocabulary
    if tail == TRUNCATED:
        gradient.mul_(kept[:, None]).scatter_(1, teacher.ids, q * kept[:, None] - p)
        return kl, tau.sum(), gradient
    # Summed rather than 1 − Σ_k q: a student that is sure of the top k leaves less than fp32 can tell from 1.
    rest = gradient.scatter_(1, teacher.ids, 0.0).sum(1)
    held = (tau > TAIL_FLOOR) & (teacher.ids.shape[1] < gradient.shape[1])
    rest = rest.clamp(min=SMALLEST)
    kl += torch.where(held, tau * (tau.clamp(min=TAIL_FLOOR).log() - rest.log()), 0.0).sum()
    gradient.mul_(torch.where(held, 1 - tau / rest, 1.0)[:, None]).scatter_(1, teacher.ids, q - p)
    return kl, tau.sum(), gradient
