"""Indexes that were damaged or are of the first version: the chunks are the truth, and the pictures mend these."""

import json
import os
import shutil

import faiss
import numpy as np
import pytest
from cover import covered
from filelock import FileLock
from safetensors.numpy import load_file, save_file
from test_search import CODES, FEATURES, built, photos, some_bits, some_floats

from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, save, to_pil
from bitmosaic.search import Damaged, Index, VectorSpec, medians
from bitmosaic.search import index as index_module

__all__ = ["photos"]


def answers(found, x):
    """Of a graph the nearest alone: what else it finds depends on the order in which it was made."""
    k = 1 if found.about["structure"] == "hnsw" else 3
    return [[(hit.name, hit.distance) for hit in row] for row in found.search(x, k)]


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("kind, damage", covered(
    [(CODES, "flat"), (CODES, "ivf"), (CODES, "hnsw"), (FEATURES, "flat"), (FEATURES, "ivf-pq")],
    ["gone", "cut", "empty", "flipped", "foreign", "other structure"], ways=1,
))  # fmt: skip
def test_a_faiss_index_is_made_again_from_the_chunks(tmp_path, kind, damage):
    spec, structure = kind
    x = some_bits(1100) if spec.binary else some_floats(1100)
    found = built(tmp_path / "i", structure, x, spec)
    found.remove(["image 3"])
    before, path = answers(found, x[:5]), found.folder / found.about["faiss"]
    if damage == "gone":
        path.unlink()
    if damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    if damage == "empty":
        os.truncate(path, 0)
    if damage == "flipped":
        flip(path, path.stat().st_size // 2)
    if damage in ("foreign", "other structure"):  # of an index of as many other images
        other = structure if damage == "foreign" else "flat"
        y = some_bits(1100, seed=7) if spec.binary else some_floats(1100, seed=7)
        stranger = built(tmp_path / "other", other, y, spec)
        shutil.copy(stranger.folder / stranger.about["faiss"], path)
    if damage == "other structure" and structure == "flat":
        return
    again = Index.open(found.folder)
    assert answers(again, x[:5]) == before and path.name in again.mended and "again from the chunks" in again.mended
    third = Index.open(found.folder)
    assert answers(third, x[:5]) == before and third.mended == ""  # it was written
    assert len(list(found.folder.glob("*.faiss"))) == 1


def test_an_index_that_cannot_be_written_is_searched_all_the_same(tmp_path):
    x = some_bits(100)
    found = built(tmp_path / "i", "flat", x)
    before = answers(found, x[:5])
    (found.folder / found.about["faiss"]).unlink()
    with FileLock(found.folder / "index.lock"):  # as if another wrote; on a disk that is read-only it is the same
        again = Index.open(found.folder)
        assert answers(again, x[:5]) == before and again.mended
    assert not list(found.folder.glob("*.faiss"))


def test_a_search_goes_on_where_another_process_has_built_since(tmp_path):
    x = some_bits(100)
    found = built(tmp_path / "i", "flat", x[:50])
    reader = Index.open(found.folder)
    found.add([f"new {i}" for i in range(50)], x[50:])
    list(found.build())  # which takes the file away that the reader knows
    assert [hit.name for hit in reader.search(x[60:61], 1)[0]] == ["new 10"] and reader.mended == ""


def test_a_later_row_of_a_name_takes_the_place_of_earlier_ones(tmp_path):
    x = some_bits(60)
    for structure in ("flat", "hnsw"):
        found = built(tmp_path / structure, structure, x[:50])
        found.add(["image 7", "image 8"], x[50:52])
        assert found.search(x[7:8], 1)[0][0].distance == 0  # until it is built
        list(found.build())
        for index in (found, Index.open(found.folder)):
            assert len(index) == 50 and index.present()["image 7"] == 1000
            assert [hit.distance == 0 for hit in index.search(x[[7, 50]], 1)[0] + index.search(x[[50]], 1)[0]] == [False, True]
            assert sorted(hit.name for hit in index.search(x[:1], 99)[0]) == sorted(f"image {i}" for i in range(50))
        assert found.remove(["image 7"]) == 1 and "image 7" not in found.present()
        assert "image 7" not in [hit.name for hit in Index.open(found.folder).search(x[:1], 99)[0]]


@pytest.mark.parametrize("damage", ["cut", "vectors", "names", "gone", "foreign", "empty"])
def test_images_of_a_damaged_chunk_are_coded_again(photos, tmp_path, capsys, monkeypatch, damage):
    monkeypatch.setattr("bitmosaic.search.indexing.CHUNK", 5)  # three chunks
    out = tmp_path / "index"
    assert main(["index", str(photos), str(out)]) == 0
    path = out / "chunks" / "00001.safetensors"
    names = Index.open(out).store.rows(1).names
    if damage == "cut":
        os.truncate(path, path.stat().st_size - 9)
    if damage == "empty":
        os.truncate(path, 0)
    if damage == "vectors":
        flip(path, path.stat().st_size - 4)
    if damage == "names":
        path.write_bytes(path.read_bytes().replace(names[0].encode(), names[0].encode().swapcase(), 1))
    if damage == "gone":
        path.unlink()
    if damage == "foreign":
        stranger = built(tmp_path / "other", "flat", some_bits(5, 123))
        shutil.copy(stranger.folder / "chunks" / "00000.safetensors", path)
    capsys.readouterr()
    if damage != "vectors":  # which the faiss index holds too
        assert main(["search", str(out), str(photos / "3.png"), "--out", str(tmp_path / "s")]) == 2
        told = capsys.readouterr().err
        assert "00001.safetensors" in told and "'bitmosaic index'" in told and len(told.splitlines()) == 1
    assert main(["index", str(photos), str(out)]) == 0
    told = capsys.readouterr()
    assert "12 images by codes, 5 new" in told.out and "00001.safetensors" in told.err
    for name in names:
        assert main(["search", str(out), str(photos / name), "-k", "12", "--out", str(tmp_path / "s")]) == 0
        assert f"{name} (itself)  0 bits" in " ".join(capsys.readouterr().out.split(" ")).replace("   ", "  ")
    found = Index.open(out)
    hits = found.search(found.vectors(np.array([0])), 100)[0]
    assert sorted(hit.name for hit in hits) == sorted(found.present()), "each image is found once"
    assert main(["index", str(photos), str(out)]) == 0 and "12 images by codes, 0 new:" in capsys.readouterr().out


@pytest.mark.parametrize("structure", ["flat", "hnsw"])
def test_chunks_beside_a_lost_faiss_index_are_in_the_next_one_once(tmp_path, structure):
    x = some_bits(40)
    found = built(tmp_path / "i", structure, x[:20])
    (found.folder / found.about["faiss"]).unlink()
    found = Index.open(found.folder)
    found.add([f"later {i}" for i in range(20)], x[20:])
    list(found.build())
    for again in (found, Index.open(found.folder)):
        assert sorted(hit.name for hit in again.search(x[:1], 100)[0]) == sorted(found.present())
        assert len(again._load()) == 40 and not again.mended.startswith("index-00001")


def test_what_could_not_be_built_is_built_with_the_structure_that_was_recommended(photos, tmp_path, capsys):
    out = tmp_path / "index"
    features = ["index", str(photos), str(out), "--by", "features"]
    assert main([*features, "--structure", "ivf-pq"]) == 2
    assert "take flat" in capsys.readouterr().err
    assert main([*features, "--structure", "hnsw"]) == 2  # which features do not have
    assert "by features there are flat, ivf-pq" in capsys.readouterr().err
    assert main(features) == 0
    assert "12 images by features, 0 new:" in capsys.readouterr().out  # what was coded stayed
    assert main(["search", str(out), str(photos / "3.png"), "--out", str(tmp_path / "s")]) == 0
    assert main([*features, "--structure", "ivf-pq"]) == 2 and "give the same settings" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["gone", "cut", "other", "path"])
