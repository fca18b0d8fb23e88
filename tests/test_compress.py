"""Compressed files as they live: damaged, cut, of other versions and pipelines, many in a folder; and what the commands make of them."""

import json
import os
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from quick import quick_pipeline

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.codec import ONE, CodecError, Container, PriorCoder
from bitmosaic.codes import Codes
from bitmosaic.images import fashion_mnist, fashion_sample
from bitmosaic.pipelines import compression

OLD = Path(__file__).parent / "data" / "compressed_version_1.json"


@pytest.fixture(scope="module")
def shipped():
    return Pipeline.from_pretrained("fashion")


@pytest.fixture(scope="module")
def pipe():
    return quick_pipeline()


@pytest.fixture(scope="module")
def codes(pipe):
    return pipe.encode(list(fashion_sample().pixels[:4]))


@pytest.fixture(scope="module")
def files(pipe, codes):
    """Of seven packets, by the prior."""
    return compression.compress_codes(pipe, codes, packets=7)


def body_of(data):
    """Where the packets begin, and how long each is."""
    lengths = [len(packet) for packet in Container.from_bytes(data).packets]
    return len(data) - sum(lengths), lengths


def payload(data):
    return sum(body_of(data)[1])


def read(pipe, data, **how):
    codes, known = compression.decompress_codes(pipe, [data], restore=True, **how)
    return codes.digits[0], known[0]


# ---- files of before


@pytest.fixture
def version_1(monkeypatch) -> list[dict]:
    """Files of then, by the coder that needs no weights, as if the tokenizer were that of then, which is gone."""
    monkeypatch.setattr(compression, "fingerprint", lambda module: bytes.fromhex("210d8600"))
    return [one for one in json.loads(OLD.read_text()) if one["coder"] == "uniform"]


def test_files_of_another_tokenizer_are_refused(shipped):
    for made in json.loads(OLD.read_text()):
        with pytest.raises(CodecError, match="made with another tokenizer"):
            compression.decompress_codes(shipped, [bytes.fromhex(made["file"])])


def test_files_of_version_1_still_open(shipped, version_1):
    for made in version_1:
        data = bytes.fromhex(made["file"])
        codes, known = compression.decompress_codes(shipped, [data])
        assert codes.pack().tobytes().hex() == made["codes"] and bool(known.all())
        with pytest.raises(CodecError):
            compression.decompress_codes(shipped, [data[:-1]])


def test_what_is_left_of_version_1_has_no_check(shipped, version_1):
    """Whole numbers are the same everywhere."""
    for made in version_1:
        data, whole = bytes.fromhex(made["file"]), np.frombuffer(bytes.fromhex(made["codes"]), np.uint8)[None]
        whole = Codes.unpack(whole, (7, 7), (2,) * 20).digits[0]
        if made["packets"] == 7:
            found, known = read(shipped, data[:-9])
            assert 0 < int(known.sum()) < 49 and torch.equal(found[known], whole[known])


# ---- other probabilities


def other_arithmetic(name):
    """Settings of a process under which products come out otherwise."""
    if name == "autocast":
        return torch.autocast("cpu", torch.bfloat16)
    if name == "default dtype":
        return DefaultType()
    return LowPrecision()


class DefaultType:
    def __enter__(self):
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *_):
        torch.set_default_dtype(torch.float32)


class LowPrecision:
    def __enter__(self):
        torch.set_float32_matmul_precision("medium")

    def __exit__(self, *_):
        assert torch.get_float32_matmul_precision() == "medium"  # what was set stays
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("name", ["autocast", "default dtype", "low precision"])
def test_arithmetic_of_the_process_does_not_reach_the_coder(pipe, codes, files, name):
    with other_arithmetic(name):
        assert compression.compress_codes(pipe, codes[:1], packets=7) == files[:1]
        found, known = compression.decompress_codes(pipe, [*files[:3], files[3][:-3]], restore=True)
    assert known.flatten(1).sum(1).tolist() == [49, 49, 49, 42]
    assert torch.equal(found.digits[known], codes.digits[known])


