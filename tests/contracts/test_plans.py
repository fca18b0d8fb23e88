"""Every prior and every tokenizer is planned by what it does, and by nothing that a planner knows of it."""

from functools import partial

import pytest
import torch
from parts import PRIORS, inhabitants, named

from bitmosaic.tokenizers.base import Tokenizer
from bitmosaic.train.cost import cost
from bitmosaic.train.loop import State, play
from bitmosaic.train.rehearsal import StepCounter
from bitmosaic.train.stages import PriorStage, TokenizerStage
from bitmosaic.train.training import Training

TRAINING = Training(steps=1, batch_size=6)


def planned_and_held(stage):
    """Bytes at the height of a step, as planned and as real tensors have it; and operations, likewise."""
    planned = cost(stage.name, partial(stage.game, {}), partial(stage.batch, None), TRAINING, "cpu")
    torch.manual_seed(0)
    with StepCounter() as counter:
        list(play(State.start(stage.game({}), TRAINING), lambda step: stage.batch(None, 6), TRAINING))
    return (planned.memory(1, False, False), planned.flop() * 6), (counter.most, counter.flop)


@pytest.mark.parametrize("kind", **named(PRIORS))
def test_a_prior_is_planned(kind):
    planned, held = planned_and_held(PriorStage(prior=kind(), prior_training=TRAINING))
    assert planned == pytest.approx(held, rel=0.05)


LEARNING = [kind for kind in inhabitants("tokenizers", Tokenizer) if any(True for _ in kind().build().parameters())]


@pytest.mark.parametrize("kind", **named(LEARNING))
def test_a_tokenizer_is_planned(kind):
    planned, held = planned_and_held(TokenizerStage(tokenizer=kind(), tokenizer_training=TRAINING))
    assert planned == pytest.approx(held, rel=0.05)