def test_an_index_json_is_made_again_around_the_chunks(photos, tmp_path, capsys, damage):
    out = tmp_path / "index"
    assert main(["index", str(photos), str(out)]) == 0
    path = out / "index.json"
    about = json.loads(path.read_text())
    wrong = {"other": {"indexed": "many"}, "path": {"faiss": "../x.faiss"}}
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(path.read_text()[:100] if damage == "cut" else json.dumps({**about, **wrong[damage]}))
    capsys.readouterr()
    for command in (["search", str(out), str(photos / "3.png")], ["duplicates", str(out)]):
        assert main([*command, "--out", str(tmp_path / "s")]) == 2
        told = capsys.readouterr().err
        assert "index.json" in told and "'bitmosaic index'" in told and len(told.splitlines()) == 1
    assert main(["index", str(photos), str(out), "--by", "features"]) == 2  # nothing is lost by another setting
    assert "chunks of an index with other settings" in capsys.readouterr().err
    assert main(["index", str(photos), str(out)]) == 0
    assert "12 images by codes, 0 new:" in capsys.readouterr().out
    assert main(["search", str(out), str(photos / "3.png"), "--out", str(tmp_path / "s")]) == 0


def test_medians_are_in_the_chunks(photos, tmp_path, capsys):
    out = tmp_path / "index"
    assert main(["index", str(photos), str(out), "--by", "bits"]) == 0
    path = out / "medians.npy"
    before, asked = path.read_bytes(), ["search", str(out), str(photos / "3.png"), "-k", "5", "--out", str(tmp_path / "s")]
    capsys.readouterr()
    assert main(asked) == 0
    said = capsys.readouterr().out
    for damage in ("gone", "cut", "foreign"):
        path.unlink()
        if damage == "cut":
            path.write_bytes(before[:100])
        if damage == "foreign":
            np.save(path, np.ones(768, np.float32))
        assert main(asked) == 0
        told = capsys.readouterr()
        assert told.out == said and "medians.npy" in told.err and path.read_bytes() == before
        path.unlink()
        save(to_pil(fashion_sample().pixels[50].float() / 255), photos / f"{damage}.png")
        assert main(["index", str(photos), str(out), "--by", "bits"]) == 0
        assert "1 new" in capsys.readouterr().out and path.read_bytes() == before
        (photos / f"{damage}.png").unlink()
        assert main(["index", str(photos), str(out), "--by", "bits", "--prune"]) == 0
        capsys.readouterr()


