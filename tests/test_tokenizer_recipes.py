"""Recipes of published tokenizers: each has its paper's losses, a prior that fits, and trains to a pipeline by the ordinary command."""

import json
import sys

import pytest
import torch

from bitmosaic import recipes
from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.nets.feature_net import ConvClassifierSpec, save_feature_net
from bitmosaic.pipelines import Pipeline
from bitmosaic.quantizers import BSQSpec, FactorizedSpec, FrozenFeaturesSpec, IBQSpec, LFQSpec
from bitmosaic.systems.bigr.folder import folder
from bitmosaic.train.run import flat

PAPERS = {  # the quantizer and losses in which each differs from the recipe `folder`
    "bsq": (BSQSpec, {"generator_loss": "logistic", "discriminator_loss": "logistic", "balance": "constant", "adversarial_start": 0}),
    "fqgan": (FactorizedSpec, {"l1_weight": 0.0, "squared_weight": 4.0, "balance": "constant", "generator_loss": "hinge"}),
    "ibq": (IBQSpec, {"generator_loss": "non-saturating", "discriminator_loss": "hinge", "lecam_weight": 0.05, "balance": "constant"}),
    "open_magvit2": (LFQSpec, {"generator_loss": "non-saturating", "lecam_weight": 0.05, "adversarial_weight": 0.1}),
    "vqgan_lc": (FrozenFeaturesSpec, {"balance": "adaptive", "adaptive_limit": 1e4, "generator_loss": "hinge", "lecam_weight": 0.0}),
}
QUICK = (
    "--size 32 --tokenizer.width 8 --tokenizer.multipliers 1 1 1 --tokenizer-training.batch-size 4 --tokenizer-training.steps 3 "
    "--tokenizer-losses.discriminator.width 4 --tokenizer-losses.adversarial-start 1 --prior.depth 1 --prior.width 32 --prior.heads 2 "
    "--prior-training.batch-size 2 --prior-training.steps 2"
).split()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    for i in range(12):
        (place / "ab"[i % 2]).mkdir(exist_ok=True)
        to_pil(fashion_sample().image(i)).resize((32, 32)).save(place / "ab"[i % 2] / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    save_feature_net(ConvClassifierSpec(1, 2, (8, 16)).build().eval(), path)
    return str(path)


@pytest.fixture(autouse=True)
def a_discriminator_of_few_images(monkeypatch):
    monkeypatch.setattr(sys.modules[folder.__module__], "FOR_PATCHGAN", 1)


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_has_the_losses_of_its_paper(photos, net, name):
    run = getattr(recipes, name)(str(photos), 32, perceptual=net)
    quantizer, losses = PAPERS[name]
    assert run.name == name.replace("_", "-") and type(run.tokenizer.quantizer) is quantizer
    assert {field: getattr(run.tokenizer_losses, field) for field in losses} == losses and run.tokenizer_losses.discriminator
    assert run.tokenizer.radix == run.prior.radix and run.prior.build().family in run.sampler.build().families
    assert flat(run.to_json()) and all(run.reasons)


@pytest.mark.parametrize("books", [2, 3])
def test_fqgan_holds_all_books_but_the_first_to_the_network(photos, net, books):
    run = recipes.fqgan(str(photos), 32, books=books, codewords=64, perceptual=net)
    held = [(spec.book, spec.level, spec.width, spec.weight) for spec in run.tokenizer_losses.representation]
    assert held == {2: [(1, -1, 16, 0.5)], 3: [(1, -2, 8, 0.5), (2, -1, 16, 0.5)]}[books]
    assert run.tokenizer.radix == (64,) * books and any("representation loss of codebook 2" in line for line in run.reasons)
    free = recipes.fqgan(str(photos), 32, books=books)
    assert not free.tokenizer_losses.representation and any(line.startswith("no representation loss") for line in free.reasons)
    with pytest.raises(ValueError, match="books: got 1; want at least 2"):
        recipes.fqgan(str(photos), 32, books=1)


@pytest.mark.parametrize("name", ["fqgan", "open-magvit2"])
def test_a_recipe_trains_to_a_pipeline(photos, net, tmp_path, capsys, name):
    own = ["--codewords", "16"] if name == "fqgan" else ["--bits", "4"]
    line = ["train", name, "--data", str(photos), "--perceptual", net, *own, "--out", str(tmp_path / "run"), *QUICK]
    assert main(line) == 0, capsys.readouterr().err
    pipe = Pipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert pipe(0, [1, 2], output_type="pt").isfinite().all()
    rows = [json.loads(row) for row in (tmp_path / "run" / "tokenizer" / "metrics.jsonl").read_text().splitlines()]
    wanted = {"fqgan": {"representation", "heads", "adversarial"}, "open-magvit2": {"lecam", "adversarial"}}[name]
    assert wanted <= rows[-1].keys()
