"""A GAN from a folder of images to a finished pipeline, by the ordinary commands; a stopped run ends bitwise where it would have."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from bitmosaic.cli import main
from bitmosaic.generators import DCGANSpec
from bitmosaic.images import fashion_sample, read_image, to_pil
from bitmosaic.pipelines import CodesPipeline, GeneratorPipeline, Pipeline
from bitmosaic.recipes import dcgan
from bitmosaic.train.claim import read_run
from bitmosaic.train.plan import costs as planned
from bitmosaic.train.train import train

SMALL = (
    "--generator.width 4 --generator.latent 6 --discriminator.width 4 --generator-training.steps 6 --generator-training.batch-size 4 "
    "--generator-training.checkpoint-seconds 0 --generator-training.keep 9 --generator-training.log-every 1 --generator-losses.r1-every 2 "
    "--generator-training.precision float32"
).split()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images of two classes, and a run on them that has ended."""
    place, sample = tmp_path_factory.mktemp("gan"), fashion_sample()
    for name, label in (("bag", 8), ("shirt", 6)):
        (place / "data" / name).mkdir(parents=True)
        for i in (sample.labels == label).nonzero().flatten()[:16].tolist():
            to_pil(sample.image(i)).save(place / "data" / name / f"{i}.png")
    assert main([*command(place), *SMALL]) == 0
    return place


def command(place, out="run"):
    return ["train", "dcgan", "--data", str(place / "data"), "--size", "28", "--channels", "1", "--out", str(place / out)]


def weights(folder):
    return GeneratorPipeline.from_pretrained(folder / "pipeline").generator.state_dict()


def rows(folder):
    clock = ("seconds", "images_per_second", "memory_gib")
    lines = [json.loads(line) for line in (folder / "generator" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in clock} for line in lines]


@pytest.mark.parametrize("step", [1, 4])
def test_a_run_that_was_killed_ends_bitwise_where_it_would_have(place, tmp_path, step):
    """What lies there of a run that was killed after a checkpoint, and after that wrote no pipeline."""
    shutil.copytree(place / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "pipeline")
    for checkpoint in (tmp_path / "run" / "generator" / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)
    train(read_run(place / "run")[0], tmp_path / "run", str)
    one, other = weights(place / "run"), weights(tmp_path / "run")
    assert one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
    assert rows(place / "run") == rows(tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / "generator" / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "resumed"] == [step]


def test_the_same_command_again_goes_on_and_another_is_refused(place, capsys):
    assert main([*command(place), *SMALL]) == 0
    assert main([*command(place), *SMALL, "--generator-training.generator.learning-rate", "0.5"]) == 2
    assert "generator_training.generator.learning_rate was 0.0005, now 0.5" in capsys.readouterr().err


def test_more_steps_end_where_as_many_at_once_end(place, tmp_path):
    """The rate is constant, and the average's ramp is a function of the steps so far."""
    shutil.copytree(place / "run", tmp_path / "run")
    shutil.copytree(place / "data", tmp_path / "data")
    longer = " ".join(SMALL).replace("steps 6", "steps 8").split()
    for out in ("run", "whole"):
        assert main([*command(tmp_path, out), *longer]) == 0
    one, other = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert (tmp_path / "run" / "generator-of-6-steps" / "pipeline").is_dir()


def test_the_pipeline_opens_by_its_kind_and_an_image_is_its_seeds(place, tmp_path):
    pipe = Pipeline.from_pretrained(place / "run" / "pipeline")
    assert type(pipe) is GeneratorPipeline and pipe.class_names == ("bag", "shirt") and pipe.background == "black"
    together = pipe(["bag", None, {"bag": 0.5, "shirt": 0.5}, "shirt", None], seeds=[1, 2, 3, 4, 5], output_type="pt")
    assert together.shape == (5, 1, 28, 28) and 0 <= float(together.min()) and float(together.max()) <= 1
    assert torch.equal(pipe([None], seeds=[2], output_type="pt")[0], together[1])
    assert torch.equal(pipe("shirt", seeds=[9, 4], output_type="pt", batch_size=1)[1], together[3])
    flat = pipe("bag", seeds=[1, 2], truncation=0.0, output_type="pt")
    assert torch.equal(flat[0], flat[1]) and not torch.equal(flat[0], together[0])
    pipe.save_pretrained(tmp_path / "again")
    assert torch.equal(Pipeline.from_pretrained(tmp_path / "again")("bag", seeds=[1], output_type="pt")[0], together[0])
    for settings, said in (({"guidance_scale": 2.0}, "no setting guidance_scale"), ({"truncation": 2.0}, "truncation: got 2.0")):
        with pytest.raises(ValueError, match=said):
            pipe("bag", **settings)
    with pytest.raises(ValueError, match="no class 'shoe'; classes are 0 bag, 1 shirt"):
        pipe("shoe")
    with pytest.raises(ValueError, match="GeneratorPipeline, which only draws pictures"):
        CodesPipeline.from_pretrained(place / "run" / "pipeline")


