"""The loop and its games: rates, weight decay, clipping, averages; a stopped run ends bitwise where it would have."""

import dataclasses
import functools
import io
import itertools

import pytest
import torch

from bitmosaic.codes import Codes
from bitmosaic.images.base import ArrayImages
from bitmosaic.images.batches import Batches
from bitmosaic.losses.representation import RepresentationSpec
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.quantizers import FactorizedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.classifier_game import ClassifierGame
from bitmosaic.train.code_store import CodeBatch
from bitmosaic.train.loop import State, play, step_generator
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training

START = 3  # first step of the adversarial part
DROPPING = MaskedPriorSpec(dropout=0.1)
ADVERSARIAL = TokenizerLosses(perceptual_weight=0.5, discriminator=PatchGANSpec(), adversarial_start=START)


def image_batches(batch_size=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (10, 3, 16, 16), generator=rng, dtype=torch.uint8)
    return Batches(ArrayImages(pixels, torch.arange(10) % 2), batch_size, seed)


def code_batches(prior, batch_size=4):
    def batch(step):
        rng = torch.Generator().manual_seed(step)
        digits = torch.randint(0, 2, (batch_size, *prior.grid, len(prior.radix)), generator=rng)
        return CodeBatch(Codes(digits, prior.radix), torch.randint(0, 3, (batch_size,), generator=rng))

    return batch


def features():
    torch.manual_seed(100)
    return ConvClassifierSpec().build().eval().requires_grad_(False)


def tokenizer_game(losses=ADVERSARIAL):
    net = features() if losses.perceptual_weight else None
    return TokenizerGame(BinaryAutoencoderSpec().build(), losses, net), image_batches()


def named_losses_game():
    """What a game of tokenizers may have besides: LeCam's running means, and heads that learn beside the tokenizer."""
    losses = dataclasses.replace(
        ADVERSARIAL, generator_loss="non-saturating", balance="constant", adversarial_weight=0.1, lecam_weight=0.05,
        representation=(RepresentationSpec(1, depth=1, heads=2),),
    )  # fmt: skip
    spec = VQGANSpec(quantizer=FactorizedSpec(), width=8, embedding=8, groups=8)
    return TokenizerGame(spec.build(), losses, features()), image_batches()


def prior_game(spec=DROPPING):
    game = PriorGame(spec.build())
    return game, code_batches(game.players["prior"])


def classifier_game():
    return ClassifierGame(ConvClassifierSpec(dropout=0.3).build()), image_batches()


GAMES = {"tokenizer": tokenizer_game, "named losses": named_losses_game, "prior": prior_game, "classifier": classifier_game}
every_game = pytest.mark.parametrize("make", GAMES.values(), ids=GAMES)
EVENTFUL = Training(
    steps=5,
    learning_rate=3e-3,
    warmup_steps=3,
    decay="cosine",
    weight_decay=0.02,
    clip_norm=0.5,
    ema_decay=0.9,
    ema_every=2,
)


def fresh(make, training, seed=0):
    """A state that has not played, weights from `seed`, and its batches."""
    torch.manual_seed(seed)
    game, batches = make()
    return State.start(game, training), batches


def advance(state, batches, training, to):
    """Plays until `to` steps are done, then leaves the loop as an interrupt would; the metrics of each step."""
    return [(p.step, p.metrics) for p in itertools.islice(play(state, batches, training), to - state.step)]


def to_disk_and_back(parts):
    file = io.BytesIO()
    torch.save(parts, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def flat(parts, where=""):
    """Every value of a nested state by its path."""
    if isinstance(parts, dict):
        return {k: v for name, part in parts.items() for k, v in flat(part, f"{where}/{name}").items()}
    return {where: parts}


def everything(state):
    """All of a state: buffers and parameters of players and averages, and what the optimizers hold."""
    found = flat(to_disk_and_back(state.state_dict()))
    for name, module in state.game.players.items():
        found |= {f"{name}.{k}": v.detach().clone() for k, v in module.state_dict().items()}
    return found


def assert_bitwise(one, other):
    assert one.keys() == other.keys()
    differ = [k for k, v in one.items() if not (torch.equal(v, other[k]) if isinstance(v, torch.Tensor) else v == other[k])]
    assert not differ, f"{len(differ)} of {len(one)} differ, such as {differ[:4]}"


@functools.cache
def uninterrupted(make, training):
    """The metrics of each step and the end of a run that is never stopped, nor written down before its end."""
    state, batches = fresh(make, training)
    torch.manual_seed(1)
    return advance(state, batches, training, training.steps), everything(state)


# ---- stop and go


@every_game
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("stop", [0, 2, 4])
def test_a_resumed_run_ends_bitwise_where_an_uninterrupted_one_ends(make, precision, stop):
    """Stopped before the first step, before the discriminator's first move, and after; resumed from other weights."""
    training = dataclasses.replace(EVENTFUL, precision=precision)
    begun, batches = fresh(make, training)
    torch.manual_seed(2)
    advance(begun, batches, training, stop)
    parts = to_disk_and_back(begun.state_dict())
    resumed, batches = fresh(make, training, seed=3)
    resumed.load_state_dict(parts)
    assert resumed.step == stop
    torch.manual_seed(4)
    walked = advance(resumed, batches, training, training.steps)
    assert [step for step, _ in walked] == list(range(stop + 1, training.steps + 1))
    assert_bitwise(everything(resumed), uninterrupted(make, training)[1])


@every_game
def test_writing_a_checkpoint_changes_nothing(make):
    """At any step, also before a player's first move: when a checkpoint is written depends on the clock."""
    walked, end = uninterrupted(make, EVENTFUL)
    watched, batches = fresh(make, EVENTFUL)
    seen = []
    for step in range(EVENTFUL.steps):
        to_disk_and_back(watched.state_dict())
        seen += advance(watched, batches, EVENTFUL, step + 1)
    for (_, a), (_, b) in zip(walked, seen, strict=True):
        assert_bitwise(a, b)
    assert_bitwise(everything(watched), end)


@every_game
def test_two_runs_are_the_same_run_and_another_seed_is_another(make):
    ends = []
    for seed in (EVENTFUL.seed, 7):
        training = dataclasses.replace(EVENTFUL, seed=seed)
        state, batches = fresh(make, training)
        torch.manual_seed(2)
        advance(state, batches, training, training.steps)
        ends.append(everything(state))
    _, end = uninterrupted(make, EVENTFUL)
    assert_bitwise(ends[0], end)
    assert any(isinstance(v, torch.Tensor) and not torch.equal(v, ends[1][k]) for k, v in end.items())


def test_a_state_of_another_game_is_refused():
    state, _ = fresh(prior_game, EVENTFUL)
    with pytest.raises((RuntimeError, KeyError)):
        fresh(lambda: prior_game(MaskedPriorSpec(width=32)), EVENTFUL)[0].load_state_dict(state.state_dict())


def test_a_finished_run_has_nothing_left_to_play():
    state, batches = fresh(prior_game, EVENTFUL)
    assert len(advance(state, batches, EVENTFUL, 99)) == EVENTFUL.steps == state.step
    assert list(play(state, batches, EVENTFUL)) == []


def test_the_generator_of_a_step_is_a_function_of_seed_and_step():
    def draws(seed, step):
        return tuple(torch.rand(3, generator=step_generator(seed, step)).tolist())

    assert draws(1, 2) == draws(1, 2)
    assert len({draws(seed, step) for seed in (0, 1, 12) for step in (0, 1, 2, 23, 123)}) == 15
