"""The house: imports go one way, importing is free, no forbidden package comes in."""

import ast
import subprocess
import sys
from pathlib import Path

import bitmosaic

ROOT = Path(bitmosaic.__file__).parent
ORDER = [
    {"codes", "spec", "disk"}, {"folders", "memory", "names", "pages", "threads", "values"}, {"nets"},
    {"images", "quantizers", "losses", "conditions"},
    {"tokenizers", "priors"}, {"samplers", "codec", "generators"}, {"pipelines"}, {"convert"},
    {"evaluate", "search"}, {"train"}, {"recipes"}, {"systems"}, {"web"}, {"commands"}, {"cli"}, {"__main__"},
]  # fmt: skip
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def imports(path: Path):
    """(room imported, line) of every import of ours in a file, those inside functions too; not those that only type checkers run."""
    tree = ast.parse(path.read_text())
    checked = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for node in ast.walk(ast.Module([node for node in tree.body if node not in checked], [])):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = ["bitmosaic", *path.relative_to(ROOT).parent.parts]
            package = package[: len(package) - node.level + 1]
            name = ".".join([*package, node.module] if node.module else package)
            names = [name] if node.module or len(package) > 1 else [f"{name}.{a.name}" for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"bitmosaic.{a.name}" for a in node.names] if node.module == "bitmosaic" else [node.module]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        for name in names:
            if name.startswith("bitmosaic."):
                yield name.split(".")[1], node.lineno


def test_imports_go_one_way():
    wrong = []
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        room = parts[0]
        if room in ("__init__", "zoo"):
            continue
        assert room in RANK, f"{path}: no rank for {room}; add it to ORDER and to docs/architecture.md"
        for other, line in imports(path):
            if other in RANK and other != room and RANK[other] >= RANK[room]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {room} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_losses_and_priors_keep_out_of_pixels_and_loop():
    for room, forbidden in (("priors", {"images"}), ("samplers", {"images", "priors"}), ("quantizers", {"images"}), ("losses", {"images"})):
        for path in (ROOT / room).glob("*.py"):
            assert not {other for other, _ in imports(path)} & forbidden, path


def test_importing_is_free():
    code = (
        "import sys, torch; state = torch.get_rng_state(); import bitmosaic, bitmosaic.pipelines, bitmosaic.recipes, bitmosaic.cli; "
        "assert torch.equal(state, torch.get_rng_state()); "
        "print([m for m in ('torchvision', 'huggingface_hub', 'starlette', 'uvicorn', 'matplotlib.pyplot', 'torchmetrics', 'sklearn') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    assert out.stdout == "[]\n" and out.stderr == ""


def test_every_file_says_what_it_is():
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), f"{path} has no first line"


def test_the_public_names():
    assert {"Codes", "Pipeline", "Spec"} <= set(bitmosaic.__all__)
    assert all(hasattr(bitmosaic, name) for name in bitmosaic.__all__)
