"""Recipes, functions that return a frozen Run, for Python; each is defined with its system, and `systems.recipes()` has all by name."""

from bitmosaic.systems.bigr.fashion import fashion
from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.bigr.landscapes import landscapes
from bitmosaic.systems.bigr.published import bigr_l, bigr_l_512, bigr_xl, bigr_xxl
from bitmosaic.systems.d3pm.recipe import d3pm
from bitmosaic.systems.dcgan.recipe import dcgan
from bitmosaic.systems.llamagen.recipe import llamagen
from bitmosaic.systems.maskgit.recipe import maskgit

__all__ = ["bigr_l", "bigr_l_512", "bigr_xl", "bigr_xxl", "d3pm", "dcgan", "fashion", "folder", "landscapes", "llamagen", "maskgit"]
