"""Trouble in the middle of a run: images that go, bytes that flip, numbers that are none, files that are gone, full disks, odd names."""

import errno
import json
import os
import shutil

import pytest
import torch
from cover import covered
from safetensors.torch import load_file, save_file
from test_going_on import plain_run, with_training
from test_train import folder, lines, same_weights, silent, tiny_run  # noqa: F401, pytest finds the fixture so

import bitmosaic.train.stages.prior as prior_stage
import bitmosaic.train.stages.tokenizer as tokenizer_stage
from bitmosaic.cli import main, one_line
from bitmosaic.disk import why_full, writing
from bitmosaic.images import Batches, Folder, fashion_sample, to_pil
from bitmosaic.images.specs import FolderSpec
from bitmosaic.pipelines import Pipeline
from bitmosaic.train.checkpoint import checkpoints
from bitmosaic.train.train import train
from bitmosaic.train.training import Training


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a feature network that has come to its end, and its images."""
    place = tmp_path_factory.mktemp("finished")
    sample = fashion_sample()
    for name, label in (("bag", 8), ("shirt", 6)):
        (place / "data" / name).mkdir(parents=True)
        for i in (sample.labels == label).nonzero().flatten()[:8].tolist():
            to_pil(sample.image(i)).save(place / "data" / name / f"{i}.png")
    run = tiny_run(place / "data", checkpoint_seconds=0)
    return run, train(run, place / "run", silent, "cpu"), place / "run"


@pytest.fixture
def copied(finished, tmp_path):
    """The same run, without its pipeline, as where it was killed at the end."""
    run, _, out = finished
    shutil.copytree(out, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "pipeline")
    return run, tmp_path / "run"


def flipped(path, at=None):
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3 if at is None else at] ^= 0x40
    path.write_bytes(data)


# ---- images that go


class Going(Batches):
    """Batches of a set whose folder is renamed before one of them."""

    at, moved = 3, None

    def __call__(self, step):
        if step == self.at and self.moved and self.moved[0].exists():
            self.moved[0].rename(self.moved[1])
        return super().__call__(step)


@pytest.mark.parametrize("cached, part", covered([True, False], ["", "bag"], ways=1))
def test_where_images_go_the_run_stops_and_goes_on_when_they_are_back(folder, tmp_path, monkeypatch, cached, part):  # noqa: F811
    run = with_training(plain_run(folder), steps=6, log_every=1)
    whole = train(run, tmp_path / "whole", silent, "cpu")
    monkeypatch.setattr(tokenizer_stage, "Batches", Going)
    monkeypatch.setattr(Going, "moved", (folder / part, tmp_path / "aside"))
    if not cached:
        monkeypatch.setattr(FolderSpec, "build", lambda spec: Folder(spec.path, spec.size, spec.channels, cache_bytes=0))
    told = []
    gone = 8 if part else 16
    wanted = f"images: {gone} are gone, .* of 16 that were there at the start, such as .*once they are back, the same command goes on"
    with pytest.raises(ValueError, match=wanted):
        train(run, tmp_path / "run", told.append, "cpu")
    (saved,) = checkpoints(tmp_path / "run" / "tokenizer" / "checkpoints")
    events = [json.loads(line) for line in (tmp_path / "run" / "tokenizer" / "events.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "images gone" and events[-1]["images"] == gone and saved.name == f"step-{events[-1]['step']:08d}"
    assert not any(event["event"] == "unreadable" for event in events)
    if not part:
        with pytest.raises(ValueError, match="does not exist"):
            train(run, tmp_path / "run", silent, "cpu")
    else:
        with pytest.raises(ValueError, match="the images have changed|has no image|classes"):
            train(run, tmp_path / "run", silent, "cpu")
    (tmp_path / "aside").rename(folder / part)
    monkeypatch.setattr(Going, "moved", None)
    assert same_weights(whole, train(run, tmp_path / "run", silent, "cpu"))
    assert lines(tmp_path / "run" / "tokenizer" / "metrics.jsonl") == lines(tmp_path / "whole" / "tokenizer" / "metrics.jsonl")


@pytest.mark.parametrize("left", [0, 60])
def test_images_that_are_emptied_stop_it_and_those_that_never_were_any_do_not(folder, tmp_path, monkeypatch, left):  # noqa: F811
    """As a full or failing disk does: what could be read at the start is not passed over as unreadable."""
    (folder / "bag" / "never.png").write_bytes(b"no picture")
    run = with_training(plain_run(folder), steps=6, log_every=1)
    monkeypatch.setattr(FolderSpec, "build", lambda spec: Folder(spec.path, spec.size, spec.channels, cache_bytes=0))
    whole = train(run, tmp_path / "whole", silent, "cpu")
    some = {path: path.read_bytes() for path in sorted(folder.glob("*/*.png"))[::3]}

    def emptied(self, step):
        if step == 3:
            for path in some:
                os.truncate(path, min(left, path.stat().st_size))
        return Batches.__call__(self, step)

    monkeypatch.setattr(tokenizer_stage, "Batches", type("Emptied", (Batches,), {"__call__": emptied}))
    with pytest.raises(ValueError, match="cannot be reached or read any more, of 17 .*once they are back, the same command goes on"):
        train(run, tmp_path / "run", silent, "cpu")
    monkeypatch.setattr(tokenizer_stage, "Batches", Batches)
    with pytest.raises(ValueError, match="the images have changed|no readable image"):
        train(run, tmp_path / "run", silent, "cpu")
    for path, content in some.items():
        path.write_bytes(content)
    assert same_weights(whole, train(run, tmp_path / "run", silent, "cpu"))


def test_images_that_go_before_the_codes_are_made_stop_it_too(folder, tmp_path, monkeypatch):  # noqa: F811
    run = plain_run(folder)
    keep = tokenizer_stage.TokenizerStage._keep

    def kept(*given):
        keep(*given)
        (folder / "bag").rename(tmp_path / "aside")

    monkeypatch.setattr(tokenizer_stage.TokenizerStage, "_keep", kept)
    with pytest.raises(ValueError, match="8 are gone"):
        train(run, tmp_path / "run", silent, "cpu")
    assert not list((tmp_path / "run").glob("codes*")), "nothing half made"
    (tmp_path / "aside").rename(folder / "bag")
    assert len(train(run, tmp_path / "run", silent, "cpu")("bag", [1])) == 1


# ---- bytes that flip


@pytest.mark.parametrize("name", [
    "tokenizer/final/model.safetensors", "tokenizer/final/config.json", "codes/codes.npy", "codes/labels.npy", "codes/codes.json",
    "features.safetensors", "tokenizer/final/checksums.json", "codes/checksums.json",
])  # fmt: skip
def test_a_flipped_byte_is_refused_with_the_files_name_and_what_it_says_helps(copied, finished, name):
    run, out = copied
    flipped(out / name)
    with pytest.raises(ValueError) as told:
        train(run, out, silent, "cpu")
    file = out / name
    assert str(file) in str(told.value) or (str(file.parent) in str(told.value) and file.name in str(told.value)), told.value
    assert not (out / "pipeline").exists()
    thrown = out / "features.safetensors" if name.startswith("features") else file.parent
    assert f"remove {thrown}" in str(told.value) or "remove it" in str(told.value)
    shutil.rmtree(thrown) if thrown.is_dir() else thrown.unlink()
    assert same_weights(train(run, out, silent, "cpu"), finished[1])


def test_a_tokenizer_of_a_run_that_is_damaged_tokenizes_nothing(copied, tmp_path, capsys):
    run, out = copied
    flipped(out / "tokenizer" / "final" / "model.safetensors")
    assert main(["tokenize", run.data.path, str(tmp_path / "codes"), "--pipeline", str(out / "tokenizer" / "final")]) == 2
    assert "tokenizer/final: model.safetensors changed, by its checksums.json" in capsys.readouterr().err
    assert not (tmp_path / "codes").exists()


@pytest.mark.parametrize("name", ["tokenizer/final/model.safetensors", "codes/codes.npy"])
def test_a_byte_that_flips_while_the_prior_learns_is_found_at_the_end(copied, monkeypatch, name):
    run, out = copied
    shutil.rmtree(checkpoints(out / "prior" / "checkpoints")[-1])
    play = prior_stage.play_stage

    def played(*given, **more):
        state = play(*given, **more)
        flipped(out / name)
        return state

    monkeypatch.setattr(prior_stage, "play_stage", played)
    with pytest.raises(ValueError, match=f"{name.split('/')[-1]} changed"):
        train(run, out, silent, "cpu")
    assert not (out / "pipeline").exists()


def test_a_run_of_an_earlier_version_has_no_checksums_and_goes_on(copied, finished):
    run, out = copied
    for path in out.rglob("checksums.json"):
        if path.parent.name in ("final", "codes", "features"):
            path.unlink()
    assert same_weights(train(run, out, silent, "cpu"), finished[1])


@pytest.mark.parametrize("value", [float("nan"), 3e38])
def test_a_pipeline_of_nan_is_impossible_without_checksums_too(copied, value):
    run, out = copied
    final = out / "tokenizer" / "final"
    (final / "checksums.json").unlink()
    weights = {name: tensor.clone() for name, tensor in load_file(final / "model.safetensors").items()}
    for name, tensor in weights.items():
        if name.startswith("decoder") and tensor.ndim > 1:
            tensor.view(-1)[0] = value
    save_file(weights, final / "model.safetensors")
    with pytest.raises(ValueError, match="tokenizer: it gives no finite images|final.model.safetensors: not all numbers are finite"):
        train(run, out, silent, "cpu")
    assert not (out / "pipeline").exists()


# ---- numbers that are none


def test_a_picture_that_falls_due_among_nan_does_not_end_the_run_before_the_rule(folder, tmp_path):  # noqa: F811
    run = plain_run(folder)
    wild = run.changed(tokenizer_training=Training(steps=60, batch_size=4, learning_rate=1e30, log_every=1, pictures_every=1))
    told = []
    with pytest.raises(ValueError, match=r"not finite 20 steps in a row .*lower learning rate; the last batch is kept in .*not-finite-"):
        train(wild, tmp_path / "run", told.append, "cpu")
    assert list((tmp_path / "run" / "tokenizer").glob("not-finite-*.safetensors"))


@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_a_stage_that_ends_before_the_rule_can_say_so_makes_no_pipeline(folder, tmp_path, stage):  # noqa: F811
    run = plain_run(folder)
    wild = Training(steps=5, batch_size=4, learning_rate=1e30, log_every=1, pictures_every=1)
    with pytest.raises(ValueError, match=rf"{stage}: after 5 steps it gives no finite numbers; train anew with a lower learning rate"):
        train(run.changed(**{f"{stage}_training": wild}), tmp_path / "run", silent, "cpu")
    assert not (tmp_path / "run" / "pipeline").exists()


def test_pictures_that_cannot_be_drawn_are_told_and_hold_nothing_up(folder, tmp_path, monkeypatch, capsys):  # noqa: F811
    def fails(*_):
        raise ValueError("images: got NaN")

    monkeypatch.setattr(tokenizer_stage, "reconstructions", fails)
    train(plain_run(folder), tmp_path / "run", silent, "cpu")
    events = [json.loads(line) for line in (tmp_path / "run" / "tokenizer" / "events.jsonl").read_text().splitlines()]
    assert [event["why"] for event in events if event["event"] == "no picture"][0] == "images: got NaN"
    assert "tokenizer: no picture of step 4: images: got NaN" in capsys.readouterr().out


# ---- files that are gone


@pytest.mark.parametrize("damage", ["gone", "empty", "noise"])
def test_a_trained_prior_without_its_metrics_is_finished(copied, finished, damage):
    run, out = copied
    for name in ("metrics.jsonl", "events.jsonl"):
        path = out / "prior" / name
        path.unlink() if damage == "gone" else path.write_bytes(b"" if damage == "empty" else b"\xff\x00 no\nlines\n")
    told = []
    assert same_weights(train(run, out, told.append, "cpu"), finished[1])
    assert any(line.startswith("prior: no curves: ") for line in told)


def test_a_tokenizer_and_a_feature_network_without_their_metrics_are_finished(copied, finished):
    run, out = copied
    for name in ("tokenizer/metrics.jsonl", "features/metrics.jsonl", "features.safetensors", "codes", "tokenizer/final"):
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert same_weights(train(run, out, silent, "cpu"), finished[1])


def test_a_pipeline_half_written_goes(copied, finished):
    run, out = copied
    left = out / ".pipeline.0a1b2c3d.new"
    left.mkdir()
    (left / "config.json").write_text("{}")
    train(run, out, silent, "cpu")
    assert not left.exists()


# ---- full disks


def test_a_full_disk_is_told_with_the_file_that_did_not_fit(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for error in (
        full, OSError(errno.ENOSPC, "full", "its source", None, "a copy"), OSError("1000 requested and 384 written"),
        RuntimeError("[enforce fail at inline_container.cc:858] . unexpected pos 64 vs 0"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ):  # fmt: skip
        with pytest.raises(OSError) as told, writing(tmp_path / "x.npy"):
            raise error
        line = one_line(told.value)
        assert line.startswith(f"{tmp_path / 'x.npy'}: n") and line.endswith("make room, or give another place") and ".cc" not in line
    assert one_line(full) == "standard output: no space left on device; make room, or give another place"


def test_what_stands_behind_an_error_is_found():
    try:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            raise RuntimeError("[enforce fail at inline_container.cc:603] . PytorchStreamWriter failed writing file")  # noqa: B904
    except RuntimeError as error:
        assert why_full(error)[0] == errno.ENOSPC
    try:
        try:
            raise OSError(errno.EIO, "broken")
        except OSError:
            raise RuntimeError("PytorchStreamWriter failed writing file")  # noqa: B904
    except RuntimeError as error:
        assert why_full(error) is None


def test_other_errors_stay_as_they_are(tmp_path):
    for error in (ValueError("mine"), OSError(errno.EIO, "broken"), FileNotFoundError(errno.ENOENT, "gone", "there"), KeyError("x")):
        with pytest.raises(type(error)) as told, writing(tmp_path):
            raise error
        assert told.value is error


# ---- what is printed


def test_no_bars_where_stderr_is_no_terminal_but_a_line_now_and_then(folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    train(plain_run(folder), tmp_path / "run", silent, "cpu")
    err = capsys.readouterr().err
    assert "%|" not in err and "\r" not in err
    told = err.splitlines()
    assert [line.split(":")[0] for line in told] == ["tokenizer", "report", "codes", "prior"]
    assert told[0].startswith("tokenizer: step 4 of 4, loss 0.") and "images/s" in told[0] and told[2] == "codes: image 16 of 16"
    monkeypatch.setattr("bitmosaic.train.progress.EVERY", 0.0)
    train(plain_run(folder), tmp_path / "again", silent, "cpu")
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("prior")][-1].startswith("prior: step 4 of 4, loss")


def test_names_are_printed_on_one_line_and_without_escapes(tmp_path, capsys):
    data, out = tmp_path / "da\nta\x1b[31m", tmp_path / "r\x07un"
    data.mkdir()
    sample = fashion_sample()
    for i in range(4):
        to_pil(sample.image(i)).save(data / f"{i}.png")
    (data / "bro\nken\x1b[2J.png").write_bytes(b"no picture")
    words = ["train", "folder", "--data", str(data), "--out", str(out), "--size=32", "--bits=4"]
    words += ["--tokenizer.width=8", "--tokenizer.embedding=8", "--prior.width=32", "--prior.heads=2", "--prior.depth=1"]
    words += [f"--{part}-training.{name}" for part in ("tokenizer", "prior") for name in ("steps=2", "batch-size=2", "log-every=1")]
    assert main([*words, "--dry-run"]) == 0 and main(words) == 0
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert r"bro\nken\x1b[2J.png" in text and r"da\nta\x1b[31m" in text and r"r\x07un" in text
    assert main([*words, "--prior-training.learning-rate", "0.5"]) == 2
    assert "\x07" not in capsys.readouterr().err
    assert torch.isfinite(Pipeline.from_pretrained(out / "pipeline")(None, 0, output_type="pt")).all()
