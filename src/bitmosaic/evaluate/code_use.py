"""The use of codes, and the bits that they take after entropy coding, with frequencies counted in the codes of other images.

We differ from tables of papers in one definition for every scheme: the value of a place is all its digits together, be it one index, many
bits or several indices.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitmosaic.codec.base import STEP
from bitmosaic.codec.static import StaticCoder
from bitmosaic.codes import Codes

DEEPEST = 62  # bits of a place before a bit that its frequency may hang on, as many as an int64 holds


def code_use(codes: Codes) -> dict[str, Any]:
    """Use of the values of places, over all images, as plain values.

    "place": `used` distinct values of `values` (None where 2^53 or more) in `places` places, of which there are at most as many; perplexity
    2^H of their entropy H. "digits": the same of each digit by itself, as lists.
    """
    flat, of = codes.flat().flatten(0, 1).cpu(), math.prod(codes.radix)
    rows = np.ascontiguousarray(np.packbits(codes.bits().cpu().flatten(0, 1).numpy(), axis=1))
    counts = torch.from_numpy(np.unique(rows.view(f"V{rows.shape[1]}").ravel(), return_counts=True)[1])
    place = {"values": of if of < 2**53 else None, "places": len(rows), "used": len(counts), "perplexity": float(perplexity(counts))}
    each = [torch.bincount(digit.long(), minlength=r) for digit, r in zip(flat.unbind(-1), codes.radix, strict=True)]
    used, effective = [int((count > 0).sum()) for count in each], [float(perplexity(count)) for count in each]
    return {"place": place, "digits": {"values": list(codes.radix), "used": used, "perplexity": effective}}


def perplexity(counts: Tensor) -> Tensor:
    """2^H of the entropy H, in bits, of values counted so often (n,), float64: so many, used equally often, would carry as much."""
    return torch.special.entr(counts.double() / counts.sum().clamp(min=1)).sum().exp()


def entropy_coded(codes: Codes, others: Codes) -> dict[str, Any]:
    """Bits an image of `codes` by an ideal coder with the frequencies of `others`, the codes of other images, as plain values.

    "each_bit_of_each_place": as `bitmosaic compress --coder static` codes them. "whole_places": each bit given those before it in the same
    place, wherever that lies. "bits_per_image": the less of both.
    """
    found = {"each_bit_of_each_place": _static(codes, others), "whole_places": _in_order(codes, others)}
    return {"bits_per_image": min(found.values()), **found}


def _static(codes: Codes, others: Codes) -> float:
    logits = StaticCoder.fit([others]).levels.double() / STEP
    bits = codes.bits().cpu()
    return float(-torch.nn.functional.logsigmoid(torch.where(bits.bool(), logits, -logits)).sum() / math.log(2) / len(codes))


def _in_order(codes: Codes, others: Codes) -> float:
    """P(bit | bits before it) = (ones + p) / (count + 1), counted where `others` have the same bits before it; p: the bit's frequency."""
    own, seen = (c.bits().cpu().flatten(0, 1) for c in (codes, others))
    before, counted = (torch.zeros(len(bits), dtype=torch.int64) for bits in (own, seen))
    total = 0.0
    for i in range(own.shape[1]):
        bit, other = own[:, i].long(), seen[:, i].long()
        p = (other.sum() + 0.5) / (len(other) + 1)
        if i < DEEPEST:
            keys, at = counted.unique(return_inverse=True)
            count, ones = at.bincount().double(), at.bincount(other.double())
            place = torch.searchsorted(keys, before).clamp(max=len(keys) - 1)
            there = keys[place] == before
            p = (torch.where(there, ones[place], 0.0) + p) / (torch.where(there, count[place], 0.0) + 1)
            before, counted = 2 * before + bit, 2 * counted + other
        total -= float(torch.where(bit.bool(), p, 1 - p).double().log2().sum())
    return total / len(codes)
