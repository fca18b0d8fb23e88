"""A request that has been read: its fields as pipelines take them, or a RequestError that says what is wrong; and the pictures of its
answer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from bitmosaic.images import ArrayImages
from bitmosaic.pipelines.editing import edit_settings
from bitmosaic.samplers import SAMPLERS
from bitmosaic.web import requests
from bitmosaic.web.guest import Guest
from bitmosaic.web.limits import Limits, RequestError
from bitmosaic.web.pictures import checked, decoded, picture
from bitmosaic.web.words import of_library, shown


@dataclass(frozen=True)
class AnswerPicture:
    """One picture of an answer."""

    image: Tensor  # (C, H, W) in [0, 1]
    seed: int | None
    bits: float | None  # as `Answers` has them
    class_: Any  # as it was asked for
    prompt: str | None  # likewise
    again: dict[str, Any]  # the request that makes this one picture
    weights: list[float] | None = None


@dataclass(frozen=True)
class Uploads:
    """Pictures that came beside the JSON of a request, in parts of a form."""

    image: bytes | None = None
    mask: bytes | None = None


class Task:
    """A request that has been read, and what it needs."""

    def __init__(
        self, name: str, asked: requests.SamplingRequest, uploads: Uploads, guest: Guest, bundled: dict[str, ArrayImages], limits: Limits
    ):
        self.name, self.asked, self.uploads, self.guest, self.bundled, self.limits = name, asked, uploads, guest, bundled, limits
        self.notes: tuple[str, ...] = ()  # of the answers, as `Answers` has them

    def picture(self) -> Any:
        """The image of the request, as `Pipeline` takes it."""
        image = self.asked.image if self.uploads.image is None else self.uploads.image
        return picture(image, "image", self.limits, self.bundled)

    def settings(self) -> dict[str, Any]:
        """Of the sampler, those that are given. Refused (422) for those that it does not have."""
        given = self.asked.settings.model_dump(exclude_none=True)
        spec = self.guest.settings(**{name: value for name, value in given.items() if name == "sampler"})
        known = {field.name for field in fields(spec)} & requests.Settings.model_fields.keys()
        wrong = sorted(given.keys() - known - {"sampler"})
        if wrong:
            sampler = given.get("sampler") or next((name for name, kind in SAMPLERS.items() if type(spec) is kind), "own")
            what = f"settings.{wrong[0]}: the sampler {shown(sampler)} has no setting {wrong[0]}"
            raise RequestError(422, f"{what}; it has {', '.join(sorted(known))}")
        return edit_settings(self.guest, given) if self.name == "edit" else given

    def single(self, class_: Any) -> Any:
        """A class, None for what the commands call no class, and answers in blends."""
        return None if class_ == "none" and "none" not in self.guest.class_names else class_

    def classes(self) -> list[Any]:
        """Those of a way. Refused (422) for one that there is not."""
        found = [self.single(one) for one in self.asked.classes]
        for i, one in enumerate(found):
            try:
                self.guest.labels([one])
            except ValueError as error:
                raise RequestError(422, of_library(error).replace("class:", f"classes[{i}]:", 1)) from None
        return found

    def condition(self) -> Any:
        """The class or the prompt. Refused (422) for weights that are none, for both, and for a prompt where no text is known."""
        found = self.asked.class_
        if self.asked.prompt is not None:
            if found is not None:
                raise RequestError(422, "class, prompt: both are given; give one of the two")
            try:
                return self.guest.reader.parse(self.asked.prompt, "prompt")[1]
            except ValueError as error:
                raise RequestError(422, of_library(error)) from None
        if found is not None and self.guest.reader.kind == "text":
            raise RequestError(422, f"class: got {shown(found)}; this pipeline takes text: give a prompt, such as \"a red heart\"")
        found = {self.single(name): weight for name, weight in found.items()} if isinstance(found, dict) else self.single(found)
        if isinstance(found, dict) and not (found and min(found.values()) >= 0 and abs(sum(found.values()) - 1) <= 1e-3):
            raise RequestError(422, f"class: got weights {shown(self.asked.class_)}; give some that are at least 0 and sum to 1")
        if self.name == "edit" and (found is None or (isinstance(found, dict) and not any(found[c] for c in found if c is not None))):
            got = f"class: got {shown(self.asked.class_)}; name"
            raise RequestError(422, f"{got} the class that shall stand inside the mask, or give a prompt, or ask for /v1/inpaint")
        return found

    def mask(self) -> Any:
        """What is repainted, as `Pipeline` takes it."""
        if self.uploads.mask is not None:
            return checked(self.uploads.mask, "mask", self.limits)
        mask = self.asked.mask
        if isinstance(mask, requests.Box):
            return tuple(mask.box)
        if isinstance(mask, requests.Places):
            return [tuple(place) for place in mask.places]
        return checked(decoded(mask, "mask", "a picture's file in base64, a box, or places"), "mask", self.limits)

    def seeds(self) -> list[int]:
        """One an image."""
        return list(range(self.asked.seed, self.asked.seed + self.asked.count))

    def again(self, **changes) -> dict[str, Any]:
        """The request with its defaults left out and some fields changed, for the text of a picture."""
        left_out = {"pipeline", "timeout", "entropy", "format", "count", "image", "mask"}
        kept = self.asked.model_dump(by_alias=True, exclude_defaults=True, exclude=left_out)
        return {"job": self.name, "pipeline": self.guest.name, **kept, **changes}

