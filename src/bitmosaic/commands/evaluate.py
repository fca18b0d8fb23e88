"""`bitmosaic evaluate`: a pipeline, or a tokenizer alone, against real images, in numbers that can be reproduced."""

from __future__ import annotations

import os
import platform
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from tqdm import tqdm

from bitmosaic.codes import described
from bitmosaic.commands.arguments import Flag, PipelineName
from bitmosaic.commands.drawing import OWN_SETTINGS, Settings
from bitmosaic.commands.files import SOFTWARE, tell_unreadable, tell_used, written_into
from bitmosaic.commands.pipelines import DEFAULT, Drawing, check_device, checksum, find, load
from bitmosaic.commands.reconstruct import PICTURED, side_by_side
from bitmosaic.commands.tokenizers import TokenizerAlone, tokenizer_alone
from bitmosaic.evaluate import evaluation
from bitmosaic.evaluate.evaluation_plot import evaluation_plot
from bitmosaic.evaluate.evaluation_text import text as evaluation_text
from bitmosaic.evaluate.parallel import alone as one_process
from bitmosaic.evaluate.parallel import everywhere, processes
from bitmosaic.evaluate.real import NEIGHBOURS, SEEDS, RealImages, parted, total
from bitmosaic.evaluate.space import SHIPPED, FeatureSpace
from bitmosaic.folders import write_json
from bitmosaic.images import NAMED_SETS, save
from bitmosaic.images.real import own_test_set, real_images, train_and_test
from bitmosaic.names import plain
from bitmosaic.pipelines import Pipeline
from bitmosaic.threads import processors
from bitmosaic.train.features import protocol, train_features

LARGEST = 2**63 // SEEDS - 1  # seed
FILES = ("evaluation.json", "evaluation.png")
Data = Annotated[str, tyro.conf.arg(metavar="DATA", help_behavior_hint="")]
Count = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 5000, or as many as there are real ones)")]

Side = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: its own; of a published file 16 places)")]


