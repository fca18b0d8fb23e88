"""The quality of a tokenizer's reconstructions, and the use of its codes.

SSIM is Wang et al., IEEE TIP 13(4), 2004, MS-SSIM Wang et al., Asilomar 2003, both by torchmetrics. We differ where images are small: the
window of 11 pixels shrinks to fit, and MS-SSIM takes only the scales at which it fits, their weights scaled to sum 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.evaluate.code_use import perplexity
from bitmosaic.evaluate.mode import measuring
from bitmosaic.images import ImageSet
from bitmosaic.media import PICTURES, Medium
from bitmosaic.tokenizers.base import Tokenizer

DEAD = 0.01  # bits of entropy below which a bit is called dead: it has one value in more than 99.9 % of all places


@dataclass(frozen=True)
class BitUse:
    """How often each bit of a binary code is one, over all places of all images."""

    mean: tuple[float, ...]  # (K,) share of ones

    @property
    def entropy(self) -> tuple[float, ...]:
        """(K,) entropy of each bit by itself, in bits: 1 where ones and zeros are equally frequent."""
        return tuple(sum(-p * math.log2(p) for p in (m, 1 - m) if p > 0) for m in self.mean)

    @property
    def dead(self) -> tuple[int, ...]:
        """Indices of bits with an entropy below DEAD."""
        return tuple(bit for bit, entropy in enumerate(self.entropy) if entropy < DEAD)

    def summary(self) -> str:
        """One line that names the dead bits."""
        entropy = self.entropy
        named = ", ".join(f"bit {bit} (mostly {round(self.mean[bit])})" for bit in self.dead)
        mean, least = sum(entropy) / len(entropy), min(entropy)
        line = f"{len(entropy)} bits, entropy {mean:.3f} on average, {least:.3f} at least; "
        return line + (f"{len(self.dead)} dead: {named}" if named else "none dead")

    def to_json(self) -> dict[str, Any]:
        """Plain values, the derived ones included."""
        return {"mean": list(self.mean), "entropy": list(self.entropy), "dead": list(self.dead)}


@dataclass(frozen=True)
class CodebookUse:
    """How often each codeword is used, over all places of all images."""

    counts: tuple[int, ...]  # (V,)

    @property
    def used(self) -> int:
        """The number of codewords that are used at all."""
        return sum(count > 0 for count in self.counts)

    @property
    def perplexity(self) -> float:
        """2^H of the entropy H, in bits, of the use of codewords: so many, used equally often, would carry as much."""
        return float(perplexity(torch.tensor(self.counts)))

    def summary(self) -> str:
        """One line."""
        return f"{self.used:,} of {len(self.counts):,} codewords, perplexity {self.perplexity:,.1f}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"codewords": len(self.counts), "used": self.used, "perplexity": self.perplexity}


@dataclass(frozen=True)
class ReconstructionReport:
    """Images against a tokenizer's reconstructions of them, both in 8 bits, as they would be saved."""

    count: int  # readable images
    psnr: float  # dB, mean over images; of an exact one as if one value were off by one
    ssim: float | None  # mean over images; None for sound
    ms_ssim: float | None  # mean over images; its scales are `scales(size)`
    l1: float  # mean absolute difference of values, over their range
    bits_per_image: float  # size of the codes when each digit is coded uniformly
    bits: BitUse | None  # None where the codes are not binary
    codebook: CodebookUse | None = None  # None where a place holds more than one digit

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        use = {"codebook": self.codebook.to_json()} if self.codebook else {}
        return {**{name: value for name, value in fields.items() if name != "codebook"}, "bits": self.bits and self.bits.to_json(), **use}

    def text(self) -> str:
        """A small table."""
        rows = [
            ("images", f"{self.count:,}"),
            ("PSNR", f"{self.psnr:.2f} dB"),
            *([] if self.ssim is None else [("SSIM", f"{self.ssim:.4f}"), ("MS-SSIM", f"{self.ms_ssim:.4f}")]),
            ("L1", f"{self.l1:.4f}"),
            ("code size", f"{self.bits_per_image:,.0f} bits an image"),
            ("bit use", self.bits.summary()) if self.bits else
            ("codebook", self.codebook.summary() if self.codebook else "several digits a place"),
        ]  # fmt: skip
        return "\n".join(f"{name:<10}{value}" for name, value in rows)


