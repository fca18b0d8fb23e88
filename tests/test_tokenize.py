"""Images to codes in shards: the same whoever makes them, and whatever stops them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import warm

from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.folders import load_part, save_part
from bitmosaic.images import FASHION_CLASSES, NAMED_SETS, fashion_sample, read_image, to_pil
from bitmosaic.images.named import NamedSet
from bitmosaic.images.scanned import kept_scan
from bitmosaic.images.views import read_views
from bitmosaic.pipelines import Pipeline
from bitmosaic.tokenizers import BinaryAutoencoder, BinaryAutoencoderSpec
from bitmosaic.train import tokenize as tokenize_module
from bitmosaic.train.code_store import CodeBatches
from bitmosaic.train.shuffle import Shuffle
from bitmosaic.train.tokenized import Manifest


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
    monkeypatch.setitem(NAMED_SETS, "fashion-mnist", NamedSet("a few", lambda: few))
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
