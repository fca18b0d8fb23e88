"""Images <-> bytes, with the tokenizer and the probabilities of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bitmosaic import codec
from bitmosaic.codec import CODERS, CodecError, Coder, Container, PriorCoder, UniformCoder
from bitmosaic.codec.base import fingerprint
from bitmosaic.codes import Codes
from bitmosaic.images import Output

if TYPE_CHECKING:
    from bitmosaic.pipeline import Pipeline

AT_ONCE = 64  # images


def compress(pipe: Pipeline, images: Any, coder: str = "prior", packets: int = 1) -> Any:
    """The bytes of an image, or a list of them for a list; `decompress` gives back what the tokenizer keeps of it.

    images: as for `encode`. coder: "uniform", "static" or "prior", from large and fast to small and slow. packets: parts of the file, each
    of places spread over the image; a file that is cut short, or that has lost some, can be restored from the others.
    ValueError for a coder that this pipeline does not have.
    """
    several = isinstance(images, list | tuple) or (isinstance(images, Tensor | np.ndarray) and images.ndim == 4)
    files = compress_codes(pipe, pipe.encode(images), coder, packets)
    return files if several else files[0]


def compress_codes(pipe: Pipeline, codes: Codes, coder: str = "prior", packets: int = 1) -> list[bytes]:
    """The bytes of images that are at hand as codes."""
    with_, tokenizer = coder_of(pipe, coder), fingerprint(pipe.tokenizer)
    parts = [codes[start : start + AT_ONCE] for start in range(0, len(codes), AT_ONCE)]
    return [file for part in parts for file in codec.compress(part, with_, tokenizer, packets)]


def decompress(
    pipe: Pipeline, data: bytes | Sequence[bytes], restore: bool = False, seeds: int | Sequence[int] | None = None,
    output_type: Output = "pil", **settings,
) -> Any:  # fmt: skip
    """The image of some bytes, or all images of a list of them.

    restore: what is lost, at the end or in between, is filled in by the model, with `seeds` and `settings` as for `complete`; else it is an
    error. CodecError, a ValueError, where bytes are no file of ours, are damaged, or were made with another tokenizer or prior.
    """
    single = isinstance(data, bytes | bytearray | memoryview)
    codes, known = decompress_codes(pipe, [data] if single else list(data), restore)
    images = decompressed(pipe, codes, known, seeds, output_type, **settings)
    return images[0] if single else images


def decompressed(
    pipe: Pipeline, codes: Codes, known: Tensor, seeds: int | Sequence[int] | None = None, output_type: Output = "pil", **settings
) -> Any:
    """Images of codes of which only some places are known; the model fills in the others."""
    hurt = (~known.flatten(1).all(1)).nonzero()[:, 0]
    if len(hurt):
        seeds = list(range(len(codes))) if seeds is None else [seeds] * len(codes) if isinstance(seeds, int) else list(seeds)
        digits = codes.digits.clone()
        for some in hurt.split(AT_ONCE):
            *_, step = pipe.complete(codes[some], known[some], None, [seeds[i] for i in some.tolist()], **settings)
            digits[some] = step.codes.digits.cpu()
        codes = Codes(digits, codes.radix)
    return pipe.decode(codes, output_type)


def decompress_codes(pipe: Pipeline, data: Sequence[bytes], restore: bool = False) -> tuple[Codes, Tensor]:
    """Codes of some files, and which places are known, (b, *grid) bool: all of them unless `restore`."""
    if not data:
        raise ValueError("data: got nothing; want at least one file's bytes")
    files = [Container.from_bytes(one, restore) for one in data]
    tokenizer, coders = fingerprint(pipe.tokenizer), {}
    for file in files:
        if file.tokenizer != tokenizer or (file.grid, file.bits) != (tuple(pipe.prior.grid), len(pipe.prior.radix)):
            raise CodecError(f"made with another tokenizer ({file.tokenizer.hex()}) than this pipeline's ({tokenizer.hex()})")
        if file.coder not in coders:
            coders[file.coder] = coder_of(pipe, next(name for name, kind in CODERS.items() if kind.number == file.coder))
        if coders[file.coder].fingerprint() != file.model:
            name, ours = coders[file.coder].name, coders[file.coder].fingerprint().hex()
            raise CodecError(f"made with another {name} coder ({file.model.hex()}) than this pipeline's ({ours})")
    alike: dict[tuple, list[int]] = {}
    for i, file in enumerate(files):
        alike.setdefault((file.coder, len(file.packets)), []).append(i)
    digits = torch.zeros(len(files), *pipe.prior.grid, len(pipe.prior.radix), dtype=torch.uint8)
    known = torch.zeros(digits.shape[:-1], dtype=torch.bool)
    for (number, _), rows in alike.items():
        for some in (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)):
            found, there = codec.decompress([files[i] for i in some], coders[number])
            digits[some], known[some] = found.digits, there
    return Codes(digits, pipe.prior.radix), known


def coder_of(pipe: Pipeline, name: str) -> Coder:
    """A coder of the pipeline by name; ValueError where it has none of that name."""
    if name == "uniform":
        return UniformCoder()
    if name == "prior":
        return PriorCoder(pipe.prior)
    if name == "static":
        if pipe.static is None:
            raise ValueError("coder: this pipeline holds no frequencies; set its static to StaticCoder.fit(codes), or use another coder")
        return pipe.static
    raise ValueError(f"coder: got {name!r}; want {', '.join(CODERS)}")
