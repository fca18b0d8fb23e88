"""From images to a finished pipeline: the stages of a Run, each resumed or skipped as its folder says.

    out/run.json  features.safetensors  tokenizer/  codes/  prior/  pipeline/  curves-*.png  tensorboard/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from bitmosaic.codec import ONE, SCALE_IMAGES, PriorCoder, StaticCoder
from bitmosaic.codes import described
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec, TextConditionSpec
from bitmosaic.conditions.text import SMALL
from bitmosaic.evaluate.curves import read_metrics
from bitmosaic.evaluate.reconstruction import reconstruction_report
from bitmosaic.folders import load_part, read_json, save_part, write_json, written_beside
from bitmosaic.images import Batches, ImageSet, ImagesGone, background_of, epoch_order, in_order, to_uint8
from bitmosaic.images.specs import CodesSpec
from bitmosaic.images.views import VIEWS
from bitmosaic.names import plain
from bitmosaic.nets.feature_net import load_feature_net, save_feature_net
from bitmosaic.pipelines import Pipeline
from bitmosaic.spec import Spec
from bitmosaic.threads import share_processors
from bitmosaic.tokenizers import Tokenizer, TokenizerSpec
from bitmosaic.train.alone import alone
from bitmosaic.train.board import Board, check_tensorboard
from bitmosaic.train.claim import check_free, claim
from bitmosaic.train.classifier_game import ClassifierGame
from bitmosaic.train.code_store import CodeBatches, CodeStore, images_at_once, write_codes
from bitmosaic.train.fits import check_codes, check_features, check_fits
from bitmosaic.train.pictures import class_sheet, draw_curves, reconstructions
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.processes import by_first, first, joined, own_device, told
from bitmosaic.train.progress import Shown
from bitmosaic.train.run import FileFeatures, Run, retold
from bitmosaic.train.sealed import CHECKSUMS, check, checksum, seal
from bitmosaic.train.shuffle import Shuffle
from bitmosaic.train.sound import check_codes_seal, check_decodes, check_features_seal, check_made, check_pipeline
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.tokenized import Manifest
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses

BACKGROUND_IMAGES = 64  # that are looked at for their background


def train(
    run: Run, out: str | Path, say: Callable[[str], None] = tqdm.write, device: str | None = None, tensorboard: bool = False
) -> Pipeline:  # fmt: skip
    """Trains `run` in the folder `out` and returns its pipeline. The same call again goes on where it was.

    `device` None: the first GPU where there is one, else the CPU. Where torchrun has started several processes they share the work, each
    with a GPU of its own. `tensorboard`: metrics go into `out`/tensorboard too. ValueError where `out` holds another run, where another
    training is going on in it, and where its images have changed or are gone.
    """
    share_processors()
    out, device = Path(out), device or own_device()
    if tensorboard:
        check_tensorboard()
    with joined(device):
        try:
            return _train(run, out, say if first() else str, device, out / "tensorboard" if tensorboard else None)
        except ImagesGone as error:
            raise ValueError(f"{error}; nothing was learned without them: once they are back, the same command goes on") from error


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
    check_free(out)
    with alone(out):
        run = by_first(lambda: claim(out, run, images, say, device))
        about = f"{len(images)} images of {images.size[0]} x {images.size[1]}, {len(images.class_names) or 'no'} classes"
        say(plain(f"{run.name}: {about} -> {out}"))
        copy_metrics(out, board)
        features = features_stage(run, out, images, say, device, board)
        tokenizer = tokenizer_stage(run, out, images, features, say, device, board)
        store = codes_stage(run, out, images, tokenizer, say)
        return prior_stage(run, out, images.class_names, tokenizer, store, say, device, board=board)


def _train_on_codes(run: Run, source: CodesSpec, out: Path, say: Callable[[str], object], device: str, board: Path | None) -> Pipeline:
    """The prior alone, on codes whose every file is read once against its checksum, by the first process, at each start."""
    codes = Manifest.read(source.path)
    check_codes(run, codes)
    check_free(out)
    by_first(codes.verify)
    with alone(out):
        run = by_first(lambda: claim(out, run, codes, say, device))
        views = VIEWS[codes.about["views"]]
        about = f"codes of {len(codes.store()):,} images x {views}, {len(codes.class_names) or 'no'} classes"
        say(plain(f"{run.name}: {about} -> {out}"))
        copy_metrics(out, board)
        tokenizer = load_part(codes.folder / "tokenizer", Tokenizer).to(device)
        if tokenizer.spec != run.tokenizer:
            raise ValueError(f"tokenizer: the one that made {codes.folder} has other sizes; leave its fields as they are")
        return prior_stage(run, out, codes.class_names, tokenizer, codes.store(), say, device, Shuffle, board, codes.verify)


def copy_metrics(out: Path, board: Path | None) -> None:
    """What is known of the stages, those that have ended too, for TensorBoard."""
    if board is not None and first():
        for rows in sorted(out.glob("*/metrics.jsonl")):
            Board(board / rows.parent.name, read_metrics(rows))


def on_codes(run: Run, folder: str | Path) -> Run:
    """A run that trains its prior alone, on codes that 'bitmosaic tokenize' made, with grid, digits, classes or captions as these have."""
    codes = Manifest.read(folder)
    tokenizer = Spec.from_json(read_json(codes.folder / "tokenizer" / "config.json"), f"{codes.folder / 'tokenizer' / 'config.json'}")
    if not isinstance(tokenizer, TokenizerSpec):
        raise ValueError(f"codes: made by a {type(tokenizer).__name__}, which is no tokenizer")
    if (tokenizer.grid, tokenizer.radix) != (codes.grid, codes.radix):
        raise ValueError(f"codes: {codes.folder} says {codes.grid} places, {described(codes.radix)}; its tokenizer makes others")
    count = len(codes.class_names)
    has = getattr(run.prior.condition, "classes", 0)
    if codes.captioned:
        condition = run.prior.condition if isinstance(run.prior.condition, TextConditionSpec) else SMALL
    else:
        condition = run.prior.condition if has == count else ClassConditionSpec(count) if count else NoConditionSpec()
    unguided = {"guidance_scale": 1.0} if not count and not codes.captioned and hasattr(run.sampler, "guidance_scale") else {}
    changed = dataclasses.replace(
        run, images=CodesSpec(str(folder)), features=None, tokenizer=tokenizer, tokenizer_losses=TokenizerLosses(),
        flip=False, code_draws=VIEWS[codes.about["views"]], sampler=dataclasses.replace(run.sampler, **unguided),
        prior=run.prior.on(codes.grid, codes.radix, condition),
    )  # fmt: skip
    alone = f"the prior alone, on codes in {folder}: its grid, digits and classes are theirs"
    return dataclasses.replace(changed, reasons=(*retold(run.reasons, changed), alone))


def features_stage(run: Run, out: Path, images: ImageSet, say, device: str, board: Path | None = None) -> nn.Module | None:
    """The run's feature network: trained now, from its file, or None where it has none."""
    if run.features is None:
        return None
    if isinstance(run.features, FileFeatures):
        return load_feature_net(run.features.path).to(device)
    path = out / "features.safetensors"
    if told(path.exists()):
        by_first(lambda: check_features_seal(out))
    else:
        training = run.features.training
        torch.manual_seed(training.seed)  # weights only; every other draw has its own generator
        game = ClassifierGame(run.features.net.build())
        batches = Batches(images, training.part_size, training.seed, run.flip)
        state = play_stage(out / "features", "features", game, batches, training, None, images, device, board)
        classifier = averaged(state, "classifier")
        by_first(lambda: keep_features(run, out, classifier, say))
    return load_feature_net(path).to(device)


