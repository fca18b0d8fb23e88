"""Images to codes in shards, with labels from a file; and a prior that is trained on them, unless they have changed or are a stranger's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_tokenize import counts, manifest, photos, tokenize, tokenizer
from test_tokenize_tars import png, tar

from bitmosaic.cli import main
from bitmosaic.disk import checksum
from bitmosaic.images.labels import LabelFile
from bitmosaic.pipelines import Pipeline
from bitmosaic.recipes import fashion
from bitmosaic.train.tokenized import FILES, Manifest
from bitmosaic.train.train import on_codes, train

__all__ = ["photos", "tokenizer"]


SMALL = "--prior.depth 1 --prior.width 24 --prior.head.width 24 --prior.head.depth 1 --prior-training.steps 2 " \
    "--prior-training.batch-size 4 --sampler.steps 2 --sampler.evaluations 2"  # fmt: skip


# ---- labels


def test_a_label_file_that_does_not_match(photos, tmp_path, tokenizer):
    lines = ["bag/0.png\tcat", "bag/1,dog", "2.png cat", "shirt/3 dog", "shirt/nowhere.png cat", "alone", "bag/0.png dog", "# note", ""]
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    out = tmp_path / "codes"
    assert tokenize(photos, out, tokenizer, "--labels", tmp_path / "labels.txt") == 0
    assert manifest(out)["classes"] == ["cat", "dog"] and counts(out) == {"duplicates": 1, "unlabelled": 8, "unmatched": 2}
    labels = Manifest.read(out).store().read(torch.arange(13), torch.zeros(13, dtype=torch.int64)).labels
    assert labels.tolist() == [0, 1, 0, 2, 2, 2, 2, 2, 0, 1, 2, 2, 2]
    (tmp_path / "numbers.csv").write_text("a,3\nb,0\n")
    assert LabelFile(tmp_path / "numbers.csv").class_names == ("0", "1", "2", "3")
    (tmp_path / "none.txt").write_text("nothing\n")
    with pytest.raises(ValueError, match="no line with a name and a class"):
        LabelFile(tmp_path / "none.txt")


@pytest.mark.parametrize("header", [
    "filename,label", "image,class", "File Name,Category", "# a note\nid,breed", "img_ref,what it shows", "\ufefffilename,label",
])  # fmt: skip
def test_a_header_is_no_label(photos, tmp_path, tokenizer, header):
    lines = "".join(f"{kind}/{i}.png,{n}\n" for n, (kind, i) in enumerate((k, i) for k in ("bag", "shirt") for i in range(6)))
    (tmp_path / "plain.csv").write_text(lines)
    (tmp_path / "header.csv").write_text(f"{header}\n{lines}", encoding="utf-8")
    found = [LabelFile(tmp_path / name) for name in ("plain.csv", "header.csv")]
    assert found[0].labels == found[1].labels and found[1].class_names == tuple(map(str, range(12)))
    words = lines.replace(",1", ",one ").replace(",2", ",Zwei")
    (tmp_path / "words.csv").write_text(f"{header}\n{words}", encoding="utf-8")
    assert header.split(",")[-1] not in LabelFile(tmp_path / "words.csv").class_names
    (tmp_path / "stems.csv").write_text(f"{header}\n{words}".replace(".png", ""), encoding="utf-8")
    stems = LabelFile(tmp_path / "stems.csv")
    stems.fit([f"{kind}/{i}.png" for kind in ("bag", "shirt") for i in range(6)], "photos")
    assert stems.labels.keys() == {name.removesuffix(".png") for name in found[0].labels}
    assert header.split(",")[-1] not in stems.class_names


@pytest.mark.parametrize("line, name, label", [
    ("my photo 0.png,cat", "my photo 0.png", "cat"), ("my photo 0.png cat", "my photo 0.png", "cat"),
    ("a.png; big cat", "a.png", "big cat"),
    ("photos/7.png cat", "photos/7.png", "cat"), ("a.png cat, brown", "a.png", "cat, brown"), ('"Smith, J.png",cat', "Smith, J.png", "cat"),
    ("Smith, J.png,cat", "Smith, J.png", "cat"), ('"a b.png" "big cat"', "a b.png", "big cat"), ("my photo 3,cat", "my photo 3", "cat"),
    ("id7\tbig cat", "id7", "big cat"), ("id7 cat", "id7", "cat"), (r"photos\7.png,cat", "photos/7.png", "cat"),
    ("./7.png cat", "7.png", "cat"),
    ("my.jpg photo.png,cat", "my.jpg photo.png", "cat"), ("IMG 1.JPG,cat", "IMG 1.JPG", "cat"),
])  # fmt: skip
def test_names_with_blanks_and_marks(tmp_path, line, name, label):
    (tmp_path / "labels.csv").write_text(f"{line}\n")
    found = LabelFile(tmp_path / "labels.csv")
    assert found.labels == {name: 0} and found.class_names == (label,)


def test_tables_of_more_columns(tmp_path):
    (tmp_path / "table.csv").write_text("width,class,filename,xmin\n640,cat,a b.png,3\n640,dog,c.png,4\n")
    found = LabelFile(tmp_path / "table.csv")
    assert found.labels == {"a b.png": 0, "c.png": 1} and found.class_names == ("cat", "dog") and found.bad == 0
    (tmp_path / "wide.csv").write_bytes("filename,label\n\u65e5\u672c.png,7\n".encode("utf-16"))  # as spreadsheets write it
    assert LabelFile(tmp_path / "wide.csv").labels == {"\u65e5\u672c.png": 7}


def test_names_are_found_by_as_much_as_the_file_says(tmp_path):
    (tmp_path / "labels.txt").write_text("photos/7.png cat\nphotos/8.png dog\n/data/photos/deep/9.png cow\ncafe\u0301.png ant\n11 bee\n")
    found = LabelFile(tmp_path / "labels.txt")
    names = [found.class_names[found.find(f"/data/photos/{name}")] for name in ("7.png", "8.png", "deep/9.png", "caf\xe9.png", "x/11.jpg")]
    assert names == ["cat", "dog", "cow", "ant", "bee"]
    assert found.find("/data/other/7.png") == -1


def test_a_label_file_of_which_no_line_fits_is_an_error(photos, tmp_path, tokenizer, capsys):
    (tmp_path / "other.csv").write_text("elsewhere.png,cat\n")
    out = tmp_path / "codes"
    assert tokenize(photos, out, tokenizer, "--labels", tmp_path / "other.csv") == 2
    assert "fits an image in" in capsys.readouterr().err and not out.exists()
    (tmp_path / "a.tar").write_bytes(tar([("1.png", png(1))]))
    assert tokenize(tmp_path / "a.tar", out, tokenizer, "--labels", tmp_path / "other.csv") == 2
    assert "no line of" in capsys.readouterr().err and not (out / "manifest.json").exists()
    (tmp_path / "docs.txt").write_text("photos/bag/0.png cat\nphotos/bag/1.png dog\n")
    assert photos.name == "photos" and tokenize(photos, out, tokenizer, "--labels", tmp_path / "docs.txt") == 0
    assert manifest(out)["classes"] == ["cat", "dog"] and counts(out)["unlabelled"] > 0 and "unmatched" not in counts(out)


# ---- training on them


@pytest.fixture
def codes(photos, tmp_path, tokenizer) -> Path:
    assert tokenize(photos, tmp_path / "codes", tokenizer, "--views", "flip", "--shard-images", "5") == 0
    return tmp_path / "codes"


def test_a_prior_alone_is_trained_on_codes(codes, tmp_path, capsys):
    line = ["train", "fashion", "--codes", str(codes), "--out", str(tmp_path / "run"), *SMALL.split()]
    assert main(line) == 0, capsys.readouterr().err
    pipe = Pipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert pipe.class_names == ("bag", "shirt") and pipe.prior.grid == (4, 4)
    assert main(line) == 0  # goes on behind its end
    capsys.readouterr()
    assert main([*line, "--tokenizer.width", "16"]) == 2 and "run.tokenizer.width" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "run")
    assert main([*line, "--tokenizer.width", "16"]) == 2 and "has other sizes" in capsys.readouterr().err


def test_codes_that_have_changed_are_refused(codes, tmp_path, photos, tokenizer):
    run = on_codes(fashion(), codes)
    run = run.changed(prior_training=replace(run.prior_training, steps=2, batch_size=2))
    other = tmp_path / "other"
    shutil.copytree(codes, other)
    about = manifest(codes)
    about["classes"] = ["bag", "coat"]
    run_folder = tmp_path / "run"
    (run_folder).mkdir()
    from bitmosaic.train.claim import claim

    claim(run_folder, run, Manifest.read(codes))
    (codes / "manifest.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="have changed since the run"):
        train(run, run_folder, str)
    path = other / "shards" / "00001" / "codes.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="shard .*00001 is damaged .codes.npy is changed"):
        train(on_codes(fashion(), other), tmp_path / "run2", str)
    assert not (tmp_path / "run2" / "prior").exists()
    whole = manifest(other)
    assert tokenize(photos, other, tokenizer, "--views", "flip", "--shard-images", "5") == 0 and manifest(other) == whole
    Manifest.read(other).verify()


@pytest.mark.parametrize("change, words", [
    ({"format": "bitmosaic tokenized 99"}, "no codes of this version"),
    ({"grid": [4, -4]}, "grid"), ({"grid": "4x4"}, "grid cannot be"), ({"grid": [10**6, 10**6]}, "grid"), ({"grid": [True, 4]}, "grid"),
    ({"radix": []}, "radix"), ({"radix": [2, 1]}, "radix"), ({"radix": [2.5]}, "radix"), ({"views": "twenty"}, "views"),
    ({"classes": [1]}, "classes"), ({"images": 14}, "its shards hold 13"), ({"more": 1}, "no codes of this version"),
])  # fmt: skip
def test_a_manifest_from_a_stranger(codes, change, words):
    (codes / "manifest.json").write_text(json.dumps({**manifest(codes), **change}))
    with pytest.raises(ValueError, match=words):
        Manifest.read(codes)


@pytest.mark.parametrize("change, words", [
    ({"name": "../../evil"}, "want a number"), ({"name": "/etc"}, "want a number"), ({"name": "00001"}, "comes twice"),
    ({"images": -5}, "whole number"), ({"images": 10**30}, "whole number"), ({"sha256": {}}, "sha256"), ({"extra": 1}, "want name"),
])  # fmt: skip
def test_shards_from_a_stranger(codes, change, words):
    about = manifest(codes)
    about["shards"][0] |= change
    (codes / "manifest.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=words):
        Manifest.read(codes)


def test_a_manifest_a_million_levels_deep(codes):
    (codes / "manifest.json").write_text('{"format":' + "[" * 10**6)
    with pytest.raises(ValueError, match="not readable JSON"):
        Manifest.read(codes)


@pytest.mark.parametrize("name, value", [
    ("codes.npy", np.zeros((5, 2, 7), np.uint8)), ("codes.npy", np.zeros((5, 2, 8), np.float32)), ("labels.npy", np.zeros(4, np.int32)),
    ("labels.npy", np.full(5, 7, np.int32)), ("codes.npy", np.array([{}] * 5, object)),
])  # fmt: skip
def test_sizes_that_do_not_multiply(codes, name, value):
    """Checksums that fit make no shard good: what it holds is compared with what the manifest says."""
    path = codes / "shards" / "00000" / name
    np.save(path, value, allow_pickle=True)
    about = manifest(codes)
    about["shards"][0]["sha256"] = {file: checksum(path.parent / file) for file in FILES}
    (codes / "manifest.json").write_text(json.dumps(about))
    found = Manifest.read(codes)
    found.verify()
    with pytest.raises(ValueError, match=f"00000/{name}"):
        found.store().read(torch.tensor([12, 0]), torch.tensor([0, 1]))


def test_codes_that_do_not_fit(codes, tmp_path, capsys):
    with pytest.raises(ValueError, match="no manifest.json; the command that began it"):
        shutil.copytree(codes, tmp_path / "half", ignore=shutil.ignore_patterns("manifest.json"))
        Manifest.read(tmp_path / "half")
    assert main(["train", "fashion", "--codes", str(tmp_path / "nowhere")]) == 2 and "holds no manifest.json" in capsys.readouterr().err
    line = ["train", "fashion", "--codes", str(codes), "--out", str(tmp_path / "run"), "--prior.condition.classes", "7"]
    assert main(line) == 2 and "the codes have 2 classes" in capsys.readouterr().err
    about = manifest(codes)
    about["tokenizer"] = "0" * 64
    (codes / "manifest.json").write_text(json.dumps(about))
    assert main([*line[:-1], "2"]) == 2 and "not the tokenizer that made the codes" in capsys.readouterr().err


def test_classes_of_a_label_file_are_the_text_that_folders_of_these_names_are(tmp_path):
    classes = ("caf\xe9".encode("latin-1"), "v\u00e9hicules".encode(), "ve\u0301hicules".encode())
    (tmp_path / "labels.csv").write_bytes(b"".join(b"%d.png,%s\n" % (i, name) for i, name in enumerate(classes)))
    found = LabelFile(tmp_path / "labels.csv")
    assert found.class_names == ("caf\\xe9", "v\u00e9hicules") and list(found.labels.values()) == [0, 1, 1]
