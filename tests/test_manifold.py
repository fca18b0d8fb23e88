"""Precision and recall, where both are known."""

import pytest
import torch

from bitmosaic.evaluate.manifold import precision_recall


def normal(seed, n=400, d=3):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_the_same_law_scores_high_in_both_and_the_same_points_perfectly():
    assert precision_recall(normal(0), normal(0)) == (1.0, 1.0)
    precision, recall = precision_recall(normal(0), normal(1))
    assert min(precision, recall) > 0.8


def test_few_modes_cost_recall_and_strange_points_cost_precision():
    two = torch.cat([normal(2, 200), normal(3, 200) + 50])
    precision, recall = precision_recall(normal(4), two)  # all in one of two modes
    assert precision > 0.75 and 0.3 < recall < 0.55
    precision, recall = precision_recall(two, normal(4))  # half of them nowhere near
    assert 0.3 < precision < 0.55 and recall > 0.75
    assert precision_recall(normal(5) + 100, normal(6)) == (0.0, 0.0)


def test_a_wider_reach_takes_in_more():
    scores = [precision_recall(normal(7, d=10), normal(8, d=10), k)[0] for k in (1, 5, 50)]
    assert scores == sorted(scores) and scores[0] < scores[2]


@pytest.mark.parametrize(
    ("made", "real", "k"),
    [((5, 2), (4, 2), 1), ((5, 2), (5, 3), 1), ((5,), (5,), 1), ((5, 2), (5, 2), 5), ((5, 2), (5, 2), 0)],
)
def test_what_cannot_be_compared_is_refused(made, real, k):
    with pytest.raises(ValueError, match="must be"):
        precision_recall(torch.zeros(made), torch.zeros(real), k)
