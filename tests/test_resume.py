"""Training without fear: damaged checkpoints, SIGTERM, numbers that are not finite, full disks, hostile files."""

import json
import os
import pickle
import resource
import shutil
import signal
import sys
import weakref
from dataclasses import dataclass, replace

import pytest
import torch
import torch.distributed.checkpoint as dcp
import warm
from safetensors.torch import load_file
from torch import nn

from bitmosaic.codes import Codes
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.train.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from bitmosaic.train.code_store import CodeBatch
from bitmosaic.train.game import Game, Turn
from bitmosaic.train.loop import PATIENCE, NotFinite, State, play
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.sealed import CHECKSUMS, checksums, damage
from bitmosaic.train.stage import play_stage
from bitmosaic.train.training import Training

TRAINING = Training(steps=10, learning_rate=3e-3, log_every=4, checkpoint_seconds=0, keep=2)
NAN, INF = float("nan"), float("inf")


def prior_game(seed=0):
    torch.manual_seed(seed)
    return PriorGame(MaskedPriorSpec(dropout=0.1).build())


def batches(step):
    rng = torch.Generator().manual_seed(step)
    digits = torch.randint(0, 2, (4, 4, 4, 8), generator=rng, dtype=torch.uint8)
    return CodeBatch(Codes(digits, (2,) * 8), torch.randint(0, 3, (4,), generator=rng))


def weights(state):
    return {f"{name}.{k}": v.clone() for name, m in state.game.players.items() for k, v in m.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def everything(state):
    parts = {k: v for k, v in weights(state).items()}
    for name, optimizer in state.optimizers.items():
        parts |= {f"{name}/{i}/{k}": v for i, s in enumerate(optimizer.state.values()) for k, v in s.items()}
    return parts | {f"{name}/average/{k}": v for name, a in state.averages.items() for k, v in a.state_dict().items()}


def metrics(folder):
    clock = ("seconds", "images_per_second", "memory_gib")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in clock} for row in rows]


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def played(folder, training=TRAINING, game=None, given=batches):
    return play_stage(folder, "prior", game or prior_game(), given, training)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, played(folder)


def test_a_training_leaves_nothing_behind(tmp_path):
    """Not a weight stays alive, nor waits for the garbage collector."""
    game = prior_game()
    held = [weakref.ref(x) for x in (game.players["prior"], *game.players["prior"].parameters())]
    state = played(tmp_path, game=game)
    held += [weakref.ref(x) for x in (state, state.optimizers["prior"], state.averages["prior"])]
    del game, state
    assert not [x for x in held if x() is not None]


# ---- damage


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "notes.json", "checksums.json"])
@pytest.mark.parametrize("how", ["flipped", "missing", "empty"])
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_is_used(whole, tmp_path, name, how, capsys):
    folder, end = whole
    shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    before, newest = checkpoints(tmp_path / "checkpoints")
    held = checksums(before)
    file = newest / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.unlink() if how == "missing" else file.write_bytes(bytes(data) if how == "flipped" else b"")
    again = played(tmp_path)
    told = capsys.readouterr().out
    assert f"{newest.name} is damaged" in told and f"{before.name} is used" in told and (name in told or name == CHECKSUMS)
    assert same(everything(end), everything(again))
    assert newest.with_name(newest.name + ".damaged").is_dir() and not damage(newest) and checksums(before) == held


def test_where_all_are_damaged_nothing_is_touched(whole, tmp_path):
    shutil.copytree(whole[0] / "checkpoints", tmp_path / "checkpoints")
    for path in checkpoints(tmp_path / "checkpoints"):
        (path / "__0_0.distcp").unlink()
    listed = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="no checkpoint in .* can be read .*distcp missing.* begin anew"):
        load_checkpoint(tmp_path / "checkpoints", State.start(prior_game(), TRAINING))
    assert sorted(tmp_path.rglob("*")) == listed


def test_a_whole_checkpoint_of_another_game_is_refused(whole, tmp_path):
    shutil.copytree(whole[0] / "checkpoints", tmp_path / "checkpoints")
    other = State.start(PriorGame(MaskedPriorSpec(width=32).build()), TRAINING)
    with pytest.raises(ValueError, match="cannot be read .*Size"):
        load_checkpoint(tmp_path / "checkpoints", other)


def test_keep_bounds_their_number(tmp_path):
    played(tmp_path, replace(TRAINING, steps=12, log_every=2, keep=3))
    assert [p.name for p in checkpoints(tmp_path / "checkpoints")] == ["step-00000008", "step-00000010", "step-00000012"]


