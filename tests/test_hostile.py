"""Files from strangers, of every kind that is read: each ends in a result or in a ValueError, at once, in little memory; nothing is run,
and nothing is written outside. Checkpoints have more of this in test_resume.py, tests/fuzz/fuzz.py does it by the thousand.
"""

import gzip
import json
import pickle
import shutil
import tracemalloc
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from bitmosaic import Codes, Pipeline
from bitmosaic.codec import StaticCoder, load_fitted
from bitmosaic.commands.convert import read_names
from bitmosaic.commands.decode import read_codes
from bitmosaic.commands.encode import FORMAT
from bitmosaic.commands.files import written_by_us
from bitmosaic.commands.report import report
from bitmosaic.convert import read_checkpoint
from bitmosaic.evaluate.curves import read_metrics
from bitmosaic.folders import read_array, read_json
from bitmosaic.images import idx
from bitmosaic.nets.feature_net import ConvClassifierSpec, load_feature_net, save_feature_net
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.recipes import fashion
from bitmosaic.search import Index, VectorSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.checkpoint import load_checkpoint, save_checkpoint
from bitmosaic.train.log import Log
from bitmosaic.train.loop import State
from bitmosaic.train.overview import about_run
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.sealed import CHECKSUMS, checksums
from bitmosaic.train.training import Training

pytestmark = pytest.mark.timeout(240)
MILLION = 10**6
DEEP = {"lists": "[" * MILLION, "objects": '{"a":' * MILLION, "closed": "[" * 900 + "]" * 900}
NO_JSON = {"empty": "", "digits": "1" * 5000, "no float": "1e400", "negative": "-1e400", "wide": str(2**63), "half": '{"a"', "\0": "\0"}
VALUES = [-1, 2**62, float("inf"), None, [[]], "../../x"]


def state():
    torch.manual_seed(0)
    return State.start(PriorGame(MaskedPriorSpec().build()), Training())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One honest file of each kind."""
    folder = tmp_path_factory.mktemp("hostile")
    tokenizer = BinaryAutoencoderSpec((8, 8), 3, 8, 8, (1, 1), 1, (), 8, groups=4).build()
    pipe = Pipeline(tokenizer, MaskedPriorSpec().build(), class_names=tuple("ab") if MaskedPriorSpec().condition.classes == 2 else ())
    pipe.static = StaticCoder.fit([Codes(torch.zeros(1, 4, 4, 8, dtype=torch.uint8), (2,) * 8)])
    pipe.save_pretrained(folder / "pipeline")
    run = folder / "run"
    (run / "tokenizer").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"run": fashion().to_json(), "images": "0"}))
    (run / "tokenizer" / "report.json").write_text(json.dumps(
        {"psnr": 1.0, "ssim": 0.5, "count": 3, "bits": {"mean": [0.5], "entropy": [1.0], "dead": []}}))  # fmt: skip
    (run / "tokenizer" / "metrics.jsonl").write_text('{"step": 2, "loss": 1.0, "seconds": 1.0}\n')
    (run / "tokenizer" / "events.jsonl").write_text('{"step": 2, "event": "started"}\n')
    Index.begin(folder / "index", VectorSpec(), "flat", "fashion", "00").add(["a", "b"], np.zeros((2, 4), np.uint8))
    (folder / "stage").mkdir()
    save_checkpoint(folder / "checkpoints", state(), 2)
    notes = {"pictured": 1, "sums": {"loss": 2.0}, "count": {"loss": 2}, "seconds": 1.0}
    (folder / "stage" / "notes.json").write_text(json.dumps(notes))
    save_feature_net(ConvClassifierSpec().build(), folder / "net.safetensors", class_names='["a", "b"]')
    (folder / "names.json").write_text('["a", "b"]')
    about = {"format": FORMAT, "pipeline": "p", "tokenizer": "t", "grid": "[2, 2]", "radix": "[2, 2]", "names": '["a", "b"]'}
    save_file({"codes": np.zeros((2, 1), np.uint8)}, folder / "codes.safetensors", about)
    np.save(folder / "array.npy", np.zeros(4, np.float32))
    return folder


def in_metadata(path, key, text):
    """A safetensors file with one entry of its metadata replaced."""
    with safe_open(path, "np") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    save_file(tensors, path, {**about, key: text})


@dataclass(frozen=True)
class Kind:
    """JSON that is read: where it stands, and what reads it. key: in the metadata of a safetensors file."""

    path: str
    read: object
    key: str = ""
    line: bool = False  # of a file of lines

    def put(self, folder, text):
        path = folder / self.path
        if self.key:
            in_metadata(path, self.key, text)
        else:
            path.write_text(text + "\n" * self.line)

    def text(self, folder):
        if not self.key:
            return (folder / self.path).read_text()
        with safe_open(folder / self.path, "np") as file:
            return file.metadata()[self.key]


def pipeline(folder):
    return Pipeline.from_pretrained(folder / "pipeline")


def resumed(folder):
    return load_checkpoint(folder / "checkpoints", state())


STEP = "checkpoints/step-00000000"
KINDS = {
    "pipeline": Kind("pipeline/config.json", pipeline),
    "tokenizer": Kind("pipeline/tokenizer/config.json", pipeline),
    "prior": Kind("pipeline/prior/config.json", pipeline),
    "run": Kind("run/run.json", lambda folder: about_run(folder / "run")),
    "report": Kind("run/tokenizer/report.json", lambda folder: about_run(folder / "run")),
    "metrics": Kind("run/tokenizer/metrics.jsonl", lambda folder: read_metrics(folder / "run/tokenizer/metrics.jsonl"), line=True),
    "index": Kind("index/index.json", lambda folder: Index.open(folder / "index")),
    "chunk": Kind("index/chunks/00000.safetensors", lambda folder: Index.open(folder / "index").names(), "names"),
    "notes": Kind("stage/notes.json", lambda folder: Log(folder / "stage", 0, Training(), "cpu", read_json(folder / "stage/notes.json"))),
    "checksums": Kind(f"{STEP}/{CHECKSUMS}", resumed),
    "names": Kind("names.json", lambda folder: read_names(folder / "names.json")),
    "codes, grid": Kind("codes.safetensors", lambda folder: read_codes(folder / "codes.safetensors"), "grid"),
    "codes, radix": Kind("codes.safetensors", lambda folder: read_codes(folder / "codes.safetensors"), "radix"),
    "codes, names": Kind("codes.safetensors", lambda folder: read_codes(folder / "codes.safetensors"), "names"),
    "feature net, spec": Kind("net.safetensors", lambda folder: load_feature_net(folder / "net.safetensors"), "spec"),
    "feature net, names": Kind("net.safetensors", lambda folder: load_feature_net(folder / "net.safetensors"), "class_names"),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@contextmanager
def little_memory(mib=64):
    """Python and numpy may hold that much more inside the block; torch's tensors are not seen."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mib * 2**20
    finally:
        tracemalloc.stop()