def first_version(folder, names, vectors, spec, fingerprint, root, removed=(), structure="flat"):
    """An index as the first version wrote it."""
    (folder / "chunks").mkdir(parents=True)
    metadata = {"names": json.dumps(names), "software": "bitmosaic index 1"}
    save_file({"vectors": vectors}, folder / "chunks" / "00000.safetensors", metadata)
    x = faiss.IndexBinaryIDMap2(faiss.index_binary_factory(8 * vectors.shape[1], "BFlat"))
    keep = ~np.isin(np.arange(len(names)), removed)
    x.add_with_ids(vectors[keep], np.arange(len(names))[keep])
    faiss.write_index_binary(x, str(folder / "index-00000.faiss"))
    about = {
        "format": "bitmosaic index 1", "vectors": spec.to_json(), "structure": structure, "pipeline": "fashion",
        "fingerprint": fingerprint, "root": root, "faiss": "index-00000.faiss", "indexed": 1, "removed": list(removed),
    }  # fmt: skip
    (folder / "index.json").write_text(json.dumps(about))


@pytest.mark.parametrize("by, lost", [("codes", ""), ("codes", "index-00000.faiss"), ("bits", ""), ("bits", "medians.npy")])
def test_the_first_version_is_read_and_made_anew(photos, tmp_path, capsys, by, lost):
    new, old = tmp_path / "new", tmp_path / "old"
    assert main(["index", str(photos), str(new), "--by", by]) == 0
    found = Index.open(new)
    names = [name for name in found.names() if name]
    vectors = found.vectors(np.arange(12))  # and one that is gone
    vectors, names = np.concatenate([vectors, some_bits(1, vectors.shape[1])]), [*names, str(tmp_path / "elsewhere.png")]
    first_version(old, names, vectors, VectorSpec(by), found.about["fingerprint"], str(photos), removed=[0])
    if by == "bits":
        shutil.copy(new / "medians.npy", old / "medians.npy")
    if lost:
        (old / lost).unlink()
    search = ["search", str(old), str(photos / "3.png"), "-k", "20", "--out", str(tmp_path / "s")]
    capsys.readouterr()
    if lost == "medians.npy":
        assert main(search) == 2 and "'bitmosaic index'" in capsys.readouterr().err
    else:
        assert main(search) == 0
        told = capsys.readouterr()
        assert "3.png (itself)" in told.out and "12 of 20 asked for" in told.out and " 0.png" not in told.out
        assert bool(lost) == bool(told.err)
        assert main(["duplicates", str(old), "--out", str(tmp_path / "d")]) == 0
        capsys.readouterr()
    assert main(["index", str(photos), str(old), "--by", by]) == 0
    told = capsys.readouterr()
    assert "first version" in told.err and f"12 images by {by}, 12 new:" in told.out
    assert json.loads((old / "index.json").read_text())["format"] == "bitmosaic index 2"
    assert main(search) == 0 and main(["index", str(photos), str(old), "--by", by]) == 0
    told = capsys.readouterr()
    assert told.err == "" and f"12 images by {by}, 0 new:" in told.out and "12 of 20 asked for" in told.out


