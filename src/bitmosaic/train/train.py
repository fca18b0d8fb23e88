"""From images to a finished pipeline: the stages of a Run, each resumed or skipped as its folder says.

    out/run.json  features.safetensors  tokenizer/  codes/  prior/  pipeline/  curves-*.png  tensorboard/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from bitmosaic.codec import StaticCoder
from bitmosaic.evaluate.curves import curves, read_metrics
from bitmosaic.evaluate.reconstruction import reconstruction_report
from bitmosaic.folders import load_part, read_json, save_part, write_json, written_beside
from bitmosaic.images import Batches, ImageSet, epoch_order, grid, in_order, sheet
from bitmosaic.images.specs import CodesSpec, FolderSpec
from bitmosaic.images.views import VIEWS
from bitmosaic.nets.feature_net import load_feature_net, save_feature_net
from bitmosaic.pipeline import Pipeline
from bitmosaic.priors.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.spec import Spec
from bitmosaic.threads import share_processors
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder, BinaryAutoencoderSpec
from bitmosaic.train.board import Board, check_tensorboard
from bitmosaic.train.classifier_game import ClassifierGame
from bitmosaic.train.code_store import CodeBatches, CodeStore, images_at_once, write_codes
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.processes import first, in_turn, joined, own_device, size, wait
from bitmosaic.train.run import FileFeatures, Run, TrainedFeatures
from bitmosaic.train.shuffle import Shuffle
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.tokenized import Manifest
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training


def train(
    run: Run, out: str | Path, say: Callable[[str], None] = tqdm.write, device: str | None = None, tensorboard: bool = False
) -> Pipeline:  # fmt: skip
    """Trains `run` in the folder `out` and returns its pipeline. The same call again goes on where it was.

    `device` None: the first GPU where there is one, else the CPU. Where torchrun has started several processes they share the work, each
    with a GPU of its own. `tensorboard`: metrics go into `out`/tensorboard too. ValueError where `out` holds another run, or where its
    images have changed.
    """
    share_processors()
    out, device = Path(out), device or own_device()
    if tensorboard:
        check_tensorboard()
    with joined(device):
        return _train(run, out, say if first() else str, device, out / "tensorboard" if tensorboard else None)


def _train(run: Run, out: Path, say: Callable[[str], object], device: str, board: Path | None) -> Pipeline:
    if isinstance(run.images, CodesSpec):
        return _train_on_codes(run, run.images, out, say, device, board)
    images = run.images.build()
    for line in images.told():
        if line not in run.reasons:  # which have been shown
            say(line)
    check_fits(run, images, out)
    if isinstance(run.features, FileFeatures):
        check_features(run.features.path, images)  # a wrong file is told before anything is written
    with in_turn():
        run = cut(run, out)
        claim(out, run, images)
    say(f"{run.name}: {len(images)} images of {images.size[0]} x {images.size[1]}, {len(images.class_names) or 'no'} classes -> {out}")
    copy_metrics(out, board)
    features = features_stage(run, out, images, say, device, board)
    tokenizer = tokenizer_stage(run, out, images, features, say, device, board)
    store = codes_stage(run, out, images, tokenizer, say)
    return prior_stage(run, out, images.class_names, tokenizer, store, say, device, board=board)


def _train_on_codes(run: Run, source: CodesSpec, out: Path, say: Callable[[str], object], device: str, board: Path | None) -> Pipeline:
    """The prior alone, on codes whose every file is read once against its checksum, by the first process, at each start."""
    codes = Manifest.read(source.path)
    check_codes(run, codes)
    with in_turn():
        if first():
            codes.verify()
        run = cut(run, out)
        claim(out, run, codes)
    views = VIEWS[codes.about["views"]]
    say(f"{run.name}: codes of {len(codes.store()):,} images x {views}, {len(codes.class_names) or 'no'} classes -> {out}")
    copy_metrics(out, board)
    tokenizer = load_part(codes.folder / "tokenizer", BinaryAutoencoder).to(device)
    if tokenizer.spec != run.tokenizer:
        raise ValueError(f"tokenizer: the one that made {codes.folder} has other sizes; leave its fields as they are")
    return prior_stage(run, out, codes.class_names, tokenizer, codes.store(), say, device, Shuffle, board)


def copy_metrics(out: Path, board: Path | None) -> None:
    """What is known of the stages, those that have ended too, for TensorBoard."""
    if board is not None and first():
        for rows in sorted(out.glob("*/metrics.jsonl")):
            Board(board / rows.parent.name, read_metrics(rows)).close()


def check_codes(run: Run, codes: Manifest) -> None:
    """ValueError where codes do not fit the run's prior."""
    if not codes.about["images"]:
        raise ValueError(f"codes: {codes.folder} holds no image; its manifest.json says what was wrong with those there were")
    if (run.prior.grid, run.prior.bits) != (codes.grid, codes.bits):
        raise ValueError(f"codes: {codes.grid} places of {codes.bits} bits; the prior wants {run.prior.grid} of {run.prior.bits}")
    wanted = getattr(run.prior.condition, "classes", 0)
    if wanted not in (0, len(codes.class_names)):
        raise ValueError(f"prior.condition.classes: got {wanted}, but the codes have {len(codes.class_names)} classes")


