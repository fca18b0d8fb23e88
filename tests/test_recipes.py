"""Recipes: the published sizes have the published parameter counts, a folder gets sensible sizes, every Run describes itself."""

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from reference import reference

from bitmosaic import systems
from bitmosaic.cli import main
from bitmosaic.commands.train import with_reasons
from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.convert import published_prior, published_tokenizer
from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.recipes import bigr_l, fashion, folder
from bitmosaic.samplers import DEFAULT
from bitmosaic.spec import Spec
from bitmosaic.systems.bigr.published import SIZES, published_prior_spec, published_tokenizer_spec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.dry_run import describe
from bitmosaic.train.run import flat


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("size", "bits", "millions"), [("L", 24, 336.3), ("XL", 24, 799.4), ("XXL", 24, 1480.0), ("L-512", 32, 372.7)])
def test_published_priors_have_the_published_counts(size, bits, millions):
    with torch.device("meta"):
        prior = published_prior_spec(size, bits).build()
    assert round(count(prior) / 1e6, 1) == millions


@pytest.mark.parametrize("name", ["bigr_L_d24", "bigr_XL_d24", "bigr_XXL_d24", "bigr_XXL_d32", "bigr_L_d32_512"])
def test_published_prior_layouts_convert_to_the_recipes(name):
    layout = json.loads((reference("bigr") / "published_checkpoints.json").read_text())[name]
    with torch.device("meta"):
        prior = published_prior({k: torch.empty(shape) for k, shape in layout["tensors"].items()}).build()
    size = name.split("_")[1] + ("-512" if name.endswith("512") else "")
    wanted = published_prior_spec(size, len(prior.radix))
    assert {**prior.spec.to_json(), "dropout": 0.1} == wanted.to_json()


@pytest.mark.parametrize("name", ["bae_d24", "bae_d32", "bae_d32_512"])
def test_published_tokenizer_layouts_convert_to_the_recipes(name):
    layout = json.loads((reference("bigr") / "published_checkpoints.json").read_text())[name]
    with torch.device("meta"):
        tokenizer = published_tokenizer({k: torch.empty(shape) for k, shape in layout["tensors"].items()}, layout["image_size"]).build()
    wanted = published_tokenizer_spec(len(tokenizer.radix), layout["image_size"])
    assert tokenizer.spec.attention == wanted.attention  # none at 512 px, where no level has a side of 16
    assert replace(tokenizer.spec, attention_sizes=(16,)) == wanted


@pytest.mark.parametrize("bits", [16, 20, 24, 32])
def test_published_tokenizers_make_codes_of_768_bytes_and_the_like(bits):
    with torch.device("meta"):
        codes = published_tokenizer_spec(bits).build().encode(torch.empty(1, 3, 256, 256))
    assert codes.grid == (16, 16) and codes.bits_per_image == 256 * bits


def test_sizes_are_all_named():
    with pytest.raises(ValueError, match="give one of L, XL, XXL, L-512"):
        published_prior_spec("M", 24)
    assert {"bigr-" + size.lower() for size in SIZES} <= systems.recipes().keys()


@pytest.mark.parametrize("run", [fashion(), bigr_l()], ids=lambda run: run.name)
def test_runs_survive_json(run):
    assert Spec.from_json(json.loads(json.dumps(run.to_json()))) == run


FASHION, BIGR = (fashion(), "features"), pytest.param(bigr_l(), "336,3", marks=pytest.mark.slow)


@pytest.mark.parametrize("run, own", [FASHION, BIGR], ids=["fashion", "bigr-l"])
def test_runs_describe_themselves(run, own):
    text = describe(run)
    assert all(word in text for word in ("tokenizer", "prior", "iB ", own))


def pictures(tmp_path, count, side=40, mode="RGB", classes=("a", "b")):
    sample = fashion_sample()
    for i in range(count):
        name = tmp_path / classes[i % len(classes)] if classes else tmp_path
        name.mkdir(exist_ok=True, parents=True)
        to_pil(sample.image(i)).convert(mode).resize((side, side + 10)).save(name / f"{i}.png")
    return str(tmp_path)


def test_folder_chooses_and_says_why(tmp_path):
    run = folder(pictures(tmp_path, 12))
    assert run.data.size == (32, 32) and run.data.channels == 3 and run.prior.condition.classes == 2
    text = " ".join(run.reasons)
    for word in ("size 32", "colour", "bits 16", "12 images", "few"):
        assert word in text, word
    assert run.tokenizer_losses.discriminator is None and not hasattr(run, "features")


def test_without_a_norm_on_the_codes_their_width_is_free():
    made = BinaryAutoencoderSpec((8, 8), 1, 4, 8, (1, 1), 1, (), embedding=6, norm_first=False, groups=4).build()
    assert made.decode(made.encode(torch.rand(2, 1, 8, 8))).shape == (2, 1, 8, 8)
    with pytest.raises(ValueError, match="width 8 and embedding 6 must be multiples of 4 groups"):
        BinaryAutoencoderSpec((8, 8), 1, 4, 8, (1, 1), 1, (), embedding=6, groups=4)


def test_each_choice_has_its_reason(tmp_path):
    data = pictures(tmp_path, 6)
    text = " ".join(folder(data).reasons)
    for word in ("8 x 8 places of 4 x 4 pixels", "2 sub-folders", "mirrored", "4 blocks of 192", "minutes"):
        assert word in text, word
    assert "no flips" in " ".join(folder(data, flip=False).reasons)
    assert "no classes, so there is no guidance" in " ".join(folder(str(tmp_path / "a")).reasons)


