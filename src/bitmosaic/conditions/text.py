"""Text conditions: a token embedding and a small Transformer, trained with the prior on the captions of its images; nothing is downloaded.

Published text-to-image models take a large frozen language model (T5 in Muse, arXiv 2301.00704, CLIP in Stable Diffusion, 2112.10752).
We differ in training all of it on a few thousand captions, with byte pairs that make one token of a word in two or three of them. The
null condition is the empty text: a start token alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitmosaic.conditions.base import Condition, ConditionEncoder, ConditionReader, ConditionSpec, Encoded
from bitmosaic.conditions.byte_pairs import BYTES, BytePairs
from bitmosaic.nets.cross_attention import among
from bitmosaic.nets.vit import ViTBlock

PADDING, START, FIRST = 0, 1, 2  # tokens; byte or merge i is FIRST + i
LEARNED = 100_000  # captions, taken at regular intervals, from which byte pairs are learned


@dataclass(frozen=True)
class Texts(Condition):
    """One text for each image."""

    tokens: Tensor  # (b, n) integers: the start token, the text, padding


@dataclass(frozen=True)
class TextConditionSpec(ConditionSpec):
    """Sizes of a text encoder."""

    length: int = 8  # n, tokens of a text with its start token; longer texts are cut off
    merges: int = 16  # of byte pairs learned from the captions, at most
    width: int = 16  # W
    depth: int = 1  # blocks
    heads: int = 2

    def __post_init__(self):
        if self.length < 2 or min(self.width, self.depth, self.heads) < 1 or self.width % self.heads:
            raise ValueError(
                f"length {self.length} must be at least 2, depth {self.depth} positive, width {self.width} a multiple of {self.heads} heads"
            )
        if not 0 <= self.merges <= 2**20:
            raise ValueError(f"merges: got {self.merges}; want 0 to {2**20}")

    @property
    def has_tokens(self) -> bool:
        return True

    def build(self, width: int, tokens: bool = False) -> TextEncoder:
        return TextEncoder(self, width, tokens)


SMALL = TextConditionSpec(length=24, merges=768, width=128, depth=2, heads=2)  # for some thousand captions of about ten words


class TextEncoder(ConditionEncoder):
    """Tokens (b, n) -> outputs of the last block (b, n, D) for a prior of width D; the vector (b, D) is that of the start token."""

    kinds, called = (Texts,), "text"

    def __init__(self, spec: TextConditionSpec, width: int, tokens: bool):
        super().__init__()
        self.spec = spec
        self.register_buffer("merges", torch.full((spec.merges, 2), -1))  # -1 where fewer were learned
        self.table = nn.Embedding(FIRST + BYTES + spec.merges, spec.width)
        self.positions = nn.Parameter(torch.randn(spec.length, spec.width) * 0.02)
        self.blocks = nn.ModuleList(ViTBlock(spec.width, spec.heads, 4 * spec.width) for _ in range(spec.depth))
        self.norm = nn.LayerNorm(spec.width)
        self.to_vector = nn.Linear(spec.width, width)
        self.to_tokens = nn.Linear(spec.width, width) if tokens else None  # else it would get no gradient
        nn.init.normal_(self.table.weight, std=0.02)
        self._pairs = BytePairs([])

    @property
    def pairs(self) -> BytePairs:
        """The byte pairs in the buffer `merges`."""
        merges = [(a, b) for a, b in self.merges.tolist() if a >= 0]
        if merges != self._pairs.merges:
            self._pairs = BytePairs(merges)
        return self._pairs

    def learn(self, captions: Sequence[str]) -> None:
        """Learns byte pairs from the captions; they are saved with the weights."""
        some = [captions[i * len(captions) // LEARNED] for i in range(LEARNED)] if len(captions) > LEARNED else captions
        merges = BytePairs.learned(some, self.spec.merges).merges
        self.merges.fill_(-1)
        if merges:
            self.merges[: len(merges)] = torch.tensor(merges)

    def encode(self, condition: Texts) -> Encoded:
        """As `ConditionEncoder.encode`. ValueError for tokens of another length than this encoder's, or outside its table."""
        tokens = condition.tokens
        if tokens.ndim != 2 or tokens.shape[1] != self.spec.length or tokens.is_floating_point():
            raise ValueError(f"condition: got {tokens.dtype} {tuple(tokens.shape)}; want integers ({len(tokens)}, {self.spec.length})")
        if tokens.device.type == "cpu" and not bool(((tokens >= 0) & (tokens < len(self.table.weight))).all()):
            raise ValueError(f"condition: got tokens {int(tokens.min())} to {int(tokens.max())}; want 0 to {len(self.table.weight) - 1}")
        mask = tokens != PADDING
        x, sees = self.table(tokens) + self.positions, among(mask)
        for block in self.blocks:
            x = block(x, sees=sees)
        x = self.norm(x)
        vector = self.to_vector(x[:, 0])
        return Encoded(vector) if self.to_tokens is None else Encoded(vector, self.to_tokens(x), mask)

    def null(self, batch: int) -> Texts:
        tokens = torch.full((batch, self.spec.length), PADDING, device=self.table.weight.device)
        tokens[:, 0] = START
        return Texts(tokens)

    def of_data(self, labels: Tensor | None, captions: Sequence[str] | None) -> Texts | None:
        return None if captions is None else self.reader(()).texts(captions).to(self.table.weight.device)

    def reader(self, class_names: Sequence[str]) -> TextReader:
        return TextReader(self.pairs, self.spec.length)


class TextReader(ConditionReader):
    """Reads prompts: any text."""

    kind = "text"

    def __init__(self, pairs: BytePairs, length: int):
        self.pairs, self.length = pairs, length

    def texts(self, texts: Sequence[str]) -> Texts:
        """Token numbers of texts, each cut to the length."""
        rows = [[START, *(FIRST + token for token in self.pairs.encode(text))][: self.length] for text in texts]
        return Texts(torch.tensor([row + [PADDING] * (self.length - len(row)) for row in rows]).view(-1, self.length))

    def beyond(self, text: str) -> int:
        """The number of tokens of a text beyond the length, which are cut off."""
        return max(0, 1 + len(self.pairs.encode(text)) - self.length)

    def read(self, given: Sequence[Any]) -> Texts | None:
        if all(c is None for c in given):
            return None
        wrong = next((c for c in given if c is not None and not isinstance(c, str)), None)
        if wrong is not None:
            raise ValueError(f"condition: got {wrong!r}; this pipeline takes text: give a prompt, such as 'a red heart', or None")
        return self.texts([c or "" for c in given])

    def parse(self, text: str, argument: str) -> tuple[str, str | None]:
        """As `ConditionReader.parse`, of any prompt; as a class only "none" is accepted."""
        if argument == "prompt":
            return text, text
        if text != "none":
            raise ValueError(f"{argument}: got {text!r}, but this pipeline knows no classes; give --prompt with a text")
        return text, None

    def every(self) -> list[tuple[str, Any]]:
        raise ValueError("prompt: this pipeline draws what a text says; give --prompt, such as --prompt 'a red heart', or --classes none")
