"""The authors' checkpoints (BiGR, arXiv 2410.14672) as parts and pipelines of this package: sizes are read off the tensors, names are
mapped.

What files do not hold is an argument: the number of heads (published: width / 64), the head's target, the sampler's settings. Weights are
not copied in memory: they go from the memory-mapped checkpoint to disk.
"""

from bitmosaic.convert.checkpoint import read_checkpoint
from bitmosaic.convert.part import Converted
from bitmosaic.convert.pipeline import convert, convert_part, published_sampler, read_tokenizer
from bitmosaic.convert.prior import published_prior
from bitmosaic.convert.tokenizer import published_tokenizer

__all__ = [
    "Converted", "convert", "convert_part", "published_prior", "published_sampler", "published_tokenizer", "read_checkpoint",
    "read_tokenizer",
]