def on_codes(run: Run, folder: str | Path) -> Run:
    """A run that trains its prior alone, on codes that 'bitmosaic tokenize' made, with the prior's grid, bits and classes as these have."""
    codes = Manifest.read(folder)
    tokenizer = Spec.from_json(read_json(codes.folder / "tokenizer" / "config.json"), f"{codes.folder / 'tokenizer' / 'config.json'}")
    if not isinstance(tokenizer, BinaryAutoencoderSpec):
        raise ValueError(f"codes: made by a {type(tokenizer).__name__}; runs know binary autoencoders")
    if (tokenizer.grid, tokenizer.bits) != (codes.grid, codes.bits):
        raise ValueError(f"codes: {codes.folder} says {codes.grid} places of {codes.bits} bits, its tokenizer makes others")
    count = len(codes.class_names)
    has = getattr(run.prior.condition, "classes", 0)
    condition = run.prior.condition if has == count else ClassConditionSpec(count) if count else NoConditionSpec()
    unguided = {"guidance_scale": 1.0} if not count and hasattr(run.sampler, "guidance_scale") else {}
    return dataclasses.replace(
        run, images=CodesSpec(str(folder)), features=None, tokenizer=tokenizer, tokenizer_losses=TokenizerLosses(),
        flip=False, code_draws=VIEWS[codes.about["views"]], sampler=dataclasses.replace(run.sampler, **unguided),
        prior=dataclasses.replace(run.prior, grid=codes.grid, bits=codes.bits, condition=condition),
        reasons=(*run.reasons, f"the prior alone, on codes in {folder}: its grid, bits and classes are theirs"),
    )  # fmt: skip


def cut(run: Run, out: Path) -> Run:
    """The run with batches cut into parts that the processes can share: as it began in `out`, or as many as there are processes."""
    found = read_json(out / "run.json") if (out / "run.json").is_file() else {}
    held = found.get("run") if isinstance(found, dict) else None
    held = held if isinstance(held, dict) else {}

    def parted(training: Training, before: Any) -> Training:
        began = before.get("parts") if isinstance(before, dict) else None
        if training.parts > 1:  # as asked for
            return training
        return dataclasses.replace(training, parts=began if isinstance(began, int) and began > 0 and began % size() == 0 else size())

    names = ("tokenizer_training", "prior_training")
    changed: dict[str, Any] = {name: parted(getattr(run, name), held.get(name)) for name in names}
    if isinstance(run.features, TrainedFeatures):
        before = held.get("features")
        training = parted(run.features.training, before.get("training") if isinstance(before, dict) else None)
        changed["features"] = dataclasses.replace(run.features, training=training)
    return dataclasses.replace(run, **changed)


def check_fits(run: Run, images: ImageSet, out: Path) -> None:
    """ValueError where the images do not fit the run's parts, or where the run would write among its own images."""
    spec, classes = run.tokenizer, len(images.class_names)
    if tuple(images.size) != tuple(spec.image_size) or images.channels != spec.channels:
        raise ValueError(
            f"images of {images.size} with {images.channels} channels do not fit a tokenizer of {spec.image_size} with {spec.channels}"
        )
    wanted = getattr(run.prior.condition, "classes", 0)
    if wanted not in (0, classes):
        raise ValueError(f"prior.condition.classes: got {wanted}, but the images have {classes} classes")
    if isinstance(run.features, TrainedFeatures) and (run.features.net.classes, run.features.net.channels) != (classes, images.channels):
        raise ValueError(f"features.net: needs {classes} classes and {images.channels} channels, as the images have")
    discriminator = run.tokenizer_losses.discriminator
    if discriminator is not None and discriminator.channels != images.channels:
        raise ValueError(f"discriminator.channels: got {discriminator.channels}, but the images have {images.channels}")
    if isinstance(run.images, FolderSpec):
        data = Path(run.images.path).expanduser().resolve()
        if data in (out.resolve(), *out.resolve().parents):
            raise ValueError(f"out: {out} lies inside the images in {data}, whose pictures it would become; give another folder")


