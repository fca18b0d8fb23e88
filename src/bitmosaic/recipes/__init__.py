"""Recipes: functions that return a frozen Run, one file per published system; `RECIPES` names them for the command line."""

from collections.abc import Callable

from bitmosaic.recipes.bigr import bigr_l, bigr_l_512, bigr_xl, bigr_xxl
from bitmosaic.recipes.fashion import fashion
from bitmosaic.recipes.folder import folder
from bitmosaic.recipes.indices import d3pm, llamagen, maskgit
from bitmosaic.train.run import Run

RECIPES: dict[str, Callable[..., Run]] = {
    "fashion": fashion,
    "folder": folder,
    "maskgit": maskgit,
    "llamagen": llamagen,
    "d3pm": d3pm,
    "bigr-l": bigr_l,
    "bigr-xl": bigr_xl,
    "bigr-xxl": bigr_xxl,
    "bigr-l-512": bigr_l_512,
}

__all__ = ["RECIPES", "bigr_l", "bigr_l_512", "bigr_xl", "bigr_xxl", "d3pm", "fashion", "folder", "llamagen", "maskgit"]