@pytest.mark.parametrize(("field", "value"), [("noise", {"type": "DCGANSpec"}), ("noise", None), ("class_names", ["a"]), ("extra", 1)])
def test_a_config_that_does_not_fit_is_refused(place, tmp_path, field, value):
    shutil.copytree(place / "run" / "pipeline", tmp_path / "pipeline")
    path = tmp_path / "pipeline" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ValueError, match="config.json|class_names: got 1 names"):
        Pipeline.from_pretrained(tmp_path / "pipeline")


def test_the_commands_take_it(place, tmp_path, capsys):
    assert main(["sample", str(place / "run"), "--count", "2", "--out", str(tmp_path / "samples")]) == 0
    assert read_image(tmp_path / "samples" / "bag-001.png", channels=1).shape == (1, 28, 28)
    assert main(["info", str(place / "run")]) == 0 and main(["info", str(place / "run" / "pipeline")]) == 0
    out = capsys.readouterr().out
    assert "step 6 of 6 (done): discriminator" in out and "28 x 28 pixels, grey" in out
    against = ["--against", str(place / "data"), "--net", "fashion", "--count", "12", "--out", str(tmp_path / "figures")]
    assert main(["evaluate", str(place / "run"), *against]) == 0
    found = json.loads((tmp_path / "figures" / "evaluation.json").read_text())
    assert found["counts"]["samples"] == 12 and found.get("reconstruction") is None
    assert main(["report", str(place / "run"), "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text()
    assert "Samples of run over time" in page and "DCGAN of 6 numbers" in page


@pytest.mark.parametrize("dry", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_is_planned(place, capsys, dry):
    assert main([*command(place), *SMALL, "--dry-run"] if dry else ["plan", "dcgan", *command(place)[2:-2], *SMALL]) == 0
    out = capsys.readouterr().out
    assert "generator" in out and ("activations of a batch" if dry else "GFLOP an image") in out and "Traceback" not in out


def test_what_needs_codes_says_so_in_one_line(place, capsys):
    picture = next((place / "data" / "bag").iterdir())
    assert main(["encode", str(picture), "--pipeline", str(place / "run")]) == 2
    assert "only draws pictures" in capsys.readouterr().err


@pytest.mark.parametrize(("wrong", "said"), [
    ({"size": 30}, "size: got 30; give 4, 5, 6 or 7 times a power of two"), ({"channels": 2}, "channels: got 2"),
    ({"minutes": 0.0}, "minutes: got 0.0"),
])  # fmt: skip
def test_wrong_arguments_are_named(place, wrong, said):
    with pytest.raises(ValueError, match=said):
        dcgan(str(place / "data"), **wrong)


def test_fashion_mnist_has_its_own_size():
    assert dcgan(minutes=1).generator.image_size == (28, 28) and dcgan().discriminator.classes == 10
    with pytest.raises(ValueError, match="size, channels: got 32, 1; Fashion-MNIST has 28 and 1"):
        dcgan(size=32)


def test_a_folder_of_any_images_is_taken(place):
    run = dcgan(str(place / "data"), size=64, channels=3, classes=False)
    spec = run.generator
    assert isinstance(spec, DCGANSpec) and (spec.image_size, spec.channels, spec.levels) == ((64, 64), 3, 4)
    assert spec.condition.build(4).classes == run.discriminator.classes == 0
    with pytest.raises(ValueError, match="discriminator: judges"):
        run.changed(generator=DCGANSpec((32, 32)))


def test_plans_read_a_real_step(place):
    """Of a generator that is wider alone: more parameters, operations and bytes."""
    run, costs = read_run(place / "run")[0], []
    for width in (4, 8):
        wider = run.changed(generator=replace(run.generator, width=width))
        costs += planned(wider, "cpu")
    small, wide = costs
    assert wide.parameters > small.parameters and wide.flop() > 1.3 * small.flop()
    four, eight = (small.step(images, False, False) for images in (4, 8))
    assert 0 < four.bytes <= four.with_gradients < eight.with_gradients and eight.flop == pytest.approx(2 * four.flop, rel=0.1)
    assert four.bytes < wide.step(4, False, False).bytes
