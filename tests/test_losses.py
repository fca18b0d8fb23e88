"""Losses: values worked out by hand, and gradients that go where they should and nowhere else."""

import math

import pytest
import torch
import torch.nn.functional as F

from bitmosaic.losses.bernoulli import weighted_bce
from bitmosaic.losses.diffaugment import diffaugment, translate
from bitmosaic.losses.patchgan import adaptive_weight, hinge_discriminator, hinge_generator
from bitmosaic.losses.reconstruction import l1, perceptual, squared
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(seed=0, batch=3, channels=3, height=16, width=16):
    return torch.rand(batch, channels, height, width, generator=generator(seed))


# ---- weighted binary cross-entropy


@pytest.mark.parametrize(
    "target, weights",
    [
        ([1, 0, 0, 0], [0.75 + 0.25, 0.25 + 0.25, 0.25 + 0.25, 0.25 + 0.25]),  # a quarter are ones
        ([1, 1, 1, 0], [0.25 + 0.25, 0.25 + 0.25, 0.25 + 0.25, 0.75 + 0.25]),
        ([1, 1, 0, 0], [0.75, 0.75, 0.75, 0.75]),
        ([0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]),  # no rarer value: 1/K is left
        ([1, 1, 1, 1], [0.25, 0.25, 0.25, 0.25]),
        ([1, 0], [1.0, 1.0]),
        ([1], [1.0]),
    ],
)
def test_weights_by_hand(target, weights):
    r = torch.tensor([target], dtype=torch.uint8)
    assert weighted_bce(torch.zeros(r.shape), r).tolist() == [pytest.approx([w * math.log(2) for w in weights])]


def test_cross_entropy_by_hand():
    logits, r = torch.tensor([[2.0, 2.0, -1.0, -1.0]]), torch.tensor([[1, 0, 1, 0]], dtype=torch.uint8)
    softplus = [math.log1p(math.exp(x)) for x in (-2, 2, 1, -1)]  # -log p: log(1 + exp(-l)) of a one, log(1 + exp(l)) of a zero
    assert weighted_bce(logits, r)[0].tolist() == pytest.approx([0.75 * x for x in softplus])


def test_each_place_has_its_own_weights():
    r = torch.randint(0, 2, (5, 7, 6), generator=generator())
    logits = torch.randn(r.shape, generator=generator(1))
    apart = torch.stack([weighted_bce(logits[i, j], r[i, j]) for i in range(5) for j in range(7)])
    assert torch.allclose(weighted_bce(logits, r).flatten(0, 1), apart)


def test_sure_logits_stay_finite():
    loss = weighted_bce(torch.tensor([[1e4, -1e4, 1e4]]), torch.tensor([[1, 0, 0]]))
    assert loss.isfinite().all() and loss[0, :2].tolist() == [0, 0] and loss[0, 2] > 1e3


def test_logits_of_low_precision_are_lifted():
    logits = torch.randn(5, 6, generator=generator()).bfloat16()
    r = torch.randint(0, 2, (5, 6), generator=generator(1))
    loss = weighted_bce(logits, r)
    assert loss.dtype == torch.float32 and torch.equal(loss, weighted_bce(logits.float(), r))


# ---- reconstruction


def test_differences_by_hand():
    one, other = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.5, 0.75]]]])
    assert l1(one, other).item() == 0.375 and squared(one, other).item() == (0.25 + 0.0625) / 2
    assert l1(one.bfloat16(), other.bfloat16()).dtype == squared(one.bfloat16(), other.bfloat16()).dtype == torch.float32


@pytest.fixture
def net():
    torch.manual_seed(0)
    return ConvClassifierSpec(widths=(8, 16)).build().eval().requires_grad_(False)


def test_perceptual_is_zero_for_equal_images_and_positive_otherwise(net):
    images = pictures()
    assert abs(perceptual(net, images, images)) < 1e-5
    small, large = (perceptual(net, images, images.lerp(pictures(1), share)) for share in (0.01, 0.5))
    assert 1e-6 < small < large


def test_perceptual_is_zero_for_equal_images_where_features_are_dead(net):
    """A place whose channels are all zero, as after ReLU, has no direction; equal images are at distance 0 even so."""
    for level in net.levels:
        level.norm1.bias.fill_(-100), level.norm3.bias.fill_(-100)
    images = pictures()
    assert not any(m.any() for m in net.maps(images))
    assert abs(perceptual(net, images, images)) < 1e-5


def test_perceptual_is_the_mean_over_places_of_squared_differences_of_unit_vectors(net):
    a, b = pictures(), pictures(1)
    unit = [[F.normalize(m, dim=1) for m in net.maps(images)] for images in (a, b)]
    apart = [(u - v).square().sum(1).mean() for u, v in zip(*unit, strict=True)]
    assert len(apart) == 2
    torch.testing.assert_close(perceptual(net, a, b), sum(apart), rtol=1e-4, atol=1e-5)


def test_perceptual_gradient_flows_to_the_reconstruction_only(net):
    images, made = pictures().requires_grad_(), pictures(1).requires_grad_()
    perceptual(net, images, made).backward()
    assert images.grad is None and all(p.grad is None for p in net.parameters())
    assert made.grad.isfinite().all() and (made.grad != 0).float().mean() > 0.9


def test_perceptual_gradient_is_finite_at_equal_images(net):
    made = pictures().requires_grad_()
    perceptual(net, pictures(), made).backward()
    assert made.grad.isfinite().all()


# ---- DiffAugment


