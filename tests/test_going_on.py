"""When a run goes on: compared is what changes its result, and what differs is named."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_train import folder, lines, same_weights, silent, tiny_run  # noqa: F401, pytest finds the fixture so

from bitmosaic.cli import main
from bitmosaic.conditions import NoConditionSpec
from bitmosaic.images.specs import FashionMNISTSpec, FashionSampleSpec, FlatFolderSpec, FolderSpec
from bitmosaic.nets.feature_net import ConvClassifierSpec, save_feature_net
from bitmosaic.nets.precision import resolve
from bitmosaic.pipelines import Pipeline
from bitmosaic.recipes import folder as recipe
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.train.checkpoint import checkpoints
from bitmosaic.train.claim import claim
from bitmosaic.train.stages import FileFeatures
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.train import train


def plain_run(data):
    """Without the stages that tests of others need not wait for."""
    run = tiny_run(data)
    steps = replace(run.prior_training, steps=4)
    return run.changed(tokenizer_losses=TokenizerLosses(), tokenizer_training=steps, prior_training=steps).without("features")


def claimed(run, out):
    return claim(out, run, run.data.build())


def with_training(run, **fields):
    return run.changed(tokenizer_training=replace(run.tokenizer_training, **fields), prior_training=replace(run.prior_training, **fields))


# ---- what changes nothing


@pytest.mark.parametrize("field, value", [
    ("checkpoint_seconds", 60.0), ("keep", 7), ("pictures_every", 3), ("log_every", 1), ("precision", resolve("auto")),
])  # fmt: skip
def test_what_is_written_down_and_when_is_no_part_of_the_result(folder, tmp_path, field, value):  # noqa: F811
    run = with_training(tiny_run(folder), precision="auto")
    claimed(run, tmp_path / "run")
    other = with_training(run, **{field: value})
    assert claimed(other, tmp_path / "run") == other
    assert json.loads((tmp_path / "run" / "run.json").read_text())["run"] == other.to_json(), "what it is now"


def test_blocks_that_are_worked_out_again_are_no_part_of_the_result(folder, tmp_path):  # noqa: F811
    run = plain_run(folder)
    again = run.changed(prior_training=replace(run.prior_training, recompute=True))
    whole = train(run, tmp_path / "whole", silent, "cpu")
    claimed(run, tmp_path / "run")
    assert same_weights(whole, train(again, tmp_path / "run", silent, "cpu"))
    compiled = again.changed(prior_training=replace(again.prior_training, compile=True))
    claimed(compiled, tmp_path / "compiled")
    with pytest.raises(ValueError, match="prior_training.recompute was True, now False"):
        claimed(compiled.changed(prior_training=replace(compiled.prior_training, recompute=False)), tmp_path / "compiled")


def test_settings_of_a_discriminator_that_is_not_there_are_none(folder, tmp_path):  # noqa: F811
    run = plain_run(folder)
    claimed(run, tmp_path / "run")
    claimed(run.changed(tokenizer_losses=TokenizerLosses(adversarial_start=99, diffaugment=False)), tmp_path / "run")
    claimed(tiny_run(folder), tmp_path / "with")
    later = replace(tiny_run(folder).tokenizer_losses, adversarial_start=99)
    with pytest.raises(ValueError, match="tokenizer_losses.adversarial_start was 2, now 99"):
        claimed(tiny_run(folder).changed(tokenizer_losses=later), tmp_path / "with")


def test_the_same_pictures_elsewhere_and_of_other_times(folder, tmp_path, monkeypatch):  # noqa: F811
    run = tiny_run(folder)
    claimed(run, tmp_path / "run")
    for path in folder.rglob("*.png"):
        os.utime(path, (1, 1))
    monkeypatch.chdir(folder.parent)
    for place in ("data", "data/", "./data", folder, f"{folder}/"):
        claimed(run.changed(data=FolderSpec(str(place), (16, 16), 3)), Path("run"))
    monkeypatch.chdir(folder)
    claimed(run.changed(data=FolderSpec(".", (16, 16), 3)), tmp_path / "run")
    monkeypatch.chdir("/")
    shutil.copytree(folder, tmp_path / "copied", copy_function=shutil.copyfile)
    claimed(run.changed(data=FolderSpec(str(tmp_path / "copied"), (16, 16), 3)), tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "renamed run")
    shutil.move(tmp_path / "copied", tmp_path / "moved")
    (tmp_path / "renamed run" / "images.npz").unlink()
    claimed(run.changed(name="other", reasons=("why",), data=FolderSpec(str(tmp_path / "moved"), (16, 16), 3)), tmp_path / "renamed run")


def test_a_run_in_the_middle_goes_on_bitwise_after_harmless_changes(folder, tmp_path):  # noqa: F811
    run = with_training(plain_run(folder), checkpoint_seconds=0)
    whole = train(run, tmp_path / "whole", silent, "cpu")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "pipeline")
    shutil.rmtree(checkpoints(tmp_path / "part" / "prior" / "checkpoints")[-1])
    shutil.copytree(folder, tmp_path / "copied")
    other = with_training(run, checkpoint_seconds=1e9, keep=5, pictures_every=1, log_every=1)
    other = other.changed(data=FolderSpec(str(tmp_path / "copied") + "/", (16, 16), 3))
    assert same_weights(whole, train(other, tmp_path / "part", silent, "cpu", tensorboard=True))
    assert (tmp_path / "part" / "prior" / "pictures" / "step-000003.png").exists(), "as often as is asked for now"


def test_where_the_files_of_fashion_mnist_lie_is_no_setting(tmp_path, monkeypatch):
    import bitmosaic.images.specs as specs

    monkeypatch.setattr(specs, "fashion_mnist", lambda *_: FashionSampleSpec().build())
    run = tiny_run("x").changed(data=FashionMNISTSpec(""))
    claimed(run, tmp_path / "run")
    claimed(run.changed(data=FashionMNISTSpec("/somewhere/else")), tmp_path / "run")


def test_a_folder_without_classes_is_the_same_by_either_recipe(folder, tmp_path):  # noqa: F811
    run = plain_run(folder / "bag").changed(prior=replace(plain_run(folder).prior, condition=NoConditionSpec()))
    claimed(run, tmp_path / "run")
    claimed(run.changed(data=FlatFolderSpec(str(folder / "bag"), (16, 16), 3)), tmp_path / "run")


# ---- what does


def test_another_size_is_a_setting_and_no_change_of_images(folder, tmp_path):  # noqa: F811
    claimed(tiny_run(folder), tmp_path / "run")
    larger = tiny_run(folder).changed(data=FolderSpec(str(folder), (32, 32), 3))
    with pytest.raises(ValueError, match=r"holds another run .run.data.size was \[16, 16\], now \[32, 32\]"):
        claimed(larger, tmp_path / "run")
    picture(folder / "bag" / "new.png", 3)
    with pytest.raises(ValueError, match="1 added"):  # as where a recipe takes the size from the images
        claimed(larger, tmp_path / "run")


@pytest.mark.parametrize("change", [
    dict(learning_rate=0.5), dict(batch_size=8), dict(seed=1), dict(steps=3), dict(decay="cosine"), dict(ema_decay=0.5), dict(parts=2),
])  # fmt: skip
def test_what_shapes_the_result_is_named(folder, tmp_path, change):  # noqa: F811
    run = tiny_run(folder)
    claimed(run, tmp_path / "run")
    held = (tmp_path / "run" / "run.json").read_text()
    (name,) = change
    with pytest.raises(ValueError, match=rf"holds another run \(run\.prior_training\.{name} was .*, now .*give the same settings"):
        claimed(run.changed(prior_training=replace(run.prior_training, **change)), tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_text() == held


def test_another_sampler_is_another_pipeline(folder, tmp_path):  # noqa: F811
    run = tiny_run(folder)
    claimed(run, tmp_path / "run")
    with pytest.raises(ValueError, match=r"run\.sampler\.steps was 3, now 5"):
        claimed(run.changed(sampler=EntropyOrderedSpec(steps=5, evaluations=4)), tmp_path / "run")


def picture(path, grey):
    Image.new("L", (16, 16), grey).save(path)


@pytest.mark.parametrize("change, told", [
    (lambda f: picture(f / "bag" / "new\n.png", 3), r"1 added \(bag/new\\n.png\)"),
    (lambda f: [picture(f / "bag" / f"new{i}.png", i) for i in range(5)], r"5 added \(bag/new0.png, bag/new1.png, bag/new2.png, ...\)"),
    (lambda f: sorted((f / "shirt").iterdir())[0].unlink(), r"1 removed \(shirt/"),
    (lambda f: sorted((f / "shirt").iterdir())[0].rename(f / "bag" / "a.png"), r"1 added .*, 1 removed .*; 1 of these under another name"),
    (lambda f: picture(sorted((f / "shirt").iterdir())[0], 9), r"1 changed \(shirt/"),
    (lambda f: (f / "shirt").rename(f / "blouse"), r"8 added .*, 8 removed .*8 of these under another name only"),
])  # fmt: skip
def test_what_was_done_to_the_images_is_told_before_any_setting(folder, tmp_path, change, told):  # noqa: F811
    run = tiny_run(folder)
    claimed(run, tmp_path / "run")
    change(folder)
    other = with_training(run, steps=99, learning_rate=1.0)  # as a recipe might choose by the number of images
    with pytest.raises(ValueError, match=f"the images have changed since the run in .* began: {told}"):
        claimed(other, tmp_path / "run")


def test_one_photograph_more_by_the_command_line(folder, tmp_path, capsys):  # noqa: F811
    words = ["train", "folder", "--data", str(folder), "--out", str(tmp_path / "run"), "--size=32"]
    claimed(recipe(str(folder), size=32), tmp_path / "run")
    picture(folder / "bag" / "one more.png", 7)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "the images have changed since the run in" in err and "1 added (bag/one more.png)" in err and "steps was" not in err


def test_an_edited_picture_of_the_same_size_and_time_is_noticed(tmp_path, folder):  # noqa: F811
    path = folder / "bag" / "a.bmp"
    picture(path, 9)
    claimed(tiny_run(folder), tmp_path / "run")
    held, data = path.stat(), bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(held.st_atime_ns, held.st_mtime_ns))
    with pytest.raises(ValueError, match=r"1 changed \(bag/a.bmp\)"):
        claimed(tiny_run(folder), tmp_path / "run")


def test_a_feature_network_is_known_by_its_bytes(folder, tmp_path):  # noqa: F811
    def net(path, seed):
        torch.manual_seed(seed)
        save_feature_net(ConvClassifierSpec(3, 2, (4, 4)).build(), path)
        return tiny_run(folder).changed(features=FileFeatures(str(path)))

    run = net(tmp_path / "a.safetensors", 0)
    claimed(run, tmp_path / "run")
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    claimed(run.changed(features=FileFeatures(str(tmp_path / "b.safetensors"))), tmp_path / "run")
    with pytest.raises(ValueError, match="b.safetensors is not the file with which the run in"):
        claimed(net(tmp_path / "b.safetensors", 1), tmp_path / "run")


# ---- runs of earlier versions


def test_a_run_that_knew_its_images_by_their_times_goes_on_and_knows_them_better_then(folder, tmp_path):  # noqa: F811
    run = tiny_run(folder)
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps({"run": run.to_json(), "images": run.data.build().times_fingerprint()}))
    claimed(run, tmp_path / "run")
    shutil.copytree(folder, tmp_path / "copied", copy_function=shutil.copyfile)
    claimed(run.changed(data=FolderSpec(str(tmp_path / "copied"), (16, 16), 3)), tmp_path / "run")
    picture(folder / "bag" / "new.png", 1)
    with pytest.raises(ValueError, match="1 added"):
        claimed(run, tmp_path / "run")


def test_where_an_earlier_run_cannot_tell_it_says_so(folder, tmp_path):  # noqa: F811
    run = tiny_run(folder)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"run": run.to_json(), "images": run.data.build().times_fingerprint()}))
    os.utime(next(folder.rglob("*.png")), (1, 1))
    with pytest.raises(ValueError, match="the images have changed since .* or are read in another way .it knew them by their names"):
        claimed(run, tmp_path / "run")


# ---- more steps


def more(run, tokenizer=0, prior=0, **fields):
    return run.changed(
        tokenizer_training=replace(run.tokenizer_training, steps=run.tokenizer_training.steps + tokenizer),
        prior_training=replace(run.prior_training, steps=run.prior_training.steps + prior, **fields))  # fmt: skip


def test_more_steps_of_the_prior_end_where_as_many_at_once_end(folder, tmp_path):  # noqa: F811
    run = plain_run(folder)
    first = train(run, tmp_path / "run", silent, "cpu")
    told = []
    longer = train(more(run, prior=4), tmp_path / "run", told.append, "cpu")
    at_once = train(more(run, prior=4), tmp_path / "at once", silent, "cpu")
    assert same_weights(longer, at_once) and not same_weights(first, longer)
    wanted = "it goes on from step 4, and ends as if 8 had been asked for at once"
    assert f"prior: 4 steps were asked for when the run began, and now 8; {wanted}" in told
    aside = tmp_path / "run" / "prior-of-4-steps" / "pipeline"
    assert same_weights(Pipeline.from_pretrained(aside), first), "what was there is put aside"
    assert [row["step"] for row in lines(tmp_path / "run" / "prior" / "metrics.jsonl")] == [2, 4, 6, 8]
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["went_on"] == [{"stage": "prior", "at": 4, "steps": 4, "now": 8}]
    with pytest.raises(ValueError, match=r"run\.prior_training\.steps was 8, now 4"):
        train(run, tmp_path / "run", silent, "cpu")
    assert same_weights(train(more(run, prior=4), tmp_path / "run", silent, "cpu"), longer)


def test_a_schedule_of_another_length_is_told_and_reproducible(folder, tmp_path):  # noqa: F811
    run = more(with_training(plain_run(folder), checkpoint_seconds=0), decay="cosine", warmup_steps=0)
    train(run, tmp_path / "run", silent, "cpu")
    shutil.copytree(tmp_path / "run", tmp_path / "killed")
    told = []
    longer = train(more(run, prior=4), tmp_path / "run", told.append, "cpu")
    (line,) = [line for line in told if "The learning rate" in line]
    assert "falls along the cosine of 8 steps from here on, so it is 0.00051 now, after 0.00015 in the step before" in line
    assert "it is not that of 8 steps at once" in line
    assert not same_weights(longer, train(more(run, prior=4), tmp_path / "at once", silent, "cpu")), "as was told"
    train(more(run, prior=4), tmp_path / "killed", silent, "cpu")
    shutil.rmtree(tmp_path / "killed" / "pipeline")
    shutil.rmtree(checkpoints(tmp_path / "killed" / "prior" / "checkpoints")[-1])  # killed after step 6
    assert same_weights(longer, train(more(run, prior=4), tmp_path / "killed", silent, "cpu"))


def test_more_steps_of_a_tokenizer_put_aside_what_was_made_of_it(folder, tmp_path):  # noqa: F811
    run = plain_run(folder)
    first = train(run, tmp_path / "run", silent, "cpu")
    told = []
    longer = train(more(run, tokenizer=4), tmp_path / "run", told.append, "cpu")
    assert same_weights(longer, train(more(run, tokenizer=4), tmp_path / "at once", silent, "cpu"))
    aside = tmp_path / "run" / "tokenizer-of-4-steps"
    assert sorted(path.name for path in aside.iterdir()) == ["codes", "pipeline", "prior", "tokenizer"]
    assert same_weights(Pipeline.from_pretrained(aside / "pipeline"), first)
    assert any("put aside into" in line for line in told)


def test_more_steps_of_a_stage_that_goes_on_or_has_not_begun(folder, tmp_path):  # noqa: F811
    run = plain_run(folder)
    claimed(run, tmp_path / "run")
    told = []
    longer = more(run, tokenizer=2, prior=2)
    assert claim(tmp_path / "run", longer, run.data.build(), told.append) == longer and len(told) == 2
    assert not any("goes on" in line for line in told)


def test_more_steps_without_the_last_checkpoint(folder, tmp_path):  # noqa: F811
    run = plain_run(folder)
    train(run, tmp_path / "run", silent, "cpu")
    shutil.rmtree(tmp_path / "run" / "prior" / "checkpoints")
    train(run, tmp_path / "run", silent, "cpu")
    with pytest.raises(ValueError, match="prior: 4 steps are done, and 8 are asked for, but the last checkpoint"):
        train(more(run, prior=4), tmp_path / "run", silent, "cpu")
    assert (tmp_path / "run" / "pipeline").is_dir()


def test_other_settings_are_refused_before_anything_is_put_aside(folder, tmp_path):  # noqa: F811
    run = plain_run(folder)
    train(run, tmp_path / "run", silent, "cpu")
    with pytest.raises(ValueError, match=r"run\.prior_training\.learning_rate"):
        train(more(run, prior=4, learning_rate=0.5), tmp_path / "run", silent, "cpu")
    assert (tmp_path / "run" / "pipeline").is_dir() and not list((tmp_path / "run").glob("*-of-*"))
