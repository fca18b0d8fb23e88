"""Writes tensors as pictures: grids, sheets with a name at each row, files and animations."""

import os
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageDraw
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile, PngInfo
from torch import Tensor

from bitmosaic import __version__
from bitmosaic.disk import write_whole

from .text import Pen

Output = Literal["pil", "np", "pt"]  # output_type

LARGEST = 8192  # pixels of a side of a sheet: 200 MB, which viewers still open
NAME, CAPTION = 400, 400  # pixels of a name at a row, and of a caption that is wider than its image
SOFTWARE = f"bitmosaic {__version__}"  # in every file that a command writes
SHEETS = re.compile(  # names of what commands draw of many pictures
    r"(sheet|strip|classes|reconstructions|duplicates|entropy|order|reveal|meaning|layers|labels|map|evaluation|curves|curves-[a-z]+"
    r"|step-[0-9]{6,}|.*-search|.*-bits)\.(png|gif)")  # fmt: skip

_PAPER, _INK, _MARGIN = (250, 250, 250), (40, 40, 40), 12


def to_uint8(images: Tensor) -> Tensor:
    """Float in [0, 1], clamped, to uint8 in [0, 255], halves to even; uint8 stays. Any shape.

    ValueError for NaN and for other types.
    """
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"images: got {images.dtype}; give float in [0, 1] or uint8")
    if images.isnan().any():
        raise ValueError("images: got NaN; give finite numbers")
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8)


def to_pil(image: Tensor) -> Image.Image:
    """One image (C, H, W), C 1 or 3, float in [0, 1] (clamped) or uint8, in mode L or RGB; or ValueError."""
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"image: got shape {tuple(image.shape)}; give one image (C, H, W) with 1 or 3 channels")
    pixels = to_uint8(image.detach()).cpu()
    return Image.fromarray((pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).contiguous().numpy())


def check_output(output_type: str, batch_size: int = 1) -> None:
    """ValueError unless output_type is an `Output`, and batch_size at least 1."""
    if output_type not in get_args(Output):
        raise ValueError(f"output_type: got {output_type!r}; want 'pil', 'np' or 'pt'")
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}; want at least 1")


def to_output(images: Tensor, output_type: Output) -> list[Image.Image] | np.ndarray | Tensor:
    """Images (n, C, H, W) in [0, 1] as "pil" a list, "np" (n, H, W, C) uint8, or "pt" as they are, on the CPU. ValueError for another."""
    check_output(output_type)
    if output_type == "pt":
        return images.cpu()
    if output_type == "np":
        return to_uint8(images.cpu()).movedim(1, -1).numpy()
    return [to_pil(image) for image in images.cpu()]


