"""Pictures: (channels, height, width) in [0, 1]; reading, fitting and writing are those of `images`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from bitmosaic.images.fit import fitted
from bitmosaic.images.read import read_image
from bitmosaic.images.write import save, to_output, to_pil
from bitmosaic.media.base import Medium


@dataclass(frozen=True)
class Pictures(Medium):
    """Pictures, grey or in colour."""

    plural: ClassVar[str] = "images"
    axes: ClassVar[tuple[str, ...]] = ("height", "width")
    endings: ClassVar[tuple[str, ...]] = ()  # `images.scan` knows those that Pillow and its plug-ins read
    ending: ClassVar[str] = ".png"
    output: ClassVar[str] = "pil"
    outputs: ClassVar[tuple[str, ...]] = ("pil", "np", "pt")

    def parts(self, file: str | Path, size: tuple[int, ...], channels: int) -> list[Tensor]:
        return [read_image(file, size, channels)]

    def fitted(self, value: Any, size: tuple[int, ...], channels: int, fit: str = "exact", background: str = "white") -> Tensor:
        return fitted(value, size, channels, fit, background)

    def to_output(self, signals: Tensor, output_type: str | None = None) -> Any:
        return to_output(signals, output_type or self.output)

    def write(self, signal: Tensor, path: Path, **about: Any) -> None:
        save(to_pil(signal), path, **about)

    def notes(self, path: Path) -> dict[str, str]:
        with path.open("rb") as file:  # pixels are not decoded, so that a huge picture does no harm
            return {str(name): str(text) for name, text in PngImageFile(file).info.items()}

    def preview(self, signals: Tensor) -> Tensor:
        return signals

    def about(self, size: tuple[int, ...]) -> str:
        return f"{'x'.join(map(str, size))} pixels"


PICTURES = Pictures()