def evaluate(
    pipeline: PipelineName = DEFAULT, *, against: Data = "", beside: Data = "", net: str = "", count: Count = None, size: Side = None,
    seed: int = 0, settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS, train_features: Flag = False,
    out: Path = Path("evaluation"), device: str = "cpu", precision: Drawing = "float32", workers: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Measures how far a pipeline's images are from real ones, how well its tokenizer reconstructs images, and the floor of each figure.

    Writes evaluation.json, every figure with all that it depends on, and evaluation.png. The floor is the figure of as many other real
    images. Of a tokenizer alone, from whatever project, the same figures of reconstruction are measured in the same way.
    Figures are bitwise equal on any number of threads and processes: torchrun --nproc-per-node 4 -m bitmosaic evaluate ...
    Figures in another feature space than Inception's are comparable within that space only, and are not FID.

    Args:
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run; or a tokenizer
            alone: a published file, a folder that 'bitmosaic convert' wrote, RUN/tokenizer, PIPELINE/tokenizer.
        against: real images: a folder, with or without a sub-folder for each class; fashion-mnist or landscapes (bundled test images);
            fashion-mnist:train or landscapes:train; none: the bundled set of the pipeline's size.
        beside: other real images, for the floor, likewise; none: half of the former.
        net: feature network: fashion (ships), a .safetensors file that --train-features wrote, the published weights of
            Inception-v3 (.pth), any network as .pt2 or TorchScript .pt, or FILE.py:NAME, a function in a file of your own, which is run.
        count: images to draw, in the classes of the other real images; of a tokenizer alone, other real images to reconstruct.
        size: side in pixels of the images that a tokenizer alone is measured at.
        seed: of the images drawn.
        settings: of the sampler; the pipeline's own where left out.
        train_features: train a classifier of the images named by --against (none: the training images of the bundled set), at the
            pipeline's size, write it to the file named by --net, and stop.
        out: folder to write into; an evaluation that bitmosaic wrote there is replaced.
        device: where to compute, such as cpu or cuda.
        precision: of the prior; auto: bf16 where the processor has bf16 arithmetic, else float32.
        workers: threads, one core each; 0: as many as there are cores. No figure depends on it.

    Returns:
        What stands in evaluation.json.
    """
    if train_features:
        return trained(pipeline, against, net, seed, device, size)
    if workers < 0 or not 0 <= seed < LARGEST:
        raise ValueError(f"workers, seed: got {workers}, {seed}; give whole numbers of at least 0, and a seed below {LARGEST:,}")
    with processes() as first:
        device = own_device(device)
        alone = tokenizer_alone(pipeline, device, size)
        if alone is not None and settings.given():
            raise ValueError(f"{', '.join(settings.given())}: {pipeline} is a tokenizer alone, which draws nothing; leave these out")
        if alone is None and size is not None:
            raise ValueError(f"size: got {size} for a pipeline, which has a size of its own; leave it out")
        pipe = alone or load(pipeline, device, precision=precision)
        against = against or own_test_set(pipe.image_size, pipe.channels)
        reference, others = (
            real_images(name, pipe.image_size, pipe.channels, pipe.class_names) if name else None for name in (against, beside)
        )
        if first:
            tell_used([*reference.told(), *(others.told() if others else ())])
        real = parted(reference, others, count)
        space = FeatureSpace.load(network(net, against), device)
        workers = 1 if torch.device(device).type != "cpu" else workers or processors()
        with written_into(out, FILES) if first else nullcontext() as folder:
            images = total(real) if alone is None else len(real.rows) + len(real.beside_rows)
            with tqdm(total=images, desc="evaluate", unit="image", disable=None if first else True, dynamic_ncols=True,
                      leave=False) as bar:  # fmt: skip
                if alone is None:
                    figures, pictures = evaluation.evaluate(pipe, real, space, seed, settings.given(), workers, bar.update)
                else:
                    figures, pictures = evaluation.evaluate_tokenizer(alone.tokenizer, real, space, workers, bar.update)
            sets = {id(s): s for s in (reference, real.beside)}.values()
            skipped = {path: why for process in everywhere([s.unreadable for s in sets]) for part in process for path, why in part.items()}
            if not first:
                return {}
            own = of_pipeline(pipeline, pipe, settings.given()) if alone is None else of_tokenizer(pipeline, alone)
            found = {
                "software": SOFTWARE, **own, **figures, **of_images(real, space, against, beside), "unreadable": len(skipped), **HOW,
                **of_machine(device),
            }  # fmt: skip
            write_json(folder / "evaluation.json", found)
            if alone is None:
                note = f"{pipeline} against {against}: {figures['counts']['samples']:,} images drawn, feature net {space.name}"
                picture = evaluation_plot(figures, pictures, note)
            else:
                picture = side_by_side(*(pictures[name][:PICTURED].float() / 255 for name in ("real", "restored")))
            save(picture, folder / "evaluation.png", Software=SOFTWARE, Pipeline=pipeline)
        for images in sets:
            tell_unreadable(images)
        written = plain(f"written: {out / 'evaluation.json'}, {out / 'evaluation.png'}")
        print(*heading(found), evaluation_text(figures), *notes(found), written, sep="\n")
        return found


HOW = {
    "resize": "real images cropped at the centre and scaled to the pipeline's size as in ADM, where they are larger or smaller",
    "quantisation": "8 bits, rounded",
    "reconstruction_figures": "PSNR, SSIM and MS-SSIM of each image in 8 bits, all channels alike, then their mean; perceptual distance "
    "over all maps of the feature net, unit vectors, channels alike; entropy coding of the other real images' codes by frequencies of the "
    "reference's",
}


def of_pipeline(name: str, pipe: Pipeline, settings: dict[str, Any]) -> dict[str, Any]:
    """The pipeline, and how it draws."""
    return {
        "pipeline": str(name), "pipeline_sha256": checksum(find(name)), "sampler": pipe.settings(**settings).to_json(),
        "precision": pipe.precision,
    }  # fmt: skip


def of_tokenizer(name: str, alone: TokenizerAlone) -> dict[str, Any]:
    """The tokenizer, and the size of images."""
    spec = alone.tokenizer.spec
    about = {"tokenizer": str(name), "tokenizer_sha256": alone.checksum, "kind": type(spec).__name__, "codes": described(spec.radix)}
    factor = alone.tokenizer.factor
    grid = list(spec.grid) if factor is None else [side // factor for side in alone.image_size]
    return {**about, "size": list(alone.image_size), "channels": alone.channels, "grid": grid, "precision": "float32"}


def of_images(real: RealImages, space: FeatureSpace, against: str, beside: str) -> dict[str, Any]:
    """The feature network and the real images, by name and fingerprint."""
    prints = real.reference.fingerprint(), real.beside.fingerprint()
    return {
        "net": {**space.about(), "has_seen_these_images": space.about()["trained_on"] in prints},
        "reference": {"data": against, "fingerprint": prints[0]},
        "other_real": {"data": beside or f"{against}, the other half", "fingerprint": prints[1]},
    }


def of_machine(device: str) -> dict[str, Any]:
    """The device and versions, on which the last digits of figures may depend."""
    return {
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else torch.device(device).type,
        "processor": torch.backends.cpu.get_cpu_capability(), "neighbours": NEIGHBOURS,
        "versions": {name: version(name) for name in ("torch", "numpy", "torchmetrics")} | {"python": platform.python_version()},
    }  # fmt: skip


def heading(found: dict[str, Any]) -> list[str]:
    """What was measured against what, for a tokenizer alone, whose figures stand beside those of others."""
    if "tokenizer" not in found:
        return []
    grid, size = " x ".join(map(str, found["grid"])), " x ".join(map(str, reversed(found["size"])))
    counts, data = found["counts"], found["reference"]["data"]
    return [
        plain(f"{found['tokenizer']}: {found['codes']}, {grid} places, images of {size} pixels"),
        plain(f"against {data}: {counts['reference']:,} images, {counts['other_real']:,} others; feature net {found['net']['name']}"),
    ]


def notes(found: dict[str, Any]) -> list[str]:
    """Notes on figures that mean less than they seem to."""
    counts, said = found["counts"], []
    if found["net"]["has_seen_these_images"]:
        said.append("note: the feature net was trained on some of these real images; measure against others")
    if counts.get("samples", counts["other_real"]) != counts["other_real"]:
        said.append(f"note: the floor is of {counts['other_real']} readable images, the figure of {counts['samples']} drawn ones")
    if found.get("classes") == "each as often":
        said.append("note: the real images' classes are not the pipeline's by name, so each was drawn as often, whatever theirs are")
    return said


def network(net: str, against: str) -> str:
    """The feature network asked for, or the one that ships where the images are its own."""
    if net:
        return net
    if (of := against.partition(":")[0]) in SHIPPED:
        return SHIPPED[of]
    training = f"{against}:train" if f"{against}:train" in NAMED_SETS else against
    raise ValueError(
        "net: name a feature network for these images, such as published weights of Inception-v3, or make one: "
        f"bitmosaic evaluate PIPELINE --train-features --against {training} --net features.safetensors"
    )


def trained(pipeline: str, against: str, net: str, seed: int, device: str, size: int | None = None) -> dict[str, Any]:
    """Trains a feature network on images of the pipeline's size, and writes it."""
    one_process("train-features")
    if not net:
        raise ValueError("net: name the file to write, such as --net features.safetensors")
    if Path(net).exists():
        raise ValueError(f"net: {net} is there, so it stays; name a new file")
    pipe = tokenizer_alone(pipeline, device, size) or load(pipeline, device)
    against = against or f"{own_test_set(pipe.image_size, pipe.channels)}:train"
    whole = real_images(against, pipe.image_size, pipe.channels)
    tell_used(whole.told())
    images, test = train_and_test(whole, against)
    right = train_features(images, test, protocol(images, seed), Path(net), device, whole)
    print(plain(f"{net}: {100 * right:.2f} % of {len(test):,} other images; trained on {len(images):,}"))
    return {"net": net, "test_accuracy": right, "trained_on": len(images), "tested_on": len(test)}


def own_device(device: str) -> str:
    """The GPU of this process, where torchrun has started several and "cuda" is asked for."""
    check_device(device)
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device