def reconstruction_report(
    tokenizer: Tokenizer, images: ImageSet, batch_size: int = 250, limit: int | None = None,
    on_batch: Callable[[int], object] = lambda images: None,
) -> ReconstructionReport:  # fmt: skip
    """Encodes and decodes the readable images of a set, on the tokenizer's device.

    limit: at most so many images, at regular intervals. on_batch: called with the number of images after each batch. ValueError if none can
    be read.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        raise ValueError(f"batch_size, limit: got {batch_size}, {limit}; give whole numbers of at least 1")
    chosen = torch.arange(min(limit or len(images), len(images)))
    chosen = chosen * len(images) // max(1, len(chosen))
    parts = []
    with measuring(tokenizer):
        for indices in chosen.split(batch_size):
            pixels, readable = images.read(indices)
            on_batch(len(indices))
            if readable.any():
                parts.append(compare(tokenizer, pixels[readable])[1])
    if not parts:
        raise ValueError(f"images: none of {len(chosen)} can be read; {images.unreadable_summary(at_most=3)}")
    return report_of(tokenizer, parts)


@dataclass(frozen=True)
class Part:
    """Sums over some images, from which a report is made."""

    count: int  # images
    sums: Tensor  # (4,) float64, over images: PSNR, SSIM, MS-SSIM, L1
    ones: Tensor  # (k,) int64, over all places: sums of each digit
    counts: Tensor | None  # (V,) int64: of each index, where a place holds one
    places: int
    bits_per_image: float


def compare(tokenizer: Tokenizer, given: Tensor) -> tuple[Tensor, Part]:
    """Reconstructions of images, uint8 (n, C, H, W), or of other stored signals, by a tokenizer on its device; and their comparison."""
    made, codes = reconstructed(tokenizer, given)
    return made, compared(tokenizer, given, made, codes)


def reconstructed(tokenizer: Tokenizer, given: Tensor) -> tuple[Tensor, Codes]:
    """Reconstructions of stored signals (n, C, *size), stored likewise, and the codes between, by a tokenizer on its device."""
    medium = tokenizer.medium
    codes = tokenizer.encode(medium.floats(given.to(tokenizer.device)))
    return medium.integers(tokenizer.decode(codes)).cpu(), codes


def compared(tokenizer: Tokenizer, given: Tensor, made: Tensor, codes: Codes) -> Part:
    """The comparison of stored signals with what `reconstructed` has made of them."""
    medium = tokenizer.medium
    sums = torch.stack([m.double().sum() for m in likeness_of(medium, given, made)])
    ones = codes.digits.flatten(0, -2).sum(0, dtype=torch.int64).cpu()
    index = codes.digits.flatten().long() if len(codes.radix) == 1 and codes.radix != (2,) else None
    counts = None if index is None else torch.bincount(index, minlength=codes.radix[0]).cpu()
    return Part(len(given), sums, ones, counts, len(given) * codes.places, codes.bits_per_image)


def report_of(tokenizer: Tokenizer, parts: Sequence[Part]) -> ReconstructionReport:
    """The report of several parts."""
    count, places = sum(p.count for p in parts), sum(p.places for p in parts)
    psnr, ssim, ms_ssim, l1 = (torch.stack([p.sums for p in parts]).sum(0) / count).tolist()
    ones = torch.stack([p.ones for p in parts]).sum(0).double()
    bits = BitUse(tuple((ones / places).tolist())) if set(tokenizer.radix) == {2} else None
    counts = [p.counts for p in parts if p.counts is not None]
    codebook = CodebookUse(tuple(torch.stack(counts).sum(0).tolist())) if counts else None
    seen = tokenizer.medium.axes[-2:] == PICTURES.axes
    return ReconstructionReport(
        count, psnr, ssim if seen else None, ms_ssim if seen else None, l1, parts[0].bits_per_image, bits, codebook
    )  # fmt: skip


SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM, finest first
SIDES = (11, 22, 44, 99, 176)  # pixels of the shorter side from which each scale counts; the fourth is torchmetrics' bound


def scales(size: tuple[int, int]) -> int:
    """The number of scales of MS-SSIM at which its window fits images (H, W): 5 from 176 pixels on, at least 1."""
    return max(1, sum(min(size) >= side for side in SIDES))


def likeness_of(medium: Medium, given: Tensor, made: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """PSNR, SSIM, MS-SSIM and L1 over the range of values, of each signal, (n,) each, from stored signals (n, C, *size).

    SSIM of a clip is the mean over its frames, of sound NaN.
    """
    if medium.axes == PICTURES.axes:
        return likeness(given, made)
    psnr = medium.psnr(given, made)
    l1 = (medium.floats(given) - medium.floats(made)).abs().flatten(1).mean(1) / (medium.high - medium.low)
    if medium.axes[-2:] != PICTURES.axes:
        return psnr, torch.full_like(psnr, math.nan), torch.full_like(psnr, math.nan), l1
    _, ssim, ms_ssim, _ = likeness(*(frames.movedim(2, 1).flatten(0, 1) for frames in (given, made)))
    return psnr, ssim.view(len(given), -1).mean(1), ms_ssim.view(len(given), -1).mean(1), l1


def likeness(given: Tensor, made: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """PSNR, SSIM, MS-SSIM and L1 of each image, (n,) each, from uint8 (n, C, H, W)."""
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure,
        structural_similarity_index_measure,
    )

    difference = given.double() - made.double()
    least = 1 / given[0].numel()  # the squared error of one value off by one
    psnr = 10 * torch.log10(255**2 / difference.square().mean((1, 2, 3)).clamp(min=least))
    radius = min(5, (min(given.shape[2:]) - 1) // 2)  # torchmetrics takes int(3.5 sigma + 0.5), 5 for a sigma of 1.5
    sigma = 1.5 if radius == 5 else max(radius / 3.5, 0.1)
    pair = made.float() / 255, given.float() / 255
    window = {"sigma": sigma, "kernel_size": 2 * radius + 1}
    ssim = structural_similarity_index_measure(*pair, **window, reduction="none", data_range=1.0)
    weights = SCALES[: scales(tuple(given.shape[2:]))]
    weights = tuple(w / sum(weights) for w in weights)
    more = {**window, "betas": weights, "normalize": "relu", "reduction": "none", "data_range": 1.0}
    ms_ssim = ssim if len(weights) == 1 else multiscale_structural_similarity_index_measure(*pair, **more)
    return psnr, ssim.reshape(len(given)), ms_ssim.reshape(len(given)), difference.abs().mean((1, 2, 3)) / 255