def numbers(run) -> list[str]:
    """What a reason may say of a run, each as the run has it."""
    losses, (rows, columns), factor = run.tokenizer_losses, run.tokenizer.grid, run.tokenizer.factor
    found = [f"{rows} x {columns} places of {factor} x {factor} pixels", f"bits {run.prior.bits}: "]
    found.append(f"prior: {run.prior.depth} blocks of {run.prior.width}")
    found.append(f"{run.tokenizer_training.steps} tokenizer steps and {run.prior_training.steps} prior steps")
    if losses.discriminator is not None and losses.adversarial_start < run.tokenizer_training.steps:
        found.append(f"PatchGAN from step {losses.adversarial_start} of the tokenizer's {run.tokenizer_training.steps} on")
    if isinstance(run.prior.condition, ClassConditionSpec):
        found.append(f"{run.prior.condition.classes} sub-folders with images are the classes that the prior is told, "
                     f"with guidance {run.sampler.guidance_scale:g}")  # fmt: skip
    return found


def test_reasons_tell_the_values_of_the_run(tmp_path, monkeypatch):
    """Whatever these are: of another default, of another number of images, and of fields that are set by hand."""
    data = pictures(tmp_path, 203)
    run = folder(data, bits=8)
    for line in numbers(run):
        assert line in "\n".join(run.reasons)
    assert "guidance 1.5" in "\n".join(run.reasons) and "PatchGAN" in "\n".join(run.reasons)
    monkeypatch.setattr(sys.modules["bitmosaic.systems.bigr.folder"], "DEFAULT", replace(DEFAULT, guidance_scale=2.75))
    assert "with guidance 2.75" in "\n".join(folder(data, bits=8).reasons)
    changed = run.changed(
        sampler=replace(run.sampler, guidance_scale=3.25), prior=replace(run.prior, depth=9, width=128, bits=12, heads=2),
        tokenizer=replace(run.tokenizer, bits=12), tokenizer_training=replace(run.tokenizer_training, steps=77),
        prior_training=replace(run.prior_training, steps=88), tokenizer_losses=replace(run.tokenizer_losses, adversarial_start=33),
    )  # fmt: skip
    told = "\n".join(with_reasons(run, changed).reasons)
    for line in numbers(changed):
        assert line in told, line
    for line in set(numbers(run)) - set(numbers(changed)):
        assert line not in told, line
    assert "about 1 minute on" in told and "as asked for: sampler.guidance_scale was 1.5, now 3.25" in told


def test_a_run_goes_to_other_processes(tmp_path):
    run = folder(pictures(tmp_path, 6))
    assert pickle.loads(pickle.dumps(run)) == run


def test_a_run_on_codes_says_nothing_of_a_tokenizer(tmp_path, capsys):
    data, codes = pictures(tmp_path / "data", 6), tmp_path / "codes"
    assert main(["tokenize", data, str(codes)]) == 0
    capsys.readouterr()
    assert main(["train", "folder", "--data", data, "--codes", str(codes), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "PatchGAN" not in told and "tokenizer steps" not in told and "mirrored" not in told and "prior: 4 blocks" in told
    assert "bits 20: those of the codes" in told and "7 x 7 places" in told


def test_with_a_gpu_larger_sides_are_chosen(tmp_path, monkeypatch):
    data = pictures(tmp_path, 3, 300, "L", ())
    assert folder(data).data.size == (64, 64)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert folder(data).data.size == (256, 256)


@pytest.mark.parametrize(("side", "chosen"), [(10, 32), (63, 32), (64, 64), (900, 64)])
def test_folder_size_follows_the_images(tmp_path, side, chosen):
    assert folder(pictures(tmp_path, 3, side, "L", ())).data.size == (chosen, chosen)


@pytest.mark.parametrize("size", [32, *(pytest.param(size, marks=pytest.mark.slow) for size in (64, 128)), 256])
def test_folder_of_any_size_builds(tmp_path, size):
    run = folder(pictures(tmp_path, 3, 40, "L", ()), size=size, bits=8)
    assert run.data == type(run.data)(str(tmp_path), (size, size), 1)
    assert run.prior.condition.build(8).classes == 0
    describe(run)


def test_folder_refuses_nonsense(tmp_path):
    data = pictures(tmp_path, 3)
    wrongs = [
        ({"size": 50}, "32, 64, 128, 256"),
        ({"channels": 2}, "1 .grey."),
        ({"bits": 0}, "bits: got 0; give at least 1"),
        ({"minutes": -1}, "positive"),
    ]
    for wrong, message in wrongs:
        with pytest.raises(ValueError, match=message):
            folder(data, **wrong)
    with pytest.raises(ValueError, match="does not exist"):
        folder(str(tmp_path / "nowhere"))


def test_a_reason_names_the_guidance_that_the_sampler_has(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / name / "1.png")
    run = folder(tmp_path, size=32)
    assert any(f"with guidance {run.sampler.guidance_scale:g}" in reason for reason in run.reasons)


def test_a_run_from_before_there_were_stages_is_read_as_its_stages():
    """The file is what `fashion` wrote then, when a head could draw in several ways too, and its sizes were others."""
    old = json.loads((Path(__file__).parent / "data" / "run-before-stages.json").read_text())
    run = Spec.from_json(old)
    assert [stage.name for stage in run.stages] == ["features", "tokenizer", "codes", "prior"]
    now = flat(run.to_json())
    assert old["sampler"].pop("procedure") == "chain" and old.pop("images") == now["data"]
    assert {name: now[name] for name in old} == old
