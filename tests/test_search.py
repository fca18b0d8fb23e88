"""Searching: the nearest come first, whatever holds them; builds that were stopped go on; damage is told."""

import json
import shutil

import faiss
import numpy as np
import pytest
import torch

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, save, to_pil
from bitmosaic.search import Index, VectorSpec, vectors
from bitmosaic.search import entries as entries_module
from bitmosaic.search.vectors import medians_of

CODES, FEATURES = VectorSpec("codes"), VectorSpec("features")


def some_bits(n, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size), np.uint8)


def some_floats(n, size=32, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, size)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def built(folder, structure, x, spec=CODES, chunk=400):
    found = Index.begin(folder, spec, structure, "fashion", "00")
    for start in range(0, len(x), chunk):
        found.add([f"image {i}" for i in range(start, min(start + chunk, len(x)))], x[start : start + chunk])
    list(found.build())
    return found


def brute(x, query, binary):
    if binary:
        return np.unpackbits(x ^ query, axis=1).sum(1)
    return ((x - query) ** 2).sum(1)


@pytest.mark.parametrize("spec, structure", [(CODES, "flat"), (CODES, "ivf"), (CODES, "hnsw"), (FEATURES, "flat"), (FEATURES, "ivf-pq")])
def test_the_nearest_are_found(tmp_path, spec, structure):
    x = some_bits(1200) if spec.binary else some_floats(1200)
    found = Index.open(built(tmp_path / "i", structure, x, spec).folder)
    hits = found.search(x[:20], 5)
    for i, row in enumerate(hits):
        assert [hit.distance for hit in row] == sorted(hit.distance for hit in row) and len(row) == 5
        if structure != "ivf-pq":  # whose distances are of what it keeps
            assert row[0].name == f"image {i}" and row[0].distance == pytest.approx(0, abs=1e-5)
            distances = brute(x, x[i], spec.binary)
            numbers = [int(hit.name.split()[1]) for hit in row]
            assert np.allclose(distances[numbers], [hit.distance for hit in row], atol=1e-5)
            if structure == "flat":
                assert row[-1].distance == pytest.approx(np.sort(distances)[4], abs=1e-5)
    if structure == "ivf-pq":
        assert sum(f"image {i}" in [hit.name for hit in row] for i, row in enumerate(hits)) >= 15


def test_stock_faiss_opens_it(tmp_path):
    x = some_bits(300)
    found = built(tmp_path / "i", "flat", x)
    stock = faiss.read_index_binary(str(found.folder / found.about["faiss"]))
    distances, ids = stock.search(x[:1], 1)
    assert distances[0, 0] == 0 and found.names()[ids[0, 0]] == "image 0"
    floats = built(tmp_path / "f", "flat", some_floats(300), FEATURES)
    assert faiss.read_index(str(floats.folder / floats.about["faiss"])).ntotal == 300


@pytest.mark.parametrize("structure", ["flat", "ivf", "hnsw"])
def test_images_come_and_go(tmp_path, structure):
    x = some_bits(500)
    found = built(tmp_path / "i", structure, x)
    assert found.remove(["image 0", "image 7", "no such"]) == 2
    found = Index.open(found.folder)
    names = [hit.name for hit in found.search(x[:1], 499)[0]]
    assert "image 0" not in names and "image 7" not in names and len(found) == 498
    assert len(found.search(x[:1], 10)[0]) == 10  # as many as were asked for
    found.add(["new"], x[:1])
    assert [hit.name for hit in found.search(x[:1], 1)[0]] != ["new"]  # not before it is built
    list(found.build())
    assert found.search(x[:1], 1)[0][0].name == "new"
    assert found.remove(["image 0"]) == 0


@pytest.mark.parametrize("structure", ["ivf", "hnsw"])
def test_as_many_are_found_as_were_asked_for(tmp_path, structure):
    x = np.concatenate([some_bits(500), np.repeat(some_bits(1, seed=1), 300, axis=0)])  # a graph of the very same leads nowhere
    found = built(tmp_path / "i", structure, x)
    found.remove(f"image {i}" for i in range(100))
    for k in (1, 50, 300, 690, 700, 1000):
        for row in found.search(x[[0, 200, 799]], k):
            assert len({hit.id for hit in row}) == len(row) == min(k, 700)
            assert [hit.distance for hit in row] == sorted(hit.distance for hit in row)


def test_an_image_can_be_left_out_of_its_own_neighbours(tmp_path):
    x = some_bits(300)
    found = built(tmp_path / "i", "flat", x)
    rows = found.search(x[:2], 299, leave_out=[{0}, {1, 5}])
    assert [len(row) for row in rows] == [299, 298]
    assert not {hit.id for hit in rows[0]} & {0} and not {hit.id for hit in rows[1]} & {1, 5}
    assert found.search(x[:1], 3, leave_out=[{0}])[0] == found.search(x[:1], 4)[0][1:]


def test_ids_are_chunk_times_a_thousand_and_row(tmp_path):
    x = some_bits(25)
    found = built(tmp_path / "i", "flat", x, chunk=10)
    assert [hit.id for hit in sorted(found.search(x[:1], 25)[0], key=lambda hit: int(hit.name.split()[1]))] == [
        *range(10), *range(1000, 1010), *range(2000, 2005),
    ]  # fmt: skip
    stock = faiss.read_index_binary(str(found.folder / found.about["faiss"]))
    assert sorted(faiss.vector_to_array(stock.id_map).tolist()) == [*range(10), *range(1000, 1010), *range(2000, 2005)]


