"""Parity with the authors' published implementation of BiGR, on reference tensors: under 1e-4 everywhere."""

import pytest
import torch
from reference import reference, sizes
from safetensors import safe_open

from bitmosaic.codes import Codes
from bitmosaic.conditions import Encoded
from bitmosaic.convert import published_prior, published_tokenizer, read_checkpoint
from bitmosaic.priors.bernoulli_diffusion import chain_timesteps, jump_probability, keep_probability

TOLERANCE = 1e-4


def tensors(path):
    with safe_open(path, "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}


def close(a, b):
    assert a.shape == b.shape
    assert (a.float() - b.float()).abs().max() < TOLERANCE


@pytest.fixture(scope="module")
def prior():
    folder = reference("bigr")
    return published_prior(read_checkpoint(folder / "bigr.pt"), heads=sizes("bigr", "bigr")["n_head"]).build()


@pytest.fixture(scope="module")
def given():
    return tensors(reference("bigr") / "bigr_reference.safetensors")


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def codes_of(prior, bits):
    return Codes(bits.view(len(bits), *prior.grid, -1).to(torch.uint8), prior.radix)


def test_tokenizer():
    folder = reference("bigr")
    tokenizer = published_tokenizer(read_checkpoint(folder / "binaryae.th"), sizes("bigr", "binaryae")["img_size"]).build()
    r, _ = tensors(folder / "binaryae_reference.safetensors")
    close(tokenizer.encoder(r["images"]), r["encoder_features"])
    close(torch.sigmoid(tokenizer.logits(r["images"])).movedim(-1, 1), r["bit_probability"])
    codes = tokenizer.encode(r["images"])
    assert torch.equal(codes.digits.movedim(-1, 1).float(), r["bits"].float())
    close(tokenizer.pixels(codes.digits.float()), r["decoded"])
    close(tokenizer.pixels(r["random_bits"].float().movedim(1, -1)), r["random_decoded"])
    close(tokenizer.decode(codes), r["decoded"].clamp(0, 1))


def test_head_condition_and_features(prior, given):
    r, _ = given
    digits, known = r["bits"].to(torch.uint8), ~r["masked"].bool()
    b = len(digits)
    labelled, null = prior.embed(r["labels"].long(), b), prior.embed(None, b)
    both = prior.context(digits.repeat(2, 1, 1), known.repeat(2, 1), Encoded.joined([labelled, null]))
    close(both, r["head_condition"])
    for layer, expected in enumerate(r["features"]):
        close(prior.features(codes_of(prior, digits), r["labels"].long(), layer), expected)


def test_interpolated_classes(prior, given):
    r, _ = given
    b, classes = len(r["bits"]), prior.condition.classes
    one_hot = torch.nn.functional.one_hot
    weights = 0.3 * one_hot(r["labels"].long(), classes) + 0.7 * one_hot(r["interpolate_labels"].long(), classes)
    context = prior.context(r["bits"].to(torch.uint8), ~r["masked"].bool(), prior.embed(weights, b))
    close(context, r["interpolate_head_condition"][:b])


def test_head_logits_and_schedule(prior, given):
    r, _ = given
    close(prior.head.logits(r["head_x"], r["head_t"], r["head_c"]), r["head_logits"])
    steps = prior.head.spec.steps
    close(keep_probability(torch.arange(steps + 1), steps), r["schedule_k"])
    assert r["chain_timesteps"].tolist() == chain_timesteps(len(r["chain_timesteps"]), steps)


def test_reverse_chain(prior, given):
    r, metadata = given
    scale = float(next(v for k, v in metadata.items() if "guidance" in k or "cfg" in k))
    t = r["chain_timesteps"].tolist()
    context = r["head_condition"].unflatten(0, (2, -1)).flatten(1, 2)  # (2, B*N, D)
    x = r["chain_start"].to(torch.uint8).view(context.shape[1], -1)
    keep = [1 - i / prior.head.spec.steps for i in t]
    for i in range(len(t)):
        at = torch.full((len(x),), t[i] - 1)
        a, b = (prior.head.logits(x, at, c) for c in context)
        p = prior.head.p_0(b + scale * (a - b), x)
        if i == len(t) - 1:
            close(p, r["chain_final_probability"].view(p.shape))
        else:
            close(jump_probability(p, x, keep[i], keep[i + 1]), r["chain_probability"][i])
            x = r["chain_bits"][i].to(torch.uint8)


def test_chain_replays_recorded_draws(prior, given):
    """The sampler's own `chain`, fed uniforms that force the recorded draws, ends at the recorded probability."""
    r, metadata = given
    scale = float(next(v for k, v in metadata.items() if "guidance" in k or "cfg" in k))
    context = r["head_condition"].unflatten(0, (2, -1)).flatten(1, 2)
    draws = [r["chain_start"].view(context.shape[1], -1), *r["chain_bits"]]
    forced = iter([1 - bits.float() for bits in draws])  # 0 < p gives one, 1 < p never
    p = prior.head.chain(context, scale, len(r["chain_timesteps"]), lambda: next(forced))
    close(p, r["chain_final_probability"].view(p.shape))


def test_training_loss(prior, given):
    r, _ = given
    digits, hidden = r["bits"].to(torch.uint8), r["masked"].bool()
    context = prior.context(digits, ~hidden, prior.embed(r["labels"].long(), len(digits)))
    x_0, x_t = digits.flatten(0, 1), r["train_noisy_bits"].to(torch.uint8)
    t = r["train_t"].long()
    k = keep_probability(t, prior.head.spec.steps)[:, None]
    close(k * x_0 + (1 - k) / 2, r["train_noisy_probability"])
    loss, _ = prior.head.elementwise_loss(x_0, t, x_t, context.flatten(0, 1))
    close(loss, r["train_loss_elementwise"].view(loss.shape))
    close(loss[hidden.flatten()].mean(), r["train_loss"].squeeze())
    close(loss[hidden.flatten()].mean(), r["train_bce"].squeeze())
