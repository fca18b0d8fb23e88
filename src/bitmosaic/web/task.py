"""A validated request, whose fields are converted to the arguments of pipelines, and the pictures of its answer."""

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
    bits: float | None  # code length, as in `Answers`
    class_: Any  # as requested
    prompt: str | None  # as requested
    again: dict[str, Any]  # the request that reproduces this picture
    weights: list[float] | None = None


@dataclass(frozen=True)
class Uploads:
    """Pictures that were uploaded as parts of a multipart form, beside the JSON of a request."""

    image: bytes | None = None
    mask: bytes | None = None


class Task:
    """A validated request, its pipeline, and the sets and limits that its pictures are checked against."""

    def __init__(
        self, name: str, asked: requests.SamplingRequest, uploads: Uploads, guest: Guest, bundled: dict[str, ArrayImages], limits: Limits
    ):
        self.name, self.asked, self.uploads, self.guest, self.bundled, self.limits = name, asked, uploads, guest, bundled, limits
        self.notes: tuple[str, ...] = ()  # of the answer, as in `Answers`

    def picture(self) -> Any:
        """The image of the request, as `Pipeline` takes it. RequestError as of `pictures.picture`."""
        image = self.asked.image if self.uploads.image is None else self.uploads.image
        return picture(image, "image", self.limits, self.bundled)

    def settings(self) -> dict[str, Any]:
        """The sampler's settings that are given. RequestError (422) for one that this sampler does not have."""
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
        """A class as pipelines take it: None for "none", which commands and answers call the null class."""
        return None if class_ == "none" and "none" not in self.guest.class_names else class_

    def classes(self) -> list[Any]:
        """The classes to interpolate between. RequestError (422) for an unknown one."""
        found = [self.single(one) for one in self.asked.classes]
        for i, one in enumerate(found):
            try:
                self.guest.labels([one])
            except ValueError as error:
                raise RequestError(422, of_library(error).replace("class:", f"classes[{i}]:", 1)) from None
        return found

    def condition(self) -> Any:
        """The class, blend or prompt. RequestError (422) for invalid weights, for both at once, and for a kind that the pipeline lacks."""
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
            raise RequestError(422, f"class: got weights {shown(self.asked.class_)}; give weights that are at least 0 and sum to 1")
        if self.name == "edit" and (found is None or (isinstance(found, dict) and not any(found[c] for c in found if c is not None))):
            got = f"class: got {shown(self.asked.class_)}; name"
            raise RequestError(422, f"{got} the class to paint inside the mask, or give a prompt, or use /v1/inpaint")
        return found

    def mask(self) -> Any:
        """The mask, as `Pipeline` takes it: bytes of a picture, a box or places. RequestError as of `pictures.checked`."""
        if self.uploads.mask is not None:
            return checked(self.uploads.mask, "mask", self.limits)
        mask = self.asked.mask
        if isinstance(mask, requests.Box):
            return tuple(mask.box)
        if isinstance(mask, requests.Places):
            return [tuple(place) for place in mask.places]
        return checked(decoded(mask, "mask", "a picture's file in base64, a box, or places"), "mask", self.limits)

    def seeds(self) -> list[int]:
        """One seed an image."""
        return list(range(self.asked.seed, self.asked.seed + self.asked.count))

    def again(self, **changes) -> dict[str, Any]:
        """The request without fields at their defaults and with some changed, for the metadata of a picture."""
        left_out = {"pipeline", "timeout", "entropy", "format", "count", "image", "mask"}
        kept = self.asked.model_dump(by_alias=True, exclude_defaults=True, exclude=left_out)
        return {"job": self.name, "pipeline": self.guest.name, **kept, **changes}

