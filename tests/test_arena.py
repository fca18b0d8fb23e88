"""The arena: every scheme stands in it once, alike but for the quantizer; what it measures; one trial, stopped and resumed; its tables."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bitmosaic import systems
from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.folders import write_json
from bitmosaic.images import ArrayImages, fashion_mnist
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.quantizers.base import schemes
from bitmosaic.systems.base import Task
from bitmosaic.systems.experiment import result_path
from bitmosaic.systems.page import write_page
from bitmosaic.systems.tokenizers import measures, tables
from bitmosaic.systems.tokenizers.claim import CLAIM
from bitmosaic.systems.tokenizers.sources import SOURCES, opened
from bitmosaic.systems.tokenizers.trial import EQUAL, MANY, SCHEMES, Trial, quantizer, run_of, trials
from bitmosaic.train.muon import is_matrix

TASK = Task("", 0, Path("nowhere"))


def test_every_scheme_of_the_package_is_compared():
    ours = {name for name, kind in schemes().items() if kind.__module__.startswith("bitmosaic.quantizers.")}
    assert set(SCHEMES) == ours and len(SCHEMES) == len(ours)
    assert [Trial.named(name) for name in CLAIM.trials] == list(trials())
    assert Counter(trial.source.name for trial in trials()) == dict.fromkeys(SOURCES, len(trials()) // 2)


@pytest.mark.parametrize("trial", trials(), ids=lambda trial: trial.name)
def test_a_place_holds_about_as_many_bits_as_the_trial_says(trial):
    held = sum(map(math.log2, quantizer(trial.scheme, trial.bits).radix))
    assert abs(held - trial.bits) < 0.1 * trial.bits


def test_trials_differ_in_the_quantizer_alone():
    for source in SOURCES.values():
        runs = [run_of(source, quantizer(scheme, EQUAL), TASK) for scheme in ("bernoulli", "residual")]
        fsq = quantizer("fsq", MANY)
        same = [
            run.changed(tokenizer=replace(run.tokenizer, quantizer=fsq), prior=run.prior.on(run.prior.grid, fsq.radix, run.prior.condition))
            for run in runs
        ]
        assert runs[0] != runs[1] and same[0] == same[1]


def test_codewords_move_by_adam():
    for scheme in set(SCHEMES) - {"features"}:
        with torch.device("meta"):
            built = quantizer(scheme, EQUAL).build()
        assert not any(is_matrix(p) for p in built.parameters()), scheme


def test_perturbed_codes_take_a_tenth_of_the_places_from_another_image():
    digits = torch.arange(5)[:, None, None, None].expand(5, 5, 6, 2).contiguous()
    found = measures.perturbed(Codes(digits, (7, 7))).digits
    changed = (found != digits).all(-1)
    assert (changed.flatten(1).sum(1) == 3).all() and torch.equal(changed, (found != digits).any(-1))
    assert torch.equal(found[changed], digits.roll(1, 0)[changed].to(found.dtype))
    assert torch.equal(measures.perturbed(Codes(digits, (7, 7))).digits, found)


def test_neighbours_of_one_class():
    vectors = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert measures.same_class(vectors, labels) == pytest.approx(0.4)  # of the five others, all are looked at
    far = torch.cat([vectors[:1] + torch.arange(11)[:, None] / 100, vectors[3:4] + torch.arange(11)[:, None] / 100])
    assert measures.same_class(far, torch.arange(22) // 11) == 1.0


def test_a_step_is_timed_against_another():
    """More levels of a codebook take more time than bits; a run against itself takes as long."""
    source = SOURCES["fashion"]
    images = ArrayImages(torch.zeros(64, 1, 28, 28, dtype=torch.uint8), torch.zeros(64, dtype=torch.long), ("a",))
    teacher = ConvClassifierSpec(1, 10, (4,)).build().eval().requires_grad_(False)
    bits, levels = (run_of(source, quantizer(scheme, EQUAL), TASK) for scheme in ("bernoulli", "residual"))
    small = [run.changed(tokenizer=replace(run.tokenizer, width=8, embedding=8)) for run in (levels, bits)]
    assert 0.8 < measures.relative_step_time(*small, teacher, images, 3) < 20


def test_a_data_set_is_found_beside_another():
    asked = []

    def opens(folder):
        asked.append(folder)
        if folder is not None:
            raise ValueError(f"folder: nothing in {folder}")
        return "there"

    assert opened(opens, "photos") == "there" and asked == ["photos", None]
    with pytest.raises(ValueError, match="nothing in photos"):
        opened(lambda folder: opens(folder or "usual"), "photos")


FIGURES = {name: 2.0 for name, _ in tables.COLUMNS.values()} | {name: 1.0 for name in tables.FLOORS.values()}


def test_tables_have_a_row_for_each_scheme_and_say_the_best(tmp_path):
    source = SOURCES["fashion"]
    results = {trial.name: [] for trial in trials()}
    for scheme, psnr in (("fsq", 20.0), ("ibq", 22.5)):
        for seed in range(2):
            figures = {**FIGURES, "psnr": psnr + seed, "place": "a place", "whole": True, "seconds": 1.0, "measured_with": "this"}
            results[f"fashion {scheme} {EQUAL}"].append(figures)
            path = result_path(Task(f"fashion {scheme} {EQUAL}", seed, tmp_path))
            path.parent.mkdir(exist_ok=True)
            write_json(path, figures)
    own = tables.of_table(results, source, EQUAL)
    lines = tables.markdown(own).splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["| scheme", "| ---", "| fsq", "| ibq", "| floor"]
    assert " 20.50 ± 0.50 |" in lines[2] and "| 1 | 1 |" in lines[4]
    assert tables.summary(own, source, EQUAL).startswith("Fashion-MNIST at 10 bits a place: highest PSNR ibq (23.00 dB)")
    write_json(tmp_path / "floors.json", {})
    measured = write_page(systems.system("tokenizers"), Task("", 0, tmp_path), 2)
    assert measured["holds"] is None and measured["why"] == "Not all of it has been measured yet."
    page = (tmp_path / "tokenizers.md").read_text()
    assert "## The comparison" in page and "Claim" not in page and page.count("Not measured yet.") == 3


def test_a_comparison_claims_nothing(capsys):
    assert main(["list", "systems"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["tokenizers"])
    assert "comparison" in line and "claim" not in line


def test_trials_are_chosen_by_words(capsys, tmp_path):
    assert main(["reproduce", "tokenizers", "--out", str(tmp_path), "--trials", "fashion vqvae"]) == 2
    assert "trials: no name has the words 'fashion vqvae'" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert main(["reproduce", "tokenizers", "--out", str(tmp_path / "x"), "--trials", "fashion", "--seeds", "0"]) == 2


@pytest.mark.slow
def test_a_trial_is_resumed_where_it_was(tmp_path):
    """At a tiny scale, stopped after its first figures: these are not measured again, and the rest is as without a stop."""
    try:
        fashion_mnist()
    except ValueError as error:
        pytest.skip(str(error))
    found = []
    for name in ("whole", "stopped"):
        task, known = Task("fashion residual 10", 0, tmp_path / name, 0.002), {}
        for i, more in enumerate(CLAIM.measure(task, known)):
            known |= more
            if name == "stopped" and i == 0:
                break
        if name == "stopped":
            assert "psnr" in known and "drawn" not in known
            known |= {"psnr": 1.0}
            for more in CLAIM.measure(task, dict(known)):
                assert "psnr" not in more
                known |= more
        found.append(known)
    same = ("frechet", "perturbed", "static_bits", "prior_bits", "drawn")
    assert [found[0][one] for one in same] == [found[1][one] for one in same]