def keep_features(run: Run, out: Path, classifier: nn.Module, say) -> None:
    """Writes a feature network that has been trained, and a checksum."""
    draw_curves(out, "features", f"{run.name}: feature network", say)
    path, sums = out / "features.safetensors", out / "features" / CHECKSUMS
    sums.unlink(missing_ok=True)  # of an earlier one
    save_feature_net(classifier, path)
    write_json(sums, {path.name: checksum(path)})
    say(plain(f"features: {path}"))


def tokenizer_stage(
    run: Run, out: Path, images: ImageSet, features: nn.Module | None, say, device: str, board: Path | None = None
) -> Tokenizer:
    """The run's tokenizer, trained now unless it is there."""
    folder = out / "tokenizer" / "final"
    if told(folder.exists()):
        by_first(lambda: check(folder, f"remove {folder}, and the same command makes it anew from the last checkpoint"))
    else:
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
        by_first(lambda: keep_tokenizer(run, out, averaged(state, "tokenizer"), images, say))
    return load_part(folder, Tokenizer).to(device)


def keep_tokenizer(run: Run, out: Path, tokenizer: Tokenizer, images: ImageSet, say) -> None:
    """Measures and writes a tokenizer that has been trained, with checksums."""
    check_decodes(tokenizer, run.tokenizer_training.steps, _some(images, 8))
    with Shown("report", min(5000, len(images)), "image") as shown:
        report = reconstruction_report(tokenizer, images, images_at_once(images.size), limit=5000, on_batch=shown.update)
    say(report.text())
    draw_curves(out, "tokenizer", f"{run.name}: tokenizer", say)
    write_json(out / "tokenizer" / "report.json", report.to_json())
    with written_beside(out / "tokenizer" / "final") as beside:
        save_part(tokenizer, run.tokenizer, beside)
        seal(beside)


