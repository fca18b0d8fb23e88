"""JPEG-LM's tokenizer (Han et al., arXiv 2408.08459): a picture is the bytes of its JPEG file, one a place, and an end.

We differ in coding the entropy-coded segment only, since headers are the same for all pictures of one size and quality, and in bytes
instead of byte pairs. It has no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bitmosaic.codes import Codes, lengths
from bitmosaic.images.write import to_pil
from bitmosaic.tokenizers.base import Tokenizer, TokenizerSpec

END = 256  # the digit behind the last byte
END_OF_IMAGE = b"\xff\xd9"
GREY = 0.5  # value of a picture of which nothing can be decoded


@dataclass(frozen=True)
class JPEGBytesSpec(TokenizerSpec):
    """Sizes of pictures, and JPEG's settings."""

    image_size: tuple[int, int] = (16, 16)  # height, width in pixels
    channels: int = 1  # of the image: 1 grey, 3 colour (coded as YCbCr 4:2:0)
    length: int = 256  # places; a picture of more bytes is cut off there, and has no end
    quality: int = 25  # of JPEG, 1 to 95
    restart: int = 1  # blocks (MCUs) between restart markers, at which prediction begins anew, so that errors stay local; 0: none

    def __post_init__(self):
        if min(*self.image_size, self.length) < 1 or max(self.image_size) > 65_500:
            raise ValueError(f"image_size {self.image_size} must be within JPEG's 65,500 pixels, length {self.length} positive")
        if self.channels not in (1, 3) or not 1 <= self.quality <= 95 or not 0 <= self.restart <= 65_535:
            raise ValueError(
                f"channels, quality, restart: got {self.channels}, {self.quality}, {self.restart}; want 1 or 3, 1 to 95, 0 to 65,535"
            )

    @property
    def grid(self) -> tuple[int]:
        return (self.length,)

    @property
    def radix(self) -> tuple[int]:
        return (END + 1,)

    @property
    def end(self) -> int:
        return END

    def build(self) -> JPEGBytes:
        return JPEGBytes(self)


class JPEGBytes(Tokenizer):
    """Pictures -> bytes of their JPEG's entropy-coded segment and END -> the pictures that JPEG makes of them."""

    axes, factor = 1, None

    def __init__(self, spec: JPEGBytesSpec):
        super().__init__()
        self.spec, self.channels, self.radix, self.image_size = spec, spec.channels, spec.radix, spec.image_size
        whole = self._jpeg(Image.new("L" if spec.channels == 1 else "RGB", spec.image_size[::-1]))
        self.header = whole[: scan_start(whole)]  # the same for every picture

    def encode(self, images: Tensor) -> Codes:
        self.check_signals(images)
        digits = torch.full((len(images), self.spec.length, 1), END, dtype=torch.int16)
        for row, image in zip(digits, images, strict=True):
            scan = self._jpeg(to_pil(image))[len(self.header) : -len(END_OF_IMAGE)][: self.spec.length]
            row[: len(scan), 0] = torch.from_numpy(np.frombuffer(scan, np.uint8).astype(np.int16))
        return Codes(digits.to(images.device), self.radix)

    def decode(self, codes: Codes) -> Tensor:
        """JPEG's picture of the bytes up to the first END; behind a byte that is no valid JPEG the picture is grey."""
        self.check_codes(codes)
        digits = codes.digits[..., 0].cpu().numpy()
        made = [self._picture(row[:count].astype(np.uint8).tobytes()) for row, count in zip(digits, lengths(codes, END), strict=True)]
        found = torch.stack(made) if made else torch.zeros(0, self.channels, *self.size)
        return found.to(codes.digits.device)

    def _jpeg(self, picture: Image.Image) -> bytes:
        spec, data = self.spec, BytesIO()
        picture.save(
            data, "JPEG", quality=spec.quality, subsampling="4:2:0" if spec.channels == 3 else -1, restart_marker_blocks=spec.restart
        )  # fmt: skip
        return data.getvalue()

    def _picture(self, scan: bytes) -> Tensor:
        whole, grey = scan[: first_fault(scan)], torch.full((self.channels, *self.size), GREY)
        if not whole:  # else libjpeg would fill it with texture
            return grey
        try:
            with Image.open(BytesIO(self.header + whole + END_OF_IMAGE)) as picture:
                pixels = np.array(picture)
        except OSError:  # libjpeg repairs some faults and raises for others
            return grey
        return torch.from_numpy(pixels).view(*self.size, self.channels).movedim(-1, 0).float() / 255


def scan_start(jpeg: bytes) -> int:
    """The offset of the entropy-coded segment of a JPEG file, behind the header of its one scan."""
    at = 2
    while True:
        marker, count = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4])
        at += 2 + count
        if marker == 0xDA:  # SOS
            return at


def first_fault(scan: bytes) -> int:
    """The offset at which bytes stop being an entropy-coded segment: of a 0xFF followed by neither 0x00 nor a restart marker; else their
    number.
    """
    at = -1
    while (at := scan.find(b"\xff", at + 1)) >= 0:
        if at + 1 == len(scan) or not (scan[at + 1] == 0 or 0xD0 <= scan[at + 1] <= 0xD7):
            return at
    return len(scan)