def test_a_decoder_of_other_probabilities_gives_no_other_image(pipe, codes, files, monkeypatch):
    """The case where nothing can be done about it: another processor, say."""
    context = type(pipe.prior).context
    monkeypatch.setattr(type(pipe.prior), "context", lambda self, *args: context(self, *args) * 1.01)
    for data in (files[0], files[1][:-3]):
        with pytest.raises(CodecError):
            compression.decompress_codes(pipe, [data])
    for one, data in zip(codes.digits, [files[0], files[1], files[2][:-3]], strict=False):
        try:
            found, known = read(pipe, data)
        except CodecError as error:
            assert "this machine's probabilities" in str(error)
        else:
            assert 0 < int(known.sum()) < 49 and torch.equal(found[known], one[known])


# ---- lost and other bytes


@pytest.mark.parametrize("coder", ["uniform", "static"])
@pytest.mark.parametrize("lost", range(7))
def test_bytes_that_are_gone_cost_their_own_packet(pipe, codes, coder, lost):
    data = compression.compress_codes(pipe, codes[:1], coder, 7)[0]
    start, lengths = body_of(data)
    at = start + sum(lengths[:lost])
    for count in (1, 2, lengths[lost]):
        found, known = read(pipe, data[:at] + data[at + count :])
        assert int(known.sum()) == 42 and torch.equal(found[known], codes.digits[0][known])
        strange = bytes([data[at] ^ 0xFF]) + b"ytes" [: count - 1]  # one that begins as the packet would come in before it
        found, known = read(pipe, data[: at + 1] + strange + data[at + 1 :])
        assert int(known.sum()) == 42 and torch.equal(found[known], codes.digits[0][known])
        found, known = read(pipe, data[:at] + b"bytes"[:count] + data[at:])  # between two packets: nothing is lost
        assert int(known.sum()) == 49 and torch.equal(found, codes.digits[0])


def test_damage_of_any_kind_costs_what_it_touches(pipe, codes):
    """Bytes overwritten, gone and come in, in several places at once: the packets that none touched are known, and nothing else is."""
    rng = random.Random(0)
    data = compression.compress_codes(pipe, codes[:1], "static", 7)[0]
    start, lengths = body_of(data)
    packets = [data[start + sum(lengths[:i]) : start + sum(lengths[: i + 1])] for i in range(7)]
    for _ in range(40):
        hurt = rng.sample(range(7), rng.randint(1, 6))
        parts = list(packets)
        for i in hurt:
            at = rng.randrange(len(parts[i]) - 2)
            parts[i] = parts[i][:at] + rng.choice((b"", b"\xaa\x55", rng.randbytes(9))) + parts[i][at + 3 :]
        if rng.random() < 0.3:
            rng.shuffle(parts)
        found, known = read(pipe, data[:start] + b"".join(parts) + rng.randbytes(rng.choice((0, 0, 7))))
        assert int(known.sum()) == 7 * (7 - len(hurt)) and torch.equal(found[known], codes.digits[0][known])


