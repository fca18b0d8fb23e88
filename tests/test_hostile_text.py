"""Hostile text: JSON that is none or nests too deep, and pickles, of which none runs anything."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from test_hostile import DEEP, NO_JSON

from bitmosaic import Pipeline
from bitmosaic.convert import read_checkpoint
from bitmosaic.evaluate.curves import read_metrics
from bitmosaic.folders import DEEPEST, parse_json, read_array, read_json
from bitmosaic.images import read_image
from bitmosaic.nets.feature_net import load_feature_net
from bitmosaic.pipelines import find_pipeline
from bitmosaic.spec import Spec

pytestmark = pytest.mark.timeout(240)

# ---- JSON itself


@pytest.mark.parametrize("text", [*DEEP.values(), *NO_JSON.values()], ids=[*DEEP, *NO_JSON])
def test_json_that_is_refused(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_json_as_python_writes_it_is_read():
    value = {"a": [1, -2.5, None, True, "ß", 2**63 - 1, -(2**63), 1e-400], "b": {}}
    assert parse_json(json.dumps(value)) == value
    assert str(parse_json("[NaN, Infinity]")) == "[nan, inf]"
    inside = 1
    for _ in range(DEEPEST - 1):
        inside = [inside]
    assert parse_json(json.dumps(inside)) == inside
    with pytest.raises(ValueError, match="64 levels"):
        parse_json(json.dumps([[inside]]))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match="no file"):
        read_json(tmp_path / "config.json")
    for name in ("tokenizer/model.safetensors", "prior/model.safetensors", "codec.safetensors"):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(find_pipeline("fashion"), copy)
        (copy / name).unlink()
        os.mkfifo(copy / name)
        with pytest.raises(ValueError, match=f"{name} is no file"):
            Pipeline.from_pretrained(copy)
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="metrics.jsonl is no file"):
        read_metrics(tmp_path / "metrics.jsonl")
    os.mkfifo(tmp_path / "codes.npy")
    with pytest.raises(ValueError, match="codes.npy is no file"):
        read_array(tmp_path / "codes.npy", 1, np.uint8)


def test_every_part_says_what_it_builds():
    """`build_empty` asks before it builds, so that a description of images, say, does not begin to read a disk."""
    from bitmosaic.folders import build_empty

    (images,) = [kind for name, kind in Spec.table.items() if name == "FolderSpec"]
    with pytest.raises(ValueError, match="FolderSpec builds no Module"):
        build_empty(images("/nowhere", (16, 16), 3), torch.nn.Module, 1, "config")


# ---- pickles


class Command:
    """What a hostile pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def array_of_objects(path, command):
    np.save(path, np.array([command], dtype=object), allow_pickle=True)


PICKLES = {
    "published checkpoint": ("a.th", lambda path, c: torch.save({"a": c}, path), read_checkpoint),
    "array": ("a.npy", array_of_objects, lambda path: read_array(path, 1, np.float32)),
    "bare": ("a.npy", lambda path, c: path.write_bytes(pickle.dumps(c)), lambda path: read_array(path, 1, np.float32)),
    "Inception": ("a.pth", lambda path, c: torch.save({"a": c}, path), load_feature_net),
    "legacy": ("a.pth", lambda path, c: torch.save(c, path, _use_new_zipfile_serialization=False), load_feature_net),
}


@pytest.mark.parametrize("name, write, read", PICKLES.values(), ids=PICKLES)
def test_pickles_run_nothing(tmp_path, name, write, read):
    write(tmp_path / name, Command(tmp_path / "ran"))
    with pytest.raises(ValueError, match=name):
        read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["png", "jpg", "eps"])
def test_postscript_is_no_picture(tmp_path, monkeypatch, suffix):
    """Pillow would hand it to Ghostscript, whatever the file's name."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    Image.new("RGB", (8, 8)).save(tmp_path / f"a.{suffix}", "EPS")
    with pytest.raises(ValueError, match="PostScript"):
        read_image(tmp_path / f"a.{suffix}")
    assert not (tmp_path / "ran").exists()
