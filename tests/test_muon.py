"""Muon: orthogonal updates of matrices and convolutions, as torch's of matrices, and torch's AdamW for the rest."""

import pytest
import torch
from torch import nn

from bitmosaic.train.muon import Muon, is_matrix, orthogonalised
from bitmosaic.train.optimizers import AdamWSpec, MuonSpec
from bitmosaic.train.training import Training


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (64, 16)])
def test_an_update_has_singular_values_near_one_and_the_matrix_own_vectors(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ orthogonalised(matrix).double() @ vh.T
    kept = s > 0.05 * s.max()  # the polynomial lifts what is not far smaller than the rest
    assert 0.5 < inside.diagonal()[kept].min() and inside.diagonal().max() < 1.3
    assert (inside - inside.diagonal().diag()).abs().max() < 0.05


def step(optimizer, p):
    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(len(optimizer.state)))
    optimizer.step()


@pytest.mark.parametrize("shape", [(40,), (3, 40), (40, 3), (8, 4, 1, 1)])
def test_small_parameters_are_moved_as_by_torch(shape):
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    assert not is_matrix(ours)
    groups = [[{"params": [p], "weight_decay": 0.1}] for p in (ours, theirs)]
    optimizers = MuonSpec(betas=(0.8, 0.9)).build(groups[0], 0.01), AdamWSpec((0.8, 0.9)).build(groups[1], 0.01)
    for _ in range(4):
        step(optimizers[0], ours)
        step(optimizers[1], theirs)
    torch.testing.assert_close(ours, theirs)


def test_matrices_move_by_the_size_of_adams_updates_and_decay():
    p = nn.Parameter(torch.zeros(32, 16, 3, 3))
    optimizer = MuonSpec(matrix_rate=2.0).build([{"params": [p]}], 0.01)
    step(optimizer, p)
    assert p.detach().square().mean().sqrt().item() == pytest.approx(0.2 * 2 * 0.01, rel=0.3)  # Moonlight's scale
    with torch.no_grad():
        p.fill_(1)
    optimizer.param_groups[0]["weight_decay"] = 0.5
    p.grad = torch.zeros_like(p)
    optimizer.state[p]["momentum_buffer"].zero_()
    optimizer.step()
    assert p.detach().mean().item() == pytest.approx(1 - 0.02 * 0.5)


@pytest.mark.parametrize("shape", [(32, 48), (48, 32)])
def test_matrices_move_as_by_torch(shape):
    """torch has Muon of matrices alone; both multiply in bf16 where this machine does."""
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    own = MuonSpec(matrix_rate=1.0).build([{"params": [ours], "weight_decay": 0.1}], 0.02)
    other = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for i in range(5):
        for p in (ours, theirs):
            p.grad = torch.randn(shape, generator=torch.Generator().manual_seed(i))
        own.step()
        other.step()
    assert (ours - theirs).norm() < 0.03 * (theirs - 1).norm()


def test_it_is_chosen_by_a_training_and_refuses_cut_matrices(monkeypatch):
    assert Training(optimizer=MuonSpec()).player("x").optimizer == MuonSpec() and Training().player("x").optimizer == AdamWSpec()
    monkeypatch.setattr("bitmosaic.train.muon.DTensor", nn.Parameter)
    with pytest.raises(ValueError, match="leave 'sharded' off"):
        Muon([nn.Parameter(torch.zeros(2))], 0.1, 1.0, 0.9, (0.9, 0.9), 1e-8)
    with pytest.raises(ValueError, match="matrix_rate"):
        MuonSpec(matrix_rate=0.0)
