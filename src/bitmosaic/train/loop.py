"""The training loop, for any number of players.

A step's batch, learning rate and random draws depend only on its number, so a run that stops and resumes ends bitwise as one that does not.
Each player has its own optimizer, average, rate and clipping. A move whose loss, gradient or running mean is not finite is left out, and
reported.
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
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel

from bitmosaic.nets.precision import autocast
from bitmosaic.train.buffers import Buffers
from bitmosaic.train.game import Game, Turn
from bitmosaic.train.processes import Reducer, all_reduce, is_sharded, shard, share, world_size
from bitmosaic.train.same_order import same_order
from bitmosaic.train.training import Player, TrainingSpec

PATIENCE = 20  # consecutive steps with a move left out, after which a run ends


def step_generator(seed: int, step: int, device="cpu", part: int = 0) -> torch.Generator:
    """The random generator of one part of a step's batch, a function of seed, step and part only."""
    digest = hashlib.sha256((f"{seed}/{step}/{part}" if part else f"{seed}/{step}").encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass
class State:
    """The state of a training: all that a checkpoint holds."""

    game: Game
    optimizers: dict[str, torch.optim.Optimizer]
    averages: dict[str, AveragedModel]
    step: int = 0

    @staticmethod
    def start(game: Game, training: TrainingSpec, device: str = "cpu") -> State:
        """Fresh optimizers and averages; sharded over processes where `training` says so and there are several."""
        if game.whole_batches and training.parts > 1:
            raise ValueError(f"parts: got {training.parts}; what this game remembers is of whole batches, which cannot be cut")
        assert game.players.keys().isdisjoint(("step", "memory")), "a player is called as a part of a checkpoint is"
        learns = {name: training.player(name) for name in game.players}
        built = {name: learns[name].average.build(module) for name, module in game.players.items()}
        averages = {name: average for name, average in built.items() if average is not None}
        if training.sharded and world_size() > 1:
            for module in game.players.values():
                shard(module, training.precision, device)
            for average in averages.values():
                shard(average.module, training.precision, device)
                average.n_averaged = torch.zeros((), dtype=torch.long, device=device)  # from the meta device
        optimizers = {}
        for name, player in learns.items():
            groups = [
                {"params": g["params"], "weight_decay": player.weight_decay if g["decay"] else 0.0, "rate": g.get("rate", 1.0)}
                for g in game.groups(name)
                if g["params"]
            ]
            optimizers[name] = player.optimizer.build(groups, player.learning_rate)
        for a in averages.values():
            a.requires_grad_(False)
        return State(game, optimizers, averages)

    @property
    def sharded(self) -> bool:
        """Whether each process holds a shard only, so that all must take part in reading and writing."""
        return any(is_sharded(module) for module in self.game.players.values())

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionary of tensors, in the layout of torch.distributed.checkpoint."""
        parts: dict[str, Any] = {"step": torch.tensor(self.step)}
        for name, module in self.game.players.items():
            parts[name] = {
                "model": get_model_state_dict(module),
                "optimizer": get_optimizer_state_dict(module, self.optimizers[name]),
                **({"average": self.averages[name].state_dict()} if name in self.averages else {}),
            }
        if self.game.memory is not None:
            parts["memory"] = self.game.memory.state_dict()
        return parts

    def load_state_dict(self, parts: dict[str, Any]) -> None:
        """The inverse of `state_dict`, strict."""
        self.step = int(parts["step"])
        for name, module in self.game.players.items():
            set_model_state_dict(module, parts[name]["model"])
            set_optimizer_state_dict(module, self.optimizers[name], parts[name]["optimizer"])
            if name in self.averages:
                self.averages[name].load_state_dict(parts[name]["average"])
        if self.game.memory is not None and "memory" in parts:  # runs of before may lack it
            self.game.memory.load_state_dict(parts["memory"])


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


def play(state: State, batches: Callable[[int], Any], training: TrainingSpec, device="cpu") -> Iterator[Progress]:
    """Plays from `state.step` to `training.steps`, yielding after each step; `state` changes in place. May raise NotFinite.

    Part i of step s is `batches(s * parts + i)`, of a batch size of `training.part_size`; processes share the parts.
    """
    players, learns = state.game.players, {name: training.player(name) for name in state.game.players}
    for module in players.values():
        module.train()
    arithmetic, mine, row = autocast(training.precision, device), share(training.parts), 0
    reducers = {name: Reducer(module, training.parts) for name, module in players.items()}
    for step in range(state.step, training.steps):
        with same_order(device):
            buffers = Buffers(state.game.modules(), training.parts, mine)
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
                how, rate = learns[player], learns[player].rate(step, training.steps)
                norm, moved = _move(players[player], state.optimizers[player], turn.loss, buffers, how, rate)
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
            for name, average in state.averages.items():
                learns[name].average.take(average, players[name], state.step, state.step == training.steps)
        yield Progress(state.step, metrics, tuple(skips))


def _joined(turns: list[Turn], parts: int) -> Turn:
    """The same turn of all parts, on all processes: losses and metrics are means."""
    if parts == 1:
        return turns[0]
    names = list(turns[0].metrics)
    rows = [torch.stack([turn.loss.float(), *(turn.metrics[name].float() for name in names)]) for turn in turns]
    loss, *metrics = (all_reduce(torch.stack(rows).sum(0)) / parts).unbind()
    return Turn(turns[0].player, loss, dict(zip(names, metrics, strict=True)))


def _move(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, buffers: Buffers, player: Player, rate: float
) -> tuple[Tensor, bool]:
    """One optimizer step of one player: the gradient norm before clipping, and whether the step was made.

    It is not where the loss, the gradient, or a buffer that the forward pass has changed is not finite.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    norm = nn.utils.clip_grad_norm_(module.parameters(), player.clip_norm or float("inf"))
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    fine = torch.stack([x.to(loss.device) for x in (norm.isfinite(), loss.isfinite(), *buffers.finite())]).all()
    finite = not all_reduce((~fine).float())  # the only synchronisation with a GPU in a move
    if finite:
        optimizer.step()
    return norm, finite
