"""Claims about quantizers: what is counted of codes and images, and verdicts at the edges of what is claimed."""

import math

import pytest
import torch

from bitmosaic import systems
from bitmosaic.codes import Codes
from bitmosaic.images import fashion_sample
from bitmosaic.quantizers import BernoulliQuantizerSpec, CosineSpec, FactorizedSpec
from bitmosaic.systems.tokenizer_trials import autoencoder, fidelity, kept, use


def test_use_is_of_the_digit_least_used_and_entropies_add_up():
    digits = torch.tensor([[0, 0], [1, 0], [2, 1], [3, 1]])  # four places: all of the first digit's values, two of the second's four
    found = use(Codes(digits[None], (4, 4)))
    assert found == {"used": 0.5, "entropy": pytest.approx(2 + 1)}
    bits = use(Codes(torch.tensor([[[0, 1], [0, 0], [0, 1], [1, 0]]]), (2, 2)))
    assert bits == {"used": 1.0, "entropy": pytest.approx(1 - 0.75 * math.log2(0.75) - 0.25 * math.log2(0.25))}


def test_fidelity_is_a_mean_over_pixels_and_over_images():
    given = torch.full((3, 1, 28, 28), 100, dtype=torch.uint8)
    made = given + torch.tensor([1, 3, 10], dtype=torch.uint8).view(3, 1, 1, 1)
    found = fidelity(given, made)
    assert found["squared_error"] == pytest.approx((1 + 9 + 100) / 3 / 255**2)
    assert found["psnr"] == pytest.approx(sum(20 * math.log10(255 / d) for d in (1, 3, 10)) / 3)


@torch.no_grad()
def test_what_is_kept_is_what_the_codes_say():
    torch.manual_seed(0)
    tokenizer, pixels = autoencoder(BernoulliQuantizerSpec(6), 8).build(), fashion_sample().pixels[:7]
    made, codes = kept(tokenizer, pixels)
    assert made.shape == pixels.shape and made.dtype == torch.uint8 and codes.digits.shape == (7, 7, 7, 6)
    again = tokenizer.eval().decode(tokenizer.encode(pixels / 255))
    assert (made / 255 - again).abs().max() < 1 / 255
    assert tokenizer.to_codes.weight.shape[0] == 6


@torch.no_grad()
def test_the_overlap_of_two_books_is_their_squared_cosine():
    quantizer = FactorizedSpec((CosineSpec(8, 4),) * 2, 0.0).build()
    tokenizer = torch.nn.Module()
    tokenizer.quantizer = quantizer
    codes = Codes(torch.tensor([[[0, 0], [3, 5]]]), (8, 8))
    found = systems.system("fqgan").claim.further(tokenizer, codes)["overlap"]
    a, b = (part.decode(codes.digits[..., i : i + 1]) for i, part in enumerate(quantizer.parts))
    assert found == pytest.approx(float(torch.nn.functional.cosine_similarity(a, b, dim=-1).square().mean()))


@pytest.mark.parametrize("psnr, holds", [(26.0, True), (25.9, False)])
def test_bits_have_to_beat_both_codebooks(psnr, holds):
    claim = systems.system("binary_latents").claim
    found = {trial: [{"psnr": value}] * 2 for trial, value in zip(claim.trials, (psnr, 20.0, 25.0), strict=True)}
    assert claim.decide(found).holds is holds


@pytest.mark.parametrize("changed, holds", [
    ({}, True), ({"psnr": 20.4}, False), ({"used": 0.89}, False), ({"overlap": 0.03}, False), ({"squared_error": 0.0103}, False),
])  # fmt: skip
def test_two_books_have_to_pass_all_four(changed, holds):
    claim = systems.system("fqgan").claim
    two = {"psnr": 20.6, "used": 0.95, "overlap": 0.02, "squared_error": 0.0101, **changed}
    free = {"overlap": 0.1, "squared_error": 0.01}
    found = {"two books": [two] * 2, "one book": [{"psnr": 20.0}] * 2, "two not disentangled": [free] * 2}
    assert claim.decide(found).holds is holds


@pytest.mark.parametrize("features, random, holds", [(0.99, 0.29, True), (0.98, 0.29, False), (0.99, 0.3, False)])
def test_features_are_used_and_random_codewords_are_not(features, random, holds):
    claim = systems.system("vqgan_lc").claim
    found = {trial: [{"used_in_training": features if trial.startswith("features") else random}] * 2 for trial in claim.trials}
    assert claim.decide(found).holds is holds
    assert claim.decide({**found, "projected noise 16384": []}).holds is holds  # which decides nothing


@pytest.mark.parametrize("bits, distance, holds", [(9.0, 5.0, True), (10.5, 5.0, False), (9.0, 6.5, False)])
def test_the_depth_head_needs_both_figures(bits, distance, holds):
    claim = systems.system("far").claim
    names = claim.ways["depth head"]

    def result(bits, distance):
        return {"bits": bits, "samplings": {name: {"frechet": distance + i} for i, name in enumerate(names)}}

    found = {"depth head": [result(bits, distance)], "independent heads": [result(10.0, 6.0)]}
    assert claim.decide(found).holds is holds
