"""The comparison of all quantizers, at equal bits and at equal places: what is kept, what codes cost, and what a prior makes of them.

It repeats no claim of one paper; perturbed codes are an idea of Qiu et al. (arXiv 2509.12474), and `measures` says where we differ.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bitmosaic.codes import described
from bitmosaic.evaluate.code_use import entropy_coded
from bitmosaic.evaluate.evaluation import evaluate_tokenizer
from bitmosaic.evaluate.real import RealImages
from bitmosaic.evaluate.space import FeatureSpace
from bitmosaic.pipelines import CodesPipeline
from bitmosaic.systems.base import Claim, Results, Task, Verdict
from bitmosaic.systems.judge import Judge
from bitmosaic.systems.pictures import keep_row, picture_of
from bitmosaic.systems.prior_trials import samplings
from bitmosaic.systems.tokenizers import measures, tables
from bitmosaic.systems.tokenizers import trial as settings
from bitmosaic.systems.tokenizers.measures import codes_of, images_of
from bitmosaic.systems.tokenizers.sources import SOURCES, Images
from bitmosaic.systems.tokenizers.trial import EQUAL, MANY, SAMPLERS, Trial, quantizer, run_of, trials
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.tokenizers.vectors import VectorTokenizer
from bitmosaic.train.claim import claim
from bitmosaic.train.stages import Job, play_all
from bitmosaic.train.train import check_fits

SAMPLES = 600
TIMED = 12  # steps of training whose time is taken
SEARCHED, CODED = 2000, 200  # test images among which neighbours are looked for, and whose codes the prior codes
BASELINE = "bernoulli"  # of step times
FEW = 2**16  # values of a place that could all be seen


class Arena(Claim):
    """Every quantizer in one tokenizer."""

    said = (
        "Tables of papers differ in networks, data, crops and metrics. SimVQ's README has the widest that holds the networks alike, "
        "ImageNet at 128 pixels with 65,536 codewords: rFID 3.74 for VQGAN's nearest codeword, of which 1.4 % are used, 2.88 for LFQ, 2.80 "
        "for FSQ, 2.40 for VQGAN-LC and 2.24 for SimVQ. It does not say what codes cost after entropy coding, nor what a prior of one size "
        "makes of them."
    )
    tested = (
        f"One encoder and decoder (VQGAN's, 16 channels and up) for each data set: Fashion-MNIST to 7 x 7 places, and landscapes, 64 x 64 "
        f"in colour, to 8 x 8. {settings.TOKENIZER_STEPS:,} steps by Muon of L1, squared and perceptual error and the scheme's own loss, "
        f"no adversary; codewords are {settings.WIDTH} wide. At equal bits a place is about {EQUAL} bits for every scheme; at equal places "
        f"those schemes that hold more take {MANY}. The same masked prior for all (four blocks of 128, {settings.PRIOR_STEPS:,} steps of "
        f"{settings.PRIOR_BATCH}) draws {SAMPLES:,} images in {settings.ROUNDS} rounds, at the best of three temperatures. Images are "
        "measured in the space of a classifier that no tokenizer was trained with: Frechet distances of that space, not FID."
    )
    trials = tuple(trial.name for trial in trials())
    seeds = 3

    def measure(self, task: Task, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        trial = Trial.named(task.trial)
        source, images = trial.source, trial.source.images(task)
        teacher, space = source.teacher(task, images), source.judge(task, images)
        run = trial.run(task)
        check_fits(run, images.taught, task.own)
        claim(task.own, run, images.taught)
        made = {"features": teacher}
        made |= play_all(run.stages[1:2], Job(run, task.own, images.taught, made=made))
        tokenizer = made["tokenizer"]
        if "psnr" not in known:
            yield kept(task, tokenizer, images, space)
        if "step_time" not in known:
            baseline = run_of(source, quantizer(BASELINE, trial.bits), task)
            yield {"step_time": measures.relative_step_time(run, baseline, teacher, images.taught, task.some(TIMED))}
        pipe = play_all(run.stages[2:], Job(run, task.own, images.taught, made=made))["pipeline"]
        if "prior_bits" not in known:
            yield coded(task, pipe, images)
        judge, found = Judge(space, task.some(SAMPLES, 10), images.taught, images.others), dict(known)
        for more in samplings(task, known, pipe, judge, SAMPLERS):
            found |= more
            yield more
        best = min(found["samplings"], key=lambda name: found["samplings"][name]["frechet"])
        yield {"drawn": found["samplings"][best]["frechet"], "drawn_at": best, "drawn_floor": judge.floor}

    def verdict(self, results: Results) -> Verdict:
        every = [(source, bits) for source in SOURCES.values() for bits in (EQUAL, MANY)]
        return Verdict(None, " ".join(tables.summary(tables.of_table(results, *one), *one) for one in every))

    def sections(self, results: Results, out: Path) -> list[str]:
        parts = [tables.LEGEND]
        for source in SOURCES.values():
            for bits in (EQUAL, MANY):
                parts += [tables.titled(source, bits), tables.markdown(tables.of_table(results, source, bits))]
            names = [trial.name for trial in trials() if trial.source is source]
            alt = f"{source.about}: the same test images, and what each scheme keeps of them"
            parts += picture_of(out, f"tokenizers-{source.name}.png", names, alt, {"given": source.shown.float() / 255})
        return parts


def kept(task: Task, tokenizer: Tokenizer, images: Images, space: FeatureSpace) -> dict[str, Any]:
    """Figures of reconstruction and of codes; test images are halved: one half is the reference, the other is held against it."""
    assert isinstance(tokenizer, VectorTokenizer) and images.test.labels is not None
    rows = torch.randperm(len(images.test), generator=torch.Generator().manual_seed(0))
    reference, others = rows.tensor_split(2)
    found = evaluate_tokenizer(tokenizer, RealImages(images.test, reference, images.test, others), space)[0]["reconstruction"]
    distance = found["reconstruction_frechet_distance_of_others"]
    place, digits = found["use"]["place"], found["use"]["digits"]
    many = place["values"] is None or place["values"] > FEW
    used = [n / r for n, r in zip(digits["used"], digits["values"], strict=True)] if many else [place["used"] / place["values"]]
    few = others[: task.some(SEARCHED, 30)]
    codes = codes_of(tokenizer, images.test.pixels[others])
    keep_row(task, images_of(tokenizer, codes_of(tokenizer, Trial.named(task.trial).source.shown)).float() / 255)
    return {
        "place": described(tokenizer.radix), "bits": found["bits_per_image"], "used": statistics.mean(used),
        "perplexity": place["perplexity"], "psnr": found["psnr"], "ssim": found["ssim"], "perceptual": found["perceptual_distance"],
        "frechet": distance["value"], "frechet_floor": distance["floor"],
        "perturbed": measures.frechet(space, images_of(tokenizer, measures.perturbed(codes)), images.test.pixels[reference]),
        "search": measures.same_class(measures.code_vectors(tokenizer, codes[: len(few)]), images.test.labels[few]),
        "search_by_pixels": measures.same_class(images.test.pixels[few], images.test.labels[few]),
    }  # fmt: skip


def coded(task: Task, pipe: CodesPipeline, images: Images) -> dict[str, Any]:
    """Bits an image after entropy coding of test images, by frequencies of the codes of training images, and by the prior."""
    codes, others = (codes_of(pipe.tokenizer, some.pixels) for some in (images.test, images.others))
    few = codes[: task.some(CODED, 4)]
    return {"static_bits": entropy_coded(codes, others)["bits_per_image"], "prior_bits": measures.prior_bits(pipe, few)}


CLAIM = Arena()
