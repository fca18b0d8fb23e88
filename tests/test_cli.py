"""The command line: every command does its work, and bad input is one clear line, status 2, and nothing written."""

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import warm
from PIL import Image

from bitmosaic.cli import COMMANDS, main, module_of
from bitmosaic.commands.arguments import flags
from bitmosaic.commands.files import unlike
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.images import FASHION_CLASSES, fashion_sample, to_pil
from bitmosaic.pipelines import Pipeline
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec

TRAIN = (
    "train folder --data data --size 32 --channels 1 --minutes 1 --out run --tokenizer.width 8 --tokenizer.embedding 8 "
    "--tokenizer.groups 4 --tokenizer.multipliers 1 1 1 --tokenizer.residual-blocks 0 --prior.depth 1 --prior.width 16 "
    "--prior.head.width 16 --prior.head.depth 1 --prior.heads 2 --tokenizer-training.steps 2 --prior-training.steps=2 "
    "--tokenizer-training.batch-size 2 --sampler.steps 2 --sampler.evaluations 2"
).split()


def tiny_pipeline(seed: int = 0, condition=None) -> Pipeline:
    """Untrained, with the sizes of Fashion-MNIST."""
    torch.manual_seed(seed)
    tokenizer = BinaryAutoencoderSpec(
        image_size=(28, 28), channels=1, bits=4, width=8, multipliers=(1, 1, 1), embedding=8, groups=4,
        attention_sizes=(7,),
    )  # fmt: skip
    condition = condition or ClassConditionSpec(10)
    prior = MaskedPriorSpec((7, 7), 4, condition=condition)
    names = FASHION_CLASSES if isinstance(condition, ClassConditionSpec) else ()
    return Pipeline(tokenizer.build(), prior.build(), EntropyOrderedSpec(steps=3, evaluations=2), names)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A folder with two pipelines, and with images of which one is broken."""
    folder = tmp_path_factory.mktemp("made")
    tiny_pipeline().save_pretrained(folder / "tiny")
    tiny_pipeline(1, NoConditionSpec()).save_pretrained(folder / "plain")
    sample = fashion_sample()
    for name, label in (("bag", 8), ("shirt", 6)):
        (folder / "data" / name).mkdir(parents=True)
        for i in (sample.labels == label).nonzero().flatten()[:3].tolist():
            to_pil(sample.image(i)).save(folder / "data" / name / f"{i}.png")
    shutil.copytree(folder / "data", folder / "mixed")
    (folder / "mixed" / "bag" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (folder / "broken").mkdir()
    (folder / "broken" / "a.png").write_bytes(b"no picture")
    shutil.copytree(folder / "tiny", folder / "cut")
    weights = folder / "cut" / "prior" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    main(["encode", str(folder / "data"), "--pipeline", str(folder / "tiny"), "--out", str(folder / "c.safetensors")])
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, made) -> Path:
    """An empty working folder, with links to what was made."""
    monkeypatch.chdir(tmp_path)
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def run(line: str | list[str]) -> int:
    return main(line.split() if isinstance(line, str) else line)


def test_sample_writes_the_same_images_again_and_says_how(here, capsys):
    assert run(["sample", "tiny", "--classes", "bag", "ankle boot", "bag:0.5+sandal:0.5", "none", "--count", "2"]) == 0
    names = {path.name for path in (here / "samples").iterdir()}
    stems = ("bag", "ankle-boot", "bag-0.5-sandal-0.5", "none")
    assert names == {"sheet.png", *(f"{stem}-00{i}.png" for stem in stems for i in (0, 1))}
    with Image.open(here / "samples" / "ankle-boot-001.png") as image:
        assert image.size == (28, 28)
        assert image.info["Class"] == "ankle boot" and image.info["Seed"] == "1"
        assert image.info["Software"].startswith("bitmosaic ")
        assert json.loads(image.info["Settings"])["steps"] == 3
        first = image.tobytes()
    assert "8 images in" in capsys.readouterr().out
    assert run("sample tiny --classes 9 --count 1 --seed 1 --out other --no-sheet") == 0
    assert [path.name for path in (here / "other").iterdir()] == ["ankle-boot-001.png"]
    with Image.open(here / "other" / "ankle-boot-001.png") as image:
        assert image.tobytes() == first
    other = "--sampler marginals-first --shortlist 1.5 --precision int8"
    assert run(f"sample tiny --classes 9 --count 1 --seed 1 --out third --no-sheet {other}") == 0
    with Image.open(here / "third" / "ankle-boot-001.png") as image:
        found = json.loads(image.info["Settings"])
    assert {**found, "type": "MarginalsFirstSpec", "shortlist": 1.5, "steps": 3} == found
    assert found["precision"] == "float32"  # what it is drawn in: no layer of so narrow a network becomes int8
    settings = "--steps 2 --evaluations 1 --guidance-scale 1 --temperature 0 --precision bf16"
    assert run(f"sample tiny --classes 9 --count 1 --seed 1 --out other --no-sheet {settings}") == 0  # replaces its own
    with Image.open(here / "other" / "ankle-boot-001.png") as image:
        assert json.loads(image.info["Settings"])["precision"] == "bf16"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_inpaint_and_edit_keep_what_is_not_masked_and_say_how(here, capsys):
    photograph = next((here / "data" / "bag").iterdir())
    mask = np.zeros((28, 28), dtype=np.uint8)
    mask[5:9, 3:21] = 255
    Image.fromarray(mask).save("mask.png")
    ways = ("--mask mask.png", "--box 3 5 21 9")
    for way, out in zip(ways, ("a", "b"), strict=True):
        assert run(f"inpaint {photograph} {way} --class bag --count 3 --feather 1 --pipeline tiny --out {out}") == 0
    names = {f"{photograph.stem}-{i}.png" for i in (1, 2, 3)}
    assert {path.name for path in (here / "a").iterdir()} == names | {"sheet.png"}
    for name in names:
        made = pixels(here / "a" / name)
        assert np.array_equal(made[mask == 0], pixels(photograph)[mask == 0]) and np.array_equal(made, pixels(here / "b" / name))
    with Image.open(here / "a" / f"{photograph.stem}-1.png") as best, Image.open(here / "a" / f"{photograph.stem}-3.png") as worst:
        assert float(best.info["Bits"]) <= float(worst.info["Bits"]) and best.info["Command"] == "inpaint" and best.info["Class"] == "bag"
        assert json.loads(best.info["Settings"])["feather"] == 1 and best.info["Seed"] in "012"
    assert capsys.readouterr().out.count(" bits\n") == 6
    assert run("edit fashion:3 --class sandal --places 0,0 6,6 --count 1 --pipeline tiny --out a --steps 1") == 0
    made, given = pixels(here / "a" / "fashion-3-1.png"), fashion_sample().pixels[3, 0].numpy()
    assert np.array_equal(made[4:, :24], given[4:, :24]) and np.array_equal(made[:24, 4:], given[:24, 4:])
    assert run("inpaint data/bag --mask mask.png --pipeline tiny") == 2
    Image.new("L", (900, 600), 90).save("large.png")
    for way, size in (("--fit crop --box 300 200 500 300", (28, 28)), ("--fit tile --box 300 200 310 215", (900, 600))):
        assert run(f"inpaint large.png {way} --count 1 --pipeline tiny --out large") == 0
        assert pixels(here / "large" / "large-1.png").shape == size[::-1]
    with Image.open(here / "large" / "sheet.png") as sheet:
        assert sheet.width < 1700


def test_outpaint_and_enrich(here):
    given = fashion_sample().pixels[3, 0].numpy()
    assert run("outpaint fashion:3 --padding 2 0 30 0 --count 2 --pipeline tiny --class 5") == 0
    made = pixels(here / "outpainted" / "fashion-3-2.png")
    assert made.shape == (28, 60) and np.array_equal(made[:, 2:30], given)
    assert run("outpaint fashion:3 --padding 3 --count 1 --pipeline plain --out all-round") == 0
    assert pixels(here / "all-round" / "fashion-3-1.png").shape == (34, 34)
    assert run("enrich fashion:3 --class bag --repeats 1 --count 2 --pipeline tiny") == 0
    assert {path.name for path in (here / "enriched").iterdir()} == {"fashion-3-1.png", "fashion-3-2.png", "sheet.png"}


def test_interpolate_draws_a_strip_and_an_animation_and_replaces_its_own(here):
    for count in (2, 3):
        assert run(f"interpolate tiny --classes bag sandal 3 --frames 4 --count {count}") == 0
        with Image.open(here / "interpolation" / "strip.gif") as film, Image.open(here / "interpolation" / "strip.png") as strip:
            assert film.size == (count * 114 - 2, 112) and json.loads(strip.info["Classes"]) == ["bag", "sandal", "dress"]
    (here / "interpolation" / "strip.gif").write_bytes(b"GIF89a of mine")
    assert run("interpolate tiny --classes bag sandal --frames 2 --count 1") == 2


def test_reveal_and_bits(here, capsys):
    assert run("reveal tiny --class bag --count 2") == 0
    with Image.open(here / "reveal" / "order.gif") as film, Image.open(here / "reveal" / "entropy.png") as sheet:
        assert film.n_frames == 4 and sheet.info["Class"] == "bag" and json.loads(sheet.info["Settings"])["steps"] == 3
    assert run("bits data/bag/18.png --count 3 --pipeline tiny") == 0
    assert {path.name for path in (here / "bits").iterdir()} == {"18-bits.png", "meaning.png"}
    for command in ("reveal tiny --class bag --count 1", "bits data/bag/18.png --count 2 --pipeline tiny"):
        assert run(command) == 0  # replaces its own


def test_sample_without_classes(here):
    assert run("sample plain --count 2") == 0
    assert {path.name for path in (here / "samples").iterdir()} == {"image-000.png", "image-001.png", "sheet.png"}


def test_encode_and_decode(here, capsys):
    assert run("encode mixed data/bag/18.png --pipeline tiny") == 0
    told = capsys.readouterr()
    assert told.err.count("broken.png") == 1 and told.err.count("\n") == 1
    assert "7 images, 196 bits or 25 bytes each" in told.out
    assert run("decode codes.safetensors --pipeline tiny --out back") == 0
    assert len([*(here / "back").rglob("*.png")]) == 7 and (here / "back" / "bag" / "18.png").is_file()
    pipe = Pipeline.from_pretrained(here / "tiny")
    expected = pipe.decode(pipe.encode(Image.open(here / "data" / "bag" / "18.png")))[0]
    with Image.open(here / "back" / "18.png") as image:
        assert image.tobytes() == expected.tobytes()


def test_reconstruct(here, capsys):
    assert run("reconstruct --pipeline tiny --count 9") == 0
    report = json.loads((here / "reconstructions" / "report.json").read_text())
    assert report["count"] == 9 and report["bits_per_image"] == 196
    out = capsys.readouterr().out
    assert f"{report['psnr']:.2f} dB" in out and "bit use" in out
    with Image.open(here / "reconstructions" / "reconstructions.png") as sheet:
        assert sheet.width > 8 * 56 and sheet.height > 4 * 56
    assert run("reconstruct mixed --pipeline tiny") == 0  # replaces its own
    assert "broken.png" in capsys.readouterr().err
    assert json.loads((here / "reconstructions" / "report.json").read_text())["count"] == 6


def test_info_of_a_pipeline(here, capsys):
    assert run("info tiny") == 0
    out = capsys.readouterr().out
    assert "7 x 7 places of 4 bits" in out and "196 bits or 25 bytes" in out and "ankle boot" in out
    assert run("info tiny --json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bits_per_image"] == 196 and found["sampler"]["steps"] == 3
    assert found["files"]["prior/model.safetensors"] > 1000


def test_list(capsys):
    assert run("list") == 0
    out = capsys.readouterr().out
    assert "fashion" in out and "folder" in out and "10000 images of 28 x 28" in out and "252 images of 64 x 64" in out


def test_train_then_use(here, capsys):
    assert main([*TRAIN, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert '"steps": 2' in out and "as asked for: prior_training.steps was" in out and not (here / "run").exists()
    assert main(TRAIN) == 0
    out = capsys.readouterr().out
    assert "chosen: 6 images, 2 classes" in out and "bitmosaic sample run/pipeline" in out and "curves-prior.png" in out
    assert run("info run") == 0
    out = capsys.readouterr().out
    assert "step 2 of 2 (done)" in out and "PSNR" in out
    assert run("sample run --classes bag --count 1 --no-sheet") == 0  # a run that has ended is its pipeline
    shutil.rmtree(here / "run" / "pipeline")
    refused(here, capsys, "sample run", "has not ended")
    assert run("info run --json") == 0
    assert json.loads(capsys.readouterr().out)["pipeline"] is None
    refused(here, capsys, " ".join([*TRAIN, "--prior.depth", "2"]), "another run")


def test_help_that_a_person_can_follow(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in text
        assert run([name, "--help"]) == 0
        told = capsys.readouterr()
        assert f"usage: bitmosaic {name}" in told.out and told.err == ""
        if name not in ("train", "plan"):  # whose arguments hang on the recipe
            function = getattr(module_of(name), name)
            for argument in inspect.signature(function).parameters:  # what Args: says of it
                assert f"{argument}: " in function.__doc__, (name, argument)
            for flag in flags(function):
                assert f"{flag} " in told.out or f"{flag}, " in told.out, (name, flag)
    assert run("train fashion --help") == 0
    text = capsys.readouterr().out
    assert "--data" in text and "--dry-run" in text and "IDX" in text
    assert "--prior.depth INT" in text and "--tokenizer-training.batch-size INT" in text and "(default: 6)" in text
    assert run("train folder --help") == 0
    assert "--prior.depth INT" in capsys.readouterr().out
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("bitmosaic ")


def test_as_a_module(here):
    """In a process of its own, where no test has imported anything."""
    command = [sys.executable, "-m", "bitmosaic", "encode", "data", "--pipeline", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0 and "6 images" in done.stdout and done.stderr == ""
    done = warm.run([sys.executable, "-m", "bitmosaic", "--help"])
    assert done.returncode == 0 and "reconstruct" in done.stdout and done.stderr == ""


def listing(folder: Path) -> list[str]:
    """All that lies below a folder, links not followed."""
    return sorted(str(path) for path in folder.rglob("*"))


def refused(here: Path, capsys, line: str | list[str], *named: str) -> str:
    """Asserts that a command fails as bad input should, and that its message holds `named`."""
    before = listing(here)
    capsys.readouterr()
    assert run(line) == 2
    told = capsys.readouterr()
    assert told.err.startswith("bitmosaic: error: ") and told.err.count("\n") == 1 and told.err.endswith("\n"), told.err
    assert "Traceback" not in told.err + told.out
    for text in named:
        assert text in told.err
    assert listing(here) == before
    return told.err


BAD = [
    ("smaple", "no command 'smaple'", "perhaps sample"),
    ("sample tiny --coun 3", "no argument --coun", "perhaps --count"),
    ("sample tiny --count three", "--count: got 'three'; want a whole number"),
    ("sample tiny --count 0", "count: got 0"),
    ("sample tiny --count", "--count: a value is missing"),
    ("sample tiny --steps 0", "steps: got 0"),
    ("sample tiny --steps x", "--steps: got 'x'; want a whole number"),
    ("sample tiny --guidance-scale nan", "guidance_scale: got nan"),
    ("sample tiny --precision half", "--precision: got 'half'; want one of 'own', 'auto', 'float32', 'bf16', 'int8'"),
    ("sample tiny --seed -1", "seeds: got -1"),
    ("sample tiny --classes hat", "no class 'hat'"),
    ("sample tiny --classes bag:x", "'bag:x'", "bag:0.5+sandal:0.5"),
    ("sample tiny --classes bag:1+hat:1", "no class 'hat'"),
    ("sample tiny --classes bag:1+sandal:1", "sum to 1"),
    ("sample plain --classes bag", "trained without classes"),
    ("sample nowhere", "no pipeline nowhere"),
    ("sample data", "no pipeline"),
    ("sample cut", "model.safetensors"),
    ("sample tiny extra", "'extra'"),
    ("sample tiny --device tpu9", "device: got 'tpu9'"),
    ("sample tiny --device meta", "device: got 'meta'"),
    ("sample tiny --out c.safetensors", "is a file"),
    ("sample tiny --classes 0 --out /proc/no", "/proc/no"),
    ("inpaint fashion:3 --pipeline tiny", "mask, box, places: give one of the three"),
    ("inpaint fashion:3 --pipeline tiny --box 0 0 3 3 --places 1,1", "give one of the three"),
    ("inpaint fashion:3 --pipeline tiny --box 0 0 30 3", "the box (0, 0, 30, 3) for 28 x 28 pixels"),
    ("inpaint fashion:3 --pipeline tiny --box 0 0 3", "--box"),
    ("inpaint fashion:3 --pipeline tiny --places 1,x", "places: got 1,x"),
    ("inpaint fashion:3 --pipeline tiny --places 1,9", "columns 0 to 6"),
    ("inpaint fashion:3 --pipeline tiny --mask nothing.png", "there is no such file"),
    ("inpaint fashion:3 --pipeline tiny --mask broken/a.png", "not a picture"),
    ("inpaint fashion:3 --pipeline tiny --box 0 0 3 3 --class hat", "no class 'hat'"),
    ("inpaint fashion:3 --pipeline tiny --box 0 0 3 3 --clas bag", "perhaps --class"),
    ("inpaint fashion:3 --pipeline tiny --box 0 0 3 3 --count 0", "count: got 0"),
    ("inpaint fashion:3 --pipeline tiny --box 0 0 3 3 --fit squash", "'exact', 'crop', 'tile'"),
    ("inpaint fashion:3 --pipeline tiny --box 0 0 3 3 --evaluations 0", "evaluations: got 0"),
    ("inpaint fashion:10000 --pipeline tiny --box 0 0 3 3", "fashion:0 to fashion:9999"),
    ("inpaint nothing.png --pipeline tiny --box 0 0 3 3", "there is no such file"),
    ("inpaint", "IMAGE"),
    ("edit fashion:3 --pipeline tiny --box 0 0 3 3", "--class"),
    ("edit fashion:3 --pipeline tiny --box 0 0 3 3 --class none", "name the class"),
    ("outpaint fashion:3 --pipeline tiny --padding 0", "padding: got 0"),
    ("outpaint fashion:3 --pipeline tiny --padding 1 2", "padding: got (1, 2)"),
    ("enrich fashion:3 --pipeline tiny --shrink 0", "shrink: got 0"),
    ("reveal tiny --count 0", "count: got 0"),
    ("reveal tiny --class hat", "no class 'hat'"),
    ("bits nothing.png --pipeline tiny", "there is no such file"),
    ("bits fashion:1 --count 0 --pipeline tiny", "count: got 0"),
    ("interpolate tiny --classes bag", "got 1 and 9; give at least two"),
    ("interpolate tiny --classes bag bag:0.5+sandal:0.5", "give single classes"),
    ("interpolate tiny --classes bag sandal --frames 1", "got 2 and 1"),
    ("encode --pipeline tiny", "images: none are named"),
    ("encode nothing.png --pipeline tiny", "there is no nothing.png"),
    ("encode broken --pipeline tiny", "none of 1 can be read", "a.png"),
    ("encode tiny --pipeline tiny", "images: tiny holds no images"),
    ("encode data --pipeline tiny --out codes.npz", "end it in .safetensors"),
    ("encode data --pipeline tiny --out tiny/prior/model.safetensors", "was not written by bitmosaic"),
    ("decode", "FILE"),
    ("decode nothing.safetensors --pipeline tiny", "there is no file nothing.safetensors"),
    ("decode data/bag/18.png --pipeline tiny", "no file of codes"),
    ("decode tiny/prior/model.safetensors --pipeline tiny", "no file of codes"),
    ("decode c.safetensors --pipeline plain", "another tokenizer", "tiny"),
    ("decode c.safetensors --pipeline tiny --out data", "was not written by bitmosaic"),
    ("reconstruct --pipeline tiny --count 10001", "count: got 10001"),
    ("reconstruct broken --pipeline tiny", "none of 1 can be read"),
    ("info nowhere", "no pipeline nowhere"),
    ("train", "recipe: name one of"),
    ("train fasion", "perhaps fashion"),
    ("train folder", "--data"),
    ("train folder --data nowhere", "nowhere"),
    ("train fashion --data nowhere", "no Fashion-MNIST"),
    ("train fashion --prior.dept 3", "perhaps --prior.depth", "--prior.heads"),
    ("train fashion --prior.depth many", "--prior.depth: got 'many'; want a whole number"),
    ("train fashion --prior.width 30", "width 30"),
    ("train fashion --tokenizer.bits 8", "prior wants"),
    ("train fashion --tokenizer-training.precision half", "'float32', 'bf16'"),
]


def test_bad_input_is_one_line_and_nothing_written(here, capsys):
    for line, *named in BAD:
        refused(here, capsys, line, *named)


def test_codes_with_wild_names_are_refused(here, capsys):
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(here / "c.safetensors", "pt") as file:
        about, codes = file.metadata(), file.get_tensor("codes")
    for names in (["../a"] * 6, ["/tmp/a", *"bcdef"], ["a"], list("aabcde"), 7, list("abcde") + [1]):
        save_file({"codes": codes}, here / "wild.safetensors", {**about, "names": json.dumps(names)})
        refused(here, capsys, "decode wild.safetensors --pipeline tiny", "wild.safetensors")
    save_file({"codes": codes[:, :-1].contiguous()}, here / "wild.safetensors", about)
    refused(here, capsys, "decode wild.safetensors --pipeline tiny", "wild.safetensors")


def test_pictures_of_others_stay(here, capsys):
    (here / "mine").mkdir()
    Image.new("L", (4, 4)).save(here / "mine" / "sheet.png")
    refused(here, capsys, "sample tiny --count 1 --out mine", "sheet.png", "was not written by bitmosaic")


def test_interruption_leaves_nothing_and_says_how_to_go_on(here, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bitmosaic.commands.sample.written_into", interrupted)
    before = listing(here)
    assert run("sample tiny --out a/b") == 130
    assert "what is drawn stays, and the same command again goes on" in capsys.readouterr().err and listing(here) == before
    monkeypatch.setattr("bitmosaic.commands.train.train_run", interrupted)
    assert main(TRAIN) == 130
    assert "same command again" in capsys.readouterr().err


def test_a_second_interruption_makes_no_traceback_either():
    program = """if True:
        import atexit, os, signal, sys, time
        from bitmosaic import cli

        def interrupted(*_):
            raise KeyboardInterrupt

        atexit.register(lambda: [os.kill(os.getpid(), signal.SIGINT), time.sleep(5)])
        cli.find, sys.argv = interrupted, ["bitmosaic", "list"]
        sys.exit(cli.main())
    """
    done = warm.run([sys.executable, "-c", program])
    assert done.returncode in (130, -signal.SIGINT) and done.stderr.strip() == "bitmosaic: interrupted; nothing was written"


def test_traceback_where_it_is_asked_for_and_for_our_own_mistakes(here, monkeypatch):
    monkeypatch.setenv("BITMOSAIC_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no pipeline nowhere"):
        run("info nowhere")
    monkeypatch.delenv("BITMOSAIC_TRACEBACK")

    def broken(*_, **__):
        raise RuntimeError("ours")

    monkeypatch.setattr("bitmosaic.commands.info.about_pipeline", broken)
    with pytest.raises(RuntimeError, match="ours"):
        run("info tiny")


def test_names_are_made_unlike():
    assert unlike(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]
    assert unlike(["a", "a", "a-2"]) == ["a", "a-3", "a-2"]
