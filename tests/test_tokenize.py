"""Images to codes in shards: the same whoever makes them, whatever stops them, and whatever is broken."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import warm
from PIL import Image

from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.folders import load_part, save_part
from bitmosaic.images import FASHION_CLASSES, fashion_sample, read_image, to_pil
from bitmosaic.images import tars as tars_module
from bitmosaic.images.labels import LabelFile
from bitmosaic.images.scanned import kept_scan
from bitmosaic.images.views import read_views
from bitmosaic.pipelines import Pipeline
from bitmosaic.recipes import fashion
from bitmosaic.tokenizers import BinaryAutoencoder, BinaryAutoencoderSpec
from bitmosaic.train import tokenize as tokenize_module
from bitmosaic.train.code_store import CodeBatches
from bitmosaic.train.shuffle import Shuffle
from bitmosaic.train.tokenized import FILES, Manifest, checksum
from bitmosaic.train.train import on_codes, train

SMALL = "--prior.depth 1 --prior.width 24 --prior.head.width 24 --prior.head.depth 1 --prior-training.steps 2 " \
    "--prior-training.batch-size 4 --sampler.steps 2 --sampler.evaluations 2"  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    spec = BinaryAutoencoderSpec((16, 16), 1, 4, 8, (1, 1, 1), 0, (), 8, groups=4)
    folder = tmp_path_factory.mktemp("tokenizer") / "final"
    save_part(spec.build(), spec, folder)
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    """Thirteen images of two classes, the last as one before."""
    sample, folder = fashion_sample(), tmp_path / "photos"
    for name, label in (("bag", 8), ("shirt", 6)):
        (folder / name).mkdir(parents=True)
        for i, row in enumerate((sample.labels == label).nonzero().flatten()[:6].tolist()):
            to_pil(sample.image(row)).save(folder / name / f"{i}.png")
    shutil.copy(folder / "bag" / "3.png", folder / "shirt" / "again.png")
    return folder


def tokenize(data, out, tokenizer, *more) -> int:
    return main(["tokenize", str(data), str(out), "--pipeline", str(tokenizer), *map(str, more)])


def manifest(out) -> dict:
    return json.loads((out / "manifest.json").read_text())


def counts(out) -> dict:
    return {name: count for name, count in manifest(out)["counts"].items() if count}


def files(out) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file() and p.parent.name != "locks"}


def codes_of(out) -> Codes:
    store = Manifest.read(out).store()
    return store.read(torch.arange(len(store)), torch.zeros(len(store), dtype=torch.int64)).codes


# ---- the order


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 1000, 4095, 4097, 70_001])
def test_shuffle_is_a_permutation(n):
    orders = [Shuffle(n, seed, epoch)[torch.arange(n)] for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(n))
    if n > 16:
        assert not any(torch.equal(orders[0], other) for other in orders[1:])
        assert torch.equal(orders[0], torch.cat([Shuffle(n, 0, 0)[part] for part in torch.arange(n).split(700)]))


def test_shuffle_looks_random():
    """Neighbours land far apart, places and images are unrelated, and each tenth of the order is spread evenly."""
    n = 50_000
    order = Shuffle(n, 3, 1)[torch.arange(n)].double()
    pairs = torch.corrcoef(torch.stack([order[:-1], order[1:]]))[0, 1], torch.corrcoef(torch.stack([order, torch.arange(n)]))[0, 1]
    assert max(abs(float(one)) for one in pairs) < 0.02
    for part in order.chunk(10):
        assert float((part < n / 2).double().mean()) == pytest.approx(0.5, abs=0.03)


def test_shuffle_of_a_billion_takes_no_memory():
    shuffle = Shuffle(10**9, 0, 0)
    found = shuffle[torch.arange(10**9 - 1000, 10**9)]
    assert len(found.unique()) == 1000 and int(found.min()) >= 0 and int(found.max()) < 10**9
    assert sum(value.nbytes for value in vars(shuffle).values() if hasattr(value, "nbytes")) < 100
    with pytest.raises(ValueError, match="want \\[0, 5\\)"):
        Shuffle(5, 0, 0)[torch.tensor([5])]
    with pytest.raises(ValueError, match="n: got 0"):
        Shuffle(0, 0, 0)


# ---- views


def test_views():
    image = torch.arange(40 * 40, dtype=torch.int64).remainder(251).to(torch.uint8).view(1, 40, 40)
    plain = read_image(image, 20, 1)
    assert torch.equal(read_views(image, 20, 1, "plain")[1], plain[None])
    assert torch.equal(read_views(image, 20, 1, "flip")[1], torch.stack([plain, plain.flip(-1)]))
    whole, ten = read_views(image, (20, 20), 1, "ten-crop")
    assert whole.shape == (1, 22, 22) and ten.shape == (10, 1, 20, 20)
    assert torch.equal(ten[0], whole[:, :20, :20]) and torch.equal(ten[1], whole[:, :20, 2:]) and torch.equal(ten[2], whole[:, 2:, :20])
    assert torch.equal(ten[3], whole[:, 2:, 2:]) and torch.equal(ten[4], whole[:, 1:21, 1:21]) and torch.equal(ten[5:], ten[:5].flip(-1))


def test_ten_crops_are_kept_and_read_in_turn(photos, tmp_path, tokenizer):
    out = tmp_path / "codes"
    assert tokenize(photos, out, tokenizer, "--views", "ten-crop", "--shard-images", "5") == 0
    store, part = Manifest.read(out).store(), load_part(tokenizer, BinaryAutoencoder)
    assert store.draws == 10 and len(store) == 13
    ways = read_views(photos / "bag" / "2.png", 16, 1, "ten-crop")[1]
    with torch.inference_mode():
        wanted = part.encode(ways.float() / 255)
    found = store.read(torch.full((10,), 2), torch.arange(10))
    assert (found.codes.digits == wanted.digits).float().mean() > 0.999 and found.labels.tolist() == [0] * 10
    batches = CodeBatches(store, 13, 0, Shuffle)
    for epoch in range(2):  # every image once an epoch, in the view whose turn it is
        rows = Shuffle(13, 0, epoch)[torch.arange(13)]
        assert torch.equal(batches(epoch).codes.digits, store.read(rows, (epoch + rows) % 10).codes.digits)
        assert batches(epoch).labels.sort().values.tolist() == [0] * 6 + [1] * 7


# ---- folders and sets


def test_a_folder(photos, tmp_path, tokenizer, capsys):
    (photos / "bag" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (photos / "beside.png").write_bytes(b"")
    out = tmp_path / "codes"
    assert tokenize(photos, out, tokenizer, "--shard-images", "4") == 0
    told = capsys.readouterr()
    assert "13 images x 1, 64 bits each, 2 classes, 4 shards" in told.out and "1 duplicates, kept" in told.out and "broken.png" in told.err
    found = manifest(out)
    assert counts(out) == {"unreadable": 1, "beside": 1, "duplicates": 1} and found["classes"] == ["bag", "shirt"]
    assert found["grid"] == [4, 4] and found["radix"] == [2] * 4 and [shard["images"] for shard in found["shards"]] == [4, 3, 4, 2]
    pixels = torch.stack([read_image(path, 16, 1) for path in sorted((photos / "bag").glob("[0-5].png"))])
    with torch.inference_mode():
        wanted = load_part(tokenizer, BinaryAutoencoder).encode(pixels.float() / 255)
    assert torch.equal(codes_of(out).digits[:6], wanted.digits)
    before = files(out)
    assert tokenize(photos, out, tokenizer, "--shard-images", "4") == 0 and files(out) == before


def test_a_set_that_is_there_already(tmp_path, monkeypatch):
    sample = fashion_sample()
    few = type(sample)(sample.pixels[:70], sample.labels[:70], FASHION_CLASSES)
    monkeypatch.setattr("bitmosaic.commands.tokenize.fashion_sample", lambda: few)
    assert main(["tokenize", "fashion-mnist", str(tmp_path / "codes"), "--shard-images", "50"]) == 0
    wanted = Pipeline.from_pretrained("fashion").encode(list(few.pixels[:50])).digits
    assert torch.equal(codes_of(tmp_path / "codes").digits[:50], wanted)
    found = Manifest.read(tmp_path / "codes").store().read(torch.arange(70), torch.zeros(70, dtype=torch.int64))
    assert torch.equal(found.labels, few.labels)


def test_a_scan_is_kept_until_a_folder_changes(photos, tmp_path, tokenizer, capsys, monkeypatch):
    first = kept_scan(photos, tmp_path / "scan.json")
    with monkeypatch.context() as patched:
        patched.setattr("bitmosaic.images.scanned.scan", lambda *_: pytest.fail("scanned again"))
        assert kept_scan(photos, tmp_path / "scan.json").fingerprint() == first.fingerprint()
    out = tmp_path / "codes"
    assert tokenize(photos, out, tokenizer) == 0
    (photos / "shirt" / "deep").mkdir()
    assert kept_scan(photos, tmp_path / "scan.json").names == first.names
    shutil.copy(photos / "bag" / "1.png", photos / "shirt" / "deep" / "new.png")
    assert len(kept_scan(photos, tmp_path / "scan.json").names) == 14
    (tmp_path / "scan.json").write_text("[" * 100_000)
    assert len(kept_scan(photos, tmp_path / "scan.json").names) == 14
    capsys.readouterr()
    assert tokenize(photos, out, tokenizer) == 2 and "begun with another source" in capsys.readouterr().err


def test_other_settings_and_places_are_refused(photos, tmp_path, tokenizer, capsys):
    out = tmp_path / "codes"
    assert tokenize(photos, out, tokenizer) == 0
    for more, words in ((["--views", "flip"], "another views"), (["--shard-images", "3"], "another source")):
        capsys.readouterr()
        assert tokenize(photos, out, tokenizer, *more) == 2 and words in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    for place, words in ((tmp_path / "mine", "letter.txt"), (photos / "codes", "inside the images")):
        assert tokenize(photos, place, tokenizer) == 2 and words in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"] and not (photos / "codes").exists()
    assert tokenize("nowhere", tmp_path / "n", tokenizer) == 2 and "no folder nowhere" in capsys.readouterr().err


# ---- killed, and several at once


COMMAND = """
import sys, time, torch
from bitmosaic.train import tokenize
from bitmosaic.cli import main
encode, slow = tokenize._encode, float(sys.argv.pop(1))
tokenize._encode = lambda *a: (time.sleep(slow), encode(*a))[1]
sys.exit(main(sys.argv[1:]))
"""


def begun(data, out, tokenizer, slow=0.0, env=None) -> warm.Child:
    words = ["tokenize", str(data), str(out), "--pipeline", str(tokenizer), "--shard-images", "2", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    return warm.Child([sys.executable, "-c", COMMAND, str(slow), *words], env=environment, stderr=subprocess.PIPE)


def done(process) -> None:
    _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told


@pytest.mark.slow
def test_killed_and_two_at_once_make_the_same_shards(photos, tmp_path, tokenizer):
    assert tokenize(photos, tmp_path / "alone", tokenizer, "--shard-images", "2") == 0
    out = tmp_path / "shared"
    process = begun(photos, out, tokenizer, 0.5)
    while not (out / "shards" / "00001").is_dir():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / "manifest.json").exists() and not (out / "shards" / "00006").exists()
    (out / "shards" / ".00005.0123abcd.new").mkdir()  # what a kill in the middle of writing leaves
    (out / "shards" / ".00005.0123abcd.new" / "codes.npy").write_bytes(b"half")
    both = [begun(photos, out, tokenizer, 0.2, {"RANK": str(rank)}) for rank in range(2)]
    for process in both:
        done(process)
    assert files(out) == files(tmp_path / "alone")


@pytest.mark.slow
def test_torchrun(photos, tmp_path, tokenizer):
    assert tokenize(photos, tmp_path / "alone", tokenizer, "--shard-images", "2") == 0
    words = ["tokenize", str(photos), str(tmp_path / "shared"), "--pipeline", str(tokenizer), "--shard-images", "2"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bitmosaic", *words]
    found = subprocess.run(launch, capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("13 images") == 1 and files(tmp_path / "shared") == files(tmp_path / "alone")


def test_stopped_in_the_middle_goes_on(photos, tmp_path, tokenizer, monkeypatch):
    """In this process: an error in the third shard, then the same again; and a shard that another process makes is waited for."""
    assert tokenize(photos, tmp_path / "alone", tokenizer, "--shard-images", "2") == 0
    out, write, made = tmp_path / "codes", tokenize_module._write, []

    def stop(folder, *rest):
        if folder.name == "00002":
            raise KeyboardInterrupt
        made.append(folder.name)
        write(folder, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(tokenize_module, "_write", stop)
        assert tokenize(photos, out, tokenizer, "--shard-images", "2") == 130
    assert made == ["00000", "00001"] and sorted(p.name for p in (out / "shards").iterdir()) == made
    monkeypatch.setattr(tokenize_module, "_write", lambda folder, *rest: (made.append(folder.name), write(folder, *rest)))
    assert tokenize(photos, out, tokenizer, "--shard-images", "2") == 0
    assert made == [f"{i:05d}" for i in range(7)] and files(out) == files(tmp_path / "alone")


# ---- tars


def tar(members, end=True) -> bytes:
    """A tar of (name, bytes), or of tarfile.TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for member in members:
            info, data = (member, b"") if isinstance(member, tarfile.TarInfo) else (tarfile.TarInfo(member[0]), member[1])
            info.size = info.size or len(data)
            file.addfile(info, io.BytesIO(data) if data else None)
        length = file.offset
    return buffer.getvalue() if end else buffer.getvalue()[:length]


