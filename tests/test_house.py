"""The house: imports go one way, importing is free, no forbidden package comes in."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import bitmosaic
from bitmosaic import pages

ROOT = Path(bitmosaic.__file__).parent
ORDER = [
    {"codes", "spec", "disk"}, {"folders", "memory", "names", "pages", "threads", "values"}, {"nets"},
    {"images", "quantizers", "losses", "conditions"}, {"media"},
    {"tokenizers", "priors"}, {"samplers", "codec", "generators"}, {"pipelines"}, {"convert"},
    {"evaluate", "search"}, {"train"}, {"systems"}, {"recipes"}, {"web"}, {"commands"}, {"cli"}, {"__main__"},
]  # fmt: skip
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


TREES = {path: ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def name_of(path: Path) -> str:
    """A module's name, a package's for its __init__.py."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path) for path in TREES}


def imports(path: Path):
    """(module of ours that is imported, line) of every import in a file, those inside functions and for type checkers alone too."""
    own = name_of(path)
    package = own if path.name == "__init__.py" else own.rpartition(".")[0]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else source for name in names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name in MODULES:
                yield name, node.lineno


def room_of(module: str) -> str:
    """The room, or file beside the rooms, that a module stands in; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def test_imports_go_one_way():
    wrong = []
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        room = parts[0]
        if room in ("__init__", "zoo"):
            continue
        assert room in RANK, f"{path}: no rank for {room}; add it to ORDER and to docs/architecture.md"
        for other, line in ((room_of(module), line) for module, line in imports(path)):
            if other in RANK and other != room and RANK[other] >= RANK[room]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {room} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_modules_of_a_room_have_an_order_too():
    """No circle of imports anywhere, type checkers' included: every file can be read after those that it names."""
    needs = {name_of(path): {module for module, _ in imports(path)} - {name_of(path)} for path in TREES}
    try:
        order = [*TopologicalSorter(needs).static_order()]
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' <- '.join(error.args[1])}") from None
    assert len(order) == len(TREES)


def members(tree: ast.AST) -> set[str]:
    """Names of attributes and methods that the classes of a file have."""
    inside = [node for kind in ast.walk(tree) if isinstance(kind, ast.ClassDef) for node in kind.body]
    methods = {node.name for node in inside if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    stored = [node for kind in inside for node in ast.walk(kind) if isinstance(getattr(node, "ctx", None), ast.Store)]
    return methods | {node.id for node in stored if isinstance(node, ast.Name)} | {n.attr for n in stored if isinstance(n, ast.Attribute)}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_no_private_member_is_used_from_another_file():
    """`other._name` and `from file import _name`, where another file of ours has the name; what a class inherits it calls on itself."""
    ours = {path: members(tree) for path, tree in TREES.items()}
    everywhere, wrong = set().union(*ours.values()), []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and private(node.attr) and node.attr in everywhere - ours[path]:
                if ast.unparse(node.value) not in ("self", "cls", "super()"):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "bitmosaic"):
                wrong += [f"{path.relative_to(ROOT)}:{node.lineno}: {alias.name}" for alias in node.names if private(alias.name)]
    assert not wrong, "\n".join(wrong)


def test_nothing_reaches_into_an_instance():
    """No `__dict__`: what one object needs of another is in its class."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "__dict__"
    ]
    assert not found, "\n".join(found)


def test_losses_and_priors_keep_out_of_pixels_and_loop():
    for room, forbidden in (("priors", {"images"}), ("samplers", {"images", "priors"}), ("quantizers", {"images"}), ("losses", {"images"})):
        for path in (ROOT / room).glob("*.py"):
            assert not {room_of(module) for module, _ in imports(path)} & forbidden, path


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


def test_no_html_stands_in_python():
    """Pages are .html and .css files, in pages/ and web/page/; docstrings may speak of tags."""
    tag, found = re.compile(r"</?[a-z][a-z0-9]*(\s[^<>]*)?/?>|<[a-z]+ [a-z-]+=", re.IGNORECASE), []
    assert all(map(tag.search, ("<b>", "</td><td>", '<img src="', "<br/>"))) and not any(map(tag.search, ("a < b", "x<y or z", "-> <-")))
    for path, tree in TREES.items():
        if path.parent == ROOT / "pages":  # which reads templates
            continue
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said]
        found += [f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}" for node in texts if tag.search(node.value)]
    assert not found, "\n".join(found)


def test_what_is_filled_into_a_page_is_escaped():
    row = pages.part("search", "row", rank=1, name='<b>"$rank"&', distance=None)
    assert row == "<tr><td>1</td><td>&lt;b&gt;&quot;$rank&quot;&amp;</td><td></td></tr>"
    page = pages.filled("search", software="x", image="a<b", sheet="s", words="w", rows=[row, row])
    assert page.count(row) == 2 and "Nearest to a&lt;b" in page and "<template" not in page
    with pytest.raises(KeyError):
        pages.part("search", "row", rank=1)
