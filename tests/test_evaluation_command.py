"""`bitmosaic evaluate`: the same digits on any number of processes, what is refused, and feature networks that are trained."""

import json
import sys

import pytest
import torch
import warm
from PIL import Image
from test_evaluation import few, net, pipeline

from bitmosaic.cli import main
from bitmosaic.evaluate.space import FeatureSpace
from bitmosaic.images.real import Subset, real_images, train_and_test
from bitmosaic.nets.feature_net import load_feature_net
from bitmosaic.train.features import accuracy, protocol, train_features

# The command


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    pipeline().save_pretrained(folder / "pipe")
    for name, images in (("real", few(60)), ("plain", few(40, labels=False))):
        for i, image in enumerate(images.pixels):
            place = folder / name / (images.class_names[images.labels[i]] if images.labels is not None else "")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(place / f"{i}.png")
    net(folder)
    return folder


def test_the_same_command_gives_the_same_digits_and_on_two_processes(saved, tmp_path, capsys):
    command = ["evaluate", str(saved / "pipe"), "--against", str(saved / "real"), "--net", str(saved / "net.safetensors"), "--count", "20"]
    assert main([*command, "--out", str(tmp_path / "a")]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert main([*command, "--out", str(tmp_path / "b"), "--workers", "1"]) == 0
    done = warm.torchrun(2, [sys.executable, "-m", "bitmosaic", *command, "--out", str(tmp_path / "c")])
    assert done.returncode == 0, done.stderr[-3000:]
    texts = [(tmp_path / name / "evaluation.json").read_text() for name in "abc"]
    assert texts[0] == texts[1] == texts[2]
    found = json.loads(texts[0])
    assert f"{found['samples']['frechet_distance']['value']:.4f}" in printed and "fid" not in texts[0].replace("fidelity", "")
    for name in ("net", "reference", "other_real", "sampler", "seeds", "resize", "quantisation", "versions", "pipeline_sha256", "counts"):
        assert found[name], name
    assert len(found["net"]["sha256"]) == len(found["reference_statistics_sha256"]) == len(found["reference"]["fingerprint"]) == 64
    with Image.open(tmp_path / "a" / "evaluation.png") as picture:
        assert picture.size[0] > 800 and picture.info["Software"].startswith("bitmosaic")


@pytest.mark.slow
def test_what_makes_figures_less_than_they_seem_is_noted(saved, tmp_path, capsys):
    data = tmp_path / "data"
    for i, image in enumerate(few(60).pixels):
        (data / str(i % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(data / str(i % 3) / f"{i}.png")
    made = str(tmp_path / "own.safetensors")
    images = real_images(str(data), (28, 28), 1)
    train_features(*train_and_test(images, str(data)), protocol(images, steps=2), tmp_path / "own.safetensors", source=images)
    for broken in list((data / "1").glob("*.png"))[:5]:
        broken.write_bytes(b"no picture")
    command = ["evaluate", str(saved / "pipe"), "--against", str(data), "--net", made, "--out", str(tmp_path / "out")]
    assert main(command) == 0
    told = capsys.readouterr()
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "are not the pipeline's by name" in told.out and found["unreadable"] == 5 and "skipped 5 unreadable" in told.err
    assert found["counts"]["samples"] == 30 and found["counts"]["other_real"] + found["counts"]["reference"] == 55
    assert not found["net"]["has_seen_these_images"]  # the data has changed since
    learned = ["evaluate", str(saved / "pipe"), "--against", str(saved / "real"), "--net", str(tmp_path / "seen.safetensors")]
    real = real_images(str(saved / "real"), (28, 28), 1)
    train_features(*train_and_test(real, ""), protocol(real, steps=2), tmp_path / "seen.safetensors", source=real)
    assert main([*learned, "--out", str(tmp_path / "seen")]) == 0
    assert "trained on some of these real images" in capsys.readouterr().out
    assert json.loads((tmp_path / "seen" / "evaluation.json").read_text())["net"]["has_seen_these_images"]


def test_a_place_that_is_taken_is_told_before_anything_is_measured(saved, tmp_path, capsys):
    (tmp_path / "evaluation.json").write_text("mine")
    command = ["evaluate", str(saved / "pipe"), "--against", str(saved / "real"), "--net", "fashion", "--count", "20"]
    assert main([*command, "--out", str(tmp_path)]) == 2
    assert "was not written by bitmosaic" in capsys.readouterr().err and (tmp_path / "evaluation.json").read_text() == "mine"


def test_what_is_wrong_with_the_command(saved, tmp_path, capsys):
    pipe, real = str(saved / "pipe"), str(saved / "real")
    for arguments, complaint in (
        ([pipe, "--against", real], "net: name a feature network"),
        ([pipe, "--against", str(tmp_path / "absent"), "--net", "fashion"], "there is no folder"),
        ([pipe, "--against", real, "--net", str(saved / "net.safetensors"), "--count", "31"], "count: got 31"),
        ([pipe, "--against", real, "--net", str(saved / "net.safetensors"), "--seed", "-1"], "seed"),
        ([pipe, "--train-features", "--against", real], "name the file to write"),
        ([pipe, "--train-features", "--against", real, "--net", str(saved / "net.safetensors")], "so it stays"),
        ([pipe, "--train-features", "--against", str(saved / "plain"), "--net", str(tmp_path / "n.safetensors")], "learns classes"),
        ([pipe, "--train-features", "--against", real, "--net", str(tmp_path / "n.bin")], "ends in .safetensors"),
    ):
        assert main(["evaluate", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert complaint in capsys.readouterr().err
        assert not (tmp_path / "out").exists() and not (tmp_path / "n.safetensors").exists()


# Training a feature network


@pytest.mark.parametrize("count, steps, least", [(300, 2, 0.0), pytest.param(2000, 60, 0.5, marks=pytest.mark.slow)])
def test_a_feature_network_learns_and_is_stored_with_what_it_learned_from(tmp_path, count, steps, least):
    images, path = few(count), tmp_path / "net.safetensors"
    right = train_features(images, few(500, start=5000), protocol(images, steps=steps), path)
    assert right > least and right == accuracy(load_feature_net(path), few(500, start=5000))
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    assert FeatureSpace.load(path).measure(images.pixels[:3]).logits.shape == (3, 10)


def test_a_training_of_other_images_is_not_taken_up(tmp_path):
    images, path = few(200), tmp_path / "net.safetensors"
    (tmp_path / "net.safetensors.training").mkdir()
    (tmp_path / "net.safetensors.training" / "features.json").write_text('{"features": 1}')
    with pytest.raises(ValueError, match="other images or settings"):
        train_features(images, images, protocol(images, steps=2), path)


def test_held_out_images_are_others(saved):
    learned, held = train_and_test(real_images(str(saved / "real"), (28, 28), 1), "real")
    assert len(learned) == 54 and len(held) == 6 and not set(learned.rows.tolist()) & set(held.rows.tolist())
    assert learned.fingerprint() != held.fingerprint() and isinstance(held, Subset)
    assert torch.equal(held.image(2), held.images.image(int(held.rows[2])))


@pytest.mark.parametrize("count, least", [(1000, 0.9), pytest.param(10_000, 0.92, marks=pytest.mark.slow)])
def test_the_network_that_ships_knows_fashion(count, least):
    assert accuracy(FeatureSpace.load("fashion").net, few(count)) >= least
