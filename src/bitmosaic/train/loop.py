"""The one loop, for any number of players.

Every step is a function of the state and the step number: its batch, its learning rate and its draws. So a run that stops and starts
again walks the same road. Weights are averaged by torch's AveragedModel; the optimizer is torch's AdamW. A move whose loss, gradient
or running mean is not finite is left out, and told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bitmosaic.nets.precision import autocast
from bitmosaic.train.averages import update
from bitmosaic.train.game import Game, Turn
from bitmosaic.train.processes import Reducer, is_sharded, shard, share, size, summed
from bitmosaic.train.same_order import same_order
from bitmosaic.train.training import Training

PATIENCE = 20  # steps in a row with a move left out that end a run


def step_generator(seed: int, step: int, device="cpu", part: int = 0) -> torch.Generator:
    """The generator of the draws of one part of a step's batch, a function of seed, step and part alone."""
    digest = hashlib.sha256((f"{seed}/{step}/{part}" if part else f"{seed}/{step}").encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass
class State:
    """What a game has learned so far: all that a checkpoint holds."""

    game: Game
    optimizers: dict[str, torch.optim.Optimizer]
    averages: dict[str, AveragedModel]
    step: int = 0

    @staticmethod
    def start(game: Game, training: Training, device: str = "cpu") -> State:
        """Fresh optimizers and averages; sharded over processes where `training` says so and there are several."""
        average = get_ema_multi_avg_fn(training.ema_decay)
        averages = {name: AveragedModel(m, multi_avg_fn=average, use_buffers=True) for name, m in game.players.items()}
        if training.sharded and size() > 1:
            for name, module in game.players.items():
                shard(module, training.precision, device)
                shard(averages[name].module, training.precision, device)
                averages[name].n_averaged = torch.zeros((), dtype=torch.long, device=device)  # from the meta device
        optimizers = {}
        for name in game.players:
            groups = [
                {"params": g["params"], "weight_decay": training.weight_decay if g["decay"] else 0.0, "rate": g.get("rate", 1.0)}
                for g in game.groups(name)
                if g["params"]
            ]
            optimizers[name] = _empty_moments(torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas))
        for a in averages.values():
            a.requires_grad_(False)
        return State(game, optimizers, averages)

    @property
    def sharded(self) -> bool:
        """Whether every process holds a part only, so that all must take part in reading and writing."""
        return any(is_sharded(module) for module in self.game.players.values())

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionary of tensors, in the layout of torch.distributed.checkpoint."""
        parts: dict[str, Any] = {"step": torch.tensor(self.step)}
        for name, module in self.game.players.items():
            parts[name] = {
                "model": get_model_state_dict(module),
                "optimizer": get_optimizer_state_dict(module, self.optimizers[name]),
                "average": self.averages[name].state_dict(),
            }
        return parts

    def load_state_dict(self, parts: dict[str, Any]) -> None:
        """The inverse of `state_dict`, strict."""
        self.step = int(parts["step"])
        for name, module in self.game.players.items():
            set_model_state_dict(module, parts[name]["model"])
            set_optimizer_state_dict(module, self.optimizers[name], parts[name]["optimizer"])
            self.averages[name].load_state_dict(parts[name]["average"])


def _empty_moments(optimizer: torch.optim.AdamW) -> torch.optim.AdamW:
    """The optimizer with the state of zero steps made now, so that a checkpoint of a player that has not moved yet is exact.

    Where there is none, torch's get_optimizer_state_dict takes a step of its own to make one, and counts it.
    """
    for group in optimizer.param_groups:
        for p in group["params"]:
            optimizer.state[p] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    return optimizer


@dataclass(frozen=True)
class Skip:
    """A move that was left out: the player's weights, optimizer and buffers are as before it."""

    player: str
    loss: float
    gradient: float  # norm


@dataclass(frozen=True)
class Progress:
    """What the loop yields after each step."""

    step: int  # steps done
    metrics: dict[str, Tensor]  # scalars, still on their device; of moves that were made
    skips: tuple[Skip, ...] = ()


class NotFinite(ValueError):
    """PATIENCE steps in a row had a loss, gradient or buffer that was not finite; `batch` is the last one's."""

    def __init__(self, step: int, skips: tuple[Skip, ...], batch: Any):
        told = ", ".join(f"{skip.player}: loss {skip.loss:g}, gradient {skip.gradient:g}" for skip in skips)
        why = f"losses, gradients or running means were not finite {PATIENCE} steps in a row ({told})"
        super().__init__(f"step {step}: {why}; try a lower learning rate")
        self.step, self.skips, self.batch = step, skips, batch