@contextmanager
def restored(kind, folder):
    (path, held) = folder / kind.path, (folder / kind.path).read_bytes()
    try:
        yield
    finally:
        path.write_bytes(held)


@every_kind
def test_an_honest_file_is_read(place, kind):
    kind.read(place)


@every_kind
def test_text_that_is_no_json_or_too_deep_is_told(place, kind):
    for text in (*DEEP.values(), *NO_JSON.values(), '{"a": ' + DEEP["closed"] + "}"):
        if "\0" in text and kind.key or not text and kind.line:
            continue
        with restored(kind, place):
            kind.put(place, text)
            with pytest.raises(ValueError) as told:
                kind.read(place)
            assert kind.path.split("/")[-1].split(".")[0] in str(told.value), text[:20]
            assert len(str(told.value)) < 2000


def leaves(value, path=()):
    """Where numbers, strings and lists stand in JSON."""
    if isinstance(value, dict | list):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inside, (*path, key))
    if path:
        yield path


def changed(value, path, new):
    """A copy with another value at that place."""
    key, *rest = path
    copy = value.copy()
    copy[key] = changed(value[key], rest, new) if rest else new
    return copy


@every_kind
def test_any_value_at_any_place_is_a_result_or_told(place, kind):
    """Also a depth of 2^62, for which nothing may be built, and paths."""
    value = json.loads(kind.text(place))
    with restored(kind, place):
        for path in leaves(value):
            for new in VALUES:
                kind.put(place, json.dumps(changed(value, path, new)))
                try:
                    kind.read(place)
                except ValueError as error:
                    assert str(error), path


# ---- what unpacks to more than there is memory


