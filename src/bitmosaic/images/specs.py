"""Descriptions of data sets of images, for runs."""

from __future__ import annotations

from dataclasses import dataclass

from bitmosaic.images.base import ImageSet
from bitmosaic.images.fashion import fashion_mnist, fashion_sample
from bitmosaic.images.folder import Folder
from bitmosaic.images.landscapes import CROPS, Landscapes
from bitmosaic.spec import Spec, later


@dataclass(frozen=True)
class ImagesSpec(Spec, abstract=True):
    """A source of images."""

    def build(self) -> ImageSet:
        raise NotImplementedError


@dataclass(frozen=True)
class FashionMNISTSpec(ImagesSpec):
    """Fashion-MNIST: 60,000 training images of 28 x 28 grey pixels in ten classes."""

    folder: str = ""  # where the IDX files are; empty: $BITMOSAIC_DATA, then where Debian's package puts them

    def build(self) -> ImageSet:
        return fashion_mnist(self.folder or None, "train")


@dataclass(frozen=True)
class FashionSampleSpec(ImagesSpec):
    """The 10,000 test images of Fashion-MNIST that ship with the package."""

    def build(self) -> ImageSet:
        return fashion_sample()


@dataclass(frozen=True)
class LandscapesSpec(ImagesSpec):
    """Crops of public-domain photographs of landscapes in ten kinds, in colour."""

    folder: str = ""  # where the photographs are; empty: $BITMOSAIC_DATA, then where Debian's package puts them
    size: tuple[int, int] = (64, 64)  # height, width
    crops: int = CROPS  # of each photograph

    def build(self) -> ImageSet:
        return Landscapes(self.folder or None, "train", self.size, self.crops)


@dataclass(frozen=True)
class CodesSpec(ImagesSpec):
    """Codes that 'bitmosaic tokenize' made, without their images: such a run trains a prior, and no tokenizer."""

    path: str = "codes"

    def build(self) -> ImageSet:
        raise ValueError(f"images: there are only codes in {self.path}; a tokenizer is trained on images")


@dataclass(frozen=True)
class AnyFolderSpec(ImagesSpec, abstract=True):
    """Base class of both kinds of folders."""

    path: str = "."
    size: tuple[int, int] = (64, 64)  # height, width
    channels: int = 3  # 1: grey
    captions: str = later("", lambda _: "")  # "beside": name.txt beside name.png; a file of them; empty: none


@dataclass(frozen=True)
class FolderSpec(AnyFolderSpec):
    """A folder of images; sub-folders are classes."""

    def build(self) -> ImageSet:
        return Folder(self.path, self.size, self.channels, captions=self.captions)


@dataclass(frozen=True)
class FlatFolderSpec(AnyFolderSpec):
    """Every image below a folder, without classes."""

    def build(self) -> ImageSet:
        return Folder(self.path, self.size, self.channels, classes=False, captions=self.captions)
