"""FLOP of the matrix products of a masked prior, two a multiply-add: the physical limit beside a benchmark's seconds."""

from bitmosaic.priors.masked import MaskedPriorSpec


def of_backbone(spec: MaskedPriorSpec) -> float:
    """One pass of one branch over one image: projections, SwiGLU (8/3 of the width, in steps of 256) and attention."""
    n, width = spec.grid[0] * spec.grid[1] + 1, spec.width
    inner = -(-int(8 * width / 3) // 256) * 256
    return spec.depth * (2 * n * (4 * width**2 + 3 * width * inner) + 4 * n * n * width)


def of_head(spec: MaskedPriorSpec) -> float:
    """One evaluation of one branch at one place; what is embedded once a chain is left out."""
    wide = spec.head.width
    return 2 * (2 * wide * spec.bits + spec.head.depth * 5 * wide**2 + 2 * wide**2)
