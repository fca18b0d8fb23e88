"""Conditions of priors and generators: classes, text or none; importing the package registers its specs."""

from bitmosaic.conditions.base import Condition, ConditionEncoder, ConditionReader, ConditionSpec, Encoded
from bitmosaic.conditions.classes import Blends, ClassConditionSpec, Classes, ClassReader
from bitmosaic.conditions.none import NoConditionSpec, NoReader, Nothing
from bitmosaic.conditions.text import TextConditionSpec, TextReader, Texts

__all__ = [
    "Blends", "ClassConditionSpec", "ClassReader", "Classes", "Condition", "ConditionEncoder", "ConditionReader", "ConditionSpec",
    "Encoded", "NoConditionSpec", "NoReader", "Nothing", "TextConditionSpec", "TextReader", "Texts",
]  # fmt: skip
