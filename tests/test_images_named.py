"""Sets of real images by name, and single images that ship."""

import pytest
import torch

from bitmosaic.commands.evaluate import network
from bitmosaic.commands.pipelines import DEFAULT, pipeline_for
from bitmosaic.evaluate.space import SHIPPED, FeatureSpace
from bitmosaic.images import NAMED_SETS, SHIPPED_SETS, ArrayImages, fashion_sample, landscapes_sample, shipped_image, shipped_name
from bitmosaic.images.real import named_images, own_test_set, real_images, train_and_test


def test_a_set_suits_its_own_size_and_else_its_colours():
    assert shipped_name((28, 28), 1) == "fashion" and shipped_name((64, 64), 3) == "landscapes"
    assert shipped_name((64, 64), 1) == "fashion" and shipped_name((256, 256), 3) == "landscapes"
    assert own_test_set((28, 28), 1) == "fashion-mnist" and own_test_set((64, 64), 3) == "landscapes"
    with pytest.raises(ValueError, match="data: no test images of 32 x 64 in colour ship; name a folder"):
        own_test_set((64, 32), 3, "data")


def test_one_image_by_its_name():
    assert torch.equal(shipped_image("fashion:17"), fashion_sample().pixels[17])
    assert torch.equal(shipped_image("landscapes:251"), landscapes_sample().pixels[251])
    assert shipped_image("photo.png") is None and shipped_image("other:3") is None
    for wrong in ("landscapes:252", "landscapes:-1", "fashion:x", "fashion:", "fashion:٣"):
        with pytest.raises(ValueError, match=f"mask: got '{wrong}'; .*from {wrong.partition(':')[0]}:0 to"):
            shipped_image(wrong, "mask")


def test_a_file_of_that_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fashion:3").write_bytes(b"")
    assert shipped_image("fashion:3") is None
    (tmp_path / "landscapes").mkdir()
    assert named_images("landscapes") is None and named_images("fashion-mnist") is not None


def test_a_named_set_must_fit():
    with pytest.raises(ValueError, match="landscapes is 64 x 64 with 3 channels, this pipeline 28 x 28 with 1 channels"):
        real_images("landscapes", (28, 28), 1)
    assert len(real_images("landscapes", (64, 64), 3)) == 252


def test_what_is_learned_and_what_it_is_tested_on():
    few = ArrayImages(landscapes_sample().pixels[:40])
    assert len(train_and_test(few, "landscapes:train")[1]) == 252
    assert [len(part) for part in train_and_test(few, "folder")] == [36, 4]


def test_sets_that_ship_are_there():
    for name, load in SHIPPED_SETS.items():
        assert any(named.load is load for named in NAMED_SETS.values()), name
        assert load().labels.unique().numel() == len(load().class_names)


def test_which_pipeline_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pipeline_for("mine", "fashion:3") == "mine"
    assert pipeline_for("", "fashion:3") == "fashion" and pipeline_for("", "photo.png") == pipeline_for("") == DEFAULT
    monkeypatch.setattr("bitmosaic.commands.pipelines.zoo_names", lambda: ["fashion", "landscapes"])
    assert pipeline_for("", "landscapes:3") == "landscapes"
    (tmp_path / "landscapes:3").touch()
    assert pipeline_for("", "landscapes:3") == DEFAULT


def test_every_feature_net_that_is_named_ships():
    for of, name in SHIPPED.items():
        assert of in NAMED_SETS and FeatureSpace.load(name).class_names == NAMED_SETS[of].load().class_names
    assert network("", "fashion-mnist:train") == "fashion" and network("mine.pt2", "fashion-mnist") == "mine.pt2"
    with pytest.raises(ValueError, match="--train-features --against landscapes:train --net features.safetensors"):
        network("", "landscapes")
