"""The README's commands run as they stand there, on small data; so does its Python."""

import re
import shlex
from pathlib import Path

import pytest

from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, to_pil

README = Path(__file__).resolve().parents[1] / "README.md"
SHORT = [  # what makes a training run short enough for a test
    "--tokenizer-training.steps", "2", "--prior-training.steps", "2", "--tokenizer-training.batch-size", "2", "--sampler.steps", "2",
    "--sampler.evaluations", "2", "--size", "32", "--tokenizer.width", "8", "--tokenizer.embedding", "8", "--prior.depth", "1",
    "--prior.width", "32", "--prior.heads", "2", "--prior.head.width", "32", "--prior.head.depth", "1",
]  # fmt: skip

DRAWING = ("sample", "inpaint", "outpaint", "edit", "interpolate", "enrich", "reveal")
QUICK = {name: ["--steps", "2", "--evaluations", "1"] for name in DRAWING}  # likewise
QUICK["bits"] = ["--count", "4"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def commands() -> list[list[list[str]]]:
    """Those of each block."""
    lines = [[line.split("#")[0].strip() for line in block.splitlines()] for block in blocks("sh")]
    found = [[shlex.split(line)[1:] for line in block if line.startswith(".venv/bin/bitmosaic")] for block in lines]
    return [block for block in found if block]


MADE = {"sample": "samples/sheet.png", "train": "runs/mine/pipeline/config.json", "reconstruct": "reconstructions"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    sample = fashion_sample()
    for name, label in (("bag", 8), ("shirt", 6)):
        (tmp_path / "my-images" / name).mkdir(parents=True)
        for i in (sample.labels == label).nonzero().flatten()[:4].tolist():
            to_pil(sample.image(i)).resize((40, 40)).save(tmp_path / "my-images" / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", commands(), ids=lambda block: block[0][0])
def test_commands_of_the_readme(here, capsys, block):
    for words in block:
        extra = SHORT if words[0] == "train" else QUICK.get(words[0], [])
        assert main([*words, *extra]) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
        assert words[0] not in MADE or "--dry-run" in words or (here / MADE[words[0]]).exists()


def test_the_readme_shows_every_kind_of_work():
    shown = {words[0] for block in commands() for words in block}
    assert {"list", "sample", "reconstruct", "inpaint", "compress", "search", "train"} <= shown


def test_make_targets_of_the_readme_exist():
    makefile = (README.parent / "Makefile").read_text()
    targets = set(re.findall(r"make (\w+)", README.read_text()))
    assert {"demo", "test", "slow", "lint"} <= targets
    assert all(f"\n{target}:" in makefile for target in targets)


def test_python_of_the_readme(here, capsys):
    for block in blocks("python"):
        made = {}
        exec(block.replace("range(16)", "range(2)"), made)
        assert made["codes"].digits.shape == (2, 7, 7, 20) and made["vectors"].shape == (2, 9408) and len(made["again"]) == 2
    assert "49 places known" in capsys.readouterr().out


def test_files_that_the_readme_names_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
