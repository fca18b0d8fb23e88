"""Images <-> bytes, by the tokenizer of a pipeline and a coder of its codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitmosaic import codec
from bitmosaic.codec import CODERS, CodecError, Coder, Container, PriorCoder, UniformCoder
from bitmosaic.codec.base import fingerprint
from bitmosaic.codes import Codes, digit_dtype, digit_widths
from bitmosaic.images import Fit
from bitmosaic.pipelines.two_stage import TwoStagePipeline

AT_ONCE = 64  # images of a batch


def compress(pipe: TwoStagePipeline, images: Any, coder: str = "prior", packets: int = 1, fit: Fit = "exact") -> Any:
    """The compressed file of an image as bytes, or a list of them for a list; `decompress` gives back the tokenizer's reconstruction.

    images, fit: as for `encode`. coder: "uniform", "static" or "prior", from large and fast to small and slow. packets: parts of the file,
    each of places spread over the image; a file that has lost packets can be restored from the others (with the coder "prior" from those
    before the first lost one).
    ValueError for a coder that this pipeline does not have, and for more packets than places.
    """
    several = pipe.medium.several(images)
    files = compress_codes(pipe, pipe.encode(images, fit), coder, packets)
    return files if several else files[0]


def compress_codes(pipe: TwoStagePipeline, codes: Codes, coder: str = "prior", packets: int = 1) -> list[bytes]:
    """`compress` of images given by their codes: a list of files."""
    with_, tokenizer = coder_of(pipe, coder), fingerprint(pipe.tokenizer)
    parts = [codes[start : start + AT_ONCE] for start in range(0, len(codes), AT_ONCE)]
    return [file for part in parts for file in codec.compress(part, with_, tokenizer, packets)]


def decompress(
    pipe: TwoStagePipeline, data: bytes | Sequence[bytes], restore: bool = False, seeds: int | Sequence[int] | None = None,
    output_type: str | None = None, *, unconfirmed: bool = False, **settings,
) -> Any:  # fmt: skip
    """The image of a compressed file, given as bytes, or the images of a list of them.

    restore: lost packets are filled in by the model, with `seeds` and `settings` as for `complete`; else they are an error. A place is
    known where the checksum of its packet's codes matches; an image without any known place is an error, unless `unconfirmed`: then the
    model draws all of it. CodecError, a ValueError, for bytes that are no such file, damaged, or of another tokenizer or prior.
    """
    single = isinstance(data, bytes | bytearray | memoryview)
    codes, known = decompress_codes(pipe, [data] if single else list(data), restore, unconfirmed)
    images = decompressed(pipe, codes, known, seeds, output_type, **settings)
    return images[0] if single else images


def decompressed(
    pipe: TwoStagePipeline, codes: Codes, known: Tensor, seeds: int | Sequence[int] | None = None, output_type: str | None = None,
    **settings,
) -> Any:  # fmt: skip
    """Images of codes of which some places are known, (b, *grid) bool; the model fills in the others. Arguments as of `decompress`."""
    hurt = (~known.flatten(1).all(1)).nonzero()[:, 0]
    if len(hurt):
        seeds = list(range(len(codes))) if seeds is None else [seeds] * len(codes) if isinstance(seeds, int) else list(seeds)
        digits = codes.digits.clone()
        for some in hurt.split(AT_ONCE):
            *_, step = pipe.complete(codes[some], known[some], None, [seeds[i] for i in some.tolist()], **settings)
            digits[some] = step.codes.digits.cpu()
        codes = Codes(digits, codes.radix)
    return pipe.decode(codes, output_type)


def decompress_codes(
    pipe: TwoStagePipeline, data: Sequence[bytes], restore: bool = False, unconfirmed: bool = False
) -> tuple[Codes, Tensor]:  # fmt: skip
    """Codes of some files, and their known places, (b, *grid) bool: all unless `restore`. CodecError for the first file that cannot be
    decoded, with its number where there are several.
    """
    found = opened(pipe, data, restore, unconfirmed)
    for number, error in sorted(found.refused.items()):
        raise CodecError(f"data[{number}]: {error}") from error if len(data) > 1 else error
    return found.codes, found.known


@dataclass(frozen=True)
class DecodedFiles:
    """The result of decoding some files, in the order given."""

    codes: Codes  # zeros where nothing is known
    known: Tensor  # (b, *grid) bool
    refused: dict[int, CodecError]  # file number -> why it gives no image
    differ: set[int]  # files whose packets are whole but decode to other codes: this machine's probabilities differ


def opened(pipe: TwoStagePipeline, data: Sequence[bytes], restore: bool = False, unconfirmed: bool = False) -> DecodedFiles:
    """As `decompress_codes`, but a file that cannot be decoded does not stop the others."""
    if not data:
        raise ValueError("data: got nothing; want at least one file's bytes")
    files, refused, coders, tokenizer = {}, {}, {}, fingerprint(pipe.tokenizer)
    for i, one in enumerate(data):
        try:
            file = Container.from_bytes(one, restore)
            if file.tokenizer != tokenizer or (file.grid, file.bits) != (tuple(pipe.prior.grid), sum(digit_widths(pipe.prior.radix))):
                raise CodecError(f"made with another tokenizer ({file.tokenizer.hex()}) than this pipeline's ({tokenizer.hex()})")
            coder, ours = _coder(pipe, file, coders)
            if ours != file.model:
                raise CodecError(f"made with another {coder.name} coder ({file.model.hex()}) than this pipeline's ({ours.hex()})")
            files[i] = file
        except ValueError as error:  # also where the pipeline lacks what a coder needs
            refused[i] = CodecError(str(error))
    alike: dict[tuple, list[int]] = {}
    for i, file in files.items():
        alike.setdefault((file.coder, file.scale, len(file.packets)), []).append(i)
    radix = pipe.prior.radix
    digits = torch.zeros(len(data), *pipe.prior.grid, len(radix), dtype=digit_dtype(radix))
    known, differ = torch.zeros(digits.shape[:-1], dtype=torch.bool), set()
    for rows in alike.values():
        for some in (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)):
            coder, _ = _coder(pipe, files[some[0]], coders)
            found, there, wrong = codec.decompress([files[i] for i in some], coder, unconfirmed, radix)
            digits[some], known[some] = found.digits, there
            differ |= {i for i, packet in zip(some, wrong, strict=True) if packet is not None}
            for i, packet in zip(some, wrong, strict=True):
                if not (known[i].all() or restore and (known[i].any() or unconfirmed)):
                    refused[i] = _refused(files[i], packet, restore)
    return DecodedFiles(Codes(digits, radix), known, refused, differ)


def _coder(pipe: TwoStagePipeline, file: Container, coders: dict[tuple[int, int], tuple[Coder, bytes]]) -> tuple[Coder, bytes]:
    """The pipeline's coder for a file, and the coder's fingerprint, made once."""
    kind = file.coder, file.scale
    if kind not in coders:
        name = next(name for name, kind in CODERS.items() if kind.number == file.coder)
        coder = PriorCoder(pipe.prior, file.scale) if name == "prior" else coder_of(pipe, name)
        coders[kind] = coder, coder.fingerprint()
    return coders[kind]


def _refused(file: Container, wrong: int | None, restore: bool) -> CodecError:
    """The error of a file that gives no image. wrong: the packet whose codes are not those that were encoded, or None."""
    count = len(file.packets)
    if wrong is not None:
        why = f"packet {wrong + 1} of {count} gives other codes than were encoded: this machine's probabilities are not the encoder's"
        return CodecError(why if restore or not wrong else f"{why}; restore keeps the packets before it")
    if any(packet is not None for packet in file.packets[: 1 if file.coder == PriorCoder.number else None]):
        return CodecError(f"not whole, and of version {file.version}, whose packets have no check of their codes; --unconfirmed takes them")
    return CodecError(f"no packet of {count} can be read, so nothing is known of the image; --unconfirmed draws one")


def coder_of(pipe: TwoStagePipeline, name: str) -> Coder:
    """A coder of the pipeline by name; ValueError where it has none of that name."""
    if name == "uniform":
        return UniformCoder()
    if name == "prior":
        return PriorCoder(pipe.prior, pipe.logit_scale)
    if name == "static":
        if pipe.static is None:
            raise ValueError("coder: this pipeline holds no frequencies; set its static to StaticCoder.fit(codes), or use another coder")
        return pipe.static
    raise ValueError(f"coder: got {name!r}; want {', '.join(CODERS)}")
