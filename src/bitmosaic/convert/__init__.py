"""The authors' checkpoints (BiGR, arXiv 2410.14672) as parts and pipelines of this house: sizes are read off the tensors, names are mapped.

Only what files cannot tell is asked for: the number of heads (published: width / 64), the head's target where the file does not say it, the
sampler's settings. Weights are never copied: from the memory-mapped checkpoint they go to disk as they are.
"""

from bitmosaic.convert.checkpoint import read_checkpoint
from bitmosaic.convert.part import Converted
from bitmosaic.convert.pipeline import convert, convert_part, published_sampler
from bitmosaic.convert.prior import published_prior
from bitmosaic.convert.tokenizer import published_tokenizer

__all__ = ["Converted", "convert", "convert_part", "published_prior", "published_sampler", "published_tokenizer", "read_checkpoint"]
