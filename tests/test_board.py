"""TensorBoard beside metrics.jsonl: the same numbers, each step once, and a training that does not notice."""

import builtins
import json
import shutil
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bitmosaic.cli import main
from bitmosaic.codes import Codes
from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.train.checkpoint import checkpoints
from bitmosaic.train.code_store import CodeBatch
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.stage import play_stage
from bitmosaic.train.training import Training

TRAINING = Training(steps=8, log_every=2, checkpoint_seconds=0, keep=9)


def batches(step):
    rng = torch.Generator().manual_seed(step)
    digits = torch.randint(0, 2, (4, 4, 4, 8), generator=rng, dtype=torch.uint8)
    return CodeBatch(Codes(digits, (2,) * 8), torch.randint(0, 3, (4,), generator=rng))


def played(folder, board, training=TRAINING):
    torch.manual_seed(0)
    return play_stage(folder / "prior", "prior", PriorGame(MaskedPriorSpec().build()), batches, training, board=board)


def rows(folder):
    return [json.loads(line) for line in (folder / "prior" / "metrics.jsonl").read_text().splitlines()]


def shown(board):
    """What TensorBoard reads: {name: [(step, value)]}."""
    found = EventAccumulator(str(board / "prior")).Reload()
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def same_as_metrics(folder, board):
    wanted, found = rows(folder), shown(board)
    assert found.keys() == wanted[0].keys() - {"step", "seconds"}
    for name, series in found.items():
        assert [step for step, _ in series] == [row["step"] for row in wanted]
        assert [value for _, value in series] == pytest.approx([row[name] for row in wanted], rel=1e-6)
    assert len(list((board / "prior").iterdir())) == 1


def test_it_shows_the_metrics_and_changes_nothing(tmp_path):
    plain, watched = played(tmp_path / "plain", None), played(tmp_path / "watched", tmp_path / "board")
    one, other = (state.game.players["prior"].state_dict() for state in (plain, watched))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [row["loss"] for row in rows(tmp_path / "plain")] == [row["loss"] for row in rows(tmp_path / "watched")]
    same_as_metrics(tmp_path / "watched", tmp_path / "board")
    one, other = ({file.name for file in (tmp_path / name / "prior").iterdir()} for name in ("plain", "watched"))
    assert one == other


def test_a_resumed_run_has_each_step_once(tmp_path):
    played(tmp_path, tmp_path / "board")
    for path in checkpoints(tmp_path / "prior" / "checkpoints")[1:]:  # metrics ran on, and are dropped and made again
        shutil.rmtree(path)
    played(tmp_path, tmp_path / "board")
    same_as_metrics(tmp_path, tmp_path / "board")


def test_a_run_may_begin_without_it_and_go_on_with_it(tmp_path):
    played(tmp_path, None, replace(TRAINING, steps=4))
    played(tmp_path, tmp_path / "board")
    assert [row["step"] for row in rows(tmp_path)] == [2, 4, 6, 8]
    same_as_metrics(tmp_path, tmp_path / "board")


def test_the_command_shows_stages_that_have_ended_too(tmp_path, monkeypatch, capsys):
    for i in range(6):
        (tmp_path / "data" / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
        to_pil(fashion_sample().image(i)).save(tmp_path / "data" / f"class{i % 2}" / f"{i}.png")
    short = [f"--{part}-training.{word}" for part in ("tokenizer", "prior") for word in ("steps=2", "batch-size=2", "log-every=1")]
    more = ["--size=32", "--bits=4", "--tokenizer.width=8", "--tokenizer.embedding=8", "--sampler.steps=2", "--sampler.evaluations=2"]
    command = ["train", "folder", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *short, *more]
    assert main(command) == 0 and not (tmp_path / "run" / "tensorboard").exists()
    described = (tmp_path / "run" / "run.json").read_bytes()
    assert main([*command, "--tensorboard"]) == 0
    assert (tmp_path / "run" / "run.json").read_bytes() == described
    assert {path.name for path in (tmp_path / "run" / "tensorboard").iterdir()} == {"tokenizer", "prior"}
    same_as_metrics(tmp_path / "run", tmp_path / "run" / "tensorboard")

    def without(name, *arguments):
        if name.partition(".")[0] == "tensorboard":
            raise ImportError
        return imported(name, *arguments)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    capsys.readouterr()
    assert main([*command, "--tensorboard"]) == 2 and "pip install 'bitmosaic[log]'" in capsys.readouterr().err
