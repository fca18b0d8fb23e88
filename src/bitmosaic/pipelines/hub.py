"""Pipelines from the Hugging Face hub, by `pip install bitmosaic[hub]`; the client library is imported when first used."""

from __future__ import annotations

import torch

from bitmosaic.pipelines.protocol import Pipeline

FILES = ["config.json", "*/config.json", "*/model.safetensors", "codec.safetensors", "README.md"]


def from_pretrained(
    name: str, *, revision: str | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32, offline: bool = False
) -> Pipeline:
    """The pipeline in the repository "owner/name", downloaded once and kept in huggingface-hub's cache.

    revision: a branch, tag or commit; give a commit where a number must be reproduced. offline: use only the cache.
    Raises ValueError where huggingface-hub is missing, the repository or revision cannot be downloaded, or it holds no pipeline.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ValueError("the hub needs huggingface-hub; install it with: pip install 'bitmosaic[hub]'") from error
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=FILES, local_files_only=offline)
    except Exception as error:  # the library, its HTTP client and the disk raise many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name}: cannot be had from the hub ({first})") from error
    return Pipeline.from_pretrained(folder, device, dtype)
