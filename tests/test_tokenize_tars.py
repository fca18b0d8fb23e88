"""Images to codes in shards, from tars: members of any names, sizes and kinds, whole and cut."""

import io
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_tokenize import codes_of, counts, manifest, tokenize, tokenizer

from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.images import tars as tars_module
from bitmosaic.train.tokenized import Manifest

__all__ = ["tokenizer"]


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
