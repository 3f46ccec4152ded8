"""The losses and their closed gradients against plain definitions in float64, differentiated by autograd."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.logit_cache import Capture, LogitCache, TeacherLogits, keep
from workers.logit_codec import rounded
from workers.losses import BUCKET, TRUNCATED, CrossEntropy, Distillation, top_k_kl

POSITIONS, VOCABULARY = 7, 50
NOWHERE = LogitCache(Path("nowhere"))


def _logits(seed: int, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(POSITIONS, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * spread


def _teacher(logits: torch.Tensor, k: int, temperature: float) -> TeacherLogits:
    values, ids = logits.topk(k, dim=1)
    return TeacherLogits(ids, values, (logits / temperature).logsumexp(1))


def _kl(student: torch.Tensor, held: TeacherLogits, temperature: float, tail: str = BUCKET):
    return top_k_kl(student / temperature, held, temperature, tail)


def _reference(teacher, student, k: int, temperature: float, tail: str) -> torch.Tensor:
    """Σ over positions, in float64, with gradient: over the top k, and the rest as one more token or not at all."""
    p, q = (teacher.double() / temperature).softmax(1), (student / temperature).softmax(1)
    top = torch.zeros_like(p, dtype=torch.bool).scatter_(1, teacher.topk(k, dim=1).indices, True)
    kl = (p[top] * (p[top] / q[top]).log()).sum()
    if tail == TRUNCATED or k == p.shape[1]:
        return kl
    tau, rest = p.masked_fill(top, 0).sum(1), q.masked_fill(top, 0).sum(1)
    return kl + (tau * (tau / rest).log()).sum()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.floats(0.1, 6),
    k=st.sampled_from([1, 5, 20, VOCABULARY]),
    temperature=st.sampled_from([1.0, 2.0, 4.0]),
    tail=st.sampled_from([BUCKET, TRUNCATED]),
)
def test_loss_and_gradient_agree_with_the_definition_in_float64(seed, spread, k, temperature, tail):
    teacher, student = _logits(seed, spread), _logits(seed + 1, spread)
    exact = student.double().requires_grad_()
    wanted = _reference(teacher, exact, k, temperature, tail)
    wanted.backward()
    kl, tau, gradient = _kl(student, _teacher(teacher, k, temperature), temperature, tail)
    assert kl.item() == pytest.approx(wanted.item(), rel=1e-4, abs=2e-4)
    torch.testing.assert_close(gradient.double() / temperature, exact.grad, rtol=1e-3, atol=2e-5)
    mass = (teacher.double() / temperature).softmax(1).topk(k, dim=1).values.sum()
    assert tau.item() == pytest.approx(POSITIONS - mass.item(), abs=1e-4)
    if tail == BUCKET:
        assert kl.item() >= -1e-4


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("tail", [BUCKET, TRUNCATED])
def test_with_k_equal_to_the_vocabulary_loss_and_gradient_are_the_dense_ones(temperature, tail):
    teacher, student = _logits(1), _logits(2).requires_grad_()
    log_p, log_q = (teacher / temperature).log_softmax(1), (student / temperature).log_softmax(1)
    dense = torch.nn.functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
    dense.backward()
    kl, _, gradient = _kl(student.detach(), _teacher(teacher, VOCABULARY, temperature), temperature, tail)
    assert kl.item() == pytest.approx(dense.item(), rel=1e-5)
    torch.testing.assert_close(gradient / temperature, student.grad, rtol=1e-4, atol=1e-6)


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient():
    teacher = _logits(1)
    kl, _, gradient = _kl(teacher.clone(), _teacher(teacher, 5, 2.0), 2.0)
    assert kl.item() == pytest.approx(0, abs=1e-5)
    assert gradient.abs().max() < 1e-6


def test_more_of_the_vocabulary_never_lowers_the_loss_and_it_is_never_negative():
    teacher, student = _logits(3).double(), _logits(4).double()
    losses = [_kl(student, _teacher(teacher, k, 1.0), 1.0)[0].item() for k in (1, 2, 5, 10, 25, 50)]
    assert losses[0] >= 0
    assert losses == sorted(losses)


def test_the_truncated_form_can_be_negative_and_the_bucket_cannot():
    teacher = torch.zeros(1, VOCABULARY)
    student = torch.zeros(1, VOCABULARY).index_fill_(1, torch.tensor([0]), 1.0)
    held = TeacherLogits(torch.tensor([[0]]), torch.zeros(1, 1), teacher.logsumexp(1))
    assert _kl(student.clone(), held, 1.0, TRUNCATED)[0] < 0
    assert _kl(student.clone(), held, 1.0, BUCKET)[0] > 0


def test_a_student_sure_of_the_top_k_gives_a_finite_loss_and_a_bounded_gradient():
    teacher, student = _logits(5), _logits(5) * 40
    kl, _, gradient = _kl(student, _teacher(teacher, 5, 1.0), 1.0)
    assert torch.isfinite(kl)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() <= 1.0 + 1e-5


@pytest.mark.parametrize("tail", [BUCKET, TRUNCATED])
def test_t_squared_stands_on_the_kl_alone_and_ce_weight_on_the_answers(tail):
    teacher, student, targets = _logits(1), _logits(2), torch.arange(POSITIONS)
    loss = Distillation(NOWHERE, temperature=2.0, ce_weight=0.3, k=10, tail=tail)
    got = loss(student.clone(), targets, _teacher(teacher, 10, 2.0))
    exact = student.double().requires_grad_()
    ce = torch.nn.functional.cross_entropy(exact, targets, reduction="sum")
    wanted = 0.3 * ce + 0.7 * 4.0 * _reference(teacher, exact, 10, 2.0, tail)
    wanted.backward()
    assert got.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert got.ce.item() == pytest.approx(ce.item(), rel=1e-5)
    torch.testing.assert_close(got.gradient.double(), exact.grad, rtol=1e-4, atol=1e-5)


def test_ce_weight_one_is_plain_cross_entropy():
    teacher, student, targets = _logits(1), _logits(2), torch.arange(POSITIONS)
    held = _teacher(teacher, 10, 1.0)
    answers = Distillation(NOWHERE, 1.0, 1.0, 10)(student.clone(), targets, held)
    plain = CrossEntropy()(student.clone(), targets, None)
    exact = student.clone().requires_grad_()
    torch.nn.functional.cross_entropy(exact, targets, reduction="sum").backward()
    assert answers.total.item() == pytest.approx(plain.total.item())
    torch.testing.assert_close(answers.gradient, exact.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(plain.gradient, exact.grad, rtol=1e-4, atol=1e-6)


def test_teacher_logits_for_other_positions_are_refused():
    held = _teacher(_logits(1), 10, 1.0)
    with pytest.raises(ValueError, match="exactly the label positions"):
        Distillation(NOWHERE, 1.0, 0.5, 10)(_logits(2)[:3], torch.arange(3), held)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_sixteen_bit_logits_far_from_zero_lose_next_to_nothing(temperature):
    teacher = _logits(1) + 37.3
    grid = (1.0, 2.0, 4.0)
    held = rounded(keep(teacher.clone(), Capture(20, grid)), "fp16", grid)
    stored = TeacherLogits(held.ids.long(), held.values, held.log_z[:, grid.index(temperature)])
    student = _logits(2)
    exact = _kl(student.clone(), _teacher(teacher, 20, temperature), temperature)[0].item()
    assert _kl(student.clone(), stored, temperature)[0].item() == pytest.approx(exact, rel=2e-3)
