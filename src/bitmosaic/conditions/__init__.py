"""What a prior is told of an image: classes, text or nothing; importing the room enters its specs in the table."""

from bitmosaic.conditions.base import Condition, ConditionEncoder, ConditionReader, ConditionSpec, Encoded
from bitmosaic.conditions.classes import Blends, ClassConditionSpec, Classes, ClassReader
from bitmosaic.conditions.none import NoConditionSpec, NoReader, Nothing
from bitmosaic.conditions.text import TextConditionSpec, TextReader, Texts

__all__ = [
    "Blends", "ClassConditionSpec", "ClassReader", "Classes", "Condition", "ConditionEncoder", "ConditionReader", "ConditionSpec",
    "Encoded", "NoConditionSpec", "NoReader", "Nothing", "TextConditionSpec", "TextReader", "Texts",
]  # fmt: skip
