"""Descriptions and labels that mean nothing are refused where they are made, with the name of what is wrong."""

import math

import pytest
import torch

from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.quantizers.bernoulli import BernoulliQuantizerSpec
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.training import Training


@pytest.mark.parametrize("field", ["squared_weight", "perceptual_weight", "adversarial_weight", "adversarial_start", "discriminator_rate"])
@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf])
def test_losses_are_finite_and_not_negative(field, wrong):
    with pytest.raises(ValueError, match=f"{field}: got"):
        TokenizerLosses(**{field: wrong})


@pytest.mark.parametrize("wrong", [0.0, math.nan, math.inf, 1e38])
def test_a_learning_rate_can_be_stepped_with(wrong):
    """Beyond the largest float32 there is no step, which is an error in the middle of Adam."""
    with pytest.raises(ValueError, match="learning_rate must be in"):
        Training(learning_rate=wrong)
    layer = torch.nn.Linear(1, 1)
    adam = torch.optim.AdamW(layer.parameters(), Training(learning_rate=1e30).learning_rate, (0.9999, 0.9999))
    layer(torch.ones(1, 1)).sum().backward()
    adam.step()


def test_a_place_has_bits():
    with pytest.raises(ValueError, match="bits: got 0"):
        BernoulliQuantizerSpec(bits=0)


@pytest.mark.parametrize("wrong", [-1, 4, 1000])
def test_labels_outside_the_classes_are_named(wrong):
    condition = ClassConditionSpec(3).build(8)
    assert condition(torch.tensor([0, 3]), 2).vector.shape == (2, 8)  # 3 is the null class
    with pytest.raises(ValueError, match=f"labels: got .*{wrong}.*want 0 to 2, or the null 3"):
        condition(torch.tensor([1, wrong]), 2)
