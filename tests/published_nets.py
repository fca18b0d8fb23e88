"""Encoders and decoders of published programs as plain functions over tensors under their published names, which are drawn on first use."""

import torch
import torch.nn.functional as F
from torch import Tensor


class Weights(dict):
    """Tensors by name; one that is asked for and not there is drawn."""

    def __init__(self, seed: int = 0):
        super().__init__()
        self.rng = torch.Generator().manual_seed(seed)

    def of(self, name: str, *shape: int, scale: float | None = None, centre: float = 0.0) -> Tensor:
        if name not in self:
            fan = max(1, torch.Size(shape[1:]).numel())
            self[name] = centre + torch.randn(shape, generator=self.rng) * (scale or fan**-0.5)
        return self[name]

    def conv(self, name: str, x: Tensor, out: int, kernel: int = 3, bias: bool = True, **how) -> Tensor:
        weight = self.of(f"{name}.weight", out, x.shape[1], kernel, kernel)
        return F.conv2d(x, weight, self.of(f"{name}.bias", out, scale=0.1) if bias else None, **{"padding": kernel // 2, **how})

    def norm(self, name: str, x: Tensor) -> Tensor:
        scale, shift = self.of(f"{name}.weight", x.shape[1], scale=0.1, centre=1.0), self.of(f"{name}.bias", x.shape[1], scale=0.1)
        return F.group_norm(x, 32, scale, shift, 1e-6)

    def residual(self, name: str, x: Tensor, out: int, bias: bool = True) -> Tensor:
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)), out, bias=bias)
        h = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", h)), out, bias=bias)
        return h + (self.conv(f"{name}.nin_shortcut", x, out, 1, bias) if x.shape[1] != out else x)

    def attention(self, name: str, x: Tensor) -> Tensor:
        h = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.{part}", h, h.shape[1], 1).flatten(2) for part in "qkv")
        weights = (q.transpose(1, 2) @ k * h.shape[1] ** -0.5).softmax(-1)  # (b, query, key)
        return x + self.conv(f"{name}.proj_out", (v @ weights.transpose(1, 2)).view(x.shape), x.shape[1], 1)

    def ends(self, net: str, x: Tensor, out: int, kernel: int = 3) -> Tensor:
        return self.conv(f"{net}.conv_out", F.silu(self.norm(f"{net}.norm_out", x)), out, kernel)


def vqgan_encoder(w: Weights, x: Tensor, names: str, widths: tuple[int, ...], blocks: int, attends: set[int], out: int) -> Tensor:
    """names: "taming" or "llamagen"; widths: of each level; attends: levels with attention."""
    level = "encoder.down.{}.block.{}" if names == "taming" else "encoder.conv_blocks.{}.res.{}"
    x = w.conv("encoder.conv_in", x, widths[0])
    for i, width in enumerate(widths):
        for j in range(blocks):
            x = w.residual(level.format(i, j), x, width)
            if i in attends:
                x = w.attention(level.format(i, j).replace(".block.", ".attn.").replace(".res.", ".attn."), x)
        if i < len(widths) - 1:
            x = w.conv(f"{level.format(i, 0).rsplit('.', 2)[0]}.downsample.conv", F.pad(x, (0, 1, 0, 1)), width, stride=2, padding=0)
    return w.ends("encoder", middle(w, "encoder", x, names), out)


def vqgan_decoder(w: Weights, z: Tensor, names: str, widths: tuple[int, ...], blocks: int, attends: set[int]) -> Tensor:
    """As `vqgan_encoder`; blocks: of a level here, one more than there. LlamaGen counts levels from the lowest resolution on."""
    x = middle(w, "decoder", w.conv("decoder.conv_in", z, widths[-1]), names)
    for i in reversed(range(len(widths))):
        at = f"decoder.up.{i}" if names == "taming" else f"decoder.conv_blocks.{len(widths) - 1 - i}"
        for j in range(blocks):
            x = w.residual(f"{at}.{'block' if names == 'taming' else 'res'}.{j}", x, widths[i])
            x = w.attention(f"{at}.attn.{j}", x) if i in attends else x
        if i:
            x = w.conv(f"{at}.upsample.conv", x.repeat_interleave(2, 2).repeat_interleave(2, 3), widths[i])
    return w.ends("decoder", x, 3)


def middle(w: Weights, net: str, x: Tensor, names: str) -> Tensor:
    first, attention, second = ("mid.block_1", "mid.attn_1", "mid.block_2") if names == "taming" else ("mid.0", "mid.1", "mid.2")
    x = w.residual(f"{net}.{first}", x, x.shape[1])
    return w.residual(f"{net}.{second}", w.attention(f"{net}.{attention}", x), x.shape[1])


def magvit2_encoder(w: Weights, x: Tensor, widths: tuple[int, ...], blocks: int, out: int) -> Tensor:
    """Open-MAGVIT2's: no attention, no biases in residual blocks."""
    x = w.conv("encoder.conv_in", x, widths[0], bias=False)
    for i, width in enumerate(widths):
        for j in range(blocks):
            x = w.residual(f"encoder.down.{i}.block.{j}", x, width, bias=False)
        if i < len(widths) - 1:
            x = w.conv(f"encoder.down.{i}.downsample", x, width, stride=2)
    for j in range(blocks):
        x = w.residual(f"encoder.mid_block.{j}", x, widths[-1], bias=False)
    return w.ends("encoder", x, out, 1)


def magvit2_decoder(w: Weights, z: Tensor, widths: tuple[int, ...], blocks: int, adaptive: bool = True) -> Tensor:
    """Open-MAGVIT2's: depth to space, and normalisation by the codes."""
    mean, deviation = z.mean((2, 3)), (((z - z.mean((2, 3), True)) ** 2).sum((2, 3)) / (z[0, 0].numel() - 1) + 1e-6).sqrt()
    x = w.conv("decoder.conv_in", z, widths[-1])
    for j in range(blocks):
        x = w.residual(f"decoder.mid_block.{j}", x, widths[-1], bias=False)
    for i in reversed(range(len(widths))):
        if adaptive:
            scale, shift = (linear(w, f"decoder.adaptive.{i}.{n}", v, x.shape[1]) for n, v in (("gamma", deviation), ("beta", mean)))
            x = scale[:, :, None, None] * F.group_norm(x, 32, eps=1e-6) + shift[:, :, None, None]
        for j in range(blocks):
            x = w.residual(f"decoder.up.{i}.block.{j}", x, widths[i], bias=False)
        if i:
            h = w.conv(f"decoder.up.{i}.upsample.conv1", x, 4 * widths[i])
            x = torch.zeros(len(h), widths[i], 2 * h.shape[2], 2 * h.shape[3])
            for row in range(2):
                for column in range(2):
                    first = (2 * row + column) * widths[i]
                    x[:, :, row::2, column::2] = h[:, first : first + widths[i]]
    return w.ends("decoder", x, 3)


def linear(w: Weights, name: str, x: Tensor, out: int) -> Tensor:
    return F.linear(x, w.of(f"{name}.weight", out, x.shape[1]), w.of(f"{name}.bias", out, scale=0.1))
