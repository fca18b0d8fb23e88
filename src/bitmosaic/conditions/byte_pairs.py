"""Byte-pair encoding (Sennrich et al., arXiv 1508.07909) over the bytes of UTF-8 (as in GPT-2), learned from the captions at hand.

We differ in folding capitals, in merges that stay within a word, and in breaking ties towards the smaller numbers, so that the same
captions in any order give the same tokens on any machine. Tokens are never decoded, so spaces need none.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

BYTES = 256
KEPT = 2**16  # words whose tokens are cached


def words(text: str) -> list[bytes]:
    """The words of a text, each with a space before it, and its punctuation marks, one by one: NFC, lower case, as UTF-8.

    A lone surrogate, which is no Unicode character, counts as a letter.
    """
    found, word = [], ""
    for c in unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()) + " ":
        kind = unicodedata.category(c)
        if kind[0] in "LMN" or kind in ("Cf", "Co", "Cn", "Cs"):
            word += c
            continue
        if word:
            found.append(" " + word)
        if kind[0] in "PS":
            found.append(c)
        word = ""
    return [one.encode("utf-8", "surrogatepass") for one in found]


class BytePairs:
    """Text -> token numbers: bytes are 0 to 255, and merge i turns its pair of tokens into 256 + i."""

    def __init__(self, merges: Sequence[tuple[int, int]]):
        self.merges = [tuple(pair) for pair in merges]
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        self.kept: dict[bytes, list[int]] = {}

    @staticmethod
    def learned(texts: Iterable[str], most: int) -> BytePairs:
        """Learns up to `most` merges from texts, the most frequent pair first; fewer where no pair occurs twice."""
        counts = Counter(word for text in texts for word in words(text))
        spelled = {word: list(word) for word in counts}
        pairs: Counter[tuple[int, int]] = Counter()
        where: dict[tuple[int, int], set[bytes]] = {}
        for word, count in counts.items():
            _count(word, spelled[word], count, pairs, where)
        merges = []
        while len(merges) < most and pairs:
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            if pairs[best] < 2:
                break
            merges.append(best)
            for word in where.pop(best):
                _count(word, spelled[word], -counts[word], pairs, where)
                spelled[word] = _merged(spelled[word], best, BYTES + len(merges) - 1)
                _count(word, spelled[word], counts[word], pairs, where)
            pairs = +pairs
        return BytePairs(merges)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        return [token for word in words(text) for token in self._word(word)]

    def _word(self, word: bytes) -> list[int]:
        if word not in self.kept:
            tokens = list(word)
            while len(tokens) > 1:
                first = min(zip(tokens, tokens[1:], strict=False), key=lambda pair: self.rank.get(pair, len(self.rank)))
                if first not in self.rank:
                    break
                tokens = _merged(tokens, first, BYTES + self.rank[first])
            if len(self.kept) >= KEPT:
                self.kept.clear()
            self.kept[word] = tokens
        return self.kept[word]


def _count(word: bytes, tokens: list[int], count: int, pairs: Counter, where: dict[tuple[int, int], set[bytes]]) -> None:
    """Adds `count` to each pair of neighbours in a word. where: for each pair, words that hold it or did before a merge."""
    for pair in zip(tokens, tokens[1:], strict=False):
        pairs[pair] += count
        where.setdefault(pair, set()).add(word)


def _merged(tokens: list[int], pair: tuple[int, int], number: int) -> list[int]:
    """The tokens, with each occurrence of `pair`, from the left, replaced by `number`."""
    found, i = [], 0
    while i < len(tokens):
        both = tuple(tokens[i : i + 2]) == pair
        found.append(number if both else tokens[i])
        i += 1 + both
    return found
