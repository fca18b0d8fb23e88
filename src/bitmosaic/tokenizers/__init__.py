"""Tokenizers, signals <-> Codes; importing the package registers their specs."""

from bitmosaic.tokenizers.base import Tokenizer, TokenizerSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder, BinaryAutoencoderSpec
from bitmosaic.tokenizers.fqgan import FQGAN, FQGANSpec
from bitmosaic.tokenizers.jpeg_bytes import JPEGBytes, JPEGBytesSpec
from bitmosaic.tokenizers.vqgan import VQGAN, VQGANSpec
from bitmosaic.tokenizers.vqvae import VQVAE, VQVAESpec

__all__ = [
    "FQGAN", "VQGAN", "VQVAE", "BinaryAutoencoder", "BinaryAutoencoderSpec", "FQGANSpec", "JPEGBytes", "JPEGBytesSpec", "Tokenizer",
    "TokenizerSpec", "VQGANSpec", "VQVAESpec",
]
