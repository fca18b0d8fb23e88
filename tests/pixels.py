"""What the shipped pipeline draws, edits and writes; `python tests/pixels.py` makes anew what a test compares it with."""

import io
from pathlib import Path

import numpy as np
import torch

from bitmosaic import Pipeline
from bitmosaic.images import fashion_sample
from bitmosaic.search.vectors import VectorSpec, vectors

HELD = Path(__file__).parent / "data" / "pixels.npz"
FEW = {"steps": 2, "evaluations": 2}


def drawn(pipe: Pipeline) -> dict[str, np.ndarray]:
    """Pictures, uint8 (n, H, W, C)."""
    return {
        "drawn": pipe(["bag", "ankle boot", None, {"t-shirt": 0.5, "dress": 0.5}], seeds=[1, 2, 3, 2**40], output_type="np"),
        "way": pipe.interpolate(["bag", "sandal"], seed=3, frames=3, output_type="np", **FEW),
    }


def edited(pipe: Pipeline) -> dict[str, np.ndarray]:
    """Pictures and the bits of answers."""
    image, other = fashion_sample().image(18), fashion_sample().image(2)
    mask = torch.rand(28, 28, generator=torch.Generator().manual_seed(0)) < 0.3
    edits = {
        "inpaint": pipe.inpaint(image, (0, 14, 28, 28), "bag", seeds=[1, 2], output_type="np", **FEW),
        "steered": pipe.inpaint(image, mask[None].float(), "bag", seeds=[1], output_type="np", **FEW),
        "edit": pipe.edit(other, (0, 0, 28, 20), "sandal", seeds=3, output_type="np", **FEW),
        "outpaint": pipe.outpaint(other, (4, 0, 0, 6), "trouser", seeds=4, feather=1, output_type="np", **FEW),
        "enrich": pipe.enrich(image, "bag", seeds=5, repeats=1, output_type="np", **FEW),
    }
    bits = {f"{name}_bits": np.array(answers.bits, np.float32) for name, answers in edits.items()}
    return {name: answers.images for name, answers in edits.items()} | bits


def coded(pipe: Pipeline) -> dict[str, np.ndarray]:
    """Codes, files and vectors."""
    sample = fashion_sample()
    image, codes = sample.image(18), pipe.encode([sample.image(18), sample.image(2)])
    files = {f"file_{coder}": np.frombuffer(pipe.compress(image, coder, packets=3), np.uint8) for coder in ("uniform", "static", "prior")}
    found = {"vectors": vectors(pipe, sample.pixels[:2], VectorSpec("features")), "features": pipe.features(image, pool=2)[0].numpy()}
    return {"decoded": pipe.decode(codes, "np"), "codes": codes.pack()} | files | found


WORK = {"drawn": drawn, "edited": edited, "coded": coded}

if __name__ == "__main__":
    torch.set_num_threads(1)
    shipped, stream = Pipeline.from_pretrained("fashion"), io.BytesIO()
    made = {f"{kind}/{name}": value for kind, work in WORK.items() for name, value in work(shipped).items()}
    np.savez_compressed(stream, capability=torch.backends.cpu.get_cpu_capability(), **made)
    HELD.write_bytes(stream.getvalue())
