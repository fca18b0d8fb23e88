"""A rehearsed training step: a game plays its turns on meta tensors, which have shapes but no values, to count operations and memory.

Operations are counted by torch's formulas, bytes as storages are created and freed. No game, network or operator is known by name.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten
from torch.utils.flop_counter import flop_registry

from bitmosaic.nets.precision import resolve
from bitmosaic.train.arithmetic import CPU, META, Arithmetic, is_meta
from bitmosaic.train.game import Game
from bitmosaic.train.loop import step_generator
from bitmosaic.train.training import TrainingSpec

WANTS_VALUES = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


@dataclass(frozen=True)
class StepCost:
    """The count of a step: floating-point operations (a multiply-add is two), and peak bytes beside weights and buffers."""

    flop: float
    bytes: int
    with_gradients: int  # where gradients stay, each until its player moves again, as they do where weights are not sharded


def rehearse(
    build: Callable[[], Game], batch: Callable[[], Any], training: TrainingSpec, device: str, sharded: bool = False, recompute: bool = False
) -> StepCost:  # fmt: skip
    """The last steps of a training, as many as it takes until the same turns come again, with the arithmetic of `device`: "cpu", "cuda".

    build: the game, whose weights are never drawn. batch: signals lose their values; codes, labels and random draws keep theirs, since the
    number of places that a network processes depends on them.
    """
    low = resolve(training.precision, device) == "bf16"
    game, weights = unweighted(build, torch.bfloat16 if low and sharded else None)  # FSDP2's weights in a step
    given = OnMeta.signals(batch())
    if recompute:
        game.recompute()
    held = [t for module in game.modules().values() for t in (*module.parameters(), *module.buffers())]
    counter = StepCounter(held)
    counter.stay(weights)  # of networks that are asked and not trained
    hooks = [p.register_post_accumulate_grad_hook(counter.keep) for module in game.players.values() for p in module.parameters()]
    steps = range(max(0, training.steps - game.period), max(training.steps, game.period))
    for module in game.players.values():
        module.train()
    with OnMeta(), counter:
        for step in steps:
            _play(game, given, step, step_generator(training.seed, step), device, low, counter)
    for hook in hooks:
        hook.remove()
    return StepCost(counter.flop / len(steps), counter.most, counter.most_with_gradients)


def unweighted(build: Callable[[], Game], low: torch.dtype | None = None) -> tuple[Game, list[nn.Parameter]]:
    """A game whose weights have no values, and are of the type `low` where it is one; with all weights that were made for it."""
    with torch.random.fork_rng(), OnMeta(), parameters_on_meta(low) as weights:
        return build(), weights


def _play(game: Game, batch: Any, step: int, rng: torch.Generator, device: str, low: bool, counter: StepCounter) -> None:
    """As `loop.play` does it, but for what the optimizer does."""
    for module in game.players.values():
        counter.let_go(module)
    turns = game.play(batch, step, rng)
    while True:
        with Arithmetic(device, low, {}):
            turn = next(turns, None)
        if turn is None:
            return
        counter.let_go(game.players[turn.player])
        with Arithmetic(device, low):  # for what is worked out again
            _backward(turn.loss)


def _backward(end: Tensor) -> None:
    """As `end.backward()`, but inside the function modes around it, which torch's own entry would leave."""
    _engine_run_backward((end,), (torch.ones_like(end),), False, False, (), allow_unreachable=True, accumulate_grad=True)


class OnMeta(TorchDispatchMode):
    """Dispatch mode: results of meta tensors are meta tensors; results of tensors with values, such as draws, are computed.

    Operators that need a value (`item`, `nonzero`) get ones in the place of meta tensors.
    """

    @staticmethod
    def signals(batch: Any) -> Any:
        """A batch whose tensors of more than one axis have no values."""
        assert is_dataclass(batch)
        found = {field.name: getattr(batch, field.name) for field in fields(batch)}
        return replace(batch, **{name: x.to(META) for name, x in found.items() if isinstance(x, Tensor) and x.ndim > 1})

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given, tree = tree_flatten((args, kwargs or {}))
        if not any(is_meta(x) or (isinstance(x, torch.device) and x == META) for x in given):
            return func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags and func._schema.is_mutable and is_meta(given[0]):
            return given[0]  # a weight is not drawn
        args, kwargs = tree_unflatten([_on_meta(x) for x in given], tree)
        try:
            return func(*args, **kwargs)
        except (RuntimeError, NotImplementedError):
            if not WANTS_VALUES.intersection(func.tags):
                raise
        args, kwargs = tree_map(_ones, (args, kwargs))
        return tree_map(_on_meta, func(*args, **kwargs))


@contextmanager
def parameters_on_meta(low: torch.dtype | None) -> Iterator[list[nn.Parameter]]:
    """Inside the block, modules are built with parameters without values, in the type `low` where it is one; gives those."""
    made: list[nn.Parameter] = []

    def without(module: nn.Module, name: str, weight: nn.Parameter | None) -> nn.Parameter | None:
        if weight is None or weight.is_meta:
            return None
        made.append(nn.Parameter(torch.empty_like(weight, dtype=low, device=META), weight.requires_grad))
        return made[-1]

    hook = register_module_parameter_registration_hook(without)
    try:
        yield made
    finally:
        hook.remove()


def _on_meta(x: Any) -> Any:
    if isinstance(x, torch.Generator):
        return None
    return META if isinstance(x, torch.device) else x.to(META) if isinstance(x, Tensor) else x


def _ones(x: Any) -> Any:
    return torch.ones(x.shape, dtype=x.dtype) if isinstance(x, Tensor) else CPU if isinstance(x, torch.device) else x


class StepCounter(TorchDispatchMode):
    """Counts floating-point operations, by torch's formulas, and bytes of storages that come and go, those of `given` tensors left out.

    torch's FlopCounterMode has the same formulas, but keeps graphs alive, and so what is worked out again.
    """

    def __init__(self, given: Iterable[Tensor] = ()):
        super().__init__()
        self.flop = 0.0
        self.now = self.most = self.most_with_gradients = self.gradients = 0
        self.held = {t.untyped_storage()._cdata for t in given}

    def stay(self, tensors: Iterable[Tensor]) -> None:
        """Counts tensors that there were before and that stay, but for those given at first."""
        for tensor in tensors:
            self._count(tensor.untyped_storage())

    def keep(self, weight: Tensor) -> None:
        """A hook: the weight has its gradient now, which is counted by itself."""
        self.gradients += weight.grad.nbytes

    def let_go(self, module: nn.Module) -> None:
        """Its gradients."""
        for weight in module.parameters():
            if weight.grad is not None:
                self.gradients -= weight.grad.nbytes
                weight.grad = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.flop += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.held:
            return
        self.held.add(key)
        self.now += size
        self.most_with_gradients = max(self.most_with_gradients, self.now)
        self.most = max(self.most, self.now - self.gradients)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self.held.discard(key)
        self.now -= size
