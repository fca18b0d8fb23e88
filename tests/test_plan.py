"""The plan of a run: counted operations and memory against the formula, real tensors, and one another."""

import dataclasses
import math

import pytest
import torch

from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.commands.plan import Machines, about
from bitmosaic.priors.conditions import NoConditionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.recipes import bigr_l, fashion
from bitmosaic.train.loop import step_generator
from bitmosaic.train.plan import costs
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.training import Training


def formula(spec):
    """Operations of the backbone's matrix products, forward and backward, for one image: projections, SwiGLU and attention."""
    n, width = math.prod(spec.grid) + 1, spec.width
    inner = -(-int(8 * width / 3) // 256) * 256
    return 3 * spec.depth * (2 * n * (4 * width**2 + 3 * width * inner) + 4 * n * n * width)


@pytest.mark.parametrize("run", [fashion(), bigr_l("data")], ids=["fashion", "bigr-l"])
def test_operations_are_those_of_the_formula(run):
    """The head, the modulation and the embedding of bits come on top: under a quarter."""
    _, prior = costs(run)
    assert formula(run.prior) < prior.flop < 1.25 * formula(run.prior)
    assert prior.flop + 0.9 * formula(run.prior) / 3 < prior.flop_again < prior.flop + 1.2 * formula(run.prior) / 3
    assert prior.parameters == sum(p.numel() for p in run.prior.build().parameters()) if run.name == "fashion" else True


def test_what_is_counted_is_what_a_real_step_keeps():
    """Bytes that autograd holds in a real step of 16 images, at the mean share of hidden places."""
    run = fashion()
    run = dataclasses.replace(run, prior_training=dataclasses.replace(run.prior_training, precision="float32"))
    game, found, n = PriorGame(run.prior.build()), {}, 64
    weights = {p.untyped_storage().data_ptr() for p in game.players["prior"].parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = (storage, storage.nbytes())
        return tensor

    digits = torch.randint(0, 2, (n, 7, 7, 20), dtype=torch.uint8)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        game.players["prior"].loss(Codes(digits, (2,) * 20), torch.zeros(n, dtype=torch.long), step_generator(0, 0))
    _, prior = costs(run)
    assert sum(size for _, size in found.values()) / n == pytest.approx(prior.saved, rel=0.1)


def test_memory_falls_where_it_should():
    _, prior = costs(bigr_l("data"))
    whole, again = prior.memory(8, False, False), prior.memory(8, False, True)
    shards, both = prior.memory(8, True, False), prior.memory(8, True, True)
    assert both < again < whole and both < shards < whole
    assert prior.memory(64, True, True) < both and prior.memory(1, False, False) > 8 * prior.saved * 100
    assert prior.memory(1, False, True) - prior.memory(1, False, False) == 1024 * (prior.saved_again - prior.saved)


def test_time_and_money_are_proportional():
    _, prior = costs(fashion())
    one, four = (about(prior, Machines(gpus=n, images=60_000)) for n in (1, 4))
    assert one["hours"] == pytest.approx(4 * four["hours"]) and four["bytes_read_a_second"] == pytest.approx(4 * one["bytes_read_a_second"])
    seconds = prior.flop * 9000 * 64 / (989e12 * 0.4)
    assert one["hours"] == pytest.approx(seconds / 3600) and one["epochs"] == 9000 * 64 / 60_000


def test_the_command(tmp_path, capsys):
    assert main(["plan", "fashion", "--gpus", "2", "--memory", "1GB", "--images", "60000", "--prior-training.batch-size", "128"]) == 0
    told = capsys.readouterr().out
    assert "128, 64 on each of 2 GPUs" in told and "FSDP2, recompute" in told and "fits in 1GB" in told and "dollars" in told
    for wrong, why in (
        (["--memory", "80"], "give it as 80GB"), (["--gpus", "0"], "must be at least 1"), (["--utilisation", "1.5"], "at most 1"),
        (["--gpus", "100"], "batches of 64"), (["--gpsu", "1"], "no argument --gpsu"),
    ):  # fmt: skip
        assert main(["plan", "fashion", *wrong]) == 2
        assert why in capsys.readouterr().err
    assert main(["plan", "nothing"]) == 2 and main(["plan", "--help"]) == 0
    assert "RECIPE" in capsys.readouterr().out


@pytest.mark.parametrize("condition", [None, NoConditionSpec()], ids=["classes", "none"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputed_blocks_have_the_same_gradients_and_draws(condition, dropout):
    spec = MaskedPriorSpec(dropout=dropout, **({"condition": condition} if condition else {}))
    digits = torch.randint(0, 2, (3, 4, 4, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ends = []
    for recompute in (False, True):
        torch.manual_seed(0)
        game = PriorGame(spec.build())
        if recompute:
            game.recompute()
        rng = step_generator(0, 1)
        game.players["prior"].loss(Codes(digits, (2,) * 8), None, rng, 0.1).backward()
        ends.append([*(p.grad for p in game.players["prior"].parameters() if p.grad is not None), torch.rand(2, generator=rng)])
    assert len(ends[0]) == len(ends[1]) and all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_settings_of_machines_and_tokenizers_are_checked():
    run = fashion()
    for name in ("sharded", "recompute"):
        with pytest.raises(ValueError, match="these are of a prior"):
            dataclasses.replace(run, tokenizer_training=dataclasses.replace(Training(), **{name: True}))
