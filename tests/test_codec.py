"""Compressing: every coder gives codes back to the last bit, whoever decodes; files that are not whole say so, or are restored."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from parts import DENOISING, HEADED, random_codes, shaken
from quick import quick_pipeline

from bitmosaic import Pipeline, codec
from bitmosaic.codec import CODERS, CodecError, Container, PriorCoder, StaticCoder, UniformCoder
from bitmosaic.codec import base as codec_base
from bitmosaic.codec.container import Reader, varint
from bitmosaic.codec.range_coder import RangeDecoder, encoded
from bitmosaic.codes import Codes
from bitmosaic.images import fashion_sample
from bitmosaic.pipelines import compression
from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.priors.masked import MaskedPriorSpec

TOKENIZER = b"abcd"


def coders(prior=None):
    prior = prior or shaken(MaskedPriorSpec().build())
    fitted = StaticCoder.fit([random_codes(prior.grid, prior.radix, 50)])
    return [UniformCoder(), fitted, PriorCoder(prior)]


def round_trip(files, coder, radix=None):
    return codec.decompress([Container.from_bytes(file) for file in files], coder, radix=radix)[:2]


class Off(PriorCoder):
    """Its levels are off, up or down."""

    by = 0.0

    def asks(self, *args):
        inner = super().asks(*args)
        ask = next(inner)
        noise = torch.Generator().manual_seed(0)
        while True:
            sign = torch.randint(0, 2, ask.levels.shape, generator=noise) * 2 - 1
            bits = yield codec.Ask(ask.packet, ask.places, ask.columns, ask.levels + sign * self.by)
            try:
                ask = inner.send(bits)
            except StopIteration:
                return


@pytest.mark.parametrize("packets", [1, 3, 16])
@pytest.mark.parametrize("number", range(3), ids=list(CODERS))
def test_codes_come_back(number, packets):
    coder, codes = coders()[number], random_codes((4, 4), (2,) * 8, 5)
    files = codec.compress(codes, coder, TOKENIZER, packets)
    found, known = round_trip(files, coder)
    assert torch.equal(found.digits, codes.digits) and bool(known.all())
    alone = [round_trip([file], coder)[0].digits for file in files]  # another batch
    assert torch.equal(torch.cat(alone), codes.digits)
    assert files == [codec.compress(codes[i], coder, TOKENIZER, packets)[0] for i in range(5)]


@pytest.mark.parametrize("kind", HEADED, ids=[kind.__name__ for kind in HEADED])
def test_every_prior_with_a_head_can_code(kind):
    prior = shaken(kind().build())
    coder, codes = PriorCoder(prior), random_codes(prior.grid, prior.radix, 2)
    files = codec.compress(codes, coder, TOKENIZER, 2)
    assert torch.equal(round_trip(files, coder, prior.radix)[0].digits, codes.digits)


@pytest.mark.parametrize("kind", DENOISING, ids=[kind.__name__ for kind in DENOISING])
def test_a_denoising_prior_bounds_a_probability_and_says_none_of_single_codes(kind):
    with pytest.raises(ValueError, match="a denoising prior bounds an image's probability"):
        PriorCoder(kind().build())


def test_indices_are_coded_in_as_many_bits_as_they_are_unlikely():
    """Of 5 codewords, so three of the eight indices of three bits are none."""
    codes = random_codes((2, 2), (5,), 400)
    static, prior = StaticCoder.fit([codes]), PriorCoder(shaken(LlamaGenSpec((2, 2), 5).build()))
    for coder in (UniformCoder(), static, prior):
        files = codec.compress(codes, coder, TOKENIZER, 2)
        found, known = round_trip(files, coder, codes.radix)
        assert torch.equal(found.digits, codes.digits) and found.radix == (5,) and bool(known.all())
    lengths = prior.lengths(codes[:50])[codec_base.ONE - 1]
    some, places = codes[:50], torch.ones(50, 4, dtype=torch.bool)
    with torch.no_grad():
        contexts = prior.prior.context(some.flat(), places, prior.prior.embed(None, 50)).flatten(0, 1)[None]
        nats = prior.prior.head.log_likelihood(some.flat().flatten(0, 1), contexts, None)
    assert abs(float(lengths) + float(nats.sum()) / math.log(2)) < 0.02 * float(lengths)


def test_a_code_is_as_long_as_it_is_unlikely():
    """The bytes of many images against minus the logarithm of their probabilities."""
    rng = np.random.default_rng(0)
    for spread in (0.0, 1.0, 4.0):
        lengths, ideal = 0, 0.0
        for _ in range(50):
            p = np.clip(np.rint(2**16 / (1 + np.exp(-spread * rng.standard_normal(980)))), 1, 2**16 - 1) / 2**16
            bits = (rng.random(980) < p).astype(np.int32)
            data = encoded(bits, p)
            assert np.array_equal(RangeDecoder(data)(p), bits)
            lengths, ideal = lengths + 8 * len(data), ideal - np.log2(np.where(bits, p, 1 - p)).sum()
        assert ideal <= lengths <= ideal + 50 * 8


def test_a_good_prior_makes_shorter_files_than_frequencies():
    pipe, codes = Pipeline.from_pretrained("fashion"), None
    codes = pipe.encode(list(fashion_sample().pixels[:24]))
    sizes = {name: sum(map(len, compression.compress_codes(pipe, codes, name))) for name in CODERS}
    assert sizes["prior"] < 0.85 * sizes["static"] < 0.95 * sizes["uniform"]


@pytest.mark.slow
def test_another_number_of_threads_and_another_process_decode(tmp_path):
    pipe = Pipeline.from_pretrained("fashion")
    images = list(fashion_sample().pixels[:2])
    for i, data in enumerate(pipe.compress(images)):
        (tmp_path / f"{i}.bmc").write_bytes(data)
    script = (
        "import sys, pathlib, torch; torch.set_num_threads(2)\n"
        "from bitmosaic import Pipeline\nfrom bitmosaic.pipelines import compression\n"
        "data = [p.read_bytes() for p in sorted(pathlib.Path(sys.argv[1]).glob('*.bmc'))]\n"
        "codes, known = compression.decompress_codes(Pipeline.from_pretrained('fashion'), data)\n"
        "print(codes.pack().tobytes().hex())\n"
    )
    out = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=200)
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == pipe.encode(images).pack().tobytes().hex()


def test_networks_that_differ_a_little_agree(monkeypatch):
    """A decoder whose levels are off by nearly the margin, either way, reads the same bits; one that is off by far says so."""
    coder, codes = coders()[2], random_codes((4, 4), (2,) * 8, 40)
    files = [Container.from_bytes(file) for file in codec.compress(codes, coder, TOKENIZER)]
    assert sum(len(file.exceptions) for file in files) > 0  # else this shows nothing

    off = Off(coder.prior)
    off.by = 0.9 * codec.coding.MARGIN
    found, known, wrong = codec.decompress(files, off)
    assert torch.equal(found.digits, codes.digits) and bool(known.all()) and wrong == [None] * 40
    off.by = 2.0
    _, known, wrong = codec.decompress(files, off)
    assert not known.any() and wrong == [0] * 40


@pytest.mark.parametrize("by", [0.02, 0.1, 0.5])
def test_places_are_known_as_far_as_the_checks_confirm_them(by):
    """A decoder of other probabilities: what it takes for known is right, and it says which packet is not."""
    coder, codes = coders()[2], random_codes((4, 4), (2,) * 8, 60)
    files = [Container.from_bytes(file) for file in codec.compress(codes, coder, TOKENIZER, 8)]
    off = Off(coder.prior)
    off.by = by
    found, known, wrong = codec.decompress(files, off)
    assert torch.equal(found.digits[known], codes.digits[known]) and not found.digits[~known].any()
    assert [int(there.sum()) for there in known] == [16 if packet is None else 2 * packet for packet in wrong]
    assert 0 < sum(packet is not None for packet in wrong) and (by > 0.1 or any(wrong))  # some packets, and not always the first


def test_the_table_of_probabilities_is_the_same_everywhere():
    table = codec_base.probabilities() * 2**16
    assert np.array_equal(table, np.rint(table)) and table[codec_base.LIMIT] == 2**15
    exact = [2**16 / (1 + math.exp(-level / codec_base.STEP)) for level in range(-codec_base.LIMIT, codec_base.LIMIT + 1)]
    assert min(abs(x % 1 - 0.5) for x in exact) > 1e-4  # no machine's exp rounds one of them the other way
    assert np.allclose(table + table[::-1], 2**16)


def test_places_are_spread():
    for grid in ((1, 1), (4, 4), (7, 7), (3, 8)):
        order = codec_base.spread(grid)
        assert sorted(order) == list(range(math.prod(grid)))
    first = codec_base.spread((7, 7))[:5]
    assert first[0] == 24 and set(first[1:]) == {8, 12, 36, 40}  # the middle, then those about the corners


@pytest.mark.parametrize("number", range(3), ids=list(CODERS))
def test_lost_packets_leave_places_unknown(number):
    coder, codes = coders()[number], random_codes((4, 4), (2,) * 8, 2)
    file = Container.from_bytes(codec.compress(codes, coder, TOKENIZER, 4)[0])
    data = bytearray(file.to_bytes())
    start = len(data) - sum(map(len, file.packets)) + len(file.packets[0])
    data[start] ^= 1  # in the second packet
    with pytest.raises(CodecError, match="packet 2 of 4 is damaged"):
        Container.from_bytes(data)
    hurt = Container.from_bytes(data, restore=True)
    assert [p is None for p in hurt.packets] == [False, True, False, False]
    found, known, _ = codec.decompress([hurt], coder)
    assert int(known.sum()) == (4 if coder.sequential else 12)
    assert torch.equal(found.digits[known], codes.digits[:1][known]) and not found.digits[~known].any()
    cut = Container.from_bytes(bytes(file.to_bytes()[: start - len(file.packets[0])]), restore=True)  # no packet is left
    assert not codec.decompress([cut], coder)[1].any()


def test_an_image_is_restored():
    pipe = quick_pipeline()
    image = fashion_sample().pixels[3]
    whole = pipe.decompress(pipe.compress(image, packets=7), output_type="np")
    assert np.array_equal(whole, np.asarray(pipe.decode(pipe.encode(image), "np")[0]))
    data = pipe.compress(image, packets=7)
    cut = data[: len(data) - 20]
    with pytest.raises(CodecError, match="cut short"):
        pipe.decompress(cut)
    restored = pipe.decompress([cut, data], restore=True, output_type="np")
    assert np.array_equal(restored[1], whole)
    error = np.abs(restored[0].astype(float) - whole).mean()
    assert 0 < error < np.abs(whole.astype(float) - whole.mean()).mean()
    alone = pipe.decompress(cut, restore=True, seeds=0, output_type="np")
    assert np.abs(restored[0].astype(int) - alone).max() <= 1  # the same codes; a decoder may round otherwise in another batch


def test_every_flipped_bit_is_told():
    coder, codes = coders()[2], random_codes((4, 4), (2,) * 8, 1)
    data = codec.compress(codes, coder, TOKENIZER, 2)[0]
    for at in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[at // 8] ^= 1 << at % 8
        with pytest.raises(CodecError):
            Container.from_bytes(wrong)
    for length in range(len(data)):
        with pytest.raises(CodecError):
            Container.from_bytes(data[:length])
    with pytest.raises(CodecError, match="too long"):
        Container.from_bytes(data + b"x")


def test_strangers_are_refused():
    pipe = quick_pipeline()
    image = fashion_sample().pixels[0]
    for coder in CODERS:
        file = Container.from_bytes(pipe.compress(image, coder))
        other = Container(**{**vars(file), "tokenizer": b"\0\0\0\0"}).to_bytes()
        with pytest.raises(CodecError, match="another tokenizer"):
            pipe.decompress(other)
        if coder != "uniform":
            with pytest.raises(CodecError, match=f"another {coder} coder"):
                pipe.decompress(Container(**{**vars(file), "model": b"\0\0\0\0"}).to_bytes())
    with pytest.raises(CodecError, match="does not begin with 'bmc'"):
        pipe.decompress(b"\x89PNG and so on")
    with pytest.raises(CodecError, match="cut short"):
        pipe.decompress(b"")
    with pytest.raises(ValueError, match="want uniform, static, prior"):
        pipe.compress(image, "zip")
    with pytest.raises(ValueError, match="packets: got 50"):
        pipe.compress(image, packets=50)
    pipe.static = None
    with pytest.raises(ValueError, match="holds no frequencies"):
        pipe.compress(image, "static")
    pipe.to(dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="float32 on a CPU"):
        pipe.compress(image)


def test_frequencies_stay_with_the_pipeline(tmp_path):
    pipe = Pipeline.from_pretrained("fashion")
    pipe.save_pretrained(tmp_path / "again")
    again = Pipeline.from_pretrained(tmp_path / "again")
    assert torch.equal(again.static.levels, pipe.static.levels)
    image = fashion_sample().pixels[0]
    assert pipe.compress(image, "static") == again.compress(image, "static")
    pipe.save_pretrained(tmp_path / "again")  # may be replaced
    (tmp_path / "again" / "codec.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="codec.safetensors is not a readable safetensors file"):
        Pipeline.from_pretrained(tmp_path / "again")


def test_frequencies_need_codes():
    with pytest.raises(ValueError, match="no codes"):
        StaticCoder.fit([])
    assert StaticCoder.fit([random_codes((2, 2), (3, 3), 4)]).levels.shape == (4, 4)  # two bits of each digit
    with pytest.raises(ValueError, match="int8"):
        StaticCoder(torch.zeros(3, 4))
    zeros = Codes(torch.zeros(10, 2, 2, 3, dtype=torch.uint8), (2, 2, 2))
    assert int(StaticCoder.fit([zeros]).levels.max()) == round(codec_base.STEP * math.log(0.5 / 10.5))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**20, 2**40])
def test_varints_come_back(value):
    assert Reader(varint(value)).number("a number", 2**40) == value


def test_numbers_have_one_spelling():
    with pytest.raises(CodecError):
        Reader(b"\x80\x00").number("a number", 9)
    with pytest.raises(CodecError):
        Reader(b"\xff" * 9).number("a number", 2**40)
    with pytest.raises(CodecError):
        Reader(varint(10)).number("a number", 9)
