"""Captions: read beside pictures, from a file and from tars; kept with the codes; learned from; and drawn from, by every door."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from bitmosaic import Pipeline, recipes
from bitmosaic.cli import main
from bitmosaic.conditions import TextConditionSpec
from bitmosaic.images import Folder, scan
from bitmosaic.images.captions import captions_of
from bitmosaic.priors import MaskedPriorSpec
from bitmosaic.samplers import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.kept_captions import KeptCaptions
from bitmosaic.train.tokenized import Manifest

NAMES = ["a.png", "b.png", "c.png", "d.png", "sub/e.png", "f.png", "g.png"]


def pictures(folder, names=NAMES, side=16):
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8)).save(folder / name)
    return folder


def read(where, folder):
    return captions_of(str(where), scan(folder, classes=False))


def test_captions_beside_pictures(tmp_path):
    folder = pictures(tmp_path / "x")
    (folder / "a.txt").write_text("  A red\n heart\t\n")
    (folder / "b.txt").write_bytes("\ufeffgrün".encode())
    (folder / "c.txt").write_bytes("日本".encode("utf-16"))
    (folder / "d.txt").write_bytes(b"caf\xe9")
    (folder / "sub" / "e.txt").write_text(" \n")
    (folder / "f.txt").write_bytes(b"x" * 70_000)
    (folder / "other.txt").write_text("of no picture")
    found = read("beside", folder)
    assert dict(zip(sorted(NAMES), found.texts, strict=True)) == {
        "a.png": "A red heart", "b.png": "grün", "c.png": "日本", "d.png": "", "sub/e.png": "", "f.png": "", "g.png": "",
    }  # fmt: skip
    assert found.without == 4
    told = "\n".join(found.told())
    assert "3 captions of 7 pictures, in .txt files beside them, 4 without" in told
    for part in ("1 captions that are not in UTF-8 (d.txt)", "1 empty captions (e.txt)", "1 captions of more than 65,536 bytes (f.txt)"):
        assert part in told


TABLES = {
    "captions.csv": 'file,caption\na.png,"a heart, red"\nb.png,blue\n',
    "plain.csv": 'a.png,"a heart, red"\nb.png,blue\n',
    "captions.tsv": "text\tid\tfile_name\na heart, red\t1\tx/a.png\nblue\t2\tx\\b.png\n",
    "semicolons.csv": "a.png;a heart, red\nb;blue\n",
    "metadata.jsonl": '{"file_name": "a.png", "text": "a heart, red"}\n\n{"image": "b.png", "Caption": " blue "}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_captions_of_a_file(tmp_path, name):
    folder = pictures(tmp_path / "x", NAMES[:3])
    (tmp_path / name).write_text(TABLES[name])
    found = read(tmp_path / name, folder)
    assert found.texts == ("a heart, red", "blue", "") and not found.left.counts


def test_what_is_of_no_use_in_a_file_is_counted_by_kind(tmp_path):
    folder = pictures(tmp_path / "x", NAMES[:3])
    file = tmp_path / "c.csv"
    file.write_text("file,caption\na.png,red\na.png,red\na.png,blue\nzebra.png,zebra\nb.png,\nc.png\n")
    told = "\n".join(read(file, folder).told())
    for part in (
        "1 lines that come twice (a.png)", "1 further captions of a picture that has one (a.png)", "1 empty captions (b.png)",
        "1 captions of pictures that are not there (zebra.png)", "1 lines without a picture and a caption (row 7)", "2 without",
    ):  # fmt: skip
        assert part in told
    lines = tmp_path / "c.jsonl"
    lines.write_text('{"file": "a.png", "text": "red"}\nnot json\n[1]\n{"file": "b.png", "text": 3}\n')
    assert "3 lines without a picture and a caption (line 2, line 3, line 4)" in "\n".join(read(lines, folder).told())


@pytest.mark.parametrize("given, told", [
    ("missing.csv", "does not exist; give 'beside', or a file"),
    ("folder", "is no plain file"),
    ("beside", "no picture in .* has a caption in .txt files beside them; put name.txt beside name.png"),
    (b"a.png,caf\xe9\n", "is not in UTF-8, such as byte 0xe9 in line 1; save it in UTF-8"),
    (b"a.png,x,y\n", "has 3 columns and no header that names them"),
    (b"file,caption\nzebra.png,z\n", "no picture in .* has a caption .*1 captions of pictures that are not there"),
])  # fmt: skip
def test_captions_that_cannot_be_read_are_refused_in_one_line(tmp_path, given, told):
    folder = pictures(tmp_path / "x", NAMES[:2])
    (tmp_path / "folder").mkdir()
    if isinstance(given, bytes):
        (tmp_path / "c.csv").write_bytes(given)
        given = "c.csv"
    with pytest.raises(ValueError, match=f"^captions: .*{told}") as error:
        read(given if given == "beside" else tmp_path / given, folder)
    assert "\n" not in str(error.value)


def test_a_folder_has_captions_and_another_fingerprint_with_others(tmp_path):
    folder = pictures(tmp_path / "x", NAMES[:2])
    (folder / "a.txt").write_text("red")
    plain, one = Folder(folder, 16), Folder(folder, 16, captions="beside")
    assert plain.captions is None and "1 .txt files" in plain.told()[1] and not plain.captioned
    assert one.captions == ("red", "") and one.captioned and ".txt files)" not in "".join(one.told()) and len(one.told()) == 2
    assert plain.fingerprint() != one.fingerprint() == Folder(folder, 16, captions="beside").fingerprint()
    (folder / "a.txt").write_text("blue")
    assert Folder(folder, 16, captions="beside").fingerprint() != one.fingerprint()


def test_kept_captions_are_read_by_number_and_refused_where_they_do_not_fit(tmp_path):
    given = ["", "red", "日本", "", "lone \ud800"]
    KeptCaptions.write(given, tmp_path)
    kept = KeptCaptions.read(tmp_path, 5)
    assert len(kept) == 5 and kept[[4, 0, 2, 1, 1]] == [given[i] for i in (4, 0, 2, 1, 1)]
    with pytest.raises(ValueError, match="captions of 4 images"):
        KeptCaptions.read(tmp_path, 4)
    np.save(tmp_path / "captions-ends.npy", np.array([5, 3, 9, 9, 99]))
    with pytest.raises(ValueError, match="does not say where"):
        KeptCaptions.read(tmp_path, 5)


# ---- training, and drawing


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder of captioned pictures, and what a run of a few steps makes of it."""
    home = tmp_path_factory.mktemp("captioned")
    folder = pictures(home / "x", [f"{i}.png" for i in range(12)], 32)
    for i in range(11):
        (folder / f"{i}.txt").write_text(["red heart", "blue heart", "red book"][i % 3])
    small = (
        "--size 32 --tokenizer.width 8 --tokenizer.embedding 8 --tokenizer.bits 4 --prior.bits 4 --tokenizer.attention-sizes 8 "
        "--prior.width 16 --prior.heads 2 --prior.depth 2 --prior.head.width 16 --prior.condition.width 16 --prior.condition.length 8 "
        "--prior.condition.merges 20 --prior.condition.depth 1 --tokenizer-training.steps 2 --prior-training.steps 3 "
        "--tokenizer-training.batch-size 4 --prior-training.batch-size 4 --sampler.steps 2 --sampler.evaluations 2"
    ).split()
    line = ["train", "folder", "--data", str(folder), "--captions", "beside", "--out", str(home / "run"), *small]
    assert main(line) == 0
    return home


