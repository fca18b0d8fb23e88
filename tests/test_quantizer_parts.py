"""What quantizers do beyond the contract: restarts of dead codewords, dropout of levels, features as codewords, limits of memory."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_train import folder, tiny_run  # noqa: F401, a fixture

from bitmosaic.memory import installed
from bitmosaic.quantizers import (
    BernoulliQuantizerSpec,
    BSQSpec,
    CosineSpec,
    FrozenFeaturesSpec,
    FSQSpec,
    GumbelSpec,
    IBQSpec,
    LFQSpec,
    NearestEMASpec,
    NearestSpec,
    ProductSpec,
    ResidualSpec,
    codebook,
)
from bitmosaic.quantizers.frozen_features import kmeans
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.run import Job
from bitmosaic.train.stages import TokenizerStage, play_all


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_dead_codewords_of_running_means_move_to_vectors_of_the_batch():
    quantizer = NearestEMASpec(4, 2, decay=0.5, dead=0.2).build().train()
    quantizer.codebook.copy_(torch.tensor([[0.0, 0], [1, 0], [50, 50], [60, 60]]))
    quantizer.sums.copy_(quantizer.codebook)
    z = torch.tensor([[0.0, 0.1], [1.0, 0.1], [0.1, 0.0], [0.9, 0.0]])
    for _ in range(4):
        quantizer(z, rng())
    assert quantizer.restarts >= 2 and quantizer.codebook.max() < 2  # far ones have come near
    moved = quantizer.codebook.clone()
    quantizer(z)  # without a generator nothing is learned
    quantizer.eval()(z, rng())
    assert torch.equal(quantizer.codebook, moved)


def test_dead_codewords_of_gumbel_move_to_used_ones():
    quantizer = GumbelSpec(4, 2).build().train()
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[0.0, 0], [1, 0], [50, 50], [60, 60]]))
    for i in range(140):
        quantizer(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), rng(i)).z.sum().backward()  # through a restart too
    assert quantizer.restarts >= 2 and quantizer.codebook.max() < 2


def test_levels_that_are_dropped_add_nothing():
    quantizer, z = ResidualSpec(NearestSpec(16, 4), 3, dropout=1.0).build().train(), torch.randn(40, 2, 4, generator=rng())
    with torch.no_grad():
        for level in quantizer.levels:
            level.codebook.normal_(generator=rng(1))
    found, digits = quantizer(z, rng()), quantizer.encode(z)
    assert torch.equal(found.digits, digits)
    parts = [level.decode(digits[..., i : i + 1]) for i, level in enumerate(quantizer.levels)]
    sums = torch.stack(parts).cumsum(0)  # of the first 1, 2, 3 levels
    kept = (found.z - sums).abs().amax((2, 3)).argmin(0)
    torch.testing.assert_close(found.z, sums[kept, torch.arange(40)])
    assert {0, 1, 2} == set(kept.tolist())
    torch.testing.assert_close(quantizer.eval()(z, rng()).z, sums[2])


def test_a_residual_quantizer_passes_the_gradient_once():
    quantizer, z = ResidualSpec(NearestSpec(16, 4), 3).build(), torch.randn(5, 4, generator=rng()).requires_grad_()
    quantizer(z).z.sum().backward()
    torch.testing.assert_close(z.grad, torch.ones(5, 4))


INNER = (BSQSpec(4), BernoulliQuantizerSpec(4), CosineSpec(16, 4), FSQSpec((5, 5, 5, 5)), GumbelSpec(16, 4), IBQSpec(16, 4))


@pytest.mark.parametrize("inner", INNER, ids=lambda spec: type(spec).__name__)
def test_a_residual_quantizer_passes_the_mean_gradient_of_its_levels(inner):
    """Of schemes whose own gradient is not the identity, so that one too many taken off would turn its sign."""
    torch.manual_seed(0)
    quantizer, w = ResidualSpec(inner, 3).build(), torch.randn(64, 4, generator=rng(1))
    z = torch.randn(64, 4, generator=rng()).requires_grad_()
    found = quantizer(z)
    (found.z * w).sum().backward()
    torch.testing.assert_close(found.z, quantizer.decode(found.digits))
    wanted, left = torch.zeros_like(w), z.detach()
    for level in quantizer.levels:
        x = left.clone().requires_grad_()
        one = level(x)
        wanted += torch.autograd.grad((one.z * w).sum(), x)[0] / 3
        left = left - level.decode(one.digits).detach()
    torch.testing.assert_close(z.grad, wanted)


def test_features_become_codewords_by_class():
    rows = torch.cat([torch.randn(100, 3, generator=rng()) * 0.1 + centre for centre in (0.0, 10.0, 20.0)])
    quantizer = FrozenFeaturesSpec(7, 2, 3).build()
    quantizer.learn(rows, torch.arange(3).repeat_interleave(100))
    means = quantizer.features.mean(1)
    assert sorted(round(float(x)) for x in means / means.max() * 2) == [0, 0, 0, 1, 1, 2, 2]  # in one size, and as the classes are
    assert quantizer.features.square().mean().sqrt() * 3**0.5 == pytest.approx(1)
    with pytest.raises(ValueError, match="gives 2 numbers a place, and the quantizer takes 3; give --tokenizer.quantizer.features 2"):
        quantizer.learn(rows[:, :2])
    with pytest.raises(ValueError, match="features: got 5 for 7 codewords; give more images"):
        quantizer.learn(rows[:5])


def test_centres_without_rows_move():
    rows = torch.cat([torch.zeros(50, 2), torch.ones(1, 2) * 9])
    assert {tuple(row) for row in kmeans(rows, 2, rng(3), 10).tolist()} == {(0.0, 0.0), (9.0, 9.0)}


def test_a_run_takes_codewords_from_its_feature_network(folder, tmp_path):  # noqa: F811
    run = tiny_run(folder)
    tokenizer = VQGANSpec((16, 16), 3, FrozenFeaturesSpec(8, 4, 8), 8, (1, 1), 1, (), 8, 4)
    prior = replace(run.prior, grid=tokenizer.grid)
    with pytest.raises(ValueError, match="tokenizer makes"):
        run.changed(tokenizer=tokenizer, prior=prior)
    stages = tuple(stage for stage in run.stages if stage.name in ("features", "tokenizer"))
    alone = replace(run, stages=stages).changed(tokenizer=tokenizer)
    images = alone.data.build()
    made = play_all(alone.stages, Job(alone, tmp_path / "run", images))
    learned = made["tokenizer"].quantizer.features
    last = made["features"].maps(images.read(torch.arange(4))[0].float() / 255)[-1]
    assert learned.shape == (8, 8) and (learned >= 0).all() and learned.max() <= 2 * last.max() + 1  # of activations, not of a normal law


def test_a_search_takes_memory_for_a_chunk(monkeypatch):
    asked, addmm = [], torch.addmm
    monkeypatch.setattr(codebook.torch, "addmm", lambda *given, **more: (asked.append(addmm(*given, **more)), asked[-1])[1])
    quantizer = NearestSpec(2**18, 2).build()
    quantizer.encode(torch.randn(130, 2, generator=rng()))
    assert len(asked) == 3 and max(found.numel() for found in asked) <= codebook.PAIRS


@pytest.mark.parametrize("spec", [CosineSpec(2**17, 2, entropy=0.1), IBQSpec(2**17, 2), GumbelSpec(2**17, 2)])
def test_all_pairs_beyond_a_gibibyte_are_refused(spec):
    with pytest.raises(ValueError, match="places of a batch times 131,072 codewords are .* take smaller batches or more parts"):
        spec.build()(torch.randn(2100, 2, generator=rng()), rng())


def test_a_group_of_too_many_bits_is_refused():
    with pytest.raises(ValueError, match="group: got 20; want 1 to 16 bits"):
        LFQSpec(20, group=20)


def test_a_codebook_larger_than_memory_is_refused():
    with pytest.raises(ValueError, match="codewords 1,000,000,000,000 of width 16 take .* GiB, more than this machine has; give fewer"):
        NearestSpec(10**12, 16)
    few = int(installed() / 4 / 64)  # whose codewords of width 8 fit, and features of 128 do not
    with pytest.raises(ValueError, match="of width 128 take .* GiB, more than this machine has"):
        FrozenFeaturesSpec(few, 8, 128)


def test_features_inside_another_scheme_are_learned_too():
    parts = ProductSpec((FrozenFeaturesSpec(8, 4, 8), NearestSpec(8, 4)))
    stage, said = TokenizerStage(tokenizer=VQGANSpec((16, 16), 1, parts, 8, (1, 1), 0, (), 8, 4)), []
    stage._learn_features(SimpleNamespace(made={}, say=said.append), SimpleNamespace(players={"tokenizer": stage.tokenizer.build()}))
    assert len(said) == 1 and "no feature network, so the features behind the codewords are random" in said[0]
