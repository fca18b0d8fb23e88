"""Parity of quantizers with their authors' published programs, on reference tensors."""

import pytest
import torch
from reference import reference
from safetensors.torch import load_file

from bitmosaic.quantizers.nearest import NearestSpec, nearest
from bitmosaic.quantizers.simvq import SimVQSpec


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def walked(quantizer, z, cotangent):
    """The published layout, channels second, in and out: quantized vectors, indices, loss, the gradient at z of sum(zq G) + loss."""
    z = z.clone().requires_grad_()
    found = quantizer(z.movedim(1, -1))
    zq, loss = found.z.movedim(-1, 1), sum(found.losses.values())
    ((zq * cotangent).sum() + loss).backward()
    return zq.detach(), found.digits.flatten(), loss.detach(), z.grad


@pytest.mark.parametrize("form, commitment, codebook", [("legacy", 1.0, 0.25), ("new", 0.25, 1.0)])
def test_nearest_codeword_is_that_of_taming_transformers(form, commitment, codebook):
    given = load_file(reference("taming_vqgan") / "reference.safetensors")
    quantizer = NearestSpec(*given["codebook"].shape, commitment, codebook).build()
    quantizer.load_state_dict({"codebook": given["codebook"]})
    zq, indices, loss, gradient = walked(quantizer, given["z"], given["cotangent"])
    assert torch.equal(indices, given["indices"])
    close(zq, given["zq"])
    close(loss, given[f"loss_{form}"])
    close(gradient, given[f"grad_z_{form}"])
    close(quantizer.codebook.grad, given[f"grad_codebook_{form}"])
    grid = given["indices"].view(2, *given["z"].shape[2:], 1)
    close(quantizer.decode(grid).movedim(-1, 1).detach(), given["codes_from_indices"])


@pytest.mark.parametrize("form, commitment, codebook", [("legacy", 1.0, 0.25), ("new", 0.25, 1.0)])
@pytest.mark.parametrize("part", ["q2d", "q1d"])
def test_simvq_is_that_of_its_authors(part, form, commitment, codebook):
    given = {name[4:]: tensor for name, tensor in load_file(reference("simvq") / "reference.safetensors").items() if name.startswith(part)}
    quantizer = SimVQSpec(*given["basis"].shape, commitment, codebook).build()
    quantizer.load_state_dict(
        {"basis": given["basis"], "projection.weight": given["proj_weight"], "projection.bias": given["proj_bias"]}
    )
    close(quantizer.codebook.detach(), given["codebook"])
    zq, indices, loss, gradient = walked(quantizer, given["z"], given["cotangent"])
    assert torch.equal(indices, given["indices"])
    if "zq" in given:
        close(zq, given["zq"])
    close(loss, given[f"loss_{form}"])
    close(gradient, given[f"grad_z_{form}"])
    close(quantizer.projection.weight.grad, given[f"grad_proj_weight_{form}"])
    close(quantizer.projection.bias.grad, given[f"grad_proj_bias_{form}"])


def test_one_step_of_simvq_moves_every_codeword():
    given = load_file(reference("simvq") / "reference.safetensors")
    quantizer = SimVQSpec(*given["q2d_basis"].shape).build()
    before = quantizer.codebook.detach().clone()
    sum(quantizer(given["q2d_z"].movedim(1, -1)).losses.values()).backward()
    torch.optim.SGD(quantizer.parameters(), lr=0.1).step()
    assert ((quantizer.codebook - before).abs().amax(1) > 0).all()
    assert len(quantizer.encode(given["q2d_z"].movedim(1, -1)).unique()) < len(before)  # also those that nothing was near to


@pytest.mark.parametrize("chunk", [8, 64, 2**24])
def test_the_nearest_codeword_is_that_of_all_pairs_in_float64_however_it_is_cut(monkeypatch, chunk):
    monkeypatch.setattr("bitmosaic.quantizers.nearest.PAIRS", chunk)
    rng = torch.Generator().manual_seed(0)
    z, codebook = torch.randn(3, 5, 6, generator=rng), torch.randn(40, 6, generator=rng)
    codebook[30] = codebook[7]  # of two alike the first
    wanted = (z.double()[..., None, :] - codebook.double()).square().sum(-1).argmin(-1)
    assert torch.equal(nearest(z, codebook), wanted)
    assert torch.equal(nearest(codebook, codebook), torch.arange(40).where(torch.arange(40) != 30, 7))
    assert nearest(z[:0], codebook).shape == (0, 5)