def shifts(images, moved, most):
    """All (rows, columns) by which `images` (c, H, W), with zeros around, may have been shifted to give `moved`."""
    (height, width), (high, wide) = images.shape[1:], most
    padded = F.pad(images, (wide, wide, high, high))
    return [
        (y, x)
        for y in range(-high, high + 1)
        for x in range(-wide, wide + 1)
        if torch.equal(padded[:, high + y : high + y + height, wide + x : wide + x + width], moved)
    ]


def test_translate_shifts_by_whole_pixels_with_zeros():
    images = pictures(batch=200, channels=2, height=16, width=24)
    moved = translate(images, generator(3))
    found = [shifts(a, b, (3, 4)) for a, b in zip(images, moved, strict=True)]
    assert all(len(f) == 1 for f in found)
    rows, columns = zip(*(f[0] for f in found), strict=True)
    assert set(rows) == {-2, -1, 0, 1, 2} and set(columns) == {-3, -2, -1, 0, 1, 2, 3}  # up to 1/8 of each side
    assert len({f[0] for f in found}) == 35, "rows and columns move independently"


@pytest.mark.parametrize("height, width", [(1, 1), (3, 5), (4, 4)])
def test_translate_takes_small_images(height, width):
    images = pictures(batch=40, height=height, width=width)
    moved = translate(images, generator())
    assert moved.shape == images.shape
    assert all(shifts(a, b, (1, 1)) for a, b in zip(images, moved, strict=True))


@pytest.mark.parametrize("change", [translate, diffaugment])
def test_augmentation_keeps_shape_and_depends_on_its_generator_only(change):
    images = pictures(batch=8)
    before, held = torch.get_rng_state(), images.clone()
    first, again, another = (change(images, generator(seed)) for seed in (5, 5, 6))
    assert first.shape == images.shape and first.dtype == images.dtype and first.isfinite().all()
    assert torch.equal(first, again) and not torch.equal(first, another)
    assert torch.equal(images, held), "the images were written to"
    assert torch.equal(torch.get_rng_state(), before), "a draw came from the global generator"


@pytest.mark.parametrize("change", [translate, diffaugment])
def test_augmentation_is_differentiable(change):
    images = pictures(batch=8).requires_grad_()
    (change(images, generator(1)) * pictures(2, batch=8)).sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad[..., 2:-2, 2:-2] != 0).float().mean() > 0.95  # beyond every shift


def test_translate_passes_exactly_the_gradient_of_the_pixels_that_are_left():
    images = pictures(batch=1).requires_grad_()
    moved = translate(images, generator(4))
    moved.sum().backward()
    assert set(images.grad.unique().tolist()) <= {0.0, 1.0}
    assert images.grad.sum() == (moved != 0).sum()


def test_colours_of_a_flat_grey_image_change_in_brightness_only_and_each_image_in_its_own_way():
    changed = diffaugment(torch.full((500, 3, 16, 16), 0.5), generator())
    inner = changed[..., 2:-2, 2:-2].flatten(1)  # beyond every shift
    assert (inner - inner[:, :1]).abs().max() < 1e-6
    levels = inner[:, 0]
    assert 0.25 <= levels.min() < 0.27 and 0.73 < levels.max() <= 0.75 and len(levels.unique()) > 490


# ---- the game of VQGAN


def test_hinges_by_hand():
    real, made = torch.tensor([[2.0, 0.5], [-1.0, 1.0]]), torch.tensor([[-2.0, -0.5], [1.0, 0.0]])
    assert hinge_discriminator(real, made).item() == pytest.approx(0.5 * ((0 + 0.5 + 2 + 0) / 4 + (0 + 0.5 + 2 + 1) / 4))
    assert hinge_generator(made).item() == pytest.approx(0.375)
    assert hinge_discriminator(torch.full((3,), 1.0), torch.full((3,), -1.0)) == 0
    assert hinge_discriminator(real.bfloat16(), made.bfloat16()).dtype == hinge_generator(made.bfloat16()).dtype == torch.float32


def two_losses(scale):
    """A tiny autoencoder's reconstruction, its L1, and `scale` times what a discriminator says."""
    torch.manual_seed(0)
    tokenizer, discriminator = BinaryAutoencoderSpec().build(), PatchGANSpec().build()
    images = pictures()
    made, _ = tokenizer(images, generator())
    return tokenizer.last_weight, made, l1(images, made), hinge_generator(discriminator(made)) * scale


@pytest.mark.parametrize("scale, clamped", [(1.0, None), (30.0, None), (1e6, None), (1e-6, True), (0.0, True)])
def test_adaptive_weight_is_the_ratio_of_gradients_at_the_last_weight(scale, clamped):
    last, made, reconstruction, adversarial = two_losses(scale)
    direct = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)]
    at_made = [torch.autograd.grad(loss, made, retain_graph=True)[0] for loss in (reconstruction, adversarial)]
    weight = adaptive_weight(made, last, *at_made)
    assert weight.ndim == 0 and not weight.requires_grad
    torch.testing.assert_close(weight, (direct[0] / (direct[1] + 1e-4)).clamp(0, 1), rtol=1e-4, atol=0)
    assert weight == 1 if clamped else 0 < weight <= 1
    made.sum().backward()  # the graph is still there


def test_adaptive_weight_is_zero_where_nothing_is_left_to_reconstruct():
    last, made, _, adversarial = two_losses(1.0)
    by_adversary = torch.autograd.grad(adversarial, made, retain_graph=True)[0]
    assert adaptive_weight(made, last, torch.zeros_like(made), by_adversary) == 0
