"""The one loop, for any number of players.

Every step is a function of the state and the step number: its batch, its learning rate and its draws. So a run that stops and starts
again walks the same road. Weights are averaged by torch's AveragedModel; the optimizer is torch's AdamW. A move whose loss, gradient
or running mean is not finite is left out, and told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
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
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bitmosaic.nets.precision import autocast
from bitmosaic.train.game import Game
from bitmosaic.train.training import Training

PATIENCE = 20  # steps in a row with a move left out that end a run


def step_generator(seed: int, step: int, device="cpu") -> torch.Generator:
    """The generator of one step's draws, a function of seed and step alone."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass
class State:
    """What a game has learned so far: all that a checkpoint holds."""

    game: Game
    optimizers: dict[str, torch.optim.Optimizer]
    averages: dict[str, AveragedModel]
    step: int = 0

    @staticmethod
    def start(game: Game, training: Training) -> State:
        """Fresh optimizers and averages."""
        optimizers = {}
        for name in game.players:
            groups = [
                {"params": g["params"], "weight_decay": training.weight_decay if g["decay"] else 0.0, "rate": g.get("rate", 1.0)}
                for g in game.groups(name)
                if g["params"]
            ]
            optimizers[name] = _empty_moments(torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas))
        average = get_ema_multi_avg_fn(training.ema_decay)
        averages = {name: AveragedModel(m, multi_avg_fn=average, use_buffers=True) for name, m in game.players.items()}
        for a in averages.values():
            a.requires_grad_(False)
        return State(game, optimizers, averages)

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
    """Plays from `state.step` to `training.steps`, yielding after each step; `state` changes in place. May raise NotFinite."""
    for module in state.game.players.values():
        module.train()
    arithmetic, row = autocast(training.precision, device), 0
    for step in range(state.step, training.steps):
        rng = step_generator(training.seed, step, device)
        buffers = {name: [b.clone() for b in module.buffers()] for name, module in state.game.players.items()}
        metrics: dict[str, Tensor] = {}
        skips: list[Skip] = []
        batch = batches(step)
        turns = state.game.play(batch, step, rng)
        while True:
            with arithmetic:
                turn = next(turns, None)
            if turn is None:
                break
            norm, moved = _move(state.game.players[turn.player], state.optimizers[turn.player], turn.loss, training, step)
            if moved:
                metrics.update(turn.metrics)
                metrics[f"{turn.player}_gradient"] = norm
            else:
                skips.append(Skip(turn.player, float(turn.loss.detach()), float(norm)))
        if skips:  # what came through a network may have spoilt its running means
            for name, module in state.game.players.items():
                for buffer, held in zip(module.buffers(), buffers[name], strict=True):
                    buffer.copy_(held)
        row = row + 1 if skips else 0
        if row == PATIENCE:
            raise NotFinite(step, tuple(skips), batch)
        state.step = step + 1
        if state.step % training.ema_every == 0 or (state.step == training.steps < training.ema_every):
            for name, module in state.game.players.items():
                state.averages[name].update_parameters(module)
        yield Progress(state.step, metrics, tuple(skips))


def _move(module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, training: Training, step: int) -> tuple[Tensor, bool]:
    """One optimizer step of one player: the gradient norm before clipping, and whether the step was made.

    It is not where the loss, the gradient, or a buffer that the forward pass has changed is not finite.
    """
    for group in optimizer.param_groups:
        group["lr"] = training.rate(step) * group["rate"]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), training.clip_norm or float("inf"))
    finite = all(bool(x.isfinite().all()) for x in (norm, loss.detach(), *module.buffers()))
    if finite:
        optimizer.step()
    return norm, finite