def test_a_run_on_captions_ends_in_a_pipeline_that_a_prompt_guides(run, capsys):
    described = json.loads((run / "run" / "run.json").read_text())
    assert '"captions": "beside"' in json.dumps(described)
    kept = KeptCaptions.read(run / "run" / "codes", 12)
    assert sorted(kept[range(12)])[:2] == ["", "blue heart"]
    pipeline = Pipeline.from_pretrained(run / "run" / "pipeline")
    assert pipeline.reader.kind == "text" and pipeline.prior.condition.pairs.merges
    one = pipeline("A red heart", seeds=3, output_type="pt")
    assert torch.equal(one, pipeline(["blue heart", "a RED  heart"], seeds=3, output_type="pt")[1:])
    assert torch.equal(pipeline(None, seeds=3, output_type="pt"), pipeline("", seeds=3, guidance_scale=1.0, output_type="pt"))
    for wrong in (3, {"red heart": 1.0}, ["red", 2]):
        with pytest.raises(ValueError, match="condition: got .*takes text"):
            pipeline(wrong)


def line(text, *more):
    return [*text.split(), *more]


def test_sample_and_inpaint_take_a_prompt(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pipe = str(run / "run" / "pipeline")
    assert main(["sample", pipe, "--prompt", "a red heart", "日本", "--count", "2", "--out", "s"]) == 0
    names = {f"{stem}-00{i}.png" for stem in ("a-red-heart", "日本") for i in (0, 1)}
    assert {p.name for p in (tmp_path / "s").iterdir()} == {"sheet.png", *names}
    with Image.open(tmp_path / "s" / "a-red-heart-001.png") as image:
        assert image.info["Prompt"] == "a red heart" and "Class" not in image.info and image.info["Seed"] == "1"
        drawn = np.asarray(image)
    made = Pipeline.from_pretrained(pipe)("a red heart", seeds=1, output_type="np")[0]
    assert np.array_equal(drawn, made)
    assert main(["sample", pipe, "--prompt", "a red heart", "日本", "--count", "2", "--out", "s"]) == 0
    assert "4 of them were there" in capsys.readouterr().out
    edit = ["--box", "0", "0", "8", "32", "--prompt", "blue heart", "--count", "1", "--pipeline", pipe, "--out", "i"]
    assert main(["inpaint", "s/a-red-heart-001.png", *edit]) == 0
    with Image.open(tmp_path / "i" / "a-red-heart-001-1.png") as image:
        assert image.info["Prompt"] == "blue heart" and np.array_equal(np.asarray(image)[:, 8:], drawn[:, 8:])
    assert main(["edit", "s/a-red-heart-001.png", *edit[:-1], "e"]) == 0


WRONG = {
    "sample fashion --prompt heart": "prompt: no class 'heart', and this pipeline knows no text; its classes are 0 t-shirt",
    "sample PIPE": "prompt: this pipeline draws what a text says; give --prompt",
    "sample PIPE --classes bag": "classes: got 'bag', but this pipeline knows no classes; give --prompt",
    "sample PIPE --classes none --prompt heart": "classes, prompt: got none and heart; give one of the two",
    "inpaint s.png --box 0 0 8 8 --class bag --prompt heart": "class, prompt: got 'bag' and 'heart'; give one of the two",
    "edit s.png --box 0 0 8 8": "class, prompt: got neither",
}


@pytest.mark.parametrize("text", WRONG)
def test_prompts_and_classes_that_do_not_fit_are_refused_in_one_line(run, tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32)).save("s.png")
    assert main(text.replace("PIPE", str(run / "run" / "pipeline")).split()) == 2
    told = capsys.readouterr().err
    assert WRONG[text] in told and told.count("\n") == 1 and not [p for p in tmp_path.iterdir() if p.name != "s.png"]