def grid(images: Tensor, columns: int, scale: int = 1, gap: int = 2, background: int = 255) -> Image.Image:
    """Images (n, C, H, W) row by row in so many columns, each pixel enlarged to scale x scale.

    gap: pixels between images, after enlargement; background: the grey there and at empty places, in [0, 255].
    """
    if images.dim() != 4 or len(images) == 0 or columns < 1 or scale < 1 or gap < 0:
        raise ValueError(
            f"images, columns, scale, gap: got {tuple(images.shape)}, {columns}, {scale}, {gap}; "
            "give images (n, C, H, W) with n > 0, columns and scale of at least 1 and a gap of at least 0"
        )
    pixels = to_uint8(images.detach()).cpu().repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    n, channels, height, width = pixels.shape
    rows = -(-n // columns)
    shape = (channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    canvas = torch.full(shape, background, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        canvas[:, top:top + height, left:left + width] = image
    return to_pil(canvas)


def sheet_fits(size: tuple[int, int], scale: int = 1) -> tuple[int, int]:
    """The largest number of rows and columns of images of a size (height, width) on a sheet, beside names of any length."""
    gap = max(2, scale)
    height, width = (side * scale + gap for side in size)
    return max(1, (LARGEST - 5 * _MARGIN - 20) // height), max(1, (LARGEST - 3 * _MARGIN - NAME) // width)


def sheet(images: Tensor, row_names: Sequence[str], scale: int = 1, title: str | None = None, note: str = "") -> Image.Image:
    """Images (rows, columns, C, H, W) as a grid on light paper, with a name at the left of each row, a title above and a note below.

    The first rows and columns where there are more than `sheet_fits`, and the note says so. Returns mode RGB. ValueError if there are not
    as many names as rows.
    """
    if images.dim() != 5 or len(images) != len(row_names):
        raise ValueError(
            f"row_names: got {len(row_names)} for images {tuple(images.shape)}; "
            "give images (rows, columns, C, H, W) and a name for each row"
        )
    rows, columns = (min(pair) for pair in zip(images.shape[:2], sheet_fits(tuple(images.shape[3:]), scale), strict=True))
    cut = [f"{rows} of {len(images)} rows"] * (rows < len(images))
    cut += [f"{columns} of {images.shape[1]} columns"] * (columns < images.shape[1])
    images, row_names, note = images[:rows, :columns], row_names[:rows], ", ".join(filter(None, [note, *cut]))
    gap = max(2, scale)
    cells = grid(images.flatten(0, 1), columns, scale, gap, background=_PAPER[0])
    row = images.shape[3] * scale + gap
    pen, large, small = Pen(max(12, min(18, row // 3))), Pen(20), Pen(12)
    names = [pen.shortened(name, NAME) for name in row_names]
    left = _MARGIN + max((round(pen.length(name)) for name in names), default=0)
    left += _MARGIN if left > _MARGIN else 0
    top = _MARGIN + (20 + _MARGIN if title else 0)
    title = large.shortened(title or "", LARGEST - 2 * _MARGIN)
    right = max(left + cells.width, *(round(_MARGIN + part.length(text)) for part, text in ((large, title), (small, note))))
    paper = Image.new("RGB", (right + _MARGIN, top + cells.height + _MARGIN + (12 + _MARGIN if note else 0)), _PAPER)
    paper.paste(cells, (left, top))
    draw = ImageDraw.Draw(paper)
    large.write(draw, (_MARGIN, _MARGIN), title, _INK)
    small.write(draw, (_MARGIN, top + cells.height + _MARGIN), note, _INK)
    for i, name in enumerate(names):
        pen.write(draw, (left - _MARGIN, top + i * row + (row - gap) // 2), name, _INK, "rm")
    return paper


def captioned(images: Tensor, captions: Sequence[str], columns: int, scale: int = 1) -> Image.Image:
    """Images (n, C, H, W) in so many columns on light paper, with a caption below each, the first ones of very many. Returns mode RGB.

    ValueError if there are not as many captions as images.
    """
    if images.dim() != 4 or len(images) != len(captions) or columns < 1:
        raise ValueError(f"captions: got {len(captions)} for images {tuple(images.shape)}; give images (n, C, H, W) and a caption for each")
    pen = Pen(max(11, min(15, images.shape[-1] * scale // 8)))
    height, width = images.shape[-2] * scale, images.shape[-1] * scale
    line = round(1.8 * pen.size)
    row, cell = height + line + _MARGIN // 2, width + _MARGIN
    columns = max(1, min(columns, (LARGEST - _MARGIN) // cell))
    most = columns * max(1, (LARGEST - 2 * _MARGIN - line) // row)
    note = f"{most} of {len(images)} images" if len(images) > most else ""
    images = images[:most]
    shown = [pen.shortened(text, max(width, min(CAPTION, (LARGEST - _MARGIN) // columns - _MARGIN))) for text in captions[:most]]
    widest = max([width, *(round(pen.length(text)) for text in shown)])
    cell = widest + _MARGIN
    rows = -(-len(images) // columns)
    paper = Image.new("RGB", (_MARGIN + min(columns, len(images)) * cell, _MARGIN + rows * row + (line if note else 0)), _PAPER)
    draw = ImageDraw.Draw(paper)
    for i, (image, text) in enumerate(zip(images, shown, strict=True)):
        left, top = _MARGIN + i % columns * cell, _MARGIN + i // columns * row
        paper.paste(grid(image[None], 1, scale), (left + (widest - width) // 2, top))
        pen.write(draw, (left + widest // 2, top + height + line // 2), text, _INK, "mm")
    pen.write(draw, (_MARGIN, _MARGIN + rows * row), note, _INK)
    return paper


def save(image: Image.Image, path: str | os.PathLike, **info) -> None:
    """Writes an image in the format of its ending, whole or not at all; folders on the way are made.

    info: text kept with a PNG, one entry a name (seed=3 is kept as "3"); other formats do not keep it.
    ValueError if the ending is of no format that Pillow writes.
    """
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    if kind not in Image.SAVE:
        raise ValueError(f"path: got {str(path)!r}; end it in .png, .jpg, .webp or another format that Pillow writes")
    options = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}}.get(kind, {})
    if kind == "PNG":
        options["pnginfo"] = PngInfo()
        for name, text in info.items():
            options["pnginfo"].add_text(name, str(text))
    data = BytesIO()
    image.save(data, kind, **options)
    write_whole(Path(path).expanduser(), data.getvalue())


def software(path: str | os.PathLike) -> str:
    """The software named in a PNG or GIF file; empty where none is named, or it is no such file. No pixels are decoded."""
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        return ""
    try:
        with open(path, "rb") as file:
            if Path(path).suffix.lower() == ".gif":
                found = GifImageFile(file).info.get("comment", b"")
                return found.decode("latin-1") if isinstance(found, bytes) else str(found)
            return str(PngImageFile(file).info.get("Software", ""))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""


def written_as_sheet(path: str | os.PathLike) -> bool:
    """Whether a picture is a sheet of many images drawn by bitmosaic, by its name and the software named in it."""
    return SHEETS.fullmatch(os.path.basename(path)) is not None and software(path).startswith("bitmosaic ")


def animation(
    frames: Sequence[Image.Image], path: str | os.PathLike, seconds_per_frame: float = 0.1, hold_last: float = 1.5, comment: str = "",
) -> None:  # fmt: skip
    """Writes frames of one size as a GIF or WebP that loops for ever, whole or not at all.

    The last frame stays for hold_last seconds; a GIF counts in hundredths of a second, and keeps the comment.
    ValueError for no frames, frames of different sizes, and other endings.
    """
    kind = {".gif": "GIF", ".webp": "WEBP"}.get(Path(path).suffix.lower())
    if kind is None:
        raise ValueError(f"path: got {str(path)!r}; end it in .gif or .webp")
    sizes = {frame.size for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"frames: got {len(frames)} of {len(sizes)} sizes; give at least one, all of one size")
    if seconds_per_frame < 0.01 or hold_last < 0.01:
        raise ValueError(f"seconds_per_frame, hold_last: got {seconds_per_frame}, {hold_last}; give at least 0.01")
    durations = [round(1000 * seconds_per_frame)] * (len(frames) - 1) + [round(1000 * hold_last)]
    options = {"quality": 90} if kind == "WEBP" else {"comment": comment.encode()} if comment else {}
    data = BytesIO()
    frames[0].save(data, kind, save_all=True, append_images=list(frames[1:]), duration=durations, loop=0, **options)
    write_whole(Path(path).expanduser(), data.getvalue())
