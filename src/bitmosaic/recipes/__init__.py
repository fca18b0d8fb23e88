"""Recipes: functions that return a frozen Run; `systems.recipes()` names them for the command line."""

from bitmosaic.recipes.bigr import bigr_l, bigr_l_512, bigr_xl, bigr_xxl
from bitmosaic.recipes.dcgan import dcgan
from bitmosaic.recipes.fashion import fashion
from bitmosaic.recipes.folder import folder
from bitmosaic.recipes.indices import d3pm, llamagen, maskgit

__all__ = ["bigr_l", "bigr_l_512", "bigr_xl", "bigr_xxl", "d3pm", "dcgan", "fashion", "folder", "llamagen", "maskgit"]