def png(i: int) -> bytes:
    buffer = io.BytesIO()
    to_pil(fashion_sample().image(i)).save(buffer, "png")
    return buffer.getvalue()


def link(name: str, to: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, to
    return info


def test_tars(tmp_path, tokenizer, monkeypatch):
    """Broken images, names that lead elsewhere, a tar cut off, an empty one, one that is none: each counted, and no other stopped."""
    monkeypatch.chdir(tmp_path)
    bomb = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(bomb, "png")
    here = tmp_path / "in" / "side"
    here.mkdir(parents=True)
    pair = [(f"{i}.{kind}", png(i) if kind == "png" else str(i % 3).encode()) for i in range(4) for kind in ("png", "cls")]
    odd = [
        ("../evil.png", png(5)), ("/tmp/evil2.cls", b"0"), ("bad.png", b"no picture"), ("bad.cls", b"1"), ("bomb.png", bomb.getvalue()),
        ("text.png", png(6)), ("text.cls", b"cat"), ("high.png", png(7)), ("high.cls", b"3"), ("twice.png", png(8)), ("twice.png", png(9)),
        ("note.txt", b"hello"), link("link.png", "/etc/passwd"), ("\x1b[31mred.png", b"x"),
    ]  # fmt: skip
    (here / "0.tar").write_bytes(tar(pair))
    (here / "1.tar").write_bytes(tar(odd))
    (here / "2.tar").write_bytes(tar(pair)[: 512 * 9])
    (here / "3.tar").write_bytes(tar([]))
    (here / "4.tar").write_bytes(b"")
    (here / "5.tar").write_bytes(b"this is no tar" * 100)
    (here / "6.tar").write_bytes(tar([(f"again{name}", data) for name, data in pair], end=False))
    out = tmp_path / "codes"
    assert tokenize(here / "{0..6}.tar", out, tokenizer, "--classes", "3") == 0
    found = manifest(out)
    images = [shard["images"] for shard in found["shards"]]
    assert images[0] == 4 and images[1] == 4 and 1 <= images[2] < 4 and images[3:6] == [0, 0, 0] and images[6] == 4
    assert counts(out) == {
        "unreadable": 5, "duplicates": images[2] + 4, "unlabelled": 2, "unmatched": 3, "empty": 3, "broken": 4, "passed": 1,
    }  # fmt: skip
    told = "\n".join(found["told"])
    assert "bomb.png: it is too large" in told and "twice.png: its name comes twice" in told and "no plain file" in told
    assert "\x1b" not in told and "4.tar" in told and "5.tar" in told
    assert not [*tmp_path.rglob("*evil*"), *tmp_path.parent.glob("*evil*")] and not Path("/tmp/evil2.cls").exists()
    labels = Manifest.read(out).store().read(torch.arange(8), torch.zeros(8, dtype=torch.int64)).labels
    assert labels.tolist() == [0, 1, 2, 0, 3, 3, 3, 3] and found["classes"] == ["0", "1", "2"]  # 3: none, the null class

    (here / "4.tar").write_bytes(tar([("late.png", png(20)), ("late.cls", b"2")]))  # what broke off is tried again
    assert tokenize(here / "{0..6}.tar", out, tokenizer, "--classes", "3") == 0
    assert counts(out)["broken"] == 3 and counts(out)["empty"] == 2 and manifest(out)["shards"][4]["images"] == 1


def test_a_tar_believes_no_size(tmp_path, tokenizer, monkeypatch):
    """A member, a name, or a hole in a file that is stated to be huge takes no memory."""
    monkeypatch.setattr(tars_module, "LARGEST", 1000)
    huge = tarfile.TarInfo("huge.png")
    huge.size = 8**11 - 1
    named = tarfile.TarInfo("././@LongLink")
    named.type, named.size = tarfile.GNUTYPE_LONGNAME, 8**11 - 1
    sparse = tarfile.TarInfo("sparse.png")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(10**12)}
    for i, info in enumerate((huge, named, sparse)):
        kind = tarfile.PAX_FORMAT if info is sparse else tarfile.GNU_FORMAT
        blocks = info.tobuf(kind) if info is not named else info.create_gnu_header(info.get_info(), "utf-8", "strict")
        (tmp_path / f"{i}.tar").write_bytes(tar([("a.png", png(1))])[:2048][: 512 + -(-len(png(1)) // 512) * 512] + blocks + bytes(10_240))
    before = time.monotonic()
    assert tokenize(tmp_path / "*.tar", tmp_path / "codes", tokenizer) == 0
    assert time.monotonic() - before < 20 and manifest(tmp_path / "codes")["images"] == 3


def test_tars_at_a_url(tmp_path, tokenizer, capsys):
    fsspec = pytest.importorskip("fsspec")
    members = [(f"{i}.png", png(i)) for i in range(3)]
    with fsspec.open("memory://shards/a.tar", "wb") as file:
        file.write(tar(members))
    (tmp_path / "a.tar").write_bytes(tar(members))
    for i, url in enumerate(("memory://shards/*.tar", f"file://{tmp_path}/a.tar")):
        out = tmp_path / f"codes{i}"
        assert tokenize(url, out, tokenizer) == 0
        assert manifest(out)["images"] == 3 and manifest(out)["classes"] == [] and counts(out) == {}
    assert torch.equal(codes_of(tmp_path / "codes0").digits, codes_of(tmp_path / "codes1").digits)
    capsys.readouterr()
    for url in ("memory://nothing/*.tar", "strange://host/a.tar", "pipe://touch evil", "{a.tar", "{0..200000}.tar"):
        assert tokenize(url, tmp_path / "none", tokenizer) == 2 and "data: " in capsys.readouterr().err


def named_in_tar(tmp_path, tokenizer, members) -> tuple[list[int], dict[str, int]]:
    """Labels of the images in a tar, and what is counted of the others; -1 where there is none."""
    (tmp_path / "a.tar").write_bytes(tar(members))
    shutil.rmtree(tmp_path / "codes", ignore_errors=True)
    assert tokenize(tmp_path / "a.tar", tmp_path / "codes", tokenizer, "--classes", "4") == 0
    shards = tmp_path / "codes" / "shards"
    return np.load(shards / "00000" / "labels.npy").tolist(), counts(tmp_path / "codes")


def test_dots_in_the_names_of_members(tmp_path, tokenizer):
    """The last ending says what a member is; a label is for all whose names begin so; further parts of a plain sample are no images."""
    dates = [(f"scans.v1/22.{i:02d}.{kind}", png(i) if kind == "PNG" else str(i % 4).encode()) for i in range(6) for kind in ("PNG", "cls")]
    assert named_in_tar(tmp_path, tokenizer, dates) == ([0, 1, 2, 3, 0, 1], {})
    assert named_in_tar(tmp_path, tokenizer, [(f"22.{i:02d}.png", png(i)) for i in range(40)])[0] == [-1] * 40
    eyes = [("7.cls", b"2"), ("7.left.png", png(1)), ("7.right.png", png(2)), ("8.left.png", png(3)), ("8.left.cls", b"1"), ("8.cls", b"3"),
            ("8.right.png", png(4))]  # fmt: skip
    assert named_in_tar(tmp_path, tokenizer, eyes) == ([2, 2, 1, 3], {})
    parts = [("9.depth.png", png(1)), ("9.jpg", png(2)), ("9.cls", b"1"), ("9.seg.png", png(3)), ("._9.jpg", b"mac"), ("9.json", b"{}")]
    assert named_in_tar(tmp_path, tokenizer, parts) == ([1], {"passed": 4})
    alone = [("a.b.cls", b"1"), ("a.cls", b"2"), ("c.png", png(1))]
    assert named_in_tar(tmp_path, tokenizer, alone) == ([-1], {"unlabelled": 1, "unmatched": 2})


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
