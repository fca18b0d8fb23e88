"""`bitmosaic reveal`: entropy maps and the order in which places are revealed."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from bitmosaic.commands.arguments import PipelineName
from bitmosaic.commands.drawing import OWN_SETTINGS, Class, Prompt, Settings, condition, named
from bitmosaic.commands.files import SOFTWARE, written_into
from bitmosaic.commands.pipelines import DEFAULT, Drawing, load
from bitmosaic.evaluate.insight import Moment, order_of
from bitmosaic.evaluate.insight import reveal as moments
from bitmosaic.images import animation, captioned, grid, heat, save, sheet
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline

FILES = ("entropy.png", "order.png", "order.gif")
COLUMNS = 9  # moments on the sheet, at most
PICTURED = 112  # pixels that a small picture is at least high
BLANK = 158 / 255  # grey of a hidden place


def reveal(
    pipeline: PipelineName = DEFAULT, *, class_: Class = "none", prompt: Prompt = "", count: int = 4, seed: int = 0,
    settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS, out: Path = Path("reveal"), device: str = "cpu",
    precision: Drawing = "own",
) -> list[Path]:  # fmt: skip
    """Shows the order in which the places of images are revealed, and the prior's entropy at those that are still hidden.

    Writes entropy.png: for each seed the image at some steps, above the entropy of its hidden places (dark: certain, bright: 1 bit a bit,
    nothing is known), or of all places for a denoising prior; order.png: the images, the step in which each place took its final code
    (dark: first), and the mean step over all seeds; order.gif: the images and their entropy at every step.

    Args:
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        class_: by name or number; none for no class; a blend such as bag:0.5+sandal:0.5.
        prompt: a text instead of a class, for pipelines trained on captions.
        count: number of images, 1 to 64.
        seed: of the first image; each further one has the next seed.
        settings: of the sampler.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        device: where to compute, such as cpu or cuda.
        precision: of the network that draws; own: float32, or auto above 100 million weights; auto: bf16 where the processor has
            bf16 arithmetic, else float32.

    Returns:
        The three files.
    """
    if not 1 <= count <= 64:
        raise ValueError(f"count: got {count}; give a whole number from 1 to 64")
    pipe, own = load(pipeline, device, TwoStagePipeline, precision=precision), settings.given()
    pipe.check_pictures()
    argument, text = named(class_, prompt)
    label, wanted = condition(pipe, text, argument)
    used = {**pipe.settings(**own).to_json(), "device": device, "precision": pipe.precision}
    made_by = {"Software": SOFTWARE, "Command": "reveal", "Pipeline": pipeline, argument.title(): plain(label)}
    about = {**made_by, "Settings": json.dumps(used), "Seed": seed}
    steps = moments(pipe, wanted, list(range(seed, seed + count)), **own)
    with written_into(out, FILES) as folder:
        seen = list(tqdm(steps, "reveal", unit="step", disable=None, dynamic_ncols=True, leave=False))
        save(moment_sheet(seen, [f"seed {seed + i}" for i in range(count)]), folder / "entropy.png", **about)
        save(order_sheet(seen), folder / "order.png", **about)
        frames = [grid(torch.cat([covered(moment), entropy(moment)]), count, scale_of(seen), background=250) for moment in seen]
        animation(frames, folder / "order.gif", seconds_per_frame=0.3, hold_last=3.0, comment=SOFTWARE)
    print("\n".join(plain(Path(out) / name) for name in FILES))
    return [Path(out) / name for name in FILES]


def covered(moment: Moment) -> Tensor:
    """The images (b, 3, H, W), grey at hidden places."""
    factors = [side // places for side, places in zip(moment.images.shape[2:], moment.known.shape[1:], strict=True)]
    known = moment.known.repeat_interleave(factors[0], 1).repeat_interleave(factors[1], 2)[:, None]
    return torch.where(known, moment.images, BLANK).expand(-1, 3, -1, -1)


def entropy(moment: Moment) -> Tensor:
    """The entropy of hidden places as colours over the images (b, 3, H, W)."""
    return torch.stack([heat(values, image) for values, image in zip(moment.entropy, moment.images, strict=True)])


def moment_sheet(seen: list[Moment], names: list[str]):
    """Two rows for each image: itself and its entropy at some moments, the first and the last among them."""
    chosen = [round(i * (len(seen) - 1) / (COLUMNS - 1)) for i in range(COLUMNS)] if len(seen) > COLUMNS else range(len(seen))
    images, maps = (torch.stack([draw(seen[i]) for i in chosen], 1) for draw in (covered, entropy))  # (b, moments, 3, H, W)
    title, rows = "after step " + ", ".join(map(str, chosen)), [text for name in names for text in (name, "entropy")]
    return sheet(torch.stack([images, maps], 1).flatten(0, 1), rows, scale_of(seen), title)


def order_sheet(seen: list[Moment]):
    """Each image above a map of the step in which its places took their final codes, and the mean of these maps."""
    order = (order_of(seen).float() - 1) / max(1, len(seen) - 2)
    last, mean = seen[-1].images, order.mean(0)
    maps = torch.stack([heat(values, image, "viridis") for values, image in zip(order, last, strict=True)])
    over_all = heat(mean, last.mean(0), "viridis")[None]
    shown = torch.cat([last.expand(-1, 3, -1, -1), last.mean(0, keepdim=True).expand(-1, 3, -1, -1), maps, over_all])
    captions = [f"image {i + 1}" for i in range(len(last))] + ["mean"] + ["its order"] * len(last) + ["mean order"]
    return captioned(shown, captions, len(last) + 1, scale_of(seen))


def scale_of(seen: list[Moment]) -> int:
    return max(1, PICTURED // seen[0].images.shape[-2])
