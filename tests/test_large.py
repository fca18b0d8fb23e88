"""What a user meets who draws with a pipeline of a thousand classes: precision, memory, and how many images a plain command draws."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitmosaic import Pipeline
from bitmosaic.cli import main
from bitmosaic.commands import pipelines
from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.folders import load_part
from bitmosaic.images import fashion_sample
from bitmosaic.nets.precision import has_bf16_products
from bitmosaic.priors import Prior
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A pipeline of thirty classes, tiny, stored in float32."""
    shipped = Pipeline.from_pretrained("fashion")
    spec = dataclasses.replace(
        shipped.prior.spec, depth=1, heads=1, width=16, head=BernoulliDiffusionSpec(16, 1, 16), condition=ClassConditionSpec(30)
    )
    folder = tmp_path_factory.mktemp("many") / "pipeline"
    torch.manual_seed(0)
    Pipeline(shipped.tokenizer, spec.build(), shipped.sampler, [f"kind {i}" for i in range(30)]).save_pretrained(folder)
    return folder


def test_weights_are_converted_as_torch_converts_them(many):
    stored = load_file(many / "prior" / "model.safetensors")
    for dtype in (torch.bfloat16, torch.float32, None):
        state = load_part(many / "prior", Prior, dtype).state_dict()
        assert all(torch.equal(state[name], stored[name].to(dtype or torch.float32)) for name in stored)


def test_numbers_too_large_for_the_type_are_told(many, tmp_path):
    folder = tmp_path / "prior"
    folder.mkdir()
    stored = load_file(many / "prior" / "model.safetensors")
    stored["hidden"][3] = 1e6
    save_file(stored, folder / "model.safetensors")
    (folder / "config.json").write_bytes((many / "prior" / "config.json").read_bytes())
    assert load_part(folder, Prior).hidden[3] == 1e6
    with pytest.raises(ValueError, match="not all numbers are finite, so it is damaged: hidden"):
        load_part(folder, Prior, torch.float16)


def test_the_network_alone_has_another_type(many):
    pipe = Pipeline.from_pretrained(many, network=torch.bfloat16)
    assert pipe.precision == "bf16" and pipe.tokenizer.dtype == torch.float32
    assert Pipeline.from_pretrained(many, network=torch.int8).precision in ("int8", "float32")  # which leaves narrow layers as they are
    assert Pipeline.from_pretrained(many, dtype=torch.bfloat16).tokenizer.dtype == torch.bfloat16


def test_pictures_are_decoded_in_bf16_too_and_codes_are_the_same(many):
    whole, half = Pipeline.from_pretrained(many), Pipeline.from_pretrained(many, network=torch.bfloat16)
    pixels = fashion_sample().pixels[:8].float() / 255
    codes = whole.encode_pixels(pixels)
    assert torch.equal(half.encode_pixels(pixels).digits, codes.digits)
    wanted, made = whole.decode_pixels(codes), half.decode_pixels(codes)
    assert not torch.equal(made, wanted) and (made - wanted).abs().mean() < 0.004  # a grey level of 256


def test_large_networks_draw_in_what_is_fast(many, monkeypatch):
    assert pipelines.load(many, precision="own").precision == "float32"
    parts = Pipeline.from_pretrained(many).parts.values()
    assert pipelines.weights(many) == sum(tensor.numel() for part in parts for tensor in part.state_dict().values())
    monkeypatch.setattr(pipelines, "LARGE", 1000)
    assert pipelines.load(many, precision="own").precision == ("bf16" if has_bf16_products() else "float32")
    assert pipelines.load(many).precision == "float32"


def test_of_many_classes_a_plain_command_draws_few(many, tmp_path, capsys):
    few = ["--count", "3", "--steps", "1", "--evaluations", "1"]
    assert main(["sample", str(many), *few, "--out", str(tmp_path / "few")]) == 0
    assert "3 of 30 classes, one image each; --classes names others" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "few").glob("k*.png")) == ["kind-0-000.png", "kind-10-000.png", "kind-20-000.png"]
    assert main(["sample", str(many), "--classes", "all", "--count", "1", *few[2:], "--out", str(tmp_path / "all")]) == 0
    assert len(list((tmp_path / "all").glob("kind-*.png"))) == 30