def test_a_build_that_was_stopped_goes_on(tmp_path, monkeypatch):
    x = some_bits(1000)
    whole = built(tmp_path / "whole", "flat", x)
    found = Index.begin(tmp_path / "part", CODES, "flat", "fashion", "00")
    for start in range(0, 600, 200):
        found.add([f"image {i}" for i in range(start, start + 200)], x[start : start + 200])
    list(found.build())
    found.add([f"image {i}" for i in range(600, 800)], x[600:800])

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(entries_module, "write_json", stop)  # the faiss index is written, what names it is not
        with pytest.raises(KeyboardInterrupt):
            list(found.build())
    (tmp_path / "part" / "chunks" / "00004.new").write_bytes(b"half of a chunk")
    found = Index.open(tmp_path / "part")
    assert found.about["indexed"] == 3
    found.add([f"image {i}" for i in range(800, 1000)], x[800:])
    list(found.build())
    for one, other in zip(whole.search(x[::50], 3), found.search(x[::50], 3), strict=True):
        assert [(hit.name, hit.distance) for hit in one] == [(hit.name, hit.distance) for hit in other]


def test_vectors_of_images():
    pipe, pixels = Pipeline.from_pretrained("fashion"), fashion_sample().pixels[:6]
    codes = vectors(pipe, pixels, CODES)
    assert np.array_equal(codes, pipe.encode(list(pixels)).pack())
    floats = vectors(pipe, pixels, FEATURES)
    assert floats.dtype == np.float32 and np.allclose(np.linalg.norm(floats, axis=1), 1, atol=1e-5)
    spec = VectorSpec("bits")
    medians = medians_of(pipe, pixels, spec)
    bits = np.unpackbits(vectors(pipe, pixels, spec, medians), axis=1)
    assert abs(bits.mean() - 0.5) < 0.02 and np.array_equal(vectors(pipe, pixels[2:3], spec, medians)[0], np.packbits(bits[2]))
    with pytest.raises(ValueError, match="want codes, bits, features"):
        VectorSpec("pixels")


def test_what_cannot_be_an_index_says_so(tmp_path):
    with pytest.raises(ValueError, match="no index.json"):
        Index.open(tmp_path)
    with pytest.raises(ValueError, match="by codes there are flat, ivf, hnsw"):
        Index.begin(tmp_path / "i", CODES, "ivf-pq", "fashion", "00")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(ValueError, match="no index"):
        Index.begin(tmp_path / "full", CODES, "flat", "fashion", "00")
    with pytest.raises(ValueError, match="at least 1000 of them; here are 300"):
        built(tmp_path / "few", "ivf-pq", some_floats(300), FEATURES)
    found = built(tmp_path / "i", "flat", some_bits(50))
    with pytest.raises(ValueError, match="this index holds vectors of 128"):
        found.search(some_bits(1, 8))
    with pytest.raises(ValueError, match="want uint8"):
        found.add(["a"], some_floats(1))
    with pytest.raises(ValueError, match="k: got 0"):
        found.search(some_bits(1), 0)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(fashion_sample().pixels[:12]):
        save(to_pil(image.float() / 255), folder / f"{i}.png")
    return folder


def test_commands(photos, tmp_path, capsys):
    out = tmp_path / "index"
    assert main(["index", str(photos), str(out)]) == 0, capsys.readouterr().err
    (photos / "12.png").write_bytes((photos / "3.png").read_bytes())
    (photos / "broken.png").write_bytes(b"no picture")
    (photos / "0.png").unlink()
    assert main(["index", str(photos), str(out), "--prune"]) == 0
    told = capsys.readouterr()
    assert "12 images by codes, 1 new, 1 removed" in told.out and "broken.png" in told.err
    assert main(["search", str(out), str(photos / "3.png"), "-k", "3", "--out", str(tmp_path / "found")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines[:2]} == {"3.png", "12.png"} and " 0 bits differ" in lines[0]
    assert "12.png" in (tmp_path / "found" / "3-search.html").read_text() and (tmp_path / "found" / "3-search.png").exists()
    assert main(["search", str(out), str(photos / "3.png"), "--out", str(tmp_path / "found")]) == 0  # ours may be replaced
    assert main(["duplicates", str(out), "--within", "0", "--out", str(tmp_path / "same")]) == 0
    groups = json.loads((tmp_path / "same" / "duplicates.json").read_text())["groups"]
    assert [sorted(hit["image"] for hit in group) for group in groups] == [["12.png", "3.png"]]
    capsys.readouterr()
    assert main(["index", str(photos), str(out), "--by", "features"]) == 2
    assert "holds another index" in capsys.readouterr().err
    shutil.rmtree(photos)
    photos.mkdir()
    assert main(["index", str(photos), str(tmp_path / "none")]) == 2
    assert "is empty" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_another_pipeline_is_refused(photos, tmp_path, capsys):
    pipe = Pipeline.from_pretrained("fashion")
    pipe.save_pretrained(tmp_path / "mine")
    assert main(["index", str(photos), str(tmp_path / "index"), "--pipeline", str(tmp_path / "mine")]) == 0
    with torch.no_grad():
        next(pipe.tokenizer.parameters()).add_(0.01)
    pipe.save_pretrained(tmp_path / "mine")
    capsys.readouterr()
    assert main(["search", str(tmp_path / "index"), str(photos / "3.png"), "--out", str(tmp_path / "s")]) == 2
    assert "another pipeline" in capsys.readouterr().err
