"""Each loss by the property that defines it: nothing at perfect, the way down, and what costs more."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the calibration extra is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from calibration import losses  # noqa: E402
from calibration.pictures import DatasetError  # noqa: E402
from edge.errors import ModelError  # noqa: E402

SURE = 30.0  # a logit whose probability is 1 in float32


def disc(count: int = 2, side: int = 16) -> torch.Tensor:
    """(N, 1, side, side), a disc of ones."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inside = (y - side / 2) ** 2 + (x - side / 2) ** 2 < (side / 4) ** 2
    return inside.float().expand(count, 1, side, side)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ----------------------------------------------------------------------------------------- segmentation


def test_agreement_costs_nothing_and_every_logit_is_pulled_towards_its_target() -> None:
    loss = losses.segmentation_loss
    target = disc()
    assert float(loss(SURE * (2 * target - 1), target)) == pytest.approx(0, abs=1e-6)
    logits = torch.zeros_like(target).requires_grad_()
    loss(logits, target).backward()
    assert torch.equal(logits.grad < 0, target > 0.5)


def test_an_edge_costs_more_than_the_inside() -> None:
    target = disc(1, 32)

    def cost(y: int, x: int) -> float:
        logits = SURE * (2 * target - 1)
        logits[0, 0, y, x] *= -1
        return float(losses.segmentation_loss(logits, target))

    assert cost(16, 9) > 1.2 * cost(16, 16)


def test_an_empty_picture_has_cross_entropy_alone() -> None:
    empty = torch.zeros(2, 1, 8, 8)
    assert float(losses.segmentation_loss(torch.zeros_like(empty), empty)) == pytest.approx(math.log(2))


def test_a_teacher_who_is_nearly_sure_teaches_to_be_sure() -> None:
    soft = 0.1 + 0.8 * disc()
    same = torch.logit(soft)
    logits = same.clone().requires_grad_()
    losses.segmentation_loss(logits, soft).backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[soft > 0.5] < 0).all()  # surer still: Dice is linear


# --------------------------------------------------------------------------------------------- features


def passing_on(width: int) -> losses.FeatureLoss:
    """A feature loss whose projector passes its input on."""
    loss = losses.FeatureLoss(width, width)
    with torch.no_grad():
        loss.projector.weight.copy_(torch.eye(width)[:, :, None, None])
        loss.projector.bias.zero_()
    return loss


def test_the_teachers_own_features_cost_nothing_at_any_scale() -> None:
    features = drawn(2, 8, 4, 4)
    assert float(passing_on(8)(3 * features, features).detach()) == pytest.approx(0, abs=1e-4)
    assert float(passing_on(8)(-features, features).detach()) > 2


def test_the_teacher_is_resized_to_the_students_grid() -> None:
    small = drawn(2, 8, 4, 4)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert float(passing_on(8)(small, large).detach()) == pytest.approx(0, abs=1e-4)


def test_a_few_steps_bring_the_student_closer_and_leave_the_teacher_alone() -> None:
    torch.manual_seed(0)
    student, loss = torch.nn.Conv2d(3, 6, 1), losses.FeatureLoss(6, 10)
    picture, wanted = drawn(2, 3, 8, 8), drawn(2, 10, 4, 4, seed=1).requires_grad_()
    optimiser = torch.optim.Adam([*student.parameters(), *loss.parameters()], 0.02)
    costs = []
    for _ in range(40):
        optimiser.zero_grad()
        cost = loss(student(picture), wanted)
        cost.backward()
        optimiser.step()
        costs.append(float(cost.detach()))
    assert costs[-1] < 0.95 * costs[0]
    assert wanted.grad is None


@pytest.mark.parametrize(
    ("student", "teacher", "named"),
    [(8, 12, "teacher's features have 12 channels, expected 16"), (7, 16, "student's features have 7 .* expected 8")],
)
def test_a_wrong_width_names_both(student: int, teacher: int, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        losses.FeatureLoss(8, 16)(drawn(1, student, 4, 4), drawn(1, teacher, 4, 4))


# ---------------------------------------------------------------------------------------------- ordinal


def consistent(seed: int, thresholds: int = 3) -> torch.Tensor:
    """Threshold logits (1, K - 1) that fall with the threshold, as a rank-consistent head gives them."""
    return (2 * drawn(1, thresholds, seed=seed)).sort(descending=True).values


def test_a_sure_and_right_grade_costs_nothing() -> None:
    for grade in range(4):
        logits = SURE * (2.0 * (torch.arange(3) < grade) - 1)[None]
        assert float(losses.ordinal_loss(logits, torch.tensor([grade]))) == pytest.approx(0, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_further_off_costs_more(seed: int) -> None:
    logits = consistent(seed)
    costs = [float(losses.ordinal_loss(logits, torch.tensor([grade]))) for grade in range(4)]
    answered = int((logits > 0).sum())
    assert costs[: answered + 1] == sorted(costs[: answered + 1], reverse=True)
    assert costs[answered:] == sorted(costs[answered:])


def test_each_threshold_is_pulled_to_the_grades_side() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    losses.ordinal_loss(logits, torch.tensor([2])).backward()
    assert (logits.grad[0] < 0).tolist() == [True, True, False]


@pytest.mark.parametrize("grade", [-1, 4])
def test_a_grade_outside_the_list_is_named(grade: int) -> None:
    with pytest.raises(DatasetError, match=f"grade {grade}, expected one of 0..3"):
        losses.ordinal_loss(torch.zeros(2, 3), torch.tensor([1, grade]))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_grade_probabilities_are_probabilities(seed: int) -> None:
    logits = 3 * drawn(2, 3, seed=seed)  # not in order
    shares = losses.grade_probabilities(logits)
    assert shares.shape == (2, 4)
    assert float(shares.min()) >= 0
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    ordered = consistent(seed)
    torch.testing.assert_close(losses.grade_probabilities(ordered)[:, 3], ordered[:, 2].sigmoid())
    torch.testing.assert_close(losses.grade_probabilities(ordered)[:, 0], 1 - ordered[:, 0].sigmoid())


# ---------------------------------------------------------------------------------------------- weights


def test_fixed_weights_add_up() -> None:
    total = losses.Fixed({"mask": 1.0, "soft": 0.5})({"mask": torch.tensor(2.0), "soft": torch.tensor(4.0)})
    assert float(total) == 4.0


def test_uncertainty_settles_where_the_noisier_task_counts_less() -> None:
    weights = losses.Uncertainty(("quiet", "noisy"))
    tasks = {"quiet": torch.tensor(0.1), "noisy": torch.tensor(2.0)}
    optimiser = torch.optim.Adam(weights.parameters(), 0.05)
    for _ in range(400):
        optimiser.zero_grad()
        weights(tasks).backward()
        optimiser.step()
    # The derivative of L exp(-s) + s / 2 is nothing at exp(-s) = 1 / (2 L).
    assert weights.weights() == pytest.approx({"quiet": 5.0, "noisy": 0.25}, rel=0.05)


@pytest.mark.parametrize("weights", [losses.Fixed({"mask": 1.0}), losses.Uncertainty(("mask",))])
def test_losses_without_weights_are_named(weights: torch.nn.Module) -> None:
    with pytest.raises(ModelError, match="losses depth, mask, but weights for mask"):
        weights({"mask": torch.tensor(1.0), "depth": torch.tensor(1.0)})
