"""`bitmosaic reconstruct`: images beside their reconstructions."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from bitmosaic.commands.arguments import Background, Images
from bitmosaic.commands.files import SOFTWARE, Files, tell_unreadable, tell_used, written_into
from bitmosaic.commands.pipelines import DEFAULT, load
from bitmosaic.evaluate.reconstruction import reconstruction_report
from bitmosaic.images import SHIPPED_SETS, ArrayImages, Fit, ImageSet, in_order, read_image, save, sheet, shipped_name
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.tokenizers.base import Tokenizer
from bitmosaic.train.pictures import across, enlargement

PICTURED = 64  # images on the sheet, at most


def reconstruct(
    images: Images = (), *, fit: Fit = "exact", background: Background = "", pipeline: str = DEFAULT, count: int = 16,
    out: Path = Path("reconstructions"), device: str = "cpu",
) -> dict:  # fmt: skip
    """Encodes and decodes images, and measures the reconstructions: PSNR, SSIM, and the use of each bit.

    Writes reconstructions.png, the first 64 images each above its reconstruction, and report.json.

    Args:
        images: picture files, and folders of them; none: the first bundled test images of the pipeline's size.
        fit: for images of another size than the pipeline's, or in colour for a grey pipeline: exact refuses them; crop takes the
            centre, scales it, and converts it to grey.
        background: colour behind transparent images, such as black, white or '#336699'.
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        count: bundled test images to use where none are named.
        out: folder to write into; a sheet and a report that bitmosaic wrote are replaced.
        device: where to compute, such as cpu or cuda.

    Returns:
        The contents of report.json.
    """
    pipe = load(pipeline, device, TwoStagePipeline)
    size, channels, medium = pipe.size, pipe.channels, pipe.medium
    if images:
        chosen = Files(images, size, channels, fit, background or pipe.background, medium=medium)
    else:
        chosen = shipped(count, pipe.image_size, channels)
    tell_used(chosen.told())
    with written_into(out, ["reconstructions.png", "report.json"]) as folder:
        with tqdm(total=len(chosen), desc="reconstruct", unit="image", disable=None, dynamic_ncols=True, leave=False) as bar:
            report = reconstruction_report(pipe.tokenizer, chosen, batch_size=64, on_batch=bar.update)
        found = {"software": SOFTWARE, "pipeline": str(pipeline), **report.to_json(), "unreadable": chosen.unreadable}
        (folder / "report.json").write_text(json.dumps(found, indent=1) + "\n")
        picture = side_by_side(*pairs(pipe.tokenizer, chosen, PICTURED))
        save(picture, folder / "reconstructions.png", Software=SOFTWARE, Pipeline=pipeline)
    tell_unreadable(chosen)
    pictures, numbers = Path(out) / "reconstructions.png", Path(out) / "report.json"
    print(report.text(), plain(f"pictures  {pictures}"), plain(f"report    {numbers}"), sep="\n")
    return found


def shipped(count: int, size: tuple[int, int], channels: int) -> ArrayImages:
    """The first bundled test images, scaled to that size: landscapes in colour, Fashion-MNIST in grey. ValueError for too large a count."""
    sample = SHIPPED_SETS[shipped_name(size, channels)]()
    if not 1 <= count <= len(sample):
        raise ValueError(f"count: got {count}; give a whole number from 1 to {len(sample)}, or name images")
    pixels = sample.pixels[:count]
    if (sample.size, sample.channels) != (size, channels):
        pixels = torch.stack([read_image(image, size, channels) for image in pixels])
    return ArrayImages(pixels, sample.labels[:count], sample.class_names)


def pairs(tokenizer: Tokenizer, images: ImageSet, most: int) -> tuple[Tensor, Tensor]:
    """The first readable images and their reconstructions, both (n, C, H, W) in [0, 1]; previews where they are not pictures."""
    given, made = [], []
    for batch in in_order(images, 32):
        x = tokenizer.medium.floats(batch.images.to(tokenizer.device))
        with torch.inference_mode():
            made.append(tokenizer.decode(tokenizer.encode(x)).cpu())
        given.append(x.cpu())
        if sum(map(len, given)) >= most:
            break
    return tuple(tokenizer.medium.preview(torch.cat(part)[:most]) for part in (given, made))


def side_by_side(given: Tensor, made: Tensor) -> Image.Image:
    """Each image above its reconstruction, on one sheet."""
    columns, rows = min(across(given), len(given)), []
    for start in range(0, len(given), columns):
        for part in (given[start : start + columns], made[start : start + columns]):
            paper = torch.full((columns - len(part), *part.shape[1:]), 250 / 255)
            rows.append(torch.cat([part, paper]))
    return sheet(torch.stack(rows), ["original", "decoded"] * (len(rows) // 2), scale=enlargement(given.shape[-1]))
