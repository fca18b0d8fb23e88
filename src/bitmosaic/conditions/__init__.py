"""What a prior is told of an image: classes, text or nothing; importing the room enters its specs in the table."""

from bitmosaic.conditions.base import Condition, ConditionEncoder, ConditionSpec, Encoded
from bitmosaic.conditions.classes import Blends, ClassConditionSpec, Classes
from bitmosaic.conditions.none import NoConditionSpec, Nothing

__all__ = [
    "Blends", "ClassConditionSpec", "Classes", "Condition", "ConditionEncoder", "ConditionSpec", "Encoded", "NoConditionSpec", "Nothing",
]  # fmt: skip
