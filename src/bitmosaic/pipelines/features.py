"""Features of images from a prior's residual stream, for a linear classifier."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.conditions import Condition
from bitmosaic.priors import Prior

Pool = bool | int | None


def code_features(prior: Prior, codes: Codes, condition: Condition | None, layers: Sequence[int], pool: Pool) -> list[Tensor]:
    """The residual streams after blocks `layers` of fully known images, each reduced by `pooled`.

    On a CPU an image's features do not depend on its batch: to the last bit where matrix products give equal rows equal sums, as MKL's
    kernels for AVX-512 do, else to about 1e-5.
    """
    at_once = 8 if codes.digits.device.type == "cpu" else 64
    parts = []
    with torch.no_grad():
        for start in range(0, len(codes), at_once):
            own = range(start, min(start + at_once, len(codes)))
            some = (list(own) * at_once)[:at_once]  # always as many rows: a matrix product's sums depend on their number
            found = prior.intermediates(codes[some], None if condition is None else condition[some], layers)
            parts.append([x[: len(own)] for x in found])
    return [torch.cat([pooled(part.float(), prior.grid, pool) for part in layer]) for layer in zip(*parts, strict=True)]


def pooled(x: Tensor, grid: tuple[int, int], pool: Pool) -> Tensor:
    """Features of places x (n, N, D), by `pool`: None concatenated (n, N D), True their mean (n, D), False unchanged, or g, means over
    g x g parts of the grid (n, g g, D). ValueError for any other.
    """
    if pool is None:
        return x.flatten(1)
    if pool is True:
        return x.mean(1)
    if pool is False:
        return x
    if not isinstance(pool, Integral) or not 1 <= pool <= min(grid):
        raise ValueError(f"pool: got {pool!r}; want None, True, False, or parts along a side from 1 to {min(grid)}")
    planes = x.movedim(1, -1).unflatten(-1, grid)
    return nn.functional.adaptive_avg_pool2d(planes, pool).flatten(2).movedim(1, -1)