def codes_stage(run: Run, out: Path, images: ImageSet, tokenizer: Tokenizer, say) -> CodeStore:
    """The codes of all images, computed now unless they are there."""
    folder = out / "codes"
    by_first(lambda: check_codes_seal(folder) if folder.exists() else make_codes(run, folder, images, tokenizer, say))
    return CodeStore.of_run(folder)


def make_codes(run: Run, folder: Path, images: ImageSet, tokenizer: Tokenizer, say) -> None:
    """Computes and writes the codes of all images; ImagesGone where some that were there are gone."""
    images.check_there()
    with Shown("codes", len(images), "image") as shown:
        for done in write_codes(tokenizer, images, folder, run.code_draws, run.flip, run.prior_training.seed):
            shown.update(done - shown.done)
    if images.unreadable:
        say(f"codes: {images.unreadable_summary()}")


def prior_stage(
    run: Run, out: Path, class_names: Sequence[str], tokenizer: Tokenizer, store: CodeStore, say, device: str,
    order: Callable[[int, int, int], Any] = epoch_order, board: Path | None = None, verify: Callable[[], object] | None = None,
) -> Pipeline:  # fmt: skip
    """The run's pipeline; its prior is trained now, on the codes in this order (see `CodeBatches`), unless it is there.

    verify: raises ValueError where the codes or the tokenizer are no longer what they were; None: those in `out` are looked at.
    """
    folder = out / "pipeline"
    if not told(folder.exists()):
        training = run.prior_training
        torch.manual_seed(training.seed)
        with torch.device("cpu" if first() or not training.sharded else "meta"):
            game = PriorGame(run.prior.build(), run.class_dropout)
        captions = store.captions()
        game.players["prior"].condition.learn(captions)
        if training.recompute:
            game.recompute()
        if training.compile:
            game.compile()

        def pipeline(prior: nn.Module) -> Pipeline:
            names = class_names if getattr(run.prior.condition, "classes", 0) else ()  # a prior may leave the classes aside
            return Pipeline(tokenizer, prior.to(device), run.sampler, names)

        def pictures(averages: dict[str, nn.Module]) -> Image.Image:
            return class_sheet(pipeline(averages["prior"]), 4, prompts=captions[:: max(1, len(captions) // 8)][:8])

        batches = CodeBatches(store, training.part_size, training.seed, order)
        state = play_stage(out / "prior", "prior", game, batches, training, pictures, device=device, board=board)
        prior = averaged(state, "prior")

        def finish() -> None:
            (verify or partial(check_made, out))()
            made = pipeline(prior)
            check_pipeline(made, training.steps, store)
            draw_curves(out, "prior", f"{run.name}: prior", say)
            made.background = background_of(to_uint8(made.decode(store.some(BACKGROUND_IMAGES), "pt")))
            made.static = StaticCoder.fit(store.all())
            if prior.family != "denoising":
                made.logit_scale = PriorCoder.fit(prior.cpu(), store.some(SCALE_IMAGES)).scale
                say(f"compress: the prior's logits times {made.logit_scale / ONE:g}, fitted to {min(SCALE_IMAGES, len(store))} images")
            made.save_pretrained(folder)
            say(plain(f"pipeline: {folder}"))

        by_first(finish)
    return Pipeline.from_pretrained(folder)


def _some(images: ImageSet, count: int) -> torch.Tensor:
    """Some readable images of a set, spread over it, (n, C, H, W) in [0, 1]."""
    spread = sorted({i * len(images) // count for i in range(count)})
    readable = [x for x in (images.image(i) for i in spread) if x is not None]
    return (torch.stack(readable) if readable else next(in_order(images, count)).images).float() / 255