def check_features(path: str, images: ImageSet) -> None:
    """ValueError unless the network in a file gives feature maps of such images."""
    net, blank = load_feature_net(path), torch.zeros(1, images.channels, *images.size)
    try:
        with torch.inference_mode():
            maps = net.maps(blank)
        fits = all(isinstance(m, torch.Tensor) and m.ndim == 4 and len(m) == 1 for m in maps)
    except Exception as error:
        why = " ".join(f"{error}".split())[:200]
        raise ValueError(f"feature net {path}: fails on images of {tuple(blank.shape[1:])} ({type(error).__name__}: {why})") from error
    if not fits:
        raise ValueError(f"feature net {path}: want a list of feature maps (b, c, h, w) of images (b, {images.channels}, h, w)")


def claim(out: Path, run: Run, images: ImageSet | Manifest) -> None:
    """Writes `out/run.json`, or checks that what is there is this run on these images."""
    wanted = {"run": run.to_json(), "images": images.fingerprint()}
    path = out / "run.json"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        if any(not p.name.startswith(".") for p in out.iterdir()):
            raise ValueError(f"{out} holds files but no run.json; give an empty or new folder for the run")
        write_json(path, wanted)
        return
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no description of a run; give another folder")
    different = list(differences(found.get("run"), wanted["run"], "run"))
    if different:
        raise ValueError(f"{out} holds another run ({'; '.join(different[:4])}); give the same settings, or another folder")
    if found.get("images") != wanted["images"]:
        raise ValueError(f"the images have changed since the run in {out} began; put them back, or give another folder")


def differences(found, wanted, where: str) -> Iterator[str]:
    """A line for each field of two descriptions that differs, reasons aside: "run.prior.depth was 4, now 8"."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if key != "reasons":
                yield from differences(found.get(key), wanted.get(key), f"{where}.{key}")
    elif found != wanted:
        yield f"{where} was {found!r}, now {wanted!r}"


def features_stage(run: Run, out: Path, images: ImageSet, say, device: str, board: Path | None = None) -> nn.Module | None:
    """The run's feature network: trained now, from its file, or None where it has none."""
    if run.features is None:
        return None
    if isinstance(run.features, FileFeatures):
        return load_feature_net(run.features.path).to(device)
    path = out / "features.safetensors"
    if not path.exists():
        training = run.features.training
        torch.manual_seed(training.seed)  # weights only; every other draw has its own generator
        game = ClassifierGame(run.features.net.build())
        batches = Batches(images, training.part_size, training.seed, run.flip)
        state = play_stage(out / "features", "features", game, batches, training, None, images, device, board)
        if first():
            curves(out / "features" / "metrics.jsonl", out / "curves-features.png", f"{run.name}: feature network")
            save_feature_net(averaged(state, "classifier"), path)
            say(f"features: {path}")
        wait()
    return load_feature_net(path).to(device)


def tokenizer_stage(
    run: Run, out: Path, images: ImageSet, features: nn.Module | None, say, device: str, board: Path | None = None
) -> BinaryAutoencoder:
    """The run's tokenizer, trained now unless it is there."""
    folder = out / "tokenizer" / "final"
    if not folder.exists():
        training = run.tokenizer_training
        torch.manual_seed(training.seed)
        game = TokenizerGame(run.tokenizer.build(), run.tokenizer_losses, features)
        if training.compile:
            game.compile()
        batches = Batches(images, training.part_size, training.seed, run.flip)
        shown = _some(images, 32).to(device)

        def pictures(averages: dict[str, nn.Module]) -> Image.Image:
            return reconstructions(averages["tokenizer"], shown)

        state = play_stage(out / "tokenizer", "tokenizer", game, batches, training, pictures, images, device, board)
        if first():
            keep_tokenizer(run, out, averaged(state, "tokenizer"), images, say)
        wait()
    return load_part(folder, BinaryAutoencoder).to(device)


