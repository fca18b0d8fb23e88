"""Tokenizers, signals <-> Codes; importing the package registers their specs."""

from bitmosaic.tokenizers.base import Tokenizer, TokenizerSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder, BinaryAutoencoderSpec
from bitmosaic.tokenizers.jpeg_bytes import JPEGBytes, JPEGBytesSpec
from bitmosaic.tokenizers.vqgan import VQGAN, VQGANSpec
from bitmosaic.tokenizers.vqvae import VQVAE, VQVAESpec

__all__ = [
    "BinaryAutoencoder", "BinaryAutoencoderSpec", "JPEGBytes", "JPEGBytesSpec", "Tokenizer", "TokenizerSpec", "VQGAN", "VQGANSpec", "VQVAE",
    "VQVAESpec",
]
