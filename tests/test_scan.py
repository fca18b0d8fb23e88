"""One scan of a folder for every command: what is used, as which class, and what is not, told before the work begins."""

import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitmosaic.cli import main
from bitmosaic.images import FASHION_CLASSES, Folder, UnreadableImage, read_image, scan
from bitmosaic.images.formats import endings
from bitmosaic.images.real import real_images
from bitmosaic.recipes import folder as recipe
from bitmosaic.train.tokenized import Manifest

pytestmark = pytest.mark.filterwarnings("error")


def pictures(folder, count=2, ending=".png", side=28, start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        values = np.random.default_rng(i).integers(0, 255, (side, side), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{i:03d}{ending}")


def reasons(data, **asked) -> str:
    return "\n".join(recipe(str(data), size=32, **asked).reasons)


def told_by_all(data, out, capsys) -> list[str]:
    """What the commands that know no classes say of a folder."""
    said = []
    for command in (["compress", "--coder", "static"], ["encode"], ["reconstruct"]):
        capsys.readouterr()
        status = main([command[0], str(data), *command[1:], "--out", str(out / f"{command[0]}.safetensors")])
        told = capsys.readouterr()
        said.append(told.out)
        assert status == 0 and told.err == ""
    return said


# ---- what is used


@pytest.fixture
def loose(tmp_path) -> Path:
    """Thirty pictures beside a sub-folder of four."""
    pictures(tmp_path / "photos", 30)
    pictures(tmp_path / "photos" / "edited", 4)
    return tmp_path / "photos"


def test_pictures_beside_a_sub_folder_are_told_or_taken(loose, tmp_path, capsys):
    assert "4 pictures in" in reasons(loose) and "30 beside the classes, in none of them (000.png, 001.png, 002.png, ...)" in reasons(loose)
    assert "--no-classes" in reasons(loose) and "34 pictures in" in reasons(loose, classes=False)
    run = recipe(str(loose), size=32, classes=False)
    assert len(run.data.build()) == 34 and run.data.build().class_names == () and not hasattr(run.prior.condition, "classes")
    assert main(["tokenize", str(loose), str(tmp_path / "codes")]) == 0
    assert "30 beside the classes" in capsys.readouterr().out and Manifest.read(tmp_path / "codes").about["counts"]["beside"] == 30
    assert main(["tokenize", str(loose), str(tmp_path / "all"), "--no-classes"]) == 0
    assert Manifest.read(tmp_path / "all").about["images"] == 34 and Manifest.read(tmp_path / "all").class_names == ()
    assert all("34 pictures in" in said for said in told_by_all(loose, tmp_path / "out", capsys))


def test_an_index_takes_every_picture_and_forgets_none_for_a_new_sub_folder(tmp_path, capsys):
    pytest.importorskip("faiss")
    pictures(tmp_path / "flat", 30)
    line = ["index", str(tmp_path / "flat"), str(tmp_path / "found")]
    assert main(line) == 0 and "30 images" in capsys.readouterr().out
    pictures(tmp_path / "flat" / "sub", 1, start=30)
    assert main([*line, "--prune"]) == 0
    assert "31 images by codes, 1 new:" in capsys.readouterr().out


def test_evaluate_takes_every_picture_where_sub_folders_are_not_the_pipelines_classes(loose, tmp_path):
    def taken(name, known=FASHION_CLASSES):
        return real_images(str(tmp_path / name), (28, 28), 1, known)

    assert len(taken("photos")) == 34 and taken("photos").labels is None
    assert len(taken("photos", ["edited"])) == 4 and taken("photos", ["edited"]).told()[1].startswith("not used: 30 beside")
    for part in ("train", "val"):
        pictures(tmp_path / "parts" / part / "bag")
    assert len(taken("parts")) == 4 and taken("parts").labels is None
    for kind in ("cat", "dog"):
        pictures(tmp_path / "other" / kind)
    assert taken("other").class_names == ("cat", "dog")  # nothing is lost by them
    pictures(tmp_path / "accents" / "\u00e9t\u00e9")
    pictures(tmp_path / "accents", 1)
    assert taken("accents", ["e\u0301te\u0301"]).class_names == ("\u00e9t\u00e9",)  # the same name, as another system writes it
    assert taken("other").fingerprint() == Folder(tmp_path / "other", 28, 1).fingerprint()


@pytest.mark.parametrize("names", [
    ["train", "val"], ["Train", "Test"], ["train2017", "val2017"], ["training_set", "test_set"], ["seg_train", "seg_test"], ["train"],
    ["trainset", "testset", "extra"], ["test images", "train images", "validation images"],
])  # fmt: skip
def test_parts_of_a_data_set_are_no_classes(tmp_path, names, capsys):
    for name in names:
        for kind in ("cat", "dog"):
            pictures(tmp_path / "data" / name / kind)
    line = ["train", "folder", "--data", str(tmp_path / "data"), "--size", "32", "--dry-run"]
    assert main(line) == 2
    said = capsys.readouterr().err
    assert "are parts of a data set by their names, no classes" in said and "--no-classes" in said and str(tmp_path / "data") in said
    assert main(["tokenize", str(tmp_path / "data"), str(tmp_path / "codes")]) == 2
    if names == ["train"]:  # the plan of a run takes seconds
        assert main([*line, "--no-classes"]) == 0 and "no classes" in capsys.readouterr().out
    assert "no classes" in reasons(tmp_path / "data", classes=False)
    assert Folder(tmp_path / "data" / names[0], 8).class_names == ("cat", "dog")


def test_classes_that_are_called_like_parts_may_be_classes(tmp_path):
    for name in ("train", "plane", "train station", "testudo", "valley"):
        pictures(tmp_path / name)
    assert scan(tmp_path).class_names == ("plane", "testudo", "train", "train station", "valley")


def test_parts_by_other_names_are_told(tmp_path):
    for name in ("fold-0", "fold-1"):
        for kind in ("cat", "dog"):
            pictures(tmp_path / name / kind)
    assert "every class holds the folders cat, dog" in "\n".join(scan(tmp_path).told())
    assert "2 classes: fold-0 4, fold-1 4" in scan(tmp_path).told()[0]


def test_numbered_folders_have_their_numbers(tmp_path):
    for name in range(12):
        pictures(tmp_path / "nums" / str(name), 1, start=name)
    found = scan(tmp_path / "nums")
    assert found.class_names == tuple(map(str, range(12)))
    assert [f"{label}" for label in found.labels.tolist()] == [name.split("/")[0] for name in found.names]
    assert found.names == sorted(found.names)  # the order of files is that of names, as ever
    pictures(tmp_path / "nums" / "x")
    assert scan(tmp_path / "nums").class_names[:3] == ("0", "1", "10")
    for name in ("2019", "2021", "101"):
        pictures(tmp_path / "years" / name, 1)
    assert scan(tmp_path / "years").class_names == ("101", "2019", "2021")


# ---- what is not


def test_pictures_of_formats_that_are_not_read_are_counted(tmp_path, capsys):
    data = tmp_path / "data"
    for kind in ("cat", "dog"):
        pictures(data / kind, 6, ".jpg")
        for i, ending in enumerate((".NEF", ".dng", ".DNG", ".svg", ".txt", "")):
            (data / kind / f"IMG_{i}{ending}").write_bytes(b"\0\0\0\x18ftyp")
    line = scan(data).told()[1]
    assert line == (
        "not used: 4 .dng pictures (convert them), 2 .nef pictures (convert them), 2 .svg pictures (convert them), "
        "2 .txt files, 2 files without an ending")  # fmt: skip
    assert "4 .dng pictures" in reasons(data)
    assert all("4 .dng pictures" in said for said in told_by_all(data, tmp_path / "out", capsys))
    with pytest.raises(ValueError, match=r"holds no images \(1 .dng pictures \(convert them\)\); put in"):
        (data / "raw").mkdir()
        (data / "raw" / "a.dng").write_bytes(b"II")
        scan(data / "raw")
    with pytest.raises(ValueError, match=r"class 'raw' .* has no image \(1 .dng pictures"):
        scan(data)


def test_heic_and_jpeg_xl_are_read_where_a_plug_in_is_installed_and_told_where_not(tmp_path):
    pictures(tmp_path, 1)
    for ending, package in ((".heic", "pillow-heif"), (".jxl", "pillow-jxl-plugin")):
        if ending in endings():
            pictures(tmp_path / "all", 1, ending, start=7)
            assert Folder(tmp_path / "all", 28).image(0).float().std() > 40  # noise, not a grey plane
        else:
            (tmp_path / f"a{ending}").write_bytes(b"")
            assert f"1 {ending} pictures ({package} reads them)" in scan(tmp_path).told()[1]
            named = tmp_path / "phone.jpg"
            named.write_bytes(b"\0\0\0\x18ftypheic" if ending == ".heic" else b"\0\0\0\x0cJXL \r\n\x87\n")
            with pytest.raises(UnreadableImage, match=f"with {package} alone, which is not installed"):
                read_image(named)


def test_every_open_is_of_a_plain_file(tmp_path, capsys, monkeypatch):
    """Pipes, sockets and devices among the pictures hang nothing and are counted."""
    pictures(tmp_path / "data" / "a", 2)
    os.mkfifo(tmp_path / "data" / "a" / "p.png")
    with socket.socket(socket.AF_UNIX) as listening, monkeypatch.context() as here:
        here.chdir(tmp_path / "data" / "a")  # the address of a socket holds 107 bytes, fewer than some temporary folders
        listening.bind("s.png")
    (tmp_path / "data" / "a" / "z.png").symlink_to("/dev/zero")
    assert "3 pipes, sockets or devices (a/p.png, a/s.png, a/z.png)" in reasons(tmp_path / "data")
    for line in (
        ["inpaint", "fashion:0", "--mask", "PIPE"], ["inpaint", "PIPE", "--box", "0", "0", "4", "4"], ["compress", "PIPE"],
        ["encode", "PIPE"], ["tokenize", "fashion-mnist", "OUT", "--labels", "PIPE"], ["tokenize", "PIPE.tar", "OUT"],
    ):  # fmt: skip
        pipe = tmp_path / ("p.tar" if "PIPE.tar" in line else "p.png")
        if not pipe.exists():
            os.mkfifo(pipe)
        given = [str(pipe) if word.startswith("PIPE") else str(tmp_path / "out") if word == "OUT" else word for word in line]
        assert main(given) == 2
        assert re.search("plain file|not a file", capsys.readouterr().err)
    os.mkfifo(tmp_path / "sheet.png")
    assert main(["sample", "fashion", "--classes", "bag", "--count", "1", "--out", str(tmp_path)]) == 2
    assert "was not written by bitmosaic" in capsys.readouterr().err


def test_linked_folders_are_entered_by_all(tmp_path, capsys):
    pictures(tmp_path / "store" / "cat", 4)
    pictures(tmp_path / "store" / "dog", 4, start=4)
    (tmp_path / "data").mkdir()
    for kind in ("cat", "dog"):
        (tmp_path / "data" / kind).symlink_to(tmp_path / "store" / kind)
    pictures(tmp_path / "half" / "own", 1, start=9)
    (tmp_path / "half" / "cat").symlink_to(tmp_path / "store" / "cat")
    (tmp_path / "half" / "up").symlink_to(tmp_path / "half")
    (tmp_path / "half" / "Again").symlink_to(tmp_path / "half" / "own")  # by its own name, not by the link that comes before
    assert scan(tmp_path / "half", classes=False).names == [f"cat/{i:03d}.png" for i in range(4)] + ["own/009.png"]
    for name, count in (("data", 8), ("half", 5)):
        assert all(f"{count} pictures in" in said for said in told_by_all(tmp_path / name, tmp_path / f"out-{name}", capsys))


def test_hidden_files_and_links_that_lead_nowhere(tmp_path):
    pictures(tmp_path, 2)
    (tmp_path / "._000.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    found = scan(tmp_path)
    assert found.names == ["000.png", "001.png", "gone.png"]
    assert found.told()[1] == "not used: 1 hidden (their names begin with a dot) (._000.png), 1 hidden files"


def test_sheets_that_bitmosaic_drew_are_passed_over_and_single_pictures_are_not(tmp_path, capsys):
    pictures(tmp_path, 2)
    line = ["sample", "fashion", "--classes", "bag", "--count", "1", "--steps", "1", "--evaluations", "1", "--out", str(tmp_path)]
    assert main(line) == 0
    assert main(["reconstruct", str(tmp_path), "--out", str(tmp_path / "again")]) == 0
    assert main(["interpolate", "--classes", "bag", "coat", "--frames", "2", "--steps", "1", "--evaluations", "1", "--out",
                 str(tmp_path / "way")]) == 0  # fmt: skip
    found = scan(tmp_path, classes=False)
    assert found.names == ["000.png", "001.png", "bag-000.png"]
    assert "4 drawn by bitmosaic as sheets (sheet.png, again/reconstructions.png, way/strip.gif, ...)" in found.told()[1]
    Image.new("L", (28, 28)).save(tmp_path / "way" / "sheet.png")
    assert "way/sheet.png" in scan(tmp_path, classes=False).names  # called so, and not ours


def test_names_that_are_no_utf8_are_text(tmp_path, capsys):
    pictures(tmp_path / "b", 2)
    for raw in (b"caf\xe9", "v\u00e9hicules".encode(), "ve\u0301hicules2".encode()):
        pictures(tmp_path / "data" / os.fsdecode(raw), 1)
    pictures(tmp_path / "data" / "ve\u0301hicules", 1, start=1)  # as macOS writes it: the same class
    found = scan(tmp_path / "data")
    assert found.class_names == ("caf\\xe9", "v\u00e9hicules", "v\u00e9hicules2") and found.labels.tolist() == [0, 1, 2, 1]
    "\n".join(found.told()).encode()
    os.rename(tmp_path / "b" / "000.png", os.fsencode(tmp_path / "b") + b"/\x1b[31mcaf\xe9.png")
    os.mkfifo(os.fsencode(tmp_path / "b") + b"/x\n\xff.png")
    assert "x\\n\\udcff.png" in "\n".join(scan(tmp_path / "b").told())
    assert all("2 pictures in" in said for said in told_by_all(tmp_path / "b", tmp_path / "out", capsys))