def keep_tokenizer(run: Run, out: Path, tokenizer: BinaryAutoencoder, images: ImageSet, say) -> None:
    """Measures and writes a tokenizer that has been trained."""
    with tqdm(total=min(5000, len(images)), desc="report", unit="image", dynamic_ncols=True) as bar:
        report = reconstruction_report(tokenizer, images, images_at_once(images.size), limit=5000, on_batch=bar.update)
    say(report.text())
    curves(out / "tokenizer" / "metrics.jsonl", out / "curves-tokenizer.png", f"{run.name}: tokenizer")
    write_json(out / "tokenizer" / "report.json", report.to_json())
    with written_beside(out / "tokenizer" / "final") as beside:
        save_part(tokenizer, run.tokenizer, beside)


def codes_stage(run: Run, out: Path, images: ImageSet, tokenizer: BinaryAutoencoder, say) -> CodeStore:
    """The codes of all images, computed now unless they are there."""
    folder = out / "codes"
    if first() and not folder.exists():
        with tqdm(total=len(images), desc="codes", unit="image", dynamic_ncols=True) as bar:
            for done in write_codes(tokenizer, images, folder, run.code_draws, run.flip, run.prior_training.seed):
                bar.update(done - bar.n)
        if images.unreadable:
            say(f"codes: {images.unreadable_summary()}")
    wait()
    return CodeStore.of_run(folder)


def prior_stage(
    run: Run, out: Path, class_names: Sequence[str], tokenizer: BinaryAutoencoder, store: CodeStore, say, device: str,
    order: Callable[[int, int, int], Any] = epoch_order, board: Path | None = None,
) -> Pipeline:  # fmt: skip
    """The run's pipeline; its prior is trained now, on the codes in this order (see `CodeBatches`), unless it is there."""
    folder = out / "pipeline"
    if not folder.exists():
        training = run.prior_training
        torch.manual_seed(training.seed)
        with torch.device("cpu" if first() or not training.sharded else "meta"):
            game = PriorGame(run.prior.build(), run.class_dropout)
        if training.recompute:
            game.recompute()
        if training.compile:
            game.compile()

        def pipeline(prior: nn.Module) -> Pipeline:
            names = class_names if getattr(run.prior.condition, "classes", 0) else ()  # a prior may leave the classes aside
            return Pipeline(tokenizer, prior.to(device), run.sampler, names)

        def pictures(averages: dict[str, nn.Module]) -> Image.Image:
            return class_sheet(pipeline(averages["prior"]), 4)

        batches = CodeBatches(store, training.part_size, training.seed, order)
        state = play_stage(out / "prior", "prior", game, batches, training, pictures, device=device, board=board)
        prior = averaged(state, "prior")
        if first():
            curves(out / "prior" / "metrics.jsonl", out / "curves-prior.png", f"{run.name}: prior")
            made = pipeline(prior)
            made.static = StaticCoder.fit(store.all())
            made.save_pretrained(folder)
            say(f"pipeline: {folder}")
        wait()
    return Pipeline.from_pretrained(folder)


def _some(images: ImageSet, count: int) -> torch.Tensor:
    """Some readable images of a set, spread over it, (n, C, H, W) in [0, 1]."""
    spread = sorted({i * len(images) // count for i in range(count)})
    readable = [x for x in (images.image(i) for i in spread) if x is not None]
    return (torch.stack(readable) if readable else next(in_order(images, count)).images).float() / 255


def reconstructions(tokenizer: BinaryAutoencoder, images: torch.Tensor) -> Image.Image:
    """Each image above its reconstruction, eight to a row; images (n, C, H, W) in [0, 1]."""
    with torch.inference_mode():
        made = tokenizer.decode(tokenizer.encode(images)).cpu()
    images = images.cpu()
    rows = []
    for start in range(0, len(images), 8):
        for part in (images[start : start + 8], made[start : start + 8]):
            blank = torch.ones(8 - len(part), *part.shape[1:]) if len(part) < 8 else part[:0]
            rows.append(torch.cat([part, blank]))
    return grid(torch.cat(rows), 8, scale=enlargement(images.shape[-1]))


def class_sheet(pipeline: Pipeline, columns: int, seed: int = 0, title: str | None = None, **settings) -> Image.Image:
    """`columns` samples of every class (of the first twenty), a row each; without classes, eight rows of samples."""
    names = list(pipeline.class_names[:20])
    conditions = [c for c in (range(len(names)) if names else [None] * 8) for _ in range(columns)]
    images = pipeline(conditions, seeds=[seed + i % columns for i in range(len(conditions))], output_type="pt", **settings)
    rows = images.unflatten(0, (-1, columns))
    return sheet(rows, names or [""] * len(rows), scale=enlargement(images.shape[-1]), title=title)


def enlargement(side: int) -> int:
    """How many times an image of this side is enlarged to be looked at."""
    return max(1, 64 // side)
