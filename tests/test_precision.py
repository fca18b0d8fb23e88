"""Which arithmetic "auto" means."""

import pytest
import torch

from bitmosaic.nets import precision


@pytest.mark.parametrize(
    ("capabilities", "meant"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),  # Intel Ice Lake: bf16 would be emulated
        ({"avx512_f": True, "avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"neon": True, "bf16": True}, "bf16"),
        ({}, "float32"),
    ],
)
def test_auto_is_what_the_processor_multiplies(monkeypatch, capabilities, meant):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert precision.resolve("auto") == meant
    assert precision.resolve("auto", "cuda") == "bf16"
    assert precision.resolve("float32") == "float32" and precision.resolve("bf16") == "bf16"
    with precision.autocast("auto"):
        made = torch.ones(2, 2) @ torch.ones(2, 2)
    assert made.dtype == (torch.bfloat16 if meant == "bf16" else torch.float32)


def test_float32_is_whole_inside_and_as_before_outside():
    before = torch.backends.cudnn.conv.fp32_precision
    with pytest.raises(ZeroDivisionError), precision.whole_float32():
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        raise ZeroDivisionError
    assert torch.backends.cudnn.conv.fp32_precision == before


def test_whole_float32_is_undone_whichever_of_two_threads_leaves_first():
    before = torch.backends.cudnn.conv.fp32_precision
    first, second = precision.whole_float32(), precision.whole_float32()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    second.__exit__(None, None, None)
    assert torch.backends.cudnn.conv.fp32_precision == before
