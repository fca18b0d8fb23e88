"""What a run will cost before it begins: memory of each GPU, hours, dollars. Nothing is allocated: parts are built on the meta device.

Counted, not guessed: the bytes that live in a step (rehearsal.py), and floating-point operations of forward and backward passes (torch's
FlopCounterMode; a multiply-add is two). `held` adds what was measured to come on top: of an allocator, and of the framework's own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bitmosaic.images.specs import CodesSpec
from bitmosaic.nets.precision import resolve
from bitmosaic.priors.base import Prior, PriorSpec
from bitmosaic.train.rehearsal import most_bytes, prior_step, tokenizer_step
from bitmosaic.train.run import Run, TrainedFeatures
from bitmosaic.train.training import Training

FRAMEWORK = 2e9  # bytes on a GPU for the framework itself: 1 to 2 GB
SLACK = 1.025  # of an allocator: a step of BiGR-L held 0.5 to 2.6 % more than was planned, on an H100 (docs/performance.md)
STATE = 16  # bytes of a parameter: float32 weight, two moments of Adam, average; all of it is in a checkpoint
GRADIENT = 4


def held(planned: float) -> float:
    """Bytes of a GPU that a process takes which plans with so many."""
    return SLACK * planned + FRAMEWORK


@dataclass(frozen=True)
class Cost:
    """Of one stage; bytes, and floating-point operations."""

    name: str
    training: Training
    device: str  # whose arithmetic: "cuda", or "cpu"
    parameters: int
    block: int  # parameters of one block, 0 where there are none
    rest: int  # parameters outside blocks
    flop: float  # forward and backward, an image
    flop_again: float  # where blocks are worked out again
    read: int  # bytes from disk, an image
    step: Callable[[int, bool, bool, bool], int]  # bytes that live in a step beside STATE: of images, sharded, recompute, with gradients

    def memory(self, gpus: int, sharded: bool, recompute: bool) -> float:
        """The most bytes on each of `gpus`: at the height of the backward pass, or while the optimizer moves."""
        training = self.training
        images, waits = math.ceil(training.batch_size / max(gpus, training.parts)), training.parts > gpus
        alone = not sharded and not waits  # gradients come as activations go, and are counted with them
        activations = self.step(images, sharded, recompute, alone)
        shares = gpus if sharded else 1
        gradients = GRADIENT * self.parameters
        root = gradients if self.device != "cpu" else 0  # of Adam's second moments, of all weights at once
        at_once = activations + (gradients if waits else 0)  # those of an earlier part wait, whole
        if sharded:
            width = 2 if resolve(training.precision, self.device) == "bf16" else 4
            at_once += (width + GRADIENT) * (2 * self.block + self.rest)  # two blocks and the rest are whole for a while
        buckets = gradients if gpus > 1 and not sharded else 0  # gradients once more
        return STATE * self.parameters / shares + buckets + max(at_once, (gradients + root) / shares)


def costs(run: Run, device: str = "cuda") -> Iterator[Cost]:
    """Of the tokenizer, where one is trained, then of the prior, with the arithmetic of `device`."""
    if not isinstance(run.images, CodesSpec):
        yield tokenizer_cost(run, device)
    yield prior_cost(run.prior, run.prior_training, device)


def tokenizer_cost(run: Run, device: str = "cuda") -> Cost:
    """Of a tokenizer and what it is trained against, with the arithmetic of `device`; a feature network in a file is left out."""
    with torch.device("meta"):
        tokenizer, discriminator = run.tokenizer.build(), run.tokenizer_losses.discriminator
        adversary = discriminator.build() if discriminator else None
        features = feature_net(run)
    parts, training = [tokenizer, *([adversary] if adversary else [])], run.tokenizer_training

    @functools.cache
    def step(images: int, sharded: bool, recompute: bool, gradients: bool) -> int:
        forward = tokenizer_step(tokenizer, adversary, images, features)
        weights = sum(t.nbytes for t in features.state_dict().values()) if features is not None else 0
        return weights + most_bytes(parts, forward, training.precision, device, gradients, features)

    count, pixels = sum(map(_count, parts)), tokenizer.channels * math.prod(tokenizer.image_size)
    flop = _operations(tokenizer, tokenizer_step(tokenizer, None, 1, features))
    if adversary is not None:  # sees real and made, and once more for the tokenizer's own move
        flop += 3 * _operations(adversary, lambda: adversary(torch.empty(1, tokenizer.channels, *tokenizer.image_size, device="meta")))
    return Cost("tokenizer", training, device, count, 0, count, flop, flop, pixels, step)


def feature_net(run: Run) -> nn.Module | None:
    """The network of a run's perceptual distance, where the run trains one and asks it; not trained any more."""
    if not run.tokenizer_losses.perceptual_weight or not isinstance(run.features, TrainedFeatures):
        return None
    return run.features.net.build().eval().requires_grad_(False)


def prior_cost(spec: PriorSpec, training: Training, device: str = "cuda") -> Cost:
    """Of a prior, with the arithmetic of `device`."""
    with torch.device("meta"):
        prior, low = spec.build(), spec.build().to(torch.bfloat16)  # the latter as FSDP2 has it

    @functools.cache
    def step(images: int, sharded: bool, recompute: bool, gradients: bool) -> int:
        module = low if sharded and resolve(training.precision, device) == "bf16" else prior
        _set(module, recompute)
        return most_bytes([module], prior_step(module, images), training.precision, device, gradients)

    flops = []
    for recompute in (False, True):
        _set(prior, recompute)
        flops.append(_operations(prior, prior_step(prior, 1)))
    blocks, bits = sum(map(_count, prior.blocks)), sum((r - 1).bit_length() for r in prior.radix)
    return Cost(
        "prior", training, device, _count(prior), _count(prior.blocks[0]), _count(prior) - blocks, *flops,
        math.prod(prior.grid) * bits // 8, step,
    )  # fmt: skip


def _set(prior: Prior, recompute: bool) -> None:
    for block in prior.blocks:
        block.recompute = recompute


def _operations(module: nn.Module, forward: Callable[[], Tensor]) -> float:
    """Floating-point operations of `forward` and its backward pass."""
    counter = FlopCounterMode(display=False)
    with counter:
        forward().sum().backward()
    module.zero_grad(set_to_none=True)
    return float(counter.get_total_flops())


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
