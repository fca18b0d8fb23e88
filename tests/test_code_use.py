"""Use of a codebook in training: counted over an epoch, resumed, logged, and a collapse is reported."""

import json
import math
from dataclasses import replace

import pytest
import torch
from test_loop import to_disk_and_back

from bitmosaic.images import ArrayImages, Batches, fashion_sample
from bitmosaic.quantizers import NearestEMASpec, NearestSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train import stage
from bitmosaic.train.buffers import Buffers
from bitmosaic.train.checkpoint import load_checkpoint, save_checkpoint
from bitmosaic.train.code_use import CodeUse
from bitmosaic.train.loop import State, play
from bitmosaic.train.stage import play_stage
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training

SPEC = VQGANSpec((28, 28), 1, NearestSpec(8, 4), 8, (1, 1, 1), 0, (), 8, 4)


def images(count=16):
    sample = fashion_sample()
    return ArrayImages(sample.pixels[:count], sample.labels[:count], sample.class_names)


def game(quantizer=SPEC.quantizer):
    torch.manual_seed(0)
    return TokenizerGame(replace(SPEC, quantizer=quantizer).build(), TokenizerLosses())


def test_use_and_perplexity_are_those_of_an_epoch():
    use = CodeUse((4, 3))
    first = use.add(torch.tensor([[[0, 2], [1, 2]]]), 0.0)
    assert first["used"].item() == pytest.approx((2 / 4 + 1 / 3) / 2) and first["perplexity"].item() == pytest.approx((2 + 1) / 2)
    so_far = use.add(torch.tensor([[[2, 0], [3, 1]]]), 0.5)
    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    assert so_far["used"] == 1 and so_far["perplexity"].item() == pytest.approx((4 + math.exp(entropy)) / 2)
    later = use.add(torch.tensor([[[0, 0]]]), 1.0)
    assert later["used"] == 1 and torch.equal(later["perplexity"], so_far["perplexity"])  # of the whole epoch before
    assert use.add(torch.tensor([[[0, 0]]]), 2.0)["used"].item() == pytest.approx((1 / 4 + 1 / 3) / 2)


def test_the_bits_of_a_place_are_counted_as_one_index_where_they_are_few():
    use = CodeUse.of((2, 2, 2))
    found = use.add(torch.tensor([[[0, 0, 0], [1, 0, 1]], [[1, 0, 1], [0, 1, 1]]], dtype=torch.uint8), 0.0)
    assert found["used"].item() == 3 / 8 and found["perplexity"].item() == pytest.approx(math.exp(1.5 * math.log(2)))
    assert use.counts.nonzero()[:, 0].tolist() == [0, 5, 6]  # the first bit is the least
    assert CodeUse.of((2,) * 18).counts.numel() == 2**18 and CodeUse.of((2,) * 19) is None
    many = BinaryAutoencoderSpec(bits=20).build()
    assert TokenizerGame(many, TokenizerLosses()).memory is None


def test_parts_that_restart_codewords_differently_agree():
    """A codeword that any part has moved is where the first of these has put it, and is counted once; others are means."""
    quantizer, z = NearestEMASpec(4, 2, dead=0.5).build().train(), torch.zeros(2, 3, 2)
    quantizer.counts.copy_(torch.tensor([3.0, 0.4, 3.0, 0.4]))
    before = quantizer.codebook.clone()
    buffers, made = Buffers({"tokenizer": quantizer}, 2, range(2)), []
    for i in range(2):
        with buffers.of(i):
            quantizer(z + i + 1, torch.Generator().manual_seed(i))
            made.append(quantizer.codebook.clone())
    buffers.settle(False)
    assert torch.equal(quantizer.codebook[[1, 3]], torch.ones(2, 2)) and quantizer.restarts == 2
    assert torch.equal(quantizer.counts[[1, 3]], torch.ones(2)) and torch.equal(quantizer.sums[[1, 3]], torch.ones(2, 2))
    kept = [0, 2]
    torch.testing.assert_close(quantizer.codebook[kept], (made[0] + made[1])[kept] / 2)
    assert not torch.equal(before, quantizer.codebook)


def test_a_training_logs_use_and_restarts_and_reports_a_collapse(tmp_path):
    how = Training(steps=9, batch_size=4, log_every=1, pictures_every=100, checkpoint_seconds=1e9)
    play_stage(tmp_path / "a", "tokenizer", game(NearestEMASpec(8, 4)), Batches(images(), 4, 0), how)
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["used"] <= 1 and 1 <= line["perplexity"] <= 8 for line in lines) and lines[-1]["restarted"] >= 0
    collapsing, many = game(NearestSpec(128, 4)), replace(how, steps=6, batch_size=16)
    with torch.no_grad():
        collapsing.players["tokenizer"].quantizer.codebook[1:] += 100
    said = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stage.tqdm, "write", said.append)
        play_stage(tmp_path / "b", "tokenizer", collapsing, Batches(images(32), 16, 0), many)
    assert sum("of the codewords were used in the last epoch; take a quantizer" in line for line in said) == 2  # epochs 1 and 2
    events = [json.loads(line)["event"] for line in (tmp_path / "b" / "events.jsonl").read_text().splitlines()]
    assert events.count("collapsed") == 2
    few = CodeUse((128,))
    few.add(torch.zeros(100, 1, dtype=torch.long), 0.0)
    few.add(torch.zeros(100, 1, dtype=torch.long), 1.0)
    assert not few.collapsed()  # of so few places none can tell


def test_counts_are_resumed_and_a_run_without_them_goes_on(tmp_path):
    how, batches = Training(steps=6, batch_size=4), Batches(images(), 4, 0)
    whole = State.start(game(), how)
    for progress in play(whole, batches, how):
        if progress.step == 3:
            held = to_disk_and_back(whole.state_dict())
    again = State.start(game(), how)
    again.load_state_dict(held)
    list(play(again, batches, how))
    assert torch.equal(again.game.memory.counts, whole.game.memory.counts) and whole.game.memory.counts.sum() > 0
    counted, whole.game.memory = whole.game.memory, None  # as before there was one
    save_checkpoint(tmp_path, whole, 1)
    whole.game.memory = counted
    fresh = State.start(game(), how)
    load_checkpoint(tmp_path, fresh)
    assert fresh.step == 6 and fresh.game.memory.counts.sum() == 0
