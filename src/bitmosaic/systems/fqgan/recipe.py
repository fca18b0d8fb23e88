"""The `fqgan` recipe: FQGAN's tokenizer of several codebooks by its losses, and FAR (Bai et al., arXiv 2411.16681), on a folder of images.

`folder --quantizer factorized` has one encoder without branches, VQGAN's losses and a masked prior instead: here each codebook has an
adapter, all but the first have a representation loss, and the adversary a constant weight. We differ in sizes and in the feature network.
"""

from __future__ import annotations

import torch

from bitmosaic.losses.representation import RepresentationSpec
from bitmosaic.nets.feature_net import load_feature_net
from bitmosaic.priors.far import FARSpec
from bitmosaic.quantizers import CosineSpec, FactorizedSpec
from bitmosaic.samplers import LlamaGenSamplerSpec
from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.quantized import because, with_losses, with_tokenizer
from bitmosaic.systems.vqgan.recipe import FEW, TOP_P
from bitmosaic.tokenizers.fqgan import FQGANSpec
from bitmosaic.train.run import Run
from bitmosaic.train.stages import TrainedFeatures

ADAPTER_DEPTH, HEAD_DEPTH = 2, 2  # blocks; published 6, and 3 or 4


def fqgan(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None, books: int = 2,
    perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """FQGAN's tokenizer and FAR, its causal prior, for a folder of images; sub-folders are classes.

    books: codebooks, published 2 or 3. codewords: of each (None: from the number of images). Other arguments as of the recipe 'folder'.
    All codebooks but the first are held to the network of `perceptual`, or to that which is trained first; without one they are free.
    ValueError for fewer than two books.
    """
    if books < 2:
        raise ValueError(f"books: got {books}; want at least 2")
    base = folder(data, size, channels, None, perceptual, flip, minutes, seed, classes, captions)
    old, prior = base.tokenizer, base.prior
    chosen = codewords or (256 if old.bits < FEW else 1024)
    quantizer = FactorizedSpec((CosineSpec(chosen, CosineSpec.recipe_width, entropy=0.03),) * books)
    tokenizer = FQGANSpec(
        old.image_size, old.channels, quantizer, old.width, old.multipliers, old.residual_blocks, old.embedding, ADAPTER_DEPTH, 4,
        old.groups,
    )  # fmt: skip
    run = with_tokenizer(
        base, tokenizer, f"{books} codebooks", name="fqgan", code_draws=1 + base.flip,
        prior=FARSpec(prior.grid, quantizer.radix, prior.depth, prior.heads, prior.width, HEAD_DEPTH, prior.condition, 64),
        sampler=LlamaGenSamplerSpec(base.sampler.guidance_scale, top_p=TOP_P),
    )  # fmt: skip
    held = representation(base, books)
    run = with_losses(
        run, l1_weight=0.0, squared_weight=4.0, balance="constant", adversarial_weight=0.5, discriminator_rate=1.0, representation=held
    )  # fmt: skip
    return because(run, told)


def representation(run: Run, books: int) -> tuple[RepresentationSpec, ...]:
    """A loss for each codebook but the first, the last held to the feature network's last map, those before it to earlier ones."""
    widths = map_widths(run)
    levels = [max(-len(widths), book - books) for book in range(1, books)] if widths else []
    heads = [next(n for n in (8, 4, 2, 1) if widths[level] % n == 0) for level in levels]
    return tuple(RepresentationSpec(1 + i, 0.5, level, widths[level], 2, heads[i]) for i, level in enumerate(levels))


def map_widths(run: Run) -> list[int]:
    """Channels of each map of the run's feature network; none where it has no such network."""
    features = getattr(run, "features", None)
    if features is None or isinstance(features, TrainedFeatures):
        return list(features.net.widths) if features else []
    with torch.inference_mode():
        return [m.shape[1] for m in load_feature_net(features.path).maps(torch.zeros(1, run.tokenizer.channels, *run.tokenizer.size))]


def told(run: Run) -> str:
    """Which codebooks have a representation loss, or why none has."""
    if not (held := run.tokenizer_losses.representation):
        return "no representation loss: it needs --perceptual FILE, or classes and images enough to train a network on"
    return f"representation loss of codebook {', '.join(str(1 + spec.book) for spec in held)}, against the feature network"
