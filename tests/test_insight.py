"""Entropy maps, the order of reveal, and what bits mean: held against what a prior and a tokenizer really do."""

import numpy as np
import pytest
import torch
from parts import random_codes, shaken
from test_pipeline import make

from bitmosaic.evaluate.insight import flipped, meaning, order_of, reveal
from bitmosaic.images import captioned, fashion_sample, heat
from bitmosaic.priors.likelihood import marginal_entropy
from bitmosaic.priors.masked import MaskedPriorSpec


@pytest.fixture(scope="module")
def pipeline():
    made = make()
    shaken(made.prior)
    return made


def test_entropy_is_of_the_marginals_of_hidden_places():
    prior = shaken(MaskedPriorSpec().build())
    codes, labels = random_codes(prior.grid, prior.radix, 3), torch.tensor([0, 1, 2])
    known = torch.rand(3, *prior.grid, generator=torch.Generator().manual_seed(1)) < 0.5
    found = marginal_entropy(prior, codes, known, labels, torch.Generator().manual_seed(0))
    assert found.shape == known.shape and found[known].eq(0).all() and 0 < found[~known].min() and found.max() <= 1
    assert found[~known].std() > 0.01
    contexts = prior.context(codes.flat(), known.flatten(1), prior.embed(labels, 3))
    noise = torch.rand(3, codes.places, 8, generator=torch.Generator().manual_seed(0))
    p = prior.head.marginals(contexts.flatten(0, 1)[None], 1.0, noise.flatten(0, 1)).view(3, *prior.grid, 8)
    entropy = -(p * p.log2() + (1 - p) * (1 - p).log2()).mean(-1)
    assert torch.allclose(found[~known], entropy[~known], atol=1e-4)


def test_a_reveal_ends_at_the_image_and_its_order_counts_its_steps(pipeline):
    seen = list(reveal(pipeline, "bag", [3, 4], num_inference_steps=4))
    assert len(seen) == 5 and not seen[0].known.any() and seen[-1].known.all() and seen[-1].entropy.eq(0).all()
    assert torch.allclose(seen[-1].images, pipeline("bag", [3, 4], num_inference_steps=4, output_type="pt"), atol=1e-4)
    order = order_of(seen)
    for step, moment in enumerate(seen):
        assert torch.equal(order <= step, moment.known)
        assert (moment.entropy > 0).eq(~moment.known).all()


def test_a_flipped_bit_is_flipped_once_in_every_place(pipeline):
    images = fashion_sample().pixels[:2].float() / 255
    codes = pipeline.encode(images)
    by_hand = codes.digits.clone()
    by_hand[..., 2] = 1 - by_hand[..., 2]
    assert torch.equal(flipped(pipeline, images, 2), pipeline.decode(type(codes)(by_hand, codes.radix), "pt"))
    assert torch.equal(pipeline.encode(images).digits, codes.digits)
    with pytest.raises(ValueError, match="bit: got 6; this pipeline has bits 0 to 5"):
        flipped(pipeline, images, 6)


def test_the_meaning_of_a_bit_stands_at_its_place(pipeline):
    images = fashion_sample().pixels[:4].float() / 255
    codes = pipeline.encode(images)
    ways = []
    for value in (0, 1):
        digits = codes.digits.clone()
        digits[:, 3, 3, 1] = value
        ways.append(pipeline.decode(type(codes)(digits, codes.radix), "pt").mean(0))
    found = meaning(pipeline, images, 1)
    assert found.shape == (1, 28, 28) and found.abs().max() > 0
    assert torch.allclose(found, ways[1] - ways[0], atol=1e-5)


def test_heat_is_a_colour_map_over_an_image():
    values = torch.tensor([[0.0, 1.0], [0.5, 0.25]])
    bare = heat(values)
    assert bare.shape == (3, 2, 2) and 0 <= bare.min() and bare.max() <= 1
    over = heat(values, torch.full((1, 4, 6), 0.2), strength=0.5)
    assert over.shape == (3, 4, 6)
    assert torch.allclose(over[:, 0, 5], 0.5 * bare[:, 0, 1] + 0.1) and torch.allclose(over[:, 3, 0], 0.5 * bare[:, 1, 0] + 0.1)
    with pytest.raises(ValueError, match="5 x 4 pixels for 2 x 2 values"):
        heat(values, torch.zeros(1, 4, 5))


def test_captions_stand_below_their_images():
    images = torch.stack([torch.full((1, 8, 8), value) for value in (0.0, 0.5, 1.0)])
    picture = np.array(captioned(images, ["a", "b", "c, which is long"], 2, scale=4))
    middle = picture[12 + 16, :, 0]  # through the first two images, 32 pixels high and wide
    assert (middle == 0).sum() == 32 and (middle == 128).sum() == 32
    captions = picture[12 + 32 : 12 + 32 + 15]
    assert captions.min() < 100  # ink
    with pytest.raises(ValueError, match="captions: got 1"):
        captioned(images, ["a"], 2)
