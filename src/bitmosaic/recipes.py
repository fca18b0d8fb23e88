"""Recipes, functions that return a frozen Run, for Python; each is defined with its system, and `systems.recipes()` has all by name."""

from bitmosaic.systems.bigr.fashion import fashion
from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.bigr.landscapes import landscapes
from bitmosaic.systems.bigr.published import bigr_l, bigr_l_512, bigr_xl, bigr_xxl
from bitmosaic.systems.bsq.recipe import bsq
from bitmosaic.systems.d3pm.recipe import d3pm
from bitmosaic.systems.dcgan.recipe import dcgan
from bitmosaic.systems.fqgan.recipe import fqgan
from bitmosaic.systems.ibq.recipe import ibq
from bitmosaic.systems.llamagen.recipe import llamagen
from bitmosaic.systems.maskgit.recipe import maskgit
from bitmosaic.systems.open_magvit2.recipe import open_magvit2
from bitmosaic.systems.vqgan_lc.recipe import vqgan_lc

__all__ = [
    "bigr_l", "bigr_l_512", "bigr_xl", "bigr_xxl", "bsq", "d3pm", "dcgan", "fashion", "folder", "fqgan", "ibq", "landscapes", "llamagen",
    "maskgit", "open_magvit2", "vqgan_lc",
]  # fmt: skip