def play(state: State, batches: Callable[[int], Any], training: Training, device="cpu") -> Iterator[Progress]:
    """Plays from `state.step` to `training.steps`, yielding after each step; `state` changes in place. May raise NotFinite.

    Part i of step s is `batches(s * parts + i)`, of a batch size of `training.part_size`; processes share the parts.
    """
    players = state.game.players
    for module in players.values():
        module.train()
    arithmetic, mine, row = autocast(training.precision, device), share(training.parts), 0
    reducers = {name: Reducer(module, training.parts) for name, module in players.items()}
    for step in range(state.step, training.steps):
        with same_order(device):
            buffers = Buffers(players, training.parts, mine)
            metrics: dict[str, Tensor] = {}
            skips: list[Skip] = []
            given = [batches(step * training.parts + i) for i in mine]
            rngs = [step_generator(training.seed, step, device, i) for i in mine]
            plays = [state.game.play(batch, step, rng) for batch, rng in zip(given, rngs, strict=True)]
            for optimizer in state.optimizers.values():
                optimizer.zero_grad(set_to_none=True)  # before the forward pass wants their memory
            while True:
                turns = []
                for i, one in enumerate(plays):
                    with buffers.of(i), arithmetic:
                        turn = next(one, None)
                    if turn is None:
                        break
                    if not turns:
                        state.optimizers[turn.player].zero_grad(set_to_none=True)
                    reducers[turn.player].backward(turn.loss, i == len(plays) - 1)
                    turns.append(Turn(turn.player, turn.loss.detach(), turn.metrics))
                if not turns:
                    break
                player, turn = turns[0].player, _joined(turns, training.parts)
                norm, moved = _move(players[player], state.optimizers[player], turn.loss, buffers, training, step)
                if moved:
                    metrics.update(turn.metrics)
                    metrics[f"{player}_gradient"] = norm
                else:
                    skips.append(Skip(player, float(turn.loss), float(norm)))
            buffers.settle(spoilt=bool(skips))
            row = row + 1 if skips else 0
            if row == PATIENCE:
                raise NotFinite(step, tuple(skips), given[-1])
            state.step = step + 1
            if state.step % training.ema_every == 0 or (state.step == training.steps < training.ema_every):
                for name, module in players.items():
                    update(state.averages[name], module)
        yield Progress(state.step, metrics, tuple(skips))


def _joined(turns: list[Turn], parts: int) -> Turn:
    """The same turn of all parts, on all processes: losses and metrics are means."""
    if parts == 1:
        return turns[0]
    names = list(turns[0].metrics)
    rows = [torch.stack([turn.loss.float(), *(turn.metrics[name].float() for name in names)]) for turn in turns]
    loss, *metrics = (summed(torch.stack(rows).sum(0)) / parts).unbind()
    return Turn(turns[0].player, loss, dict(zip(names, metrics, strict=True)))


class Buffers:
    """What forward passes change besides weights, such as running means: each part begins a step from the same, and their mean is kept."""

    def __init__(self, players: dict[str, nn.Module], parts: int, mine: range):
        self.buffers = [buffer for module in players.values() for buffer in module.buffers()]
        self.parts, self.before = parts, [b.clone() for b in self.buffers]
        self.after = [self.before] * len(mine)  # of each part

    @contextmanager
    def of(self, i: int) -> Iterator[None]:
        """The buffers of a part, and what the block makes of them."""
        if self.parts == 1 or not self.buffers:
            yield
            return
        self._put(self.after[i])
        yield
        self.after[i] = [b.clone() for b in self.buffers]

    def finite(self) -> list[Tensor]:
        """Whether each is, on this process; still on its device."""
        held = [self.buffers] if self.parts == 1 else self.after
        return [b.isfinite().all() for part in held for b in part]

    def settle(self, spoilt: bool) -> None:
        """Ends a step: what was before it where a move was left out, else the mean over parts."""
        if spoilt:
            self._put(self.before)
        elif self.parts > 1:
            for buffer, *each in zip(self.buffers, *self.after, strict=True):
                total = summed(torch.stack(each).sum(0))
                buffer.copy_(total / self.parts if buffer.is_floating_point() else total // self.parts)

    def _put(self, values: list[Tensor]) -> None:
        for buffer, value in zip(self.buffers, values, strict=True):
            buffer.copy_(value)


def _move(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, buffers: Buffers, training: Training, step: int
) -> tuple[Tensor, bool]:
    """One optimizer step of one player: the gradient norm before clipping, and whether the step was made.

    It is not where the loss, the gradient, or a buffer that the forward pass has changed is not finite.
    """
    for group in optimizer.param_groups:
        group["lr"] = training.rate(step) * group["rate"]
    norm = nn.utils.clip_grad_norm_(module.parameters(), training.clip_norm or float("inf"))
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    fine = torch.stack([x.to(loss.device) for x in (norm.isfinite(), loss.isfinite(), *buffers.finite())]).all()
    finite = not summed((~fine).float())  # the one wait for a GPU in a move
    if finite:
        optimizer.step()
    return norm, finite
