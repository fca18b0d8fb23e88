"""Checks that what a run has made is sound: the bytes that it wrote, and finite numbers."""

from __future__ import annotations

from pathlib import Path

import torch

from bitmosaic.disk import checksum
from bitmosaic.folders import read_json
from bitmosaic.pipelines import Pipeline
from bitmosaic.tokenizers.base import Tokenizer
from bitmosaic.train.code_store import CodeStore
from bitmosaic.train.sealed import CHECKSUMS, check


def check_decodes(tokenizer: Tokenizer, steps: int, images: torch.Tensor) -> None:
    """ValueError where what a tokenizer has learned gives no finite reconstructions of signals (n, C, *size)."""
    sound = all(value.isfinite().all() for value in tokenizer.state_dict().values())
    with torch.inference_mode():
        if not sound or not tokenizer.decode(tokenizer.encode(images.to(tokenizer.device))).isfinite().all():
            raise ValueError(f"tokenizer: after {steps:,} steps it gives no finite numbers; train anew with a lower learning rate")


def check_features_seal(out: Path) -> None:
    """ValueError where the run's own feature network is not what it wrote."""
    path, seal = out / "features.safetensors", out / "features" / CHECKSUMS
    if seal.exists() and read_json(seal) != {path.name: checksum(path)}:
        raise ValueError(f"{path}: changed since it was written; put back what was there, or remove it, and the same command makes it anew")


def check_codes_seal(folder: Path) -> None:
    """ValueError where a run's own codes are not what it wrote."""
    check(folder, f"remove {folder}, and the same command computes it anew")


def check_pipeline(made: Pipeline, steps: int, store: CodeStore) -> None:
    """ValueError where a prior that was trained on codes gives no finite loss on some of them, or the tokenizer no finite images."""
    some = store.read(torch.arange(min(8, len(store))), torch.zeros(min(8, len(store)), dtype=torch.int64))
    labels = None if some.labels is None else some.labels.to(made.device)
    codes = some.codes.to(made.device)
    with torch.inference_mode():
        if not made.tokenizer.decode(codes).isfinite().all():
            raise ValueError("tokenizer: it gives no finite images of its own codes: one of them is damaged; begin anew in another folder")
        loss = made.prior.loss(codes, made.prior.condition.of_data(labels, some.captions), torch.Generator(made.device).manual_seed(0))
    if not loss.isfinite() or not all(value.isfinite().all() for value in made.prior.state_dict().values() if value.is_floating_point()):
        raise ValueError(f"prior: after {steps:,} steps it gives no finite numbers; train anew with a lower learning rate")