def test_a_file_that_is_cut_anywhere(pipe, codes, files):
    packets = 7
    for coder, data in (("static", compression.compress_codes(pipe, codes[:1], "static", packets)[0]), ("prior", files[0])):
        start, lengths = body_of(data)
        for length in range(0, len(data), 1 if coder == "static" else 29):
            whole = sum(start + sum(lengths[: i + 1]) <= length for i in range(packets))
            if whole:
                found, known = read(pipe, data[:length])
                assert torch.equal(found[known], codes.digits[0][known]) and int(known.sum()) >= whole * (49 // packets)
            else:
                with pytest.raises(CodecError, match=f"no packet of {packets} can be read" if length >= start else "cut short"):
                    read(pipe, data[:length])


def test_two_files_in_one_are_the_first(pipe, codes):
    first, second = compression.compress_codes(pipe, codes[:2], "static", 7)
    with pytest.raises(CodecError, match="too long"):
        compression.decompress_codes(pipe, [first + second])
    found, known = read(pipe, first + second)
    assert bool(known.all()) and torch.equal(found, codes.digits[0])


def test_a_header_must_be_whole(pipe, codes):
    data = compression.compress_codes(pipe, codes[:1], "static", 7)[0]
    start, _ = body_of(data)
    for at in range(start):
        for wrong in (data[:at] + data[at + 1 :], data[:at] + b"x" + data[at:]):
            with pytest.raises(CodecError):
                read(pipe, wrong)


def test_nothing_is_made_of_nothing_unless_asked(pipe, files):
    data = files[0]
    start, _ = body_of(data)
    for wrong in (data[:start], data[:start] + bytes(len(data) - start)):
        with pytest.raises(CodecError, match="no packet of 7 can be read, so nothing is known"):
            pipe.decompress(wrong, restore=True)
        assert pipe.decompress(wrong, restore=True, unconfirmed=True).size == (28, 28)
    with pytest.raises(CodecError, match=r"^data\[1\]: no packet"):
        pipe.decompress([data, data[:start]], restore=True)


# ---- the scale of the logits


@pytest.mark.slow
def test_a_fitted_scale_makes_new_images_shorter_and_old_files_still_open(shipped):
    pipe = shipped
    some, others = (pipe.encode(list(fashion_sample().pixels[part])) for part in (slice(100, 108), slice(200, 208)))
    fitted = PriorCoder.fit(pipe.prior, some)
    lengths = PriorCoder(pipe.prior).lengths(others)
    for scale in (fitted.scale, pipe.logit_scale):  # what ships was fitted to images of the training set
        assert lengths[scale - 1] < 0.985 * lengths[ONE - 1] and lengths[scale - 1] < 1.005 * lengths.min()
    plain = Pipeline(pipe.tokenizer, pipe.prior, pipe.sampler, pipe.class_names, pipe.static)
    before, after = (compression.compress_codes(one, others[:2]) for one in (plain, pipe))
    sizes = 8 * sum(map(payload, after)), PriorCoder(pipe.prior).lengths(others[:2])[pipe.logit_scale - 1]
    assert sizes[1] <= sizes[0] < sizes[1] + 2 * 8
    for one in (plain, pipe):  # a file says which scale it has
        assert torch.equal(compression.decompress_codes(one, [*before, *after])[0].digits, others.digits[[0, 1, 0, 1]])


def test_the_scale_stays_with_the_pipeline(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "again")
    again = Pipeline.from_pretrained(tmp_path / "again")
    assert again.logit_scale == pipe.logit_scale != ONE and torch.equal(again.static.levels, pipe.static.levels)
    again.static = None
    again.save_pretrained(tmp_path / "again")
    again = Pipeline.from_pretrained(tmp_path / "again")
    assert again.static is None and again.logit_scale == pipe.logit_scale


@pytest.mark.slow
def test_the_scale_that_ships_was_fitted_to_training_images(shipped):
    pipe = shipped
    try:
        pixels = fashion_mnist().pixels
    except ValueError as error:
        pytest.skip(str(error))
    some = pixels[torch.arange(32) * len(pixels) // 32]
    assert abs(PriorCoder.fit(pipe.prior, pipe.encode(list(some))).scale - pipe.logit_scale) <= 1


# ---- the commands


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(fashion_sample().pixels[number][0].numpy()).save(path, quality=95)
    return path


def pixels(path):
    return np.asarray(Image.open(path))


def test_names_say_which_is_which(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("x.png", "x.jpg", "X.png", "x.PNG", "sub/x.png")):
        picture(tmp_path / "in" / name, number)
    assert main(["compress", "in", "--coder", "uniform", "-o", "small"]) == 0
    names = {str(path.relative_to("small")) for path in Path("small").rglob("*.bmc")}
    assert names == {"x.png.bmc", "x.jpg.bmc", "X.png.bmc", "x.PNG.bmc", "sub/x.png.bmc"}
    assert main(["decompress", "small", "small/sub/../x.png.bmc", "-o", "again"]) == 0  # one of them by two names
    names = {str(path.relative_to("again")) for path in Path("again").rglob("*.png")}
    assert names == {"x.png", "x.jpg.png", "X.png", "x.PNG.png", "sub/x.png"} and "5 images: again" in capsys.readouterr().out
    pipe = Pipeline.from_pretrained("fashion")
    for name, source in (("x.png", "x.png"), ("x.jpg.png", "x.jpg"), ("sub/x.png", "sub/x.png")):
        whole = np.asarray(pipe.decode(pipe.encode(Image.open(tmp_path / "in" / source)))[0])
        assert np.abs(pixels(tmp_path / "again" / name).astype(int) - whole).max() <= 1
    assert main(["compress", "in", "in/sub", "in/x.png", "--coder", "uniform", "-o", "both"]) == 0  # x.png below two folders
    names = {str(path.relative_to("both")) for path in Path("both").rglob("*.bmc")}
    assert names >= {"sub/x.png.bmc", "x.png.bmc"} and len(names) == 5


@pytest.mark.parametrize("others", [["in/sub/../x.png"], ["in/../in"], ["in", "./in/x.png", "in/sub"], ["in/sub", "in/../other/y.png"]])
def test_a_picture_named_in_several_ways_is_one_and_stays_in_the_folder(tmp_path, monkeypatch, capsys, others):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("in/x.png", "in/sub/z.png", "other/y.png")):
        picture(tmp_path / name, number)
    assert main(["compress", "in", *others, "--coder", "static", "-o", "in/../small"]) == 0
    made = sorted(Path("small").rglob("*.bmc"))
    assert made and sorted(tmp_path.rglob("*.bmc")) == [tmp_path / path for path in made]
    told = capsys.readouterr().out.splitlines()[-1]
    whole, codes = (float(number) for number in re.search(r"([\d.]+) bytes each, of which ([\d.]+)", told).groups())
    assert told.startswith(f"{len(made)} images: ") and len(made) == (3 if "in/../other/y.png" in others else 2)
    assert codes < whole == pytest.approx(np.mean([path.stat().st_size for path in made]), abs=0.06)


def test_pictures_of_one_name_in_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a" / "x.png", 0), picture(tmp_path / "b" / "x.png", 1)
    assert main(["compress", "a", "b/x.png", "--coder", "uniform", "-o", "small"]) == 0
    assert {str(path.relative_to("small")) for path in Path("small").rglob("*.bmc")} == {"a/x.png.bmc", "b/x.png.bmc"}
    assert main(["decompress", "small/a", "small/b", "-o", "again"]) == 0
    assert {str(path.relative_to("again")) for path in Path("again").rglob("*.png")} == {"a/x.png", "b/x.png"}


def test_another_picture_is_not_replaced(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a" / "x.png", 0), picture(tmp_path / "b" / "x.png", 1), picture(tmp_path / "b" / "y.png", 2)
    assert main(["compress", "a", "--coder", "static", "-o", "small"]) == 0
    before = Path("small/x.png.bmc").read_bytes()
    assert main(["compress", "b", "--coder", "static", "-o", "small"]) == 2
    told = capsys.readouterr().err
    assert "small/x.png.bmc" in told and "--replace" in told and told.count("\n") == 1
    assert Path("small/x.png.bmc").read_bytes() == before and Path("small/y.png.bmc").is_file()
    for more in ([], ["--packets", "3"]):  # the same picture, as it was and otherwise
        assert main(["compress", "a", "--coder", "static", "-o", "small", *more]) == 0
    assert Path("small/x.png.bmc").read_bytes() != before
    assert main(["compress", "b", "--coder", "static", "-o", "small", "--replace"]) == 0
    assert main(["decompress", "small", "-o", "again"]) == 0
    assert not np.array_equal(pixels(tmp_path / "again" / "x.png"), pixels(tmp_path / "again" / "y.png"))


def test_one_bad_file_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png", number)
    assert main(["compress", "in", "--coder", "static", "--packets", "7", "-o", "small"]) == 0
    small = tmp_path / "small"
    good = (small / "0.png.bmc").read_bytes()
    (small / "1.png.bmc").write_bytes((small / "1.png.bmc").read_bytes()[:-9])
    (small / "nothing.bmc").write_bytes(b"")
    (small / "other.bmc").write_bytes(good[:5] + b"abcd" + good[9:])
    (small / "two.bmc").write_bytes(good + good)
    (small / "picture.bmc").write_bytes((tmp_path / "in" / "0.png").read_bytes())
    (small / "gone.bmc").symlink_to("nowhere")
    os.mkfifo(small / "pipe.bmc")
    capsys.readouterr()
    assert main(["decompress", "small", "-o", "again"]) == 2
    told = capsys.readouterr()
    assert sorted(path.name for path in Path("again").iterdir()) == ["0.png", "2.png"] and "2 images" in told.out
    assert told.err.count("\n") == 1 and "7 of 9 files cannot be read" in told.err and "the other 2 are written" in told.err
    for name in ("1.png.bmc", "nothing.bmc", "other.bmc", "two.bmc", "picture.bmc", "gone.bmc", "pipe.bmc"):
        assert name in told.err
    assert main(["decompress", "small", "-o", "restored", "--restore"]) == 2
    told = capsys.readouterr().err
    assert "not known of 1 of 4 files" in told and "1.png.bmc (42 of 49 places known)" in told
    assert sorted(path.name for path in Path("restored").iterdir()) == ["0.png", "1.png", "2.png", "two.png"]
    assert main(["decompress", "small/nothing.bmc", "-o", "none"]) == 2 and not Path("none").exists()


def test_files_of_which_nothing_is_known_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "x.png", 2)
    assert main(["compress", "x.png", "--packets", "3", "-o", "small"]) == 0
    data = Path("small/x.png.bmc").read_bytes()
    Path("small/x.png.bmc").write_bytes(data[: body_of(data)[0] + 1])
    capsys.readouterr()
    assert main(["decompress", "small", "--restore", "-o", "again"]) == 2
    told = capsys.readouterr().err
    assert "small/x.png.bmc: no packet of 3 can be read" in told and not Path("again").exists()
    assert main(["decompress", "small", "--unconfirmed", "-o", "again"]) == 2 and "given without --restore" in capsys.readouterr().err
    assert main(["decompress", "small", "--restore", "--unconfirmed", "-o", "again"]) == 0
    assert "x.png.bmc (0 of 49 places known)" in capsys.readouterr().err and Path("again/x.png").is_file()


def test_names_that_are_no_utf8(tmp_path, capsys):
    folder = os.fsencode(tmp_path) + b"/in\xff"
    os.mkdir(folder)
    picture(tmp_path / "x.png", 1)
    os.rename(tmp_path / "x.png", folder + b"/caf\xe9.png")
    assert main(["compress", os.fsdecode(folder), "--coder", "uniform", "-o", str(tmp_path / "small")]) == 0
    assert os.listdir(os.fsencode(tmp_path / "small")) == [b"caf\xe9.png.bmc"]
    assert main(["decompress", str(tmp_path / "small"), "-o", os.fsdecode(folder)]) == 2  # there is a picture of another's
    assert main(["decompress", str(tmp_path / "small"), "-o", os.fsdecode(folder + b"/new")]) == 0
    assert os.listdir(folder + b"/new") == [b"caf\xe9.png"]
    os.truncate(os.fsencode(tmp_path / "small") + b"/caf\xe9.png.bmc", 30)
    assert main(["decompress", str(tmp_path / "small"), "-o", str(tmp_path / "again")]) == 2
    assert "\\udce9" in capsys.readouterr().err


def test_old_names_beside_new_ones(tmp_path, monkeypatch):
    """x.bmc, as it was called once, and x.png.bmc would both be x.png."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "x.png", 0), picture(tmp_path / "y.png", 1)
    assert main(["compress", "x.png", "y.png", "--coder", "uniform", "-o", "small"]) == 0
    Path("small/y.png.bmc").rename("small/x.bmc")
    assert main(["decompress", "small", "-o", "again"]) == 0
    assert sorted(path.name for path in Path("again").iterdir()) == ["x.bmc.png", "x.png.bmc.png"]


def test_a_hostile_header_does_not_hold_the_search_up():
    """Very many packets, all of other lengths and none of them there, in a long file."""
    packets = tuple(b"x" * (i % 900) for i in range(20_000))
    data = Container(0, b"abcd", b"", (1000, 1000), 1, (), (0,) * 20_000, packets).to_bytes()
    start = time.process_time()
    Container.from_bytes(data[: -sum(map(len, packets))] + bytes(9_000_000), restore=True)
    assert time.process_time() - start < 20
