"""IDX files, the bundled sample of Fashion-MNIST, and where the whole is looked for."""

import gzip
import struct

import pytest
import torch

from bitmosaic.images import FASHION_CLASSES, fashion, fashion_mnist, fashion_sample, read_idx


def idx(values):
    head = bytes([0, 0, 8, values.dim()]) + struct.pack(f">{values.dim()}I", *values.shape)
    return head + values.numpy().tobytes()


def write_fashion(folder, n=5, labels=None, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"images-idx3": torch.full((n, 4, 6), n, dtype=torch.uint8),
             "labels-idx1": torch.arange(n, dtype=torch.uint8) if labels is None else labels}
    for split in ("train", "t10k"):
        for part, values in parts.items():
            data = gzip.compress(idx(values), mtime=0) if zipped else idx(values)
            (folder / f"{split}-{part}-ubyte{'.gz' if zipped else ''}").write_bytes(data)


def test_sample():
    sample = fashion_sample()
    assert (len(sample), sample.size, sample.channels) == (10_000, (28, 28), 1) and sample.unreadable == {}
    assert sample.class_names == FASHION_CLASSES and len(FASHION_CLASSES) == 10
    assert sample.labels.bincount().tolist() == [1000] * 10 and sample.labels.dtype == torch.int64
    assert sample.pixels.dtype == torch.uint8 and sample.pixels.min() == 0 and sample.pixels.max() == 255
    assert [FASHION_CLASSES[label] for label in sample.labels[:4]] == ["ankle boot", "pullover", "trouser", "trouser"]


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_round_trip(tmp_path, zipped):
    values = torch.arange(24, dtype=torch.uint8).view(2, 3, 4)
    (tmp_path / "a").write_bytes(gzip.compress(idx(values), mtime=0) if zipped else idx(values))
    assert torch.equal(read_idx(tmp_path / "a"), values)
    assert torch.equal(read_idx(str(tmp_path / "a")), values)


WHOLE = idx(torch.zeros(2, 3, dtype=torch.uint8))


@pytest.mark.parametrize("data, complaint", [
    (b"", "begins with nothing"), (b"\0\0", "not an IDX file"), (b"hello", "not an IDX file, it begins with 68 65"),
    (b"\0\0\x08\0\x05", "not an IDX file"), (WHOLE[:7], "states shape"),
    (WHOLE[:2] + b"\x0d" + WHOLE[3:], "type 0x0d; only unsigned bytes"),
    (WHOLE[:-1], r"states shape \(2, 3\), so 18 bytes, but has 17"), (WHOLE + b"\0", "but has 19"),
    (idx(torch.zeros(0, 3, dtype=torch.uint8)), r"shape \(0, 3\)"), (gzip.compress(WHOLE, mtime=0)[:-9], "is damaged"),
    (gzip.compress(WHOLE, mtime=0)[:-8] + b"\0" * 8, "cannot read"), (b"\x1f\x8b", "is damaged"),
])
def test_malformed_idx(tmp_path, data, complaint):
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(ValueError, match=f"path: .*{complaint}"):
        read_idx(tmp_path / "a.gz")


def test_missing_idx(tmp_path):
    with pytest.raises(ValueError, match="path: cannot read .*nowhere: No such file"):
        read_idx(tmp_path / "nowhere")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", ["", "fashion-mnist"])
def test_found_in_the_folder_that_is_named(tmp_path, monkeypatch, zipped, below):
    write_fashion(tmp_path / below, 5, zipped=zipped)
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "none")
    for images in (fashion_mnist(tmp_path), fashion_mnist(str(tmp_path), "test")):
        assert (len(images), images.size, images.labels.tolist()) == (5, (4, 6), [0, 1, 2, 3, 4])
    monkeypatch.setenv("BITMOSAIC_DATA", str(tmp_path))
    assert len(fashion_mnist()) == 5


def test_the_named_folder_goes_before_the_variable_and_that_before_debian(tmp_path, monkeypatch):
    for n, name in ((3, "given"), (4, "variable"), (5, "debian")):
        write_fashion(tmp_path / name, n)
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.delenv("BITMOSAIC_DATA", raising=False)
    assert len(fashion_mnist()) == 5
    monkeypatch.setenv("BITMOSAIC_DATA", str(tmp_path / "variable"))
    assert len(fashion_mnist()) == 4 and len(fashion_mnist(tmp_path / "given")) == 3
    monkeypatch.setenv("BITMOSAIC_DATA", str(tmp_path / "nowhere"))
    assert len(fashion_mnist()) == 5


def test_absent_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("BITMOSAIC_DATA", raising=False)
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "none")
    wanted = "none; install .*apt-get install dataset-fashion-mnist.*four IDX files.*BITMOSAIC_DATA"
    with pytest.raises(ValueError, match=wanted):
        fashion_mnist()
    write_fashion(tmp_path / "none")
    with pytest.raises(ValueError, match="empty.*apt-get install"):  # a named folder is not replaced by another
        fashion_mnist(tmp_path / "empty")
    with pytest.raises(ValueError, match="split: got 'valid'; give 'train' or 'test'"):
        fashion_mnist(split="valid")


def test_files_that_do_not_belong_together(tmp_path):
    write_fashion(tmp_path, 5, labels=torch.zeros(4, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"shape \(5, 4, 6\) .* \(4,\)"):
        fashion_mnist(tmp_path)
    write_fashion(tmp_path, 5, labels=torch.full((5,), 10, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"labels: got 10 to 10; with 10 class names"):
        fashion_mnist(tmp_path)
