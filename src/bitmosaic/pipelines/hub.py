"""Pipelines from the Hugging Face hub, by `pip install bitmosaic[hub]`; nothing is imported until one is asked for."""

from __future__ import annotations

import torch

from bitmosaic.pipelines.protocol import Pipeline

FILES = ["config.json", "*/config.json", "*/model.safetensors", "codec.safetensors", "README.md"]


def from_pretrained(
    name: str, *, revision: str | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32, offline: bool = False
) -> Pipeline:
    """The pipeline in the repository "owner/name", downloaded once and kept in huggingface-hub's cache.

    revision: a branch, tag or commit; name a commit where a number must be reproduced. offline: only what is in the cache.
    Raises ValueError where huggingface-hub is missing, the repository or revision cannot be had, or holds no pipeline.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ValueError("the hub needs huggingface-hub; install it with: pip install 'bitmosaic[hub]'") from error
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=FILES, local_files_only=offline)
    except Exception as error:  # of the library, of its HTTP client, of the disk: too many kinds to name
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name}: cannot be had from the hub ({first})") from error
    return Pipeline.from_pretrained(folder, device, dtype)
