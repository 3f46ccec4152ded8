"""The distillation loss against the KL over the whole vocabulary, computed plainly."""

from pathlib import Path

import pytest
import torch

from workers.logit_cache import Capture, LogitCache, TeacherLogits, keep
from workers.losses import CrossEntropy, Distillation, bucket_kl

POSITIONS, VOCABULARY = 7, 50


def _logits(seed: int, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(POSITIONS, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * spread


def _teacher(logits: torch.Tensor, k: int, temperature: float) -> TeacherLogits:
    values, ids = logits.topk(k, dim=1)
    return TeacherLogits(ids, values, (logits / temperature).logsumexp(1))


def _full_kl(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    p, q = (teacher / temperature).log_softmax(1), (student / temperature).log_softmax(1)
    return (p.exp() * (p - q)).sum()


def _bucket_oracle(teacher: torch.Tensor, student: torch.Tensor, k: int, temperature: float) -> torch.Tensor:
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    ids = teacher.topk(k, dim=1).indices
    top_p, top_q = p.gather(1, ids), q.gather(1, ids)
    tail_p, tail_q = 1 - top_p.sum(1), 1 - top_q.sum(1)
    return (top_p * (top_p / top_q).log()).sum() + (tail_p * (tail_p / tail_q).log()).sum()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_with_k_equal_to_the_vocabulary_the_bucket_loss_is_the_full_kl(temperature):
    teacher, student = _logits(1), _logits(2)
    got = bucket_kl(student, _teacher(teacher, VOCABULARY, temperature), temperature)
    assert got == pytest.approx(_full_kl(teacher, student, temperature).item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_tail_bucket_holds_the_exact_mass_at_every_temperature(k, temperature):
    teacher, student = _logits(1).double(), _logits(2).double()
    got = bucket_kl(student, _teacher(teacher, k, temperature), temperature)
    assert got.item() == pytest.approx(_bucket_oracle(teacher, student, k, temperature).item(), rel=1e-9)


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient():
    teacher = _logits(1)
    student = teacher.clone().requires_grad_()
    loss = bucket_kl(student, _teacher(teacher, 5, 2.0), 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert student.grad.abs().max() < 1e-6


def test_more_of_the_vocabulary_never_lowers_the_loss_and_it_is_never_negative():
    teacher, student = _logits(3).double(), _logits(4).double()
    losses = [bucket_kl(student, _teacher(teacher, k, 1.0), 1.0).item() for k in (1, 2, 5, 10, 25, 50)]
    assert losses[0] >= 0
    assert losses == sorted(losses)


def test_a_student_sure_of_the_top_k_gives_a_bounded_gradient():
    teacher, student = _logits(5), _logits(5)
    student = (student * 40).requires_grad_()
    bucket_kl(student, _teacher(teacher, 5, 1.0), 1.0).backward()
    assert torch.isfinite(student.grad).all()
    assert student.grad.abs().max() <= 1.0 + 1e-5


def test_t_squared_stands_on_the_kl_alone_and_ce_weight_on_the_answers():
    teacher, student = _logits(1), _logits(2)
    targets = torch.arange(POSITIONS)
    held = _teacher(teacher, 10, 2.0)
    loss = Distillation(LogitCache(Path("nowhere")), temperature=2.0, ce_weight=0.3, k=10)(student, targets, held)
    assert loss.total.item() == pytest.approx(0.3 * loss.ce.item() + 0.7 * 4.0 * loss.kl.item(), rel=1e-6)
    assert loss.ce.item() == pytest.approx(CrossEntropy()(student, targets, None).total.item())


def test_ce_weight_one_is_plain_cross_entropy_and_zero_is_the_teacher_alone():
    teacher, student = _logits(1), _logits(2)
    targets = torch.arange(POSITIONS)
    held = _teacher(teacher, 10, 1.0)
    cache = LogitCache(Path("nowhere"))
    answers = Distillation(cache, 1.0, 1.0, 10)(student, targets, held)
    alone = Distillation(cache, 1.0, 0.0, 10)(student, targets, held)
    assert answers.total.item() == pytest.approx(CrossEntropy()(student, targets, None).total.item())
    assert alone.total.item() == pytest.approx(bucket_kl(student, held, 1.0).item())


def test_teacher_logits_for_other_positions_are_refused():
    held = _teacher(_logits(1), 10, 1.0)
    loss = Distillation(LogitCache(Path("nowhere")), 1.0, 0.5, 10)
    with pytest.raises(ValueError, match="exactly the label positions"):
        loss(_logits(2)[:3], torch.arange(3), held)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_sixteen_bit_logits_far_from_zero_lose_next_to_nothing(temperature):
    teacher = _logits(1) + 37.3
    tensors = keep(teacher, Capture(20, (1.0, 2.0, 4.0), "fp16"))
    stored = TeacherLogits(
        tensors["ids"].long(),
        tensors["values"].float() + tensors["maximum"][:, None],
        tensors["log_z"][:, (1.0, 2.0, 4.0).index(temperature)],
    )
    student = _logits(2)
    exact = bucket_kl(student, _teacher(teacher, 20, temperature), temperature).item()
    assert bucket_kl(student, stored, temperature).item() == pytest.approx(exact, rel=2e-3)
