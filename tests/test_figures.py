"""Figures of an evaluation against their definitions: kernel distance, density and coverage, scores, agreement."""

import numpy as np
import pytest
import torch
from test_evaluation import drawn

from bitmosaic.evaluate.classes import class_agreement, classifier_score
from bitmosaic.evaluate.kernel import kernel_distance
from bitmosaic.evaluate.manifold import manifold
from bitmosaic.evaluate.reconstruction import scales

# Measures


def test_the_kernel_distance_by_hand_and_its_expectation():
    a, b = drawn(5, 3).double(), drawn(4, 3, seed=1).double()
    k = lambda x, y: float((x @ y / 3 + 1) ** 3)  # noqa: E731
    own = [[k(x, y) for j, y in enumerate(s) if j != i] for s in (a, b) for i, x in enumerate(s)]
    by_hand = np.mean(own[:5]) + np.mean(own[5:]) - 2 * np.mean([[k(x, y) for y in b] for x in a])
    assert kernel_distance(a, b, at_once=2) == pytest.approx(by_hand)
    same = [kernel_distance(drawn(200, 8, seed=2 * i), drawn(200, 8, seed=2 * i + 1)) for i in range(20)]
    assert min(same) < 0 < max(same) and abs(np.mean(same)) < 0.1 < kernel_distance(drawn(200, 8), drawn(200, 8, seed=1, shift=0.5))
    assert kernel_distance(a, a) == pytest.approx(kernel_distance(a, a.clone()))
    with pytest.raises(ValueError, match="at least two rows"):
        kernel_distance(a[:1], b)


def test_density_and_coverage_agree_with_their_definition():
    made, real, k = drawn(60, 4).double(), drawn(60, 4, seed=1, shift=0.3).double(), 3
    reach = torch.cdist(real, real).sort(1).values[:, k]
    inside = torch.cdist(made, real) <= reach  # made, ball of real
    found = manifold(made, real, k)
    assert found.density == pytest.approx(float(inside.sum()) / (k * 60)) and found.coverage == float(inside.any(0).double().mean())
    assert found.precision == float(inside.any(1).double().mean())
    reach = torch.cdist(made, made).sort(1).values[:, k]
    assert found.recall == float((torch.cdist(real, made) <= reach).any(1).double().mean())


def test_an_outlier_among_the_real_ones_feeds_precision_not_density():
    real, made = drawn(100, 2), drawn(100, 2, seed=1) * 0.1 + 6
    real[0] = 12.0  # its ball reaches all that was made
    found = manifold(made, real)
    assert found.precision == 1 and found.density < 0.25 and found.coverage <= 0.02


def test_the_classifier_score_lies_between_one_and_the_number_of_classes():
    sure = 50.0 * torch.eye(5).repeat(20, 1)
    assert classifier_score(sure, 1) == pytest.approx(5) and classifier_score(torch.zeros(40, 5)) == pytest.approx(1)
    assert classifier_score(sure[:1].expand(40, 5)) == pytest.approx(1)  # sure, but always of the same
    p = drawn(30, 5).double().softmax(1)
    by_hand = float((p * (p.log() - p.mean(0).log())).sum(1).mean().exp())
    assert classifier_score(p.log(), 1) == pytest.approx(by_hand)
    with pytest.raises(ValueError, match="parts 10"):
        classifier_score(sure[:4])


def test_the_classifier_score_does_not_hang_on_the_order_of_classes():
    sure = 50.0 * torch.eye(10)
    in_turn, sorted_ = sure.repeat(400, 1), sure.repeat_interleave(400, 0)
    assert classifier_score(in_turn) > 9 and classifier_score(sorted_) > 9


def test_class_agreement_counts():
    assert class_agreement(torch.eye(4), torch.tensor([0, 1, 2, 0])) == 0.75


@pytest.mark.parametrize("side, expected", [(8, 1), (28, 2), (64, 3), (128, 4), (176, 5), (256, 5)])
def test_scales_of_ms_ssim(side, expected):
    assert scales((side, side + 7)) == expected