def packed_again(path):
    """A zip archive with every file in it compressed."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def test_compressed_checkpoints_are_refused(tmp_path):
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "a.th")
    packed_again(tmp_path / "a.th")
    with little_memory(), pytest.raises(ValueError, match="a.th.*compressed"):
        read_checkpoint(tmp_path / "a.th")


def test_a_number_that_stands_for_many_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(2**40)}, tmp_path / "a.th")
    with pytest.raises(ValueError, match="a.th.*more numbers than the file holds: a"):
        read_checkpoint(tmp_path / "a.th")


def test_compressed_tensors_of_a_checkpoint_are_refused(place, tmp_path):
    """Inside __0_0.distcp each tensor is a zip archive; one is replaced by a compressed one of the same length."""
    shutil.copytree(place / "checkpoints", tmp_path / "checkpoints")
    path = tmp_path / STEP
    metadata = pickle.loads((path / ".metadata").read_bytes())
    torch.save(torch.zeros(2**20), tmp_path / "bomb")
    packed_again(tmp_path / "bomb")
    bomb = (tmp_path / "bomb").read_bytes()
    data = (path / "__0_0.distcp").read_bytes()
    for info in metadata.storage_data.values():
        info.offset, info.length = len(data), len(bomb)
    (path / "__0_0.distcp").write_bytes(data + bomb)
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    (path / CHECKSUMS).write_text(json.dumps(checksums(path)))
    with pytest.raises(ValueError, match="cannot be read .*compressed"):
        load_checkpoint(tmp_path / "checkpoints", state())


def test_each_tensor_of_a_checkpoint_is_an_archive_of_its_own(place, monkeypatch):
    """Newer Pythons, and older ones with the fix of CVE-2025-8291, read no archive that has other bytes before it."""

    class Strict(zipfile.ZipFile):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            if min(part.header_offset for part in self.infolist()):
                raise zipfile.BadZipFile("Corrupt zip64 end of central directory record")

    monkeypatch.setattr("bitmosaic.train.checkpoint.zipfile.ZipFile", Strict)
    assert load_checkpoint(place / "checkpoints", state()) is not None


@pytest.mark.parametrize("offset, length", [(0, 2**40), (2**40, 10), (-1, 10), (0, -1), (0, 0), ("0", 10), (0, True)])
def test_bytes_that_are_not_there_are_told(place, tmp_path, offset, length):
    shutil.copytree(place / "checkpoints", tmp_path / "checkpoints")
    path = tmp_path / STEP
    metadata = pickle.loads((path / ".metadata").read_bytes())
    for info in metadata.storage_data.values():
        info.offset, info.length = offset, length
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    (path / CHECKSUMS).write_text(json.dumps(checksums(path)))
    with pytest.raises(ValueError, match="checkpoint .* cannot be read"):
        load_checkpoint(tmp_path / "checkpoints", state())


def test_what_is_wrong_is_told_in_a_line(place, tmp_path, caplog):
    """torch would log a traceback for each way in which it has tried to read the description."""
    shutil.copytree(place / "checkpoints", tmp_path / "checkpoints")
    path = tmp_path / STEP
    (path / ".metadata").write_bytes(b"\x80\x04no pickle")
    (path / CHECKSUMS).write_text(json.dumps(checksums(path)))
    with pytest.raises(ValueError, match="checkpoint .* cannot be read"):
        load_checkpoint(tmp_path / "checkpoints", state())
    assert not caplog.records


def test_values_of_another_kind_are_told(place, tmp_path):
    """A learning rate that is a text would stop the run later, without a reason."""
    import torch.distributed.checkpoint as dcp

    parts = state().state_dict()
    parts["prior"]["optimizer"]["param_groups"][0]["betas"] = ("a", 0.9)
    path = tmp_path / STEP
    with pytest.warns(UserWarning):
        dcp.save(parts, storage_writer=dcp.FileSystemWriter(path, single_file_per_rank=True), no_dist=True)
    (path / "notes.json").write_text("{}")
    (path / CHECKSUMS).write_text(json.dumps(checksums(path)))
    with pytest.raises(ValueError, match="betas"):
        load_checkpoint(tmp_path / "checkpoints", state())


def test_a_packed_idx_is_unpacked_no_further_than_any_set_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MOST", 2**22)
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(b"\0\0\x08\x01" + (2**26).to_bytes(4) + bytes(2**26))
    with little_memory(16), pytest.raises(ValueError, match="a.gz holds more than 4194304 bytes"):
        idx.read_idx(tmp_path / "a.gz")


# ---- sizes that do not multiply


def header(shape, kind="<f4"):
    """A .npy file with the numbers of four floats, whatever its header says."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + bytes(16)