def test_a_full_disk_leaves_the_checkpoint_before(whole, tmp_path):
    shutil.copytree(whole[0] / "checkpoints", tmp_path / "checkpoints")
    held = {p.name: checksums(p) for p in checkpoints(tmp_path / "checkpoints")}
    state = State.start(prior_game(), TRAINING)
    state.step = 99
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(OSError, match="step-00000099 cannot be written .*the one before it stays"):
            save_checkpoint(tmp_path / "checkpoints", state, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert {p.name: checksums(p) for p in (tmp_path / "checkpoints").iterdir()} == held


# ---- SIGTERM


@pytest.mark.parametrize("at", [0, 4, 6, 9])
def test_sigterm_saves_between_two_lines_and_the_run_ends_where_it_would(whole, tmp_path, at):
    def given(step):
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return batches(step)

    with pytest.raises(SystemExit) as end:
        played(tmp_path, replace(TRAINING, checkpoint_seconds=1e9), given=given)
    assert end.value.code == 143 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert [p.name for p in checkpoints(tmp_path / "checkpoints")] == [f"step-{at + 1:08d}"]
    again = played(tmp_path)
    assert same(everything(whole[1]), everything(again)) and metrics(tmp_path) == metrics(whole[0])
    later = [(at + 1, "resumed")] if at + 1 < TRAINING.steps else []
    assert [(e["step"], e["event"]) for e in events(tmp_path)] == [(0, "started"), (at + 1, "stopped"), *later]


def test_the_command_leaves_with_143(tmp_path):
    program = (
        "import os, signal, sys, bitmosaic.cli as cli, bitmosaic.images as i, bitmosaic.train.loop as loop\n"
        "move = loop._move\n"
        "def first(*a):\n    os.kill(os.getpid(), signal.SIGTERM); return move(*a)\n"
        "loop._move = first\n"
        "s = i.fashion_sample()\n"
        "os.makedirs('data')\n"
        "[i.to_pil(s.image(k)).save(f'data/{k}.png') for k in range(4)]\n"
        "sys.exit(cli.main(['train', 'folder', '--data', 'data', '--out', 'run', '--size=32', '--bits=4', '--tokenizer.width=8',"
        " '--tokenizer.embedding=8', '--tokenizer-training.batch-size=4']))\n"
    )
    done = warm.run([sys.executable, "-c", program], cwd=tmp_path)
    assert done.returncode == 143, done.stderr
    assert "told to end; the same command again goes on" in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert len(checkpoints(tmp_path / "run" / "tokenizer" / "checkpoints")) == 1


# ---- numbers that are not finite


class Spoilt(PriorGame):
    """A prior's game whose loss is multiplied by `factors` at some steps, or whose gradient is set to them."""

    def __init__(self, factors, gradient=False):
        super().__init__(prior_game().players["prior"])
        self.factors, self.gradient = factors, gradient

    def play(self, batch, step, rng):
        for turn in super().play(batch, step, rng):
            if step in self.factors and self.gradient:
                turn.loss.register_hook(lambda g: g * self.factors[step])
            elif step in self.factors:
                turn = Turn(turn.player, turn.loss * self.factors[step], {"loss": turn.loss.detach() * self.factors[step]})
            yield turn


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_move_that_is_not_finite_is_left_out_and_counted(tmp_path, value, gradient):
    state = State.start(Spoilt({2: value, 5: value}, gradient), TRAINING)
    held, skipped = weights(state), []
    for progress in play(state, batches, TRAINING):
        now = weights(state)
        assert same(held, now) == bool(progress.skips) and all(v.isfinite().all() for v in now.values())
        assert bool(progress.metrics) != bool(progress.skips)
        held = now
        skipped += [progress.step] * len(progress.skips)
    assert skipped == [3, 6]
    played(tmp_path, game=Spoilt({2: value, 5: value}, gradient))
    assert [(e["step"], e["event"]) for e in events(tmp_path)] == [(0, "started"), (3, "skipped"), (6, "skipped")]
    assert [row.get("skipped", 0) for row in metrics(tmp_path)] == [1, 1, 0]
    assert all(torch.tensor(list(row.values())).isfinite().all() for row in metrics(tmp_path))


def test_after_too_many_in_a_row_the_run_stops_with_its_batch(tmp_path):
    training = replace(TRAINING, steps=PATIENCE + 10)
    game = Spoilt({step: NAN for step in range(5, 99)})
    wanted = rf"prior: step {PATIENCE + 4}: .*not finite {PATIENCE} steps in a row .*lower learning rate.* kept in"
    with pytest.raises(ValueError, match=wanted):
        played(tmp_path, training, game)
    kept = load_file(tmp_path / f"not-finite-{PATIENCE + 4:08d}.safetensors")
    batch = batches(PATIENCE + 4)
    assert torch.equal(kept["codes"], batch.codes.digits) and torch.equal(kept["labels"], batch.labels)
    assert [p.name for p in checkpoints(tmp_path / "checkpoints")] == ["step-00000004"], "none is written while moves are left out"
    assert all(v.isfinite().all() for v in game.players["prior"].state_dict().values())


def test_nineteen_in_a_row_are_borne():
    training = replace(TRAINING, steps=2 * PATIENCE + 2)
    state = State.start(Spoilt({s: NAN for s in range(1, 2 * PATIENCE) if s != PATIENCE}), training)
    assert [p.step for p in play(state, batches, training)][-1] == training.steps


def test_weights_that_are_not_finite_stop_the_run_before_a_checkpoint():
    state = State.start(prior_game(), replace(TRAINING, steps=99))
    state.game.players["prior"].hidden.data[0] = NAN
    with pytest.raises(NotFinite):
        list(play(state, batches, replace(TRAINING, steps=99)))


@dataclass(frozen=True)
class Floats:
    x: torch.Tensor


class Normed(Game):
    def __init__(self):
        torch.manual_seed(0)
        self.players = {"net": nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))}

    def play(self, batch, step, rng):
        loss = self.players["net"](batch.x).square().mean()
        yield Turn("net", loss, {"loss": loss.detach()})


