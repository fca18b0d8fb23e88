"""What a run will cost before it begins: memory of each GPU, hours, dollars. Nothing is allocated: parts are built on the meta device.

Counted, not guessed: what autograd keeps (torch's saved-tensor hooks), and floating-point operations of forward and backward passes
(torch's FlopCounterMode; a multiply-add is two). What is kept is counted in float32 and with the matrices of attention: in bf16, or with a
fused attention, it is an upper bound, about twice too high. Left out: the allocator's slack and a framework's own memory, about 1 to 2 GB
on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bitmosaic.images.specs import CodesSpec
from bitmosaic.nets.precision import resolve
from bitmosaic.train.dry_run import saved_bytes
from bitmosaic.train.run import Run
from bitmosaic.train.training import Training

STATE = 20  # bytes of a parameter: float32 weight, gradient, two moments of Adam, average
KEPT = 16  # of these in a checkpoint
HIDDEN = 2 / math.pi  # share of places that is hidden, on average, at ratios cos(pi/2 u)


@dataclass(frozen=True)
class Cost:
    """Of one stage; bytes, and floating-point operations."""

    name: str
    training: Training
    parameters: int
    block: int  # parameters of one block, 0 where there are none
    rest: int  # parameters outside blocks
    saved: int  # bytes kept for the backward pass, an image
    saved_again: int  # the same where blocks are worked out again
    flop: float  # forward and backward, an image
    flop_again: float
    read: int  # bytes from disk, an image

    def memory(self, gpus: int, sharded: bool, recompute: bool) -> float:
        """Bytes on each of `gpus` in the middle of a step."""
        images = math.ceil(self.training.batch_size / max(gpus, self.training.parts))  # at once
        activations = images * (self.saved_again if recompute else self.saved)
        if not sharded:
            return STATE * self.parameters + (4 * self.parameters if gpus > 1 else 0) + activations  # gradients once more, in buckets
        width = 2 if resolve(self.training.precision, "meta") == "bf16" else 4
        whole = (width + 4) * (2 * self.block + self.rest)  # two blocks and the rest are whole for a while, with gradients
        between = 4 * self.parameters if self.training.parts > gpus else 0  # gradients wait whole for the last part
        return STATE * self.parameters / gpus + whole + between + activations


def costs(run: Run) -> Iterator[Cost]:
    """Of the tokenizer, where one is trained, then of the prior."""
    with torch.device("meta"):
        if not isinstance(run.images, CodesSpec):
            yield _tokenizer(run)
        prior, training = run.prior.build(), run.prior_training
        whole = _prior(prior, training)
        block = prior.blocks[0]
        for one in prior.blocks:
            one.recompute = True
        again = _prior(prior, training)
        for one in prior.blocks:
            one.recompute = False
        inside = (whole[0] - again[0]) / len(prior.blocks)  # what one block keeps, more than its input: one at a time is there again
        blocks = sum(_count(one) for one in prior.blocks)
        places = math.prod(run.prior.grid)
        forward = (whole[1] - whole[2]) / 3  # of the backbone; its backward pass is twice that
        yield Cost(
            "prior", training, _count(prior), _count(block), _count(prior) - blocks, whole[0], round(again[0] + inside), whole[1],
            whole[1] + forward, places * sum((r - 1).bit_length() for r in prior.radix) // 8,
        )  # fmt: skip


def _tokenizer(run: Run) -> Cost:
    """Of the tokenizer and what it is trained against; on the meta device."""
    size, channels = run.tokenizer.image_size, run.tokenizer.channels
    image = torch.empty(1, channels, *size)
    tokenizer, losses, training = run.tokenizer.build(), run.tokenizer_losses, run.tokenizer_training
    adversary = losses.discriminator.build() if losses.discriminator else None
    saved, flop = _both(tokenizer, lambda: tokenizer(image)[0], training)
    shared = 0
    if adversary is not None:  # sees real and made, and once more for the tokenizer's own move
        more, judged = _both(adversary, lambda: adversary(image), training)
        saved, flop, shared = saved + 2 * more, flop + 3 * judged, _count(adversary)
    pixels = channels * size[0] * size[1]
    count = _count(tokenizer) + shared
    return Cost("tokenizer", training, count, 0, count, saved, saved, flop, flop, pixels)


def _prior(prior: nn.Module, training: Training) -> tuple[int, float, float]:
    """Bytes kept and operations of one image, and those of its head."""
    places, digits = prior.positions.shape[0], len(prior.radix)
    codes = torch.empty(1, places, digits, dtype=torch.uint8)
    known = torch.empty(1, places, dtype=torch.bool)
    hidden = round(HIDDEN * places)
    given = torch.empty(hidden, prior.positions.shape[1])

    def backbone() -> Tensor:
        return prior.context(codes, known, prior.embed(None, 1))

    def head() -> Tensor:
        return prior.head.once(codes[0, :1].expand(hidden, digits), given.requires_grad_())

    (kept, flop), (more, own) = _both(prior, backbone, training), _both(prior, head, training)
    return kept + more, flop + own, own


def _both(module: nn.Module, forward: Callable[[], Tensor], training: Training) -> tuple[int, float]:
    """Bytes that `forward` keeps, and operations of it and of its backward pass."""
    saved = saved_bytes(module, forward, training)
    counter = FlopCounterMode(display=False)
    with counter:
        forward().sum().backward()
    module.zero_grad(set_to_none=True)
    return saved, float(counter.get_total_flops())


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