def test_a_class_name_is_a_prompt_of_a_class_conditional_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main("sample fashion --prompt bag --count 1 --steps 1 --evaluations 1 --out p".split()) == 0
    assert main("sample fashion --classes bag --count 1 --steps 1 --evaluations 1 --out c".split()) == 0
    with Image.open("p/bag-000.png") as one, Image.open("c/bag-000.png") as other:
        assert one.tobytes() == other.tobytes()


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def png(seed):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)).save(out, "png")
    return out.getvalue()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """The folder of a tokenizer, untrained."""
    from bitmosaic.folders import save_part

    spec = BinaryAutoencoderSpec((32, 32), 3, 4, 8, (1, 1, 1), embedding=8, groups=4, attention_sizes=(8,))
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tokenizer") / "t"
    save_part(spec.build(), spec, folder)
    return folder


def test_captions_of_tars_are_kept_in_shards_and_trained_on(tmp_path, tokenizer, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tar_of("0.tar", {"1.png": png(1), "1.txt": b"a  red\nheart", "2.png": png(2), "3.png": png(3), "3.txt": b"caf\xe9"})
    tar_of("1.tar", {"4.l.png": png(4), "4.r.png": png(5), "4.txt": "grün".encode(), "5.png": png(6), "5.txt": b" "})
    line = ["tokenize", "{0,1}.tar", "codes", "--pipeline", str(tokenizer)]
    assert main([*line, "--captions", "beside"]) == 0
    assert "3 images without a caption, kept" in capsys.readouterr().out
    manifest = Manifest.read("codes")
    manifest.verify()
    assert manifest.captioned and manifest.about["counts"]["uncaptioned"] == 3 and manifest.about["counts"]["passed"] == 0
    assert any("3.png: no caption, not in UTF-8" in told for told in manifest.about["told"])
    found = manifest.store().read(torch.arange(6), torch.zeros(6, dtype=torch.int64))
    assert found.captions == ("a red heart", "", "", "grün", "grün", "") and found.labels is None
    assert main([*line, "--captions", "beside"]) == 0, "again: it is done"
    assert main(line) == 2 and "was begun with another source" in capsys.readouterr().err
    assert main([*line[:2], "plain", *line[3:]]) == 0
    assert not Manifest.read("plain").captioned and "uncaptioned" not in Manifest.read("plain").about["counts"]
    assert main([*line[:2], "other", *line[3:], "--captions", "c.csv"]) == 2
    assert "give --captions beside" in capsys.readouterr().err
    small = "--prior.width 16 --prior.heads 2 --prior.depth 1 --prior.head.width 16 --prior-training.steps 2 --prior-training.batch-size 2"
    pictures(tmp_path / "x", ["1.png"], 32)
    assert main(["train", "folder", "--data", "x", "--codes", "codes", "--out", "run", *small.split()]) == 0
    assert Pipeline.from_pretrained("run/pipeline").reader.kind == "text"
    assert main(["train", "folder", "--data", "x", "--codes", "plain", "--out", "r", *small.split(), "--dry-run"]) == 0


def test_captions_of_a_folder_are_kept_in_shards(tmp_path, tokenizer, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = pictures(tmp_path / "x", NAMES[:4], 32)
    (tmp_path / "c.csv").write_text("a.png,red\nc.png,blue\nb.png,\n")
    line = ["tokenize", str(folder), "codes", "--pipeline", str(tokenizer), "--shard-images", "3", "--captions"]
    assert main([*line, "c.csv"]) == 0
    assert "2 captions of 4 pictures" in (found := capsys.readouterr()).err + found.out
    store = Manifest.read("codes").store()
    assert store.captions() == ["red", "blue"]
    (tmp_path / "c.csv").write_text("a.png,red\nc.png,green\nb.png,\n")
    assert main([*line, "c.csv"]) == 2, "other captions are other data"
    assert main(["tokenize", "fashion-mnist", "f", "--captions", "beside"]) == 2


def test_a_text_condition_is_refused_where_there_are_no_captions(tmp_path, run):
    from bitmosaic.recipes import folder
    from bitmosaic.train.train import train

    made = folder(str(run / "x"), size=32)
    with pytest.raises(ValueError, match="prior.condition: takes text, but the images have no captions; give --captions"):
        train(made.changed(prior=made.prior.on(made.prior.grid, made.prior.radix, TextConditionSpec())), tmp_path / "out", str)
    assert not (tmp_path / "out").exists()


def untrained(condition, seed=0):
    """A pipeline for the studio."""
    torch.manual_seed(seed)
    tokenizer = BinaryAutoencoderSpec((16, 16), 3, 4, 8, (1, 1), embedding=8, groups=4, attention_sizes=(8,)).build()
    prior = MaskedPriorSpec((8, 8), 4, condition=condition).build()
    prior.condition.learn(["red heart", "blue heart"])
    return Pipeline(tokenizer, prior, EntropyOrderedSpec(steps=2, evaluations=2))


@pytest.mark.parametrize("recipe", ["folder", "maskgit", "llamagen", "d3pm"])
def test_recipes_for_a_folder_take_captions(tmp_path, recipe):
    folder = pictures(tmp_path / "x", NAMES[:4], 32)
    (folder / "a.txt").write_text("a red heart")
    run = getattr(recipes, recipe)(str(folder), size=32, captions="beside")
    assert isinstance(run.prior.condition, TextConditionSpec) and run.data.captions == "beside"