def test_what_is_no_index_stays_as_it_is(photos, tmp_path, capsys):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("dear")
    (tmp_path / "file").write_text("mine")
    for out in ("letters", "file"):
        assert main(["index", str(photos), str(tmp_path / out)]) == 2
        assert "out: " in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["mine.txt"] and (tmp_path / "file").read_text() == "mine"
    later = built(tmp_path / "later", "flat", some_bits(9)).folder
    about = json.loads((later / "index.json").read_text())
    (later / "index.json").write_text(json.dumps({**about, "format": "bitmosaic index 3", "more": 1}))
    before = (later / "index.json").read_bytes()
    for command in (["index", str(photos), str(later)], ["search", str(later), str(photos / "3.png")]):
        assert main(command) == 2 and "later version" in capsys.readouterr().err
    assert (later / "index.json").read_bytes() == before


def test_a_full_disk_is_told_and_the_same_command_goes_on(photos, tmp_path, capsys, monkeypatch):
    out = tmp_path / "index"
    for place in ("bitmosaic.search.vector_store.save_file", "bitmosaic.search.structures.library", "bitmosaic.search.entries.write_json"):
        with monkeypatch.context() as patched:
            if "library" in place:
                class Full:
                    IndexBinary = faiss.IndexBinary

                    def write_index_binary(self, index, path):
                        shutil.copy(__file__, path)
                        raise RuntimeError("Error in write: No space left on device")

                    def __getattr__(self, name):
                        return getattr(faiss, name)

                patched.setattr(place, Full)
            else:
                def full(*_, **__):
                    raise OSError(28, "No space left on device")

                patched.setattr(place, full)
            assert main(["index", str(photos), str(out)]) == 2
            told = capsys.readouterr().err
            assert "no space left" in told.lower() and len(told.splitlines()) == 1
            assert not [*out.rglob("*.new")] and not [*out.rglob(".*.new")]
    assert main(["index", str(photos), str(out)]) == 0
    assert "12 images by codes" in capsys.readouterr().out
    assert main(["search", str(out), str(photos / "3.png"), "--out", str(tmp_path / "s")]) == 0


def test_chunks_of_the_second_version_have_checksums_that_hold(tmp_path):
    found = built(tmp_path / "i", "flat", some_bits(20))
    path = found.folder / "chunks" / "00000.safetensors"
    tensors, whole = load_file(path), path.read_bytes()
    assert tensors["stats"].shape == (20, 3) and tensors["sums"].shape == (20, 16)
    for offset in range(0, len(whole), 97):
        flip(path, offset)
        with pytest.raises(Damaged):
            Index.open(found.folder).vectors(np.arange(20))
        path.write_bytes(whole)
    assert np.array_equal(Index.open(found.folder).vectors(np.arange(20)), some_bits(20))
    assert medians(found) is None and index_module.FORMAT == "bitmosaic index 2"
