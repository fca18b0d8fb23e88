"""The binary autoencoder with patches folded into channels: sizes, and descriptions written before there was such a thing."""

import dataclasses

import pytest
import torch
from parts import shaken

from bitmosaic.spec import Spec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec

FOLDED = BinaryAutoencoderSpec((16, 24), 3, 5, 8, (1, 2), attention_sizes=(4,), embedding=8, groups=4, patch=2)


def test_patches_count_into_the_factor():
    assert FOLDED.factor == 4 and FOLDED.grid == (4, 6) and FOLDED.attention == (False, True)
    net = shaken(FOLDED.build())
    for height, width in ((16, 24), (8, 32)):
        codes = net.encode(torch.rand(2, 3, height, width))
        assert codes.grid == (height // 4, width // 4)
        assert net.decode(codes).shape == (2, 3, height, width)


def test_the_first_layer_sees_folded_patches():
    """A pixel reaches the code of its own patch: with patches the encoder's first layer is as wide in pixels as two of them."""
    net = FOLDED.build()
    assert net.encoder[0].in_channels == 12 and net.decoder[-1].out_channels == 12
    images = torch.rand(1, 3, 16, 24, requires_grad=True)
    net.encoder[0](torch.nn.functional.pixel_unshuffle(images, 2))[0, 0, 4, 4].backward()
    touched = images.grad.abs().sum((0, 1)).nonzero()
    assert touched.min(0).values.tolist() == [6, 6] and touched.max(0).values.tolist() == [11, 11]


def test_descriptions_of_before_mean_one_pixel():
    plain = dataclasses.replace(FOLDED, patch=1)
    assert not {"patch", "gain"} & plain.to_json().keys() and FOLDED.to_json()["patch"] == 2
    assert Spec.from_json(plain.to_json()) == plain and Spec.from_json(FOLDED.to_json()) == FOLDED


def test_a_gain_makes_the_first_bits_surer():
    images = torch.rand(4, 3, 16, 24)
    torch.manual_seed(0)
    plain = FOLDED.build().logits(images)
    torch.manual_seed(0)
    sure = dataclasses.replace(FOLDED, gain=8.0).build().logits(images)
    offset = plain.mean((0, 1, 2))
    assert torch.allclose((sure - sure.mean((0, 1, 2))), 8 * (plain - offset), atol=1e-4)
    for wrong in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="gain: got"):
            dataclasses.replace(FOLDED, gain=wrong)


def test_sizes_that_do_not_divide_are_told():
    with pytest.raises(ValueError, match=r"\(18, 24\) is not divisible by 4, as 2 levels of patches of 2 need"):
        dataclasses.replace(FOLDED, image_size=(18, 24))
    with pytest.raises(ValueError, match="patch must be positive"):
        dataclasses.replace(FOLDED, patch=0)