@pytest.mark.parametrize("value", [NAN, INF, 1e38])
def test_bad_data_spoil_neither_weights_nor_running_means(value):
    def given(step):
        x = torch.randn(6, 3, generator=torch.Generator().manual_seed(step))
        if step in (2, 3):
            x[1, 2] = value
        return Floats(x)

    state = State.start(Normed(), TRAINING)
    steps = [p.step for p in play(state, given, TRAINING) if p.skips]
    assert steps == [3, 4]
    for held in (weights(state), state.averages["net"].state_dict()):
        assert all(v.isfinite().all() for v in held.values())
    assert int(state.game.players["net"][1].num_batches_tracked) == TRAINING.steps - 2


# ---- hostile files


class Command:
    """What a hostile pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def sealed(path):
    (path / CHECKSUMS).write_text(json.dumps(checksums(path)))


@pytest.fixture
def hostile(whole, tmp_path):
    shutil.copytree(whole[0] / "checkpoints", tmp_path / "checkpoints")
    return checkpoints(tmp_path / "checkpoints")[-1], tmp_path / "ran"


def refused(path, why):
    with pytest.raises(ValueError, match=why):
        load_checkpoint(path.parent, State.start(prior_game(), TRAINING))


def test_metadata_runs_nothing(hostile):
    path, ran = hostile
    (path / ".metadata").write_bytes(pickle.dumps(Command(ran)))
    sealed(path)
    refused(path, "asks for posix.mkdir")
    assert not ran.exists()


def test_pickled_values_run_nothing(hostile):
    path, ran = hostile
    state = State.start(prior_game(), TRAINING)
    parts = state.state_dict()
    group = parts["prior"]["optimizer"]["param_groups"][0]
    group["weight_decay"] = Command(ran)
    shutil.rmtree(path)
    with pytest.warns(UserWarning):
        dcp.save(parts, storage_writer=dcp.FileSystemWriter(path, single_file_per_rank=True), no_dist=True)
    (path / "notes.json").write_text("{}")
    sealed(path)
    refused(path, "cannot be read")
    assert not ran.exists()


@pytest.mark.parametrize(
    "what, state", [(b"ctorch.serialization\n_get_layout\n", {"cache": {"torch.strided": 1}}),
                    (b"ctorch.distributed.checkpoint.metadata\nMetadataIndex\n", (None, {"__call__": 1})),
                    (b"cpathlib\nPosixPath\n(t\x81", (None, {"name": "../x"}))])  # fmt: skip
def test_metadata_changes_nothing_that_it_names(hostile, what, state):
    """BUILD on a function, on a class, and on a path: each would change what later code does."""
    path, _ = hostile
    held = dict(torch.serialization._get_layout.__dict__)
    body = pickle.dumps(state, protocol=2)[2:-1]
    (path / ".metadata").write_bytes(b"\x80\x02" + what + body + b"b.")
    sealed(path)
    refused(path, "cannot be read")
    assert torch.serialization._get_layout.__dict__ == held
    assert "__call__" not in dcp.metadata.MetadataIndex.__dict__


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata"])
def test_links_are_no_files(hostile, name, tmp_path):
    path, _ = hostile
    (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    assert damage(path) == f"{name} no file"


def test_stray_files_do_no_harm(hostile):
    path, _ = hostile
    (path / ".DS_Store").write_text("stray")
    (path / "folder").mkdir()
    assert not damage(path)


def test_metadata_names_no_file_outside(hostile):
    path, _ = hostile
    metadata = pickle.loads((path / ".metadata").read_bytes())
    for info in metadata.storage_data.values():
        info.relative_path = "../" + path.name + "/" + info.relative_path
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    sealed(path)
    refused(path, "outside its folder")


@pytest.mark.parametrize("name", ["checksums.json", "notes.json"])
@pytest.mark.parametrize("text", ["[" * 10**6, "[1]", "3", ""], ids=["deep", "list", "number", "empty"])
def test_odd_json_is_told(hostile, name, text):
    path, _ = hostile
    for other in checkpoints(path.parent)[:-1]:
        shutil.rmtree(other)
    (path / name).write_text(text)
    if name == "notes.json":
        sealed(path)
    refused(path, "can(not)? be read")
