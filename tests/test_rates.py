"""Rates, parameter groups, clipping and averages of players in the loop."""

import dataclasses
import itertools
import math

import pytest
import torch
from test_loop import EVENTFUL, START, advance, assert_bitwise, every_game, fresh, prior_game, tokenizer_game

from bitmosaic.codes import Codes
from bitmosaic.conditions import NoConditionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.train.code_store import CodeBatch
from bitmosaic.train.loop import State, play, step_generator
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.training import Training

# ---- rates, groups, clipping, averages


def test_rate_warms_up_in_a_line_and_stays():
    training = Training(steps=100, learning_rate=0.5, warmup_steps=10)
    assert [training.rate(i) for i in range(10)] == pytest.approx([0.05 * (i + 1) for i in range(10)])
    assert {training.rate(i) for i in range(9, 101)} == {0.5}
    assert Training(learning_rate=0.5).rate(0) == 0.5


def test_rate_falls_in_a_cosine_to_one_percent():
    training = Training(steps=110, learning_rate=0.5, warmup_steps=10, decay="cosine")
    rates = [training.rate(i) for i in range(9, 111)]
    assert rates[0] == rates[1] == 0.5 and rates[-1] == pytest.approx(0.005)
    assert all(a > b for a, b in itertools.pairwise(rates[1:]))
    for i in (10, 35, 60, 85, 110):
        assert training.rate(i) == pytest.approx(0.5 * (0.01 + 0.99 * (1 + math.cos(math.pi * (i - 10) / 100)) / 2))
    assert training.rate(500) == pytest.approx(0.005), "not up again beyond the end"
    assert Training(steps=5, warmup_steps=5, decay="cosine").rate(4) == 1e-3


@every_game
def test_every_parameter_group_of_every_player_gets_the_rate(make):
    state, batches = fresh(make, EVENTFUL)
    moved = set()
    for progress in play(state, batches, EVENTFUL):
        for name, optimizer in state.optimizers.items():
            if f"{name}_gradient" in progress.metrics:
                moved.add(name)
                assert [g["lr"] for g in optimizer.param_groups] == [EVENTFUL.rate(progress.step - 1)] * len(optimizer.param_groups)
    assert moved == state.game.players.keys()


@pytest.mark.parametrize("spec", [MaskedPriorSpec(), MaskedPriorSpec(condition=NoConditionSpec())], ids=["classes", "unconditional"])
def test_weight_decay_acts_on_exactly_the_matrices_of_the_backbone(spec):
    state, _ = fresh(lambda: prior_game(spec), EVENTFUL)
    prior, groups = state.game.players["prior"], state.optimizers["prior"].param_groups
    held = [id(p) for g in groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in prior.parameters()), "every parameter stands in one group"
    decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    head = {id(p) for p in prior.head.parameters()}
    assert decayed == {id(p) for p in prior.parameters() if p.ndim > 1} - head
    named = {name for name, p in prior.named_parameters() if id(p) in decayed}
    assert {
        "from_bits.weight",
        "modulation.weight",
        "blocks.1.attention.qkv.weight",
        "blocks.0.feed_forward.w2.weight",
    } <= named
    assert not named & {
        "hidden",
        "norm.weight",
        "from_bits.bias",
        "blocks.0.attention_norm.weight",
        "head.net.out.weight",
    }
    assert {g["weight_decay"] for g in groups} == {0.0, 0.02} and {g["betas"] for g in groups} == {(0.9, 0.95)}


def test_a_move_is_a_step_of_torchs_adamw():
    """From the first one on: the moments that a state starts with count no step."""
    training = Training(steps=3, learning_rate=3e-3, weight_decay=0.1, clip_norm=0.0)
    state, batches = fresh(prior_game, training)
    advance(state, batches, training, training.steps)
    plain, batches = fresh(prior_game, training)
    prior = plain.game.players["prior"]
    groups = [{"params": g["params"], "weight_decay": 0.1 * g["decay"]} for g in plain.game.groups("prior")]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=training.betas)
    for step in range(training.steps):
        batch = batches(step)
        optimizer.zero_grad()
        prior.loss(batch.codes, batch.labels, step_generator(training.seed, step), 0.1).backward()
        optimizer.step()
    assert_bitwise(prior.state_dict(), state.game.players["prior"].state_dict())


def test_gradients_of_the_step_before_are_gone_when_the_forward_pass_begins():
    """Which is when memory is short; those of the last step stay to be looked at."""
    torch.manual_seed(0)
    game, seen = PriorGame(MaskedPriorSpec().build()), []
    parameters = list(game.players["prior"].parameters())
    game.players["prior"].blocks[0].register_forward_pre_hook(lambda *_: seen.append(any(p.grad is not None for p in parameters)))
    digits = torch.randint(0, 2, (4, 4, 4, 8), dtype=torch.uint8)
    training = Training(steps=3)
    list(play(State.start(game, training), lambda step: CodeBatch(Codes(digits, (2,) * 8), None), training))
    assert seen == [False] * 3 and all(p.grad is not None for p in game.players["prior"].blocks.parameters())


def test_clipping_bounds_the_gradient_of_each_player():
    """The gradient that the last move was made with is still there; the metric is its norm before clipping."""
    for clip in (1e-3, 0.05, 1e6, 0.0):
        training = dataclasses.replace(EVENTFUL, steps=START + 1, clip_norm=clip)
        state, batches = fresh(tokenizer_game, training)
        *_, last = play(state, batches, training)
        for name, module in state.game.players.items():
            before = last.metrics[f"{name}_gradient"]
            norm = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
            assert norm == pytest.approx(min(before.item(), clip or math.inf), rel=1e-3) and before > 2e-3


@every_game
def test_the_average_is_an_exponential_one_of_every_nth_step(make):
    """Of parameters and of buffers, such as the running means of batch normalisation."""
    state, batches = fresh(make, EVENTFUL)
    wanted = {}
    for progress in play(state, batches, EVENTFUL):
        for name, module in state.game.players.items():
            if progress.step % EVENTFUL.ema_every == 0:
                now = {k: v.clone() for k, v in module.state_dict().items() if v.is_floating_point()}
                old = wanted.get(name, now)
                wanted[name] = {k: 0.9 * old[k] + 0.1 * v for k, v in now.items()}
            average = state.averages[name].module.state_dict()
            for k, v in wanted.get(name, {}).items():
                torch.testing.assert_close(average[k], v, rtol=0, atol=1e-6)
    for name, average in state.averages.items():
        assert not any(p.requires_grad for p in average.parameters())
        gap = [(a - p).abs().max() for a, p in zip(average.parameters(), state.game.players[name].parameters(), strict=True)]
        assert max(gap) > 1e-5
