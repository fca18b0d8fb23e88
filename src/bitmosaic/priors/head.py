"""The base class of heads, which draw the digits of a place, such as K bits or one index, given its context vector."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.spec import Spec

BitByBit = Generator[tuple[Tensor, Tensor], Tensor, None]  # yields columns and logits, is sent bits


@dataclass(frozen=True)
class HeadSpec(Spec, abstract=True):
    """Base class of descriptions of heads of bits, built for a number of bits and a width of context vectors."""

    def build(self, bits: int, condition: int) -> Head:
        """The head for K = `bits` under conditions of width `condition`."""
        raise NotImplementedError


class Head(nn.Module, abc.ABC):
    """A distribution over the digits of places, each by itself.

    Conditions are context vectors (branches, m, D): one branch, or class then null, whose logits are combined as l_null + scale (l_class -
    l_null). Randomness comes from `uniform()`, which gives (m, K) in [0, 1) for the K digits of a place and is called at most `draws`
    times. With each draw a head returns `told` numbers a place, for bits P(bit = 1) of each, from which `certainty` and `entropy` are
    computed.
    """

    told: int  # numbers that accompany the draw of a place
    net: nn.Module  # the network
    of_indices = False  # True: logits(conditions, guidance_scale) gives one of each codeword, or of each value of each digit
    noisy = False  # whether probabilities of `bit_by_bit` depend on noise, besides the order of the bits

    def certainty(self, p: Tensor) -> Tensor:
        """The certainty of places, (...) in [0, 1], from the numbers (..., told) of `draw` or `marginals`."""
        return (2 * p - 1).abs().mean(-1)

    def entropy(self, p: Tensor) -> Tensor:
        """The entropy of each digit, (..., digits), relative to its maximum: from 0 to 1."""
        return binary_entropy(p)

    @abc.abstractmethod
    def loss(self, x_0: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """The training loss, a scalar; digits x_0 (m, K) of places under conditions (m, D)."""

    @abc.abstractmethod
    def draws(self, evaluations: int) -> int:
        """The number of uniforms that `draw` takes for each bit."""

    @abc.abstractmethod
    def draw(
        self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor], sample_last: bool = True
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Digits (m, K), bits as bool, and their numbers (m, told), float32: for bits the P(bit = 1) that each was drawn with, given those
        drawn before it.

        sample_last: False takes the likelier value instead of the last draw. evaluations: at most so many of the network; heads that need
        fewer ignore it.
        """

    @abc.abstractmethod
    def marginals(self, conditions: Tensor, guidance_scale: float, uniform: Tensor) -> Tensor:
        """The numbers of places before any digit is drawn, (m, told) float32, for bits the marginal P(bit = 1) of each; `uniform` (m, K) is
        noise for heads that need it."""

    @abc.abstractmethod
    def bit_by_bit(self, conditions: Tensor, uniform: Callable[[], Tensor]) -> BitByBit:
        """The bits of places (`Codes.bits`), each once, one or several at a time, by the chain rule; conditions (1, m, D).

        Yields columns (m, c) and logits (m, c), float32, that these bits are 1 given all bits before, and is sent the bits (m, c).
        `uniform()` gives (m, K) in [0, 1), for the order of the bits and for noise, and is called at most twice.
        """

    def log_likelihood(self, bits: Tensor, conditions: Tensor, uniform: Callable[[], Tensor]) -> Tensor:
        """Log probability (m,), in nats, of bits (m, K) under conditions (1, m, D); those of all 2^K codes sum to 1."""
        asked, total = self.bit_by_bit(conditions, uniform), torch.zeros(len(bits), device=bits.device)
        columns, logits = next(asked)
        while True:
            there = bits.gather(1, columns)
            total -= F.binary_cross_entropy_with_logits(logits, there.float(), reduction="none").sum(-1)
            try:
                columns, logits = asked.send(there)
            except StopIteration:
                return total


def binary_entropy(p: Tensor) -> Tensor:
    """Entropy in bits of Bernoulli(p), 0 at p = 0 and p = 1."""
    return -(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)) / math.log(2)


def guided(logits: Tensor, guidance_scale: float) -> Tensor:
    """Logits (branches, ...) of one branch, or class then null, as one, in float32."""
    logits = logits.float()
    return logits[0] if len(logits) == 1 else logits[1] + guidance_scale * (logits[0] - logits[1])