@pytest.mark.parametrize("data", [
    header("(5,)"), header("(2000000000000,)"), header(f"({10**30},)"), header("(-4,)"), header("(4294967296, 4294967296, 0)"),
    header("(2, 2)"), header("(2,)", "<f8"), header("(4,)", "|O"), header("(" * 3000), header("4"), header("(True,)"),
    b"", b"\x93NUMPY", b"PK\3\4",
], ids=range(14))  # fmt: skip
def test_arrays_that_are_not_what_they_say(tmp_path, data):
    (tmp_path / "a.npy").write_bytes(data)
    with little_memory(), pytest.raises(ValueError, match="a.npy"):
        read_array(tmp_path / "a.npy", 1, np.float32)


def test_an_archive_of_arrays_is_none(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(4, np.float32))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="a.npy is not a readable array"):
        read_array(tmp_path / "a.npy", 1, np.float32)
    (tmp_path / "b.npy").write_bytes(header("(4,)"))
    assert read_array(tmp_path / "b.npy", 1, np.float32).shape == (4,)


@pytest.mark.parametrize("sizes", [(2**32 - 1,) * 4, (0, 5), (5, 2**31), ()], ids=str)
def test_idx_sizes(tmp_path, sizes):
    (tmp_path / "a").write_bytes(bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4) for n in sizes) + bytes(8))
    with little_memory(), pytest.raises(ValueError, match="a "):
        idx.read_idx(tmp_path / "a")


def tensors_of(entries, data=bytes(16)):
    """A safetensors file with that header."""
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


HEADERS = {
    "too many": {"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}},
    "overflow": {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]}},
    "outside": {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    "backwards": {"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}},
    "negative": {"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}},
    "twice": {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in "ab"},
    "no kind": {"a": {"dtype": "OBJECT", "shape": [4], "data_offsets": [0, 16]}},
    "a list": [],
}


@pytest.mark.parametrize(
    "name", ["pipeline/prior/model.safetensors", "pipeline/codec.safetensors", "codes.safetensors", "net.safetensors"]
)
@pytest.mark.parametrize("entries", HEADERS.values(), ids=HEADERS)
def test_tensors_that_are_not_what_their_header_says(place, name, entries):
    path, held = place / name, (place / name).read_bytes()
    readers = {"codes": read_codes, "net": load_feature_net, "codec": load_fitted}
    try:
        for data in (tensors_of(entries), tensors_of(entries)[:-9], (2**62).to_bytes(8, "little") + bytes(16)):
            path.write_bytes(data)
            with little_memory(), pytest.raises(ValueError, match=path.stem):
                readers.get(path.stem, lambda _: pipeline(place))(path)
    finally:
        path.write_bytes(held)


# ---- names that lead outside


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "", ".", "..", "a\0", "a\\b", 3, None, ["a"]])
def test_names_of_codes_lead_nowhere(place, tmp_path, name):
    shutil.copy(place / "codes.safetensors", tmp_path / "codes.safetensors")
    in_metadata(tmp_path / "codes.safetensors", "names", json.dumps([name, "b"]))
    with pytest.raises(ValueError, match="no file of codes"):
        read_codes(tmp_path / "codes.safetensors")


def test_pages_show_no_picture_from_elsewhere(place, tmp_path):
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "secret.png").write_bytes(b"a secret that is no picture of this run")
    pictures = tmp_path / "run" / "tokenizer" / "pictures"
    pictures.mkdir()
    (pictures / "step-000002.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "run" / "tokenizer" / "events.jsonl").write_text('{"event": ["a"]}\n{"event": {}}\n[]\n{"step": "<b>", "event": "<i>"}\n')
    (tmp_path / "run" / "tokenizer" / "report.json").unlink()
    page = report((tmp_path / "run",), out=tmp_path / "page").read_text()
    assert "<figure>" in page and "<figcaption>step 2" not in page and "<i>" not in page.split("<h3>Events</h3>")[1]


@pytest.mark.parametrize("text", [DEEP["lists"], "1" * 5000, "[]", '{"software": 3}'], ids=range(4))
def test_strange_files_were_not_written_by_us(tmp_path, text):
    for name in ("a.json", "a.png", "a.gif", "a.safetensors", "a.html"):
        (tmp_path / name).write_text(text)
        assert not written_by_us(tmp_path / name)
